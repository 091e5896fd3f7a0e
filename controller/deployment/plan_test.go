package deployment

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// newDeployment is one of a size; surge and unavailable are numbers or percentages.
func newDeployment(n int32, surge, unavailable string) *appsv1.Deployment {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", Generation: 1},
		Spec: appsv1.DeploymentSpec{Replicas: &n, Strategy: appsv1.DeploymentStrategy{
			Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &s, MaxUnavailable: &u},
		}},
	}
}

// newSet is a set last scaled for d; age orders creation.
func newSet(d *appsv1.Deployment, name string, age int, n, available int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: withSizes(nil, d), CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))},
		Spec:       appsv1.ReplicaSetSpec{Replicas: &n},
		Status:     appsv1.ReplicaSetStatus{Replicas: n, ReadyReplicas: available, AvailableReplicas: available},
	}
}

func TestPlan(t *testing.T) {
	type sets [][2]int32 // replicas and available; the first is the present, then old ones from the newest to the oldest
	for _, c := range []struct {
		name               string
		size               int32
		surge, unavailable string
		was                int32 // the size that the sets were scaled for; 0 means size
		sets               sets
		change             func(d *appsv1.Deployment)
		oldPods            int
		want               []int32
	}{
		{name: "first rollout", size: 3, surge: "1", unavailable: "0", sets: sets{{0, 0}}, want: []int32{3}},
		{name: "surge first, nothing to spare", size: 3, surge: "1", unavailable: "0", sets: sets{{0, 0}, {3, 3}}, want: []int32{1, 3}},
		{name: "a new pod is not available yet", size: 3, surge: "1", unavailable: "0", sets: sets{{1, 0}, {3, 3}}, want: []int32{1, 3}},
		{name: "a new pod is available", size: 3, surge: "1", unavailable: "0", sets: sets{{1, 1}, {3, 3}}, want: []int32{1, 2}},
		{name: "no surge: take one first", size: 3, surge: "0", unavailable: "1", sets: sets{{0, 0}, {3, 3}}, want: []int32{0, 2}},
		{name: "no surge: then give one", size: 3, surge: "0", unavailable: "1", sets: sets{{0, 0}, {2, 2}}, want: []int32{1, 2}},
		{name: "both zero act as one unavailable", size: 3, surge: "0", unavailable: "0", sets: sets{{0, 0}, {3, 3}}, want: []int32{0, 2}},
		{name: "percentages: surge up, unavailable down", size: 10, surge: "25%", unavailable: "25%", sets: sets{{0, 0}, {10, 10}}, want: []int32{3, 8}},
		{name: "unhealthy old pods go first", size: 4, surge: "1", unavailable: "1", sets: sets{{1, 0}, {2, 2}, {2, 0}}, want: []int32{1, 2, 1}},
		{name: "unhealthy old pods don't wait", size: 3, surge: "1", unavailable: "0", sets: sets{{0, 0}, {3, 0}}, want: []int32{1, 3}},
		{name: "the oldest set first", size: 4, surge: "1", unavailable: "2", sets: sets{{1, 1}, {2, 2}, {2, 2}}, want: []int32{1, 1, 0}},
		{name: "status behind spec is not spare", size: 4, surge: "1", unavailable: "0", sets: sets{{1, 1}, {3, 4}}, want: []int32{2, 3}},
		{name: "done", size: 3, surge: "1", unavailable: "0", sets: sets{{3, 3}, {1, 1}}, want: []int32{3, 0}},
		{name: "scaled up alone", size: 5, was: 3, surge: "1", unavailable: "0", sets: sets{{3, 3}}, want: []int32{5}},
		{name: "to zero", size: 0, was: 3, surge: "1", unavailable: "0", sets: sets{{2, 2}, {2, 2}}, want: []int32{0, 0}},
		{name: "proportional up", size: 15, was: 10, surge: "3", unavailable: "2", sets: sets{{5, 5}, {8, 8}}, want: []int32{7, 11}},
		{name: "proportional down", size: 5, was: 10, surge: "2", unavailable: "1", sets: sets{{4, 4}, {8, 8}}, want: []int32{2, 5}},
		{name: "leftover to the largest", size: 4, was: 3, surge: "1", unavailable: "1", sets: sets{{2, 2}, {2, 2}}, want: []int32{3, 2}},
		{name: "scaled when only old has pods", size: 5, was: 3, surge: "1", unavailable: "1", sets: sets{{0, 0}, {3, 3}}, want: []int32{0, 5}},
		{name: "saturated: the old have too much", size: 5, surge: "1", unavailable: "1", sets: sets{{5, 5}, {1, 1}}, change: pause, want: []int32{5, 0}},
		{name: "paused: no move", size: 3, surge: "1", unavailable: "0", sets: sets{{1, 1}, {3, 3}}, change: pause, want: []int32{1, 3}},
		{name: "recreate: down first", size: 3, surge: "1", unavailable: "0", sets: sets{{0, 0}, {3, 3}}, change: recreate, oldPods: 3, want: []int32{0, 0}},
		{name: "recreate: wait", size: 3, surge: "1", unavailable: "0", sets: sets{{0, 0}, {0, 0}}, change: recreate, oldPods: 1, want: []int32{0, 0}},
		{name: "recreate: up", size: 3, surge: "1", unavailable: "0", sets: sets{{0, 0}, {0, 0}}, change: recreate, want: []int32{3, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDeployment(c.size, c.surge, c.unavailable)
			before := d.DeepCopy()
			if c.was != 0 {
				before.Spec.Replicas = &c.was
			}
			if c.change != nil {
				c.change(d)
			}
			var all []*appsv1.ReplicaSet
			for i, s := range c.sets {
				all = append(all, newSet(before, fmt.Sprint("s", i), i, s[0], s[1]))
			}
			want := plan(d, all[0], all[1:], c.oldPods)
			var got []int32
			for _, rs := range all {
				got = append(got, want[rs.Name])
			}
			require.Equal(t, c.want, got)
		})
	}
}

// TestPodsThatStillExistCount: a set that asks for less than it has leaves no room yet.
func TestPodsThatStillExistCount(t *testing.T) {
	d := newDeployment(3, "1", "0")
	present, old := newSet(d, "new", 0, 1, 1), newSet(d, "old", 1, 2, 2)
	require.Equal(t, int32(2), plan(d, present, []*appsv1.ReplicaSet{old}, 0)["new"])
	old.Status.Replicas = 3
	require.Equal(t, int32(1), plan(d, present, []*appsv1.ReplicaSet{old}, 0)["new"])
	old.Status.Replicas, old.Generation = 2, 1
	require.Equal(t, int32(1), plan(d, present, []*appsv1.ReplicaSet{old}, 0)["new"], "its controller has not seen the change")
}

func pause(d *appsv1.Deployment) { d.Spec.Paused = true }

func recreate(d *appsv1.Deployment) {
	d.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
}

// world is a Deployment with pods that are nothing but ready or not.
type world struct {
	d    *appsv1.Deployment
	sets []*appsv1.ReplicaSet // the last is the present one
	pods [][]bool             // by set: whether each pod is ready
	seen []int64              // by set: the generation that was carried out
}

func (w *world) count() (total, ready int32) {
	for _, pods := range w.pods {
		total += int32(len(pods))
		ready += countReady(pods)
	}
	return total, ready
}

func countReady(pods []bool) (n int32) {
	for _, r := range pods {
		if r {
			n++
		}
	}
	return n
}

// observe writes the status of one set.
func (w *world) observe(i int) {
	w.sets[i].Status.ObservedGeneration = w.seen[i]
	w.sets[i].Status.Replicas, w.sets[i].Status.AvailableReplicas = int32(len(w.pods[i])), countReady(w.pods[i])
}

// scale does what the ReplicaSet controller does for one set: pods that are not ready go first.
func (w *world) scale(i int) {
	want := int(*w.sets[i].Spec.Replicas)
	slices.SortFunc(w.pods[i], func(a, b bool) int { // ready ones first
		switch {
		case a == b:
			return 0
		case a:
			return -1
		}
		return 1
	})
	for len(w.pods[i]) < want {
		w.pods[i] = append(w.pods[i], false)
	}
	w.pods[i] = w.pods[i][:want]
	w.seen[i] = w.sets[i].Generation
}

// step applies a plan to the specs.
func (w *world) step() {
	last := len(w.sets) - 1
	want := plan(w.d, w.sets[last], w.sets[:last], 0)
	for _, rs := range w.sets {
		n := want[rs.Name]
		if n != *rs.Spec.Replicas {
			rs.Generation++
		}
		rs.Spec.Replicas = &n
		if n > 0 {
			rs.Annotations = withSizes(rs.Annotations, w.d)
		}
	}
}

// TestRollingUpdateKeepsItsBounds walks at random: pods become ready, sets are scaled and observed in any order and
// late, templates change in the middle. In every third walk pods stop being ready too: then the controller must not
// take what is missing already.
func TestRollingUpdateKeepsItsBounds(t *testing.T) {
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 1))
		size := 1 + r.Int32N(12)
		d := newDeployment(size, fmt.Sprint(r.Int32N(5)), fmt.Sprint(r.Int32N(5)))
		surge, unavailable := bounds(d)
		w := &world{d: d}
		add := func(n int32) {
			w.sets = append(w.sets, newSet(d, fmt.Sprint("s", len(w.sets)), 500-len(w.sets), n, n))
			w.pods = append(w.pods, slices.Repeat([]bool{true}, int(n)))
			w.seen = append(w.seen, 0)
		}
		add(size)
		add(0)
		for range 300 {
			i := r.IntN(len(w.sets))
			if len(w.sets) < 5 && r.IntN(100) == 0 {
				add(0)
			}
			if seed%3 == 0 { // at once, so that the decision is blamed for itself alone
				for k := range w.pods[i] {
					w.pods[i][k] = r.IntN(3) > 0
				}
				for i := range w.sets {
					w.observe(i)
				}
				_, before := w.count()
				w.step()
				for i := range w.sets {
					w.scale(i)
				}
				_, after := w.count()
				require.GreaterOrEqual(t, after, min(before, size-unavailable), "seed %d: ready pods taken", seed)
				continue
			}
			switch r.IntN(6) {
			case 0, 1:
				w.step()
			case 2, 3:
				w.scale(i)
			case 4:
				w.observe(i)
			case 5:
				for k := range w.pods[i] {
					w.pods[i][k] = w.pods[i][k] || r.IntN(2) == 0
				}
			}
			total, ready := w.count()
			require.LessOrEqual(t, total, size+surge, "seed %d: more pods than the surge allows", seed)
			require.GreaterOrEqual(t, ready, size-unavailable, "seed %d: fewer ready than may be", seed)
		}
		for range 200 { // all become ready: it has to end
			w.step()
			for i := range w.sets {
				w.scale(i)
				for k := range w.pods[i] {
					w.pods[i][k] = true
				}
				w.observe(i)
			}
		}
		last := len(w.sets) - 1
		for i := range w.sets[:last] {
			require.Empty(t, w.pods[i], "seed %d: set %d is left", seed, i)
		}
		require.Len(t, w.pods[last], int(size), "seed %d", seed)
	}
}
