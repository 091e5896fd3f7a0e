package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// fits is a filter by free CPU alone, and scores the emptier target higher.
type fits struct{}

func (fits) Name() string { return "Fits" }
func (fits) Filter(c *Cycle, t *Target) *Verdict {
	if c.Unit.Requests.MilliCPU > t.Free().MilliCPU {
		return Reject("Insufficient cpu")
	}
	return nil
}
func (fits) Score(_ *Cycle, t *Target) int64 { return min(MaxScore, t.Free().MilliCPU/100) }

type oddOnly struct{}

func (oddOnly) Name() string { return "OddOnly" }
func (oddOnly) Filter(_ *Cycle, t *Target) *Verdict {
	if t.Name == "n0" || t.Name == "n2" {
		return RejectForGood("node(s) were even")
	}
	return nil
}

func cpuNode(name string, milli int64) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}
	return n
}

func cpuUnit(name string, milli int64) *Unit {
	u := waitingUnit(name, 0)
	u.Pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)},
	}}}
	return newUnit(u.Object, u.Pod)
}

func TestDecideNamesEveryReason(t *testing.T) {
	s := newStages([]Plugin{oddOnly{}, fits{}})
	snap := NewSnapshot([]*Target{NewTarget(cpuNode("n0", 1000)), NewTarget(cpuNode("n1", 1000)), NewTarget(cpuNode("n2", 9000))})
	d := s.decide(NewCycle(cpuUnit("big", 2000), snap), nil)
	require.Nil(t, d.Target)
	require.Equal(t, []string{"Fits", "OddOnly"}, d.rejecters())
	require.Equal(t, "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were even.", d.Sentence(3))
	d = s.decide(NewCycle(cpuUnit("small", 500), snap), nil)
	require.Equal(t, "n1", d.Target.Name)
}

func TestScoreOutOfRangeFailsTheCycle(t *testing.T) {
	s := newStages([]Plugin{badScore{}})
	snap := NewSnapshot([]*Target{NewTarget(cpuNode("a", 1)), NewTarget(cpuNode("b", 1))})
	d := s.decide(NewCycle(cpuUnit("u", 0), snap), nil)
	require.Nil(t, d.Target)
	require.Equal(t, Failed, d.Failed.Code)
	require.Contains(t, d.Failed.Reason, "want 0 to 100")
}

type badScore struct{}

func (badScore) Name() string                { return "BadScore" }
func (badScore) Score(*Cycle, *Target) int64 { return 101 }

// TestPlacementAgainstBruteForce places random units one after another through the cache, and checks each decision
// against a count made from scratch: never over-committed, never refused where one fits, always the highest score.
func TestPlacementAgainstBruteForce(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		s := newStages([]Plugin{fits{}})
		c := newCache()
		free := map[string]int64{}
		for i := range 1 + r.IntN(5) {
			name := fmt.Sprintf("n%d", i)
			free[name] = int64(r.IntN(4000))
			n := cpuNode(name, free[name])
			c.setTarget(&Target{Name: name, Object: n, Node: n, Allocatable: ResourcesOf(n.Status.Allocatable)})
		}
		placed := map[string]string{}
		sizes := map[string]int64{}
		for i := range 40 {
			if len(placed) > 0 && r.IntN(3) == 0 {
				for name, on := range placed {
					c.remove(cpuUnit(name, 0).key)
					free[on] += sizes[name]
					delete(placed, name)
					break
				}
			}
			u := cpuUnit(fmt.Sprintf("u%d", i), int64(r.IntN(2000)))
			most := int64(-1)
			for _, f := range free {
				if f >= u.Requests.MilliCPU {
					most = max(most, min(MaxScore, f/100))
				}
			}
			d := s.decide(NewCycle(u, c.take()), nil)
			if most < 0 {
				require.Nil(t, d.Target, "seed %d", seed)
				continue
			}
			require.NotNil(t, d.Target, "seed %d", seed)
			require.Equal(t, most, min(MaxScore, free[d.Target.Name]/100), "seed %d", seed)
			c.place(u, d.Target.Name, r.IntN(2) == 0)
			free[d.Target.Name] -= u.Requests.MilliCPU
			placed[u.key.Name], sizes[u.key.Name] = d.Target.Name, u.Requests.MilliCPU
			require.GreaterOrEqual(t, free[d.Target.Name], int64(0))
		}
	}
}

func TestCacheKeepsUnitsOfATargetThatComesBack(t *testing.T) {
	c := newCache()
	n := cpuNode("n", 1000)
	c.place(cpuUnit("early", 300), "n", false) // the unit is reported before its target
	require.Empty(t, c.take().Targets)
	c.setTarget(&Target{Name: "n", Node: n, Allocatable: ResourcesOf(n.Status.Allocatable)})
	require.Equal(t, int64(700), c.take().Targets[0].Free().MilliCPU)
	c.removeTarget("n")
	require.Empty(t, c.take().Targets)
	c.setTarget(&Target{Name: "n", Node: n, Allocatable: ResourcesOf(n.Status.Allocatable)})
	require.Equal(t, int64(700), c.take().Targets[0].Free().MilliCPU)
}

func TestForgetLeavesWhatAReportConfirmed(t *testing.T) {
	c := newCache()
	u := cpuUnit("u", 300)
	c.place(u, "n", true)
	c.place(u, "n", false)
	c.forget(u)
	n := cpuNode("n", 1000)
	c.setTarget(&Target{Name: "n", Node: n, Allocatable: ResourcesOf(n.Status.Allocatable)})
	require.Len(t, c.take().Targets[0].Units, 1)
}

func TestRequests(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	cpu := func(milli int64) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: *resource.NewMilliQuantity(milli, resource.DecimalSI)}}
	}
	p := &corev1.Pod{}
	p.Spec.Containers = []corev1.Container{{Resources: cpu(100)}, {Resources: cpu(200)}}
	require.Equal(t, int64(300), RequestsOf(p).MilliCPU)
	p.Spec.InitContainers = []corev1.Container{{Resources: cpu(250), RestartPolicy: &always}, {Resources: cpu(400)}}
	require.Equal(t, int64(650), RequestsOf(p).MilliCPU, "the init container runs beside the sidecar")
	p.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
	require.Equal(t, int64(660), RequestsOf(p).MilliCPU)
}

func BenchmarkDecide(b *testing.B) {
	s := newStages([]Plugin{fits{}})
	targets := make([]*Target, 1000)
	for i := range targets {
		targets[i] = NewTarget(cpuNode(fmt.Sprintf("n%04d", i), 4000))
	}
	snap := NewSnapshot(targets)
	u := cpuUnit("u", 100)
	for b.Loop() {
		s.decide(NewCycle(u, snap), nil)
	}
}
