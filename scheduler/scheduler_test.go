package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/scheduler"
	"github.com/keelson-dev/keelson/scheduler/plugins"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addNode(cp *controllertest.ControlPlane, name, cpu string) *corev1.Node {
	n := kind.Node.New()
	n.Name, n.Labels = name, map[string]string{corev1.LabelHostname: name}
	n.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("10"),
	}
	controllertest.Create(cp, kind.Node, n)
	return controllertest.MutateStatus(cp, kind.Node, "", name, func(now *corev1.Node) { now.Status = n.Status })
}

func newPod(name, cpu string) *corev1.Pod {
	p := kind.Pod.New()
	p.Namespace, p.Name = "default", name
	p.Spec.Containers = []corev1.Container{{Name: "c", Image: "any", Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
	}}}
	return p
}

func bound(p *corev1.Pod) bool { return p.Spec.NodeName != "" }

func scheduled(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodScheduled {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func run(t *testing.T, cp *controllertest.ControlPlane, c client.Client, cfg scheduler.Config, more ...scheduler.Plugin) *scheduler.Scheduler {
	s, err := scheduler.New(c, append(plugins.Default(), more...), cfg)
	require.NoError(t, err)
	cp.Run(s)
	return s
}

func TestPodsAreBoundAndExplained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t)
		s := run(t, cp, cp.Client, scheduler.Config{})
		addNode(cp, "small", "1")
		controllertest.Create(cp, kind.Pod, newPod("fits", "500m"))
		controllertest.WaitFor(cp, kind.Pod, "default", "fits", bound)

		big := controllertest.Create(cp, kind.Pod, newPod("big", "3"))
		p := controllertest.WaitFor(cp, kind.Pod, "default", "big", func(p *corev1.Pod) bool { return scheduled(p) != nil })
		require.Equal(t, "0/1 nodes are available: 1 Insufficient cpu.", scheduled(p).Message)
		require.Equal(t, corev1.PodReasonUnschedulable, scheduled(p).Reason)
		e, err := s.Explain(big)
		require.NoError(t, err)
		require.Equal(t, scheduled(p).Message, e.Message)
		require.Equal(t, "NodeResourcesFit", e.Targets[0].Reasons[0].Plugin)

		addNode(cp, "large", "4") // it comes, and the pod that waited goes there
		p = controllertest.WaitFor(cp, kind.Pod, "default", "big", bound)
		require.Equal(t, "large", p.Spec.NodeName)
		synctest.Wait()
		reasons := map[string]int{}
		for _, ev := range controllertest.List(cp, kind.Event, "default") {
			reasons[ev.Reason]++
		}
		require.Equal(t, map[string]int{"Scheduled": 2, "FailedScheduling": 1}, reasons)
	})
}

func TestRoomThatBecomesFreeIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t)
		run(t, cp, cp.Client, scheduler.Config{})
		addNode(cp, "n", "1")
		controllertest.Create(cp, kind.Pod, newPod("first", "800m"))
		controllertest.WaitFor(cp, kind.Pod, "default", "first", bound)
		controllertest.Create(cp, kind.Pod, newPod("second", "800m"))
		controllertest.WaitFor(cp, kind.Pod, "default", "second", func(p *corev1.Pod) bool { return scheduled(p) != nil })
		require.NoError(t, client.For(cp.Client, kind.Pod).Delete(cp.Context(), "default", "first", client.GracePeriod(0)))
		controllertest.WaitFor(cp, kind.Pod, "default", "second", bound)
	})
}

// TestNothingIsOvercommitted lets bindings fail and replies get lost while many pods compete for few nodes.
func TestNothingIsOvercommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t)
		faulty := cp.Faults.Wrap(cp.Client)
		for i := range 4 {
			addNode(cp, fmt.Sprintf("n%d", i), "1")
		}
		refused := cp.Faults.Inject(controllertest.Fault{Verb: client.Create, Kind: kind.Pod.Kind(), Subresource: "binding", Count: 5, Err: apierrors.NewInternalError(errors.New("injected"))})
		lost := cp.Faults.Inject(controllertest.Fault{Verb: client.Create, Kind: kind.Pod.Kind(), Subresource: "binding", Count: 5, LoseReply: true})
		run(t, cp, faulty, scheduler.Config{})
		for i := range 30 {
			controllertest.Create(cp, kind.Pod, newPod(fmt.Sprintf("p%02d", i), "250m"))
		}
		<-time.After(10 * time.Minute)
		require.Equal(t, 5, refused.Hits())
		require.Equal(t, 5, lost.Hits())
		perNode := map[string]int{}
		for _, p := range controllertest.List(cp, kind.Pod, "default") {
			perNode[p.Spec.NodeName]++
		}
		require.Equal(t, map[string]int{"n0": 4, "n1": 4, "n2": 4, "n3": 4, "": 14}, perNode)
	})
}

// gate waits for a permit, and counts what was reserved.
type gate struct{ reserved, undone chan string }

func (gate) Name() string { return "Gate" }
func (g gate) Reserve(_ context.Context, c *scheduler.Cycle, _ *scheduler.Target) *scheduler.Verdict {
	g.reserved <- c.Unit.Key().Name
	return nil
}
func (g gate) Unreserve(_ context.Context, c *scheduler.Cycle, _ *scheduler.Target) {
	g.undone <- c.Unit.Key().Name
}
func (gate) Permit(context.Context, *scheduler.Cycle, *scheduler.Target) (*scheduler.Verdict, time.Duration) {
	return &scheduler.Verdict{Code: scheduler.Wait}, time.Minute
}

func TestPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t)
		g := gate{make(chan string, 100), make(chan string, 100)}
		s := run(t, cp, cp.Client, scheduler.Config{}, g)
		addNode(cp, "n", "4")
		pod := controllertest.Create(cp, kind.Pod, newPod("p", "1"))
		require.Equal(t, "p", <-g.reserved)
		synctest.Wait()
		require.Equal(t, int64(3000), s.Snapshot().Targets[0].Free().MilliCPU, "a pod that waits for a permit holds its place")
		require.Equal(t, "p", <-g.undone, "after a minute without a permit")
		require.Equal(t, "p", <-g.reserved, "and tried again")
		synctest.Wait()
		require.False(t, s.Allow(controller.KeyOf(pod), "Other"))
		require.True(t, s.Allow(controller.KeyOf(pod), "Gate"))
		controllertest.WaitFor(cp, kind.Pod, "default", "p", bound)
	})
}

func TestNewNamesWhatIsWrong(t *testing.T) {
	cp := controllertest.New(t)
	for want, f := range map[string]func() error{
		"given twice": func() error {
			_, err := scheduler.New(cp.Client, append(plugins.Default(), plugins.Taints{}), scheduler.Config{})
			return err
		},
		"Weights": func() error {
			_, err := scheduler.New(cp.Client, plugins.Default(), scheduler.Config{Weights: map[string]int64{"Nope": 1}})
			return err
		},
		"Workload.Targets": func() error {
			_, err := scheduler.New(cp.Client, nil, scheduler.Config{Workload: scheduler.Workload{Units: kind.Pod.Kind()}})
			return err
		},
	} {
		require.ErrorContains(t, f(), want)
	}
}

// rack and job are an application's own kinds: jobs are placed on racks by the default stages.
type rackSpec struct {
	Slots int64 `json:"slots"`
}
type jobSpec struct {
	Slots int64  `json:"slots"`
	Rack  string `json:"rack,omitempty"`
}
type none struct{}

func TestOwnKindsAreScheduled(t *testing.T) {
	racks := kind.Must(kind.Define[rackSpec, none]("example.com/v1", "Rack"))
	jobs := kind.Must(kind.Define[jobSpec, none]("example.com/v1", "RenderJob"))
	slots := func(n int64) corev1.ResourceList {
		return corev1.ResourceList{"example.com/slots": *resource.NewQuantity(n, resource.DecimalSI), corev1.ResourcePods: resource.MustParse("1000")}
	}
	type rack = kind.Object[rackSpec, none]
	type job = kind.Object[jobSpec, none]
	work := scheduler.Place(jobs, racks,
		func(j *job) *corev1.Pod {
			return &corev1.Pod{ObjectMeta: j.ObjectMeta, Spec: corev1.PodSpec{NodeName: j.Spec.Rack, Containers: []corev1.Container{{
				Resources: corev1.ResourceRequirements{Requests: slots(j.Spec.Slots)},
			}}}}
		},
		func(r *rack) *corev1.Node {
			return &corev1.Node{ObjectMeta: r.ObjectMeta, Status: corev1.NodeStatus{Allocatable: slots(r.Spec.Slots)}}
		},
		func(ctx context.Context, c client.Client, j *job, target string) error {
			_, err := client.For(c, jobs).Mutate(ctx, j.Namespace, j.Name, func(now *job) error { now.Spec.Rack = target; return nil })
			return err
		})
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t, controllertest.Kinds(racks.Kind(), jobs.Kind()))
		run(t, cp, cp.Client, scheduler.Config{Workload: work})
		for i, n := range []int64{2, 8} {
			r := racks.New()
			r.Namespace, r.Name, r.Spec.Slots = "default", fmt.Sprintf("rack-%d", i), n
			controllertest.Create(cp, racks, r)
		}
		j := jobs.New()
		j.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: "film"}
		j.Spec.Slots = 5
		controllertest.Create(cp, jobs, j)
		got := controllertest.WaitFor(cp, jobs, "default", "film", func(j *job) bool { return j.Spec.Rack != "" })
		require.Equal(t, "rack-1", got.Spec.Rack)
	})
}
