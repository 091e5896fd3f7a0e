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
	defer stop()
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

// Each target has its own answer: all that objects, and the score where nothing does.
func ExampleExplanation() {
	why := &scheduler.Explanation{
		Unit: "default/lark", Chosen: "early",
		Targets: []scheduler.TargetVerdict{
			{Target: "owl", Reasons: []scheduler.Verdict{*scheduler.RejectForGood("node(s) work at night")}},
			{Target: "early", Fits: true, Score: 80, Scores: map[string]int64{"Morning": 80}},
		},
	}
	why.Targets[0].Reasons[0].Plugin = "Morning"
	fmt.Print(why)
	// Output:
	// default/lark would go to early
	//   early: fits, score 80
	//   owl: node(s) work at night (Morning)
}

func ExampleResourcesOf() {
	r := scheduler.ResourcesOf(corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("1Gi"),
	})
	fmt.Println(r.MilliCPU, r.Memory)
	// Output: 1500 1073741824
}

// What one stage learns in a cycle, a later one of the same plugin reads: by type, so that plugins don't meet.
func ExampleSave() {
	type found struct{ licences int }
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "owl"}}
	target := scheduler.NewTarget(node, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "lark"}})
	cycle := scheduler.NewCycle(target.Units[0], scheduler.NewSnapshot([]*scheduler.Target{target}))
	scheduler.Save(cycle, found{licences: 3})
	f, ok := scheduler.Load[found](cycle)
	fmt.Println(f.licences, ok)
	// Output: 3 true
}
