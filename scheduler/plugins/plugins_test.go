package plugins_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/scheduler"
	"github.com/keelson-dev/keelson/scheduler/plugins"
)

func node(name string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("3"),
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: "uid-1"}}
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	for _, c := range change {
		c(p)
	}
	return p
}

func requests(cpu, memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		}
	}
}

func labelled(kv ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Labels = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			p.Labels[kv[i]] = kv[i+1]
		}
	}
}

func zone(z string) func(*corev1.Node) { return func(n *corev1.Node) { n.Labels["zone"] = z } }

func hostPort(port int32, ip string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: port, HostIP: ip, Protocol: corev1.ProtocolTCP}}
	}
}

func antiAffinity(key string, match map[string]string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: match}}},
		}}
	}
}

func affinity(key string, match map[string]string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: match}}},
		}}
	}
}

func required(e ...corev1.NodeSelectorRequirement) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: e}},
		}}}
	}
}

func spread(key string, skew int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		labelled("app", "web")(p)
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}}
	}
}

func taint(key, value string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

func tolerates(t corev1.Toleration) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Tolerations = append(p.Spec.Tolerations, t) }
}

func TestFilters(t *testing.T) {
	in := func(op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: "zone", Operator: op, Values: values}
	}
	web := labelled("app", "web")
	for _, tc := range []struct {
		name   string
		plugin interface {
			scheduler.Plugin
			scheduler.Filter
		}
		pod     *corev1.Pod
		targets []*scheduler.Target
		want    []string // the reason on each target; empty means that it fits
	}{
		{"node name", plugins.NodeName{}, pod("p", func(p *corev1.Pod) { p.Spec.NodeName = "b" }), []*scheduler.Target{
			scheduler.NewTarget(node("a")), scheduler.NewTarget(node("b")),
		}, []string{"node(s) didn't match the requested node name", ""}},
		{"cordoned", plugins.Unschedulable{}, pod("p"), []*scheduler.Target{
			scheduler.NewTarget(node("a", func(n *corev1.Node) { n.Spec.Unschedulable = true })), scheduler.NewTarget(node("b")),
		}, []string{"node(s) were unschedulable", ""}},
		{"cordoned but tolerated", plugins.Unschedulable{}, pod("p", tolerates(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists})), []*scheduler.Target{
			scheduler.NewTarget(node("a", func(n *corev1.Node) { n.Spec.Unschedulable = true })),
		}, []string{""}},
		{"taints", plugins.Taints{}, pod("p", tolerates(corev1.Toleration{Key: "k", Operator: corev1.TolerationOpEqual, Value: "v"})), []*scheduler.Target{
			scheduler.NewTarget(node("a", taint("k", "v", corev1.TaintEffectNoSchedule))),
			scheduler.NewTarget(node("b", taint("k", "other", corev1.TaintEffectNoExecute))),
			scheduler.NewTarget(node("c", taint("x", "", corev1.TaintEffectPreferNoSchedule))),
		}, []string{"", "node(s) had untolerated taint {k: other}", ""}},
		{"resources", plugins.Resources{}, pod("p", requests("3", "6Gi")), []*scheduler.Target{
			scheduler.NewTarget(node("a")),
			scheduler.NewTarget(node("b"), pod("x", requests("1500m", "1Gi"))),
			scheduler.NewTarget(node("c"), pod("x", requests("2", "4Gi"))),
			scheduler.NewTarget(node("d"), pod("x"), pod("y"), pod("z")),
		}, []string{"", "Insufficient cpu", "Insufficient cpu, Insufficient memory", "Too many pods"}},
		{"ports", plugins.Ports{}, pod("p", hostPort(80, "")), []*scheduler.Target{
			scheduler.NewTarget(node("a"), pod("x", hostPort(80, "10.0.0.1"))), scheduler.NewTarget(node("b"), pod("x", hostPort(81, ""))),
		}, []string{"node(s) didn't have free ports for the requested pod ports", ""}},
		{"ports on different addresses", plugins.Ports{}, pod("p", hostPort(80, "10.0.0.2")), []*scheduler.Target{
			scheduler.NewTarget(node("a"), pod("x", hostPort(80, "10.0.0.1"))),
		}, []string{""}},
		{"selector", plugins.NodeAffinity{}, pod("p", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "z1"} }), []*scheduler.Target{
			scheduler.NewTarget(node("a", zone("z1"))), scheduler.NewTarget(node("b")),
		}, []string{"", "node(s) didn't match Pod's node affinity/selector"}},
		{"not in", plugins.NodeAffinity{}, pod("p", required(in(corev1.NodeSelectorOpNotIn, "z1"))), []*scheduler.Target{
			scheduler.NewTarget(node("a", zone("z1"))), scheduler.NewTarget(node("b")),
		}, []string{"node(s) didn't match Pod's node affinity/selector", ""}},
		{"greater", plugins.NodeAffinity{}, pod("p", required(in(corev1.NodeSelectorOpGt, "5"))), []*scheduler.Target{
			scheduler.NewTarget(node("a", zone("6"))), scheduler.NewTarget(node("b", zone("5"))), scheduler.NewTarget(node("c", zone("x"))),
		}, []string{"", "node(s) didn't match Pod's node affinity/selector", "node(s) didn't match Pod's node affinity/selector"}},
		{"empty term matches nothing", plugins.NodeAffinity{}, pod("p", required()), []*scheduler.Target{
			scheduler.NewTarget(node("a")),
		}, []string{"node(s) didn't match Pod's node affinity/selector"}},
		{"spread", plugins.Spread{}, pod("p", spread("zone", 1)), []*scheduler.Target{
			scheduler.NewTarget(node("a", zone("z1")), pod("x", web)), scheduler.NewTarget(node("b", zone("z2"))), scheduler.NewTarget(node("c")),
		}, []string{"node(s) didn't match pod topology spread constraints", "", "node(s) didn't match pod topology spread constraints (missing required label)"}},
		{"anti-affinity", plugins.PodAffinity{}, pod("p", antiAffinity("zone", map[string]string{"app": "web"})), []*scheduler.Target{
			scheduler.NewTarget(node("a", zone("z1")), pod("x", web)), scheduler.NewTarget(node("b", zone("z1"))), scheduler.NewTarget(node("c", zone("z2"))),
		}, []string{"node(s) didn't match pod anti-affinity rules", "node(s) didn't match pod anti-affinity rules", ""}},
		{"anti-affinity of a placed pod", plugins.PodAffinity{}, pod("p", web), []*scheduler.Target{
			scheduler.NewTarget(node("a", zone("z1")), pod("x", antiAffinity("zone", map[string]string{"app": "web"}))), scheduler.NewTarget(node("b", zone("z2"))),
		}, []string{"node(s) didn't satisfy existing pods anti-affinity rules", ""}},
		{"affinity", plugins.PodAffinity{}, pod("p", affinity("zone", map[string]string{"app": "web"})), []*scheduler.Target{
			scheduler.NewTarget(node("a", zone("z1")), pod("x", web)), scheduler.NewTarget(node("b", zone("z2"))),
		}, []string{"", "node(s) didn't match pod affinity rules"}},
		{"affinity to itself, the first of its group", plugins.PodAffinity{}, pod("p", web, affinity("zone", map[string]string{"app": "web"})), []*scheduler.Target{
			scheduler.NewTarget(node("a", zone("z1"))),
		}, []string{""}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := scheduler.NewCycle(scheduler.NewTarget(node("scratch"), tc.pod).Units[0], scheduler.NewSnapshot(tc.targets))
			if p, ok := tc.plugin.(scheduler.PreFilter); ok {
				require.Nil(t, p.PreFilter(c))
			}
			for i, target := range tc.targets {
				v := tc.plugin.Filter(c, target)
				got := ""
				if v != nil {
					got = v.Reason
				}
				require.Equal(t, tc.want[i], got, "on %s", target.Name)
			}
		})
	}
}

func TestScoresPreferTheEmptier(t *testing.T) {
	targets := []*scheduler.Target{scheduler.NewTarget(node("a"), pod("x", requests("3", "6Gi"))), scheduler.NewTarget(node("b"))}
	c := scheduler.NewCycle(scheduler.NewTarget(node("s"), pod("p", requests("500m", "1Gi"))).Units[0], scheduler.NewSnapshot(targets))
	var r plugins.Resources
	require.Greater(t, r.Score(c, targets[1]), r.Score(c, targets[0]))
}

func TestSpreadPrefersNodesWithoutSiblings(t *testing.T) {
	yes := true
	owned := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "rs", UID: "rs", Controller: &yes}}
	}
	targets := []*scheduler.Target{scheduler.NewTarget(node("a"), pod("x", owned)), scheduler.NewTarget(node("b"))}
	c := scheduler.NewCycle(scheduler.NewTarget(node("s"), pod("p", owned)).Units[0], scheduler.NewSnapshot(targets))
	var s plugins.Spread
	require.Nil(t, s.PreFilter(c))
	require.Nil(t, s.Filter(c, targets[0]), "only a preference")
	scores := []int64{s.Score(c, targets[0]), s.Score(c, targets[1])}
	s.Normalize(c, scores)
	require.Equal(t, []int64{0, 100}, scores)
}

func ExampleDefault() {
	for _, p := range plugins.Default() {
		fmt.Println(p.Name())
	}
	// Output:
	// NodeName
	// NodeUnschedulable
	// TaintToleration
	// NodeAffinity
	// NodePorts
	// NodeResourcesFit
	// PodTopologySpread
	// InterPodAffinity
}
