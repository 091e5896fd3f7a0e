package plugins_test

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/scheduler"
	"github.com/keelson-dev/keelson/scheduler/plugins"
)

// filter asks one stage about a pod on each node, as a cycle of the scheduler does.
func filter(stage scheduler.Filter, pod *corev1.Pod, targets ...*scheduler.Target) {
	unit := scheduler.NewTarget(targets[0].Node, pod).Units[0]
	cycle := scheduler.NewCycle(unit, scheduler.NewSnapshot(targets))
	if s, ok := stage.(scheduler.PreFilter); ok {
		if v := s.PreFilter(cycle); v != nil {
			fmt.Println(v.Reason)
			return
		}
	}
	for _, t := range targets {
		if v := stage.Filter(cycle, t); v != nil {
			fmt.Printf("%s: %s: %s\n", t.Name, v.Code, v.Reason)
			continue
		}
		fmt.Printf("%s: fits\n", t.Name)
	}
}

func ExampleResources() {
	filter(plugins.Resources{}, pod("big", requests("3", "1Gi")),
		scheduler.NewTarget(node("empty")),
		scheduler.NewTarget(node("busy"), pod("other", requests("2", "1Gi"))))
	// Output:
	// empty: fits
	// busy: Unschedulable: Insufficient cpu
}

func ExamplePorts() {
	filter(plugins.Ports{}, pod("web", hostPort(80, "")),
		scheduler.NewTarget(node("free")),
		scheduler.NewTarget(node("taken"), pod("other", hostPort(80, "192.0.2.1"))))
	// Output:
	// free: fits
	// taken: Unschedulable: node(s) didn't have free ports for the requested pod ports
}

func ExampleNodeName() {
	filter(plugins.NodeName{}, pod("static", func(p *corev1.Pod) { p.Spec.NodeName = "a" }),
		scheduler.NewTarget(node("a")), scheduler.NewTarget(node("b")))
	// Output:
	// a: fits
	// b: Unresolvable: node(s) didn't match the requested node name
}

func ExampleUnschedulable() {
	filter(plugins.Unschedulable{}, pod("web"),
		scheduler.NewTarget(node("open")),
		scheduler.NewTarget(node("cordoned", func(n *corev1.Node) { n.Spec.Unschedulable = true })))
	// Output:
	// open: fits
	// cordoned: Unresolvable: node(s) were unschedulable
}

func ExampleTaints() {
	filter(plugins.Taints{}, pod("web"),
		scheduler.NewTarget(node("plain")),
		scheduler.NewTarget(node("gpu", taint("gpu", "yes", corev1.TaintEffectNoSchedule))))
	// Output:
	// plain: fits
	// gpu: Unresolvable: node(s) had untolerated taint {gpu: yes}
}

func ExampleNodeAffinity() {
	filter(plugins.NodeAffinity{}, pod("web", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "east"} }),
		scheduler.NewTarget(node("a", zone("east"))), scheduler.NewTarget(node("b", zone("west"))))
	// Output:
	// a: fits
	// b: Unresolvable: node(s) didn't match Pod's node affinity/selector
}

func ExampleSpread() {
	web := labelled("app", "web")
	filter(plugins.Spread{}, pod("web-3", web, spread("zone", 1)),
		scheduler.NewTarget(node("a", zone("east")), pod("web-1", web)),
		scheduler.NewTarget(node("b", zone("west"))))
	// Output:
	// a: Unschedulable: node(s) didn't match pod topology spread constraints
	// b: fits
}

func ExamplePodAffinity() {
	filter(plugins.PodAffinity{}, pod("web-2", antiAffinity("zone", map[string]string{"app": "web"})),
		scheduler.NewTarget(node("a", zone("east")), pod("web-1", labelled("app", "web"))),
		scheduler.NewTarget(node("b", zone("west"))))
	// Output:
	// a: Unschedulable: node(s) didn't match pod anti-affinity rules
	// b: fits
}
