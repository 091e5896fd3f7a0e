package scheduler_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/scheduler"
	"github.com/keelson-dev/keelson/scheduler/plugins"
)

// morning keeps pods with the label shift=morning off nodes that work at night.
type morning struct{}

func (morning) Name() string { return "Morning" }

func (morning) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	if c.Unit.Pod.Labels["shift"] == "morning" && t.Node.Labels["shift"] == "night" {
		return scheduler.Reject("node(s) work at night")
	}
	return nil
}

// A stage is a method; it can be tried without a cluster.
func ExampleNewTarget() {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "owl", Labels: map[string]string{"shift": "night"}}}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	lark := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "lark", Labels: map[string]string{"shift": "morning"}}}

	owl := scheduler.NewTarget(node)
	unit := owl.With(scheduler.NewTarget(node, lark).Units[0]).Units[0]
	cycle := scheduler.NewCycle(unit, scheduler.NewSnapshot([]*scheduler.Target{owl}))
	fmt.Println(morning{}.Filter(cycle, owl).Reason)
	fmt.Println(owl.Free().MilliCPU)
	// Output:
	// node(s) work at night
	// 2000
}

func ExampleScheduler_Explain() {
	ctx, stop := context.WithCancel(context.Background())
	cluster, err := keelson.New(keelson.Config{Without: keelson.Scheduler | keelson.Controllers})
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error, 2)
	go func() { ended <- cluster.Run(ctx) }()
	node := kind.Node.New()
	node.Name, node.Labels = "owl", map[string]string{"shift": "night"}
	node.Status.Allocatable = corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}
	if _, err := client.For(cluster.Client(), kind.Node).Create(ctx, node); err != nil {
		fmt.Println(err)
	}

	s, err := scheduler.New(cluster.Client(), append(plugins.Default(), morning{}), scheduler.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() { ended <- s.Run(ctx) }()
	if err := s.Ready(ctx); err != nil {
		fmt.Println(err)
	}
	// The pod need not exist.
	why, err := s.Explain(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "lark", Namespace: "default", Labels: map[string]string{"shift": "morning"}}})
	fmt.Printf("%v%v\n", why, err)
	stop()
	fmt.Println(<-ended, <-ended)
	// Output:
	// default/lark: 0/1 nodes are available: 1 node(s) work at night.
	//   owl: node(s) work at night (Morning)
	// <nil>
	// <nil> <nil>
}
