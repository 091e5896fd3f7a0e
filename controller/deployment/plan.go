package deployment

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// plan says how many replicas each set of a Deployment should have now, by the set's name. present is the set of the
// Deployment's template, nil when it does not exist (only while paused); old are the others. oldPods is how many pods
// of old sets still exist in any state, which matters to Recreate.
func plan(d *appsv1.Deployment, present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, oldPods int) map[string]int32 {
	s := newScaling(d, present, old)
	switch {
	case d.Spec.Paused || present == nil:
		s.proportional()
	case d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		s.recreate(oldPods)
	default:
		if s.resized() {
			s.proportional()
			break
		}
		s.rolling()
	}
	return s.want
}

// scaling is the state of one plan.
type scaling struct {
	d       *appsv1.Deployment
	present *appsv1.ReplicaSet
	old     []*appsv1.ReplicaSet // the oldest first
	want    map[string]int32
}

func newScaling(d *appsv1.Deployment, present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) *scaling {
	s := &scaling{d: d, present: present, old: slices.Clone(old), want: make(map[string]int32)}
	slices.SortFunc(s.old, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(revisionOf(a), revisionOf(b)), cmp.Compare(a.Name, b.Name))
	})
	for _, rs := range s.all() {
		s.want[rs.Name] = replicas(rs.Spec.Replicas)
	}
	return s
}

func (s *scaling) all() []*appsv1.ReplicaSet {
	if s.present == nil {
		return s.old
	}
	return append(slices.Clip(s.old), s.present)
}

func (s *scaling) total() (n int32) {
	for _, v := range s.want {
		n += v
	}
	return n
}

// recreate takes everything old down, and starts the new only when no old pod is left.
func (s *scaling) recreate(oldPods int) {
	for _, rs := range s.old {
		s.want[rs.Name] = 0
	}
	if oldPods == 0 {
		s.want[s.present.Name] = replicas(s.d.Spec.Replicas)
	}
}

// rolling moves one step of a rolling update: up to the surge, down to what must stay available.
func (s *scaling) rolling() {
	desired := replicas(s.d.Spec.Replicas)
	now := s.want[s.present.Name]
	switch room := desired + maxSurge(s.d) - s.occupied(); {
	case now > desired:
		s.want[s.present.Name] = desired
	case now < desired && room > 0:
		s.want[s.present.Name] = min(desired, now+room)
	}
	if len(s.old) == 0 {
		return
	}
	minAvailable := desired - maxUnavailable(s.d)
	presentUnavailable := replicas(s.present.Spec.Replicas) - available(s.present)
	// What may go: everything beyond what must be available, while new pods that are not available yet count as lost.
	// What is left when no unavailable replica is, are available ones beyond the minimum.
	s.takeAvailable(s.takeUnhealthy(s.specTotal() - minAvailable - presentUnavailable))
}

// occupied is how many pods there may be: a set that was scaled down counts with what it still has and, until its
// controller has seen the change, with all that could be, so that nothing is added. Upstream counts only what sets
// ask for, and goes beyond the surge for a moment.
func (s *scaling) occupied() int32 {
	var n int32
	for _, rs := range s.all() {
		if rs != s.present && rs.Status.ObservedGeneration < rs.Generation {
			return math.MaxInt32
		}
		n += max(replicas(rs.Spec.Replicas), rs.Status.Replicas)
	}
	return n
}

// specTotal is what the sets ask for at present, before this plan.
func (s *scaling) specTotal() (n int32) {
	for _, rs := range s.all() {
		n += replicas(rs.Spec.Replicas)
	}
	return n
}

// available is how many replicas of a set are available and were not taken from it meanwhile: its status may be
// behind its spec.
func available(rs *appsv1.ReplicaSet) int32 {
	return min(rs.Status.AvailableReplicas, replicas(rs.Spec.Replicas))
}

// takeUnhealthy takes replicas that are not available from old sets, as far as spare goes, and returns what is left
// of it.
func (s *scaling) takeUnhealthy(spare int32) int32 {
	for _, rs := range s.old {
		if spare <= 0 {
			return 0
		}
		n := min(spare, max(0, s.want[rs.Name]-available(rs)))
		s.want[rs.Name] -= n
		spare -= n
	}
	return spare
}

// takeAvailable takes n replicas from old sets, the oldest first.
func (s *scaling) takeAvailable(n int32) {
	for _, rs := range s.old {
		if n <= 0 {
			return
		}
		take := min(n, s.want[rs.Name])
		s.want[rs.Name] -= take
		n -= take
	}
}

// resized tells whether the Deployment was scaled since its sets were last scaled, in the middle of a rollout.
func (s *scaling) resized() bool {
	for _, rs := range s.all() {
		noted, ok := rs.Annotations[desiredReplicasAnnotation]
		if ok && replicas(rs.Spec.Replicas) > 0 && noted != itoa(replicas(s.d.Spec.Replicas)) {
			return true
		}
	}
	return false
}

// proportional brings the sets to a new size of the Deployment without moving the rollout on: one set alone takes all
// of it; of several each keeps its share of the most pods that may exist, which the size that it was last scaled for
// tells, and the largest takes what rounding leaves. Source: Deployment documentation, proportional scaling.
func (s *scaling) proportional() {
	desired := replicas(s.d.Spec.Replicas)
	var active []*appsv1.ReplicaSet
	for _, rs := range s.all() {
		if s.want[rs.Name] > 0 {
			active = append(active, rs)
		}
	}
	switch {
	case len(active) == 1:
		s.want[active[0].Name] = desired
		return
	case len(active) == 0 && s.present != nil:
		s.want[s.present.Name] = desired
		return
	case len(active) == 0 && len(s.old) > 0:
		s.want[s.old[len(s.old)-1].Name] = desired
		return
	case len(active) == 0:
		return
	case s.saturated():
		for _, rs := range s.old {
			s.want[rs.Name] = 0
		}
		return
	}
	allowed := int32(0)
	if desired > 0 {
		allowed = desired + maxSurge(s.d)
	}
	add := allowed - s.total()
	newerFirst := add > 0 // of sets of the same size: the newest grows, the oldest shrinks
	slices.SortStableFunc(active, func(a, b *appsv1.ReplicaSet) int {
		age := a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
		if newerFirst {
			age = -age
		}
		return cmp.Or(cmp.Compare(s.want[b.Name], s.want[a.Name]), age, cmp.Compare(a.Name, b.Name))
	})
	left := add
	for _, rs := range active {
		share := s.share(rs, allowed)
		if add > 0 {
			share = min(share, left)
		} else {
			share = max(share, left)
		}
		s.want[rs.Name] += share
		left -= share
	}
	s.want[active[0].Name] = max(0, s.want[active[0].Name]+left)
}

// saturated says that the present set has all replicas already and all are available: what the old ones have is too
// much.
func (s *scaling) saturated() bool {
	desired := replicas(s.d.Spec.Replicas)
	return s.present != nil && replicas(s.present.Spec.Replicas) == desired && s.present.Status.AvailableReplicas == desired &&
		s.present.Annotations[desiredReplicasAnnotation] == itoa(desired)
}

// share is by how much a set's size changes when the most that may exist becomes allowed.
func (s *scaling) share(rs *appsv1.ReplicaSet, allowed int32) int32 {
	have := replicas(rs.Spec.Replicas)
	before, err := strconv.Atoi(rs.Annotations[maxReplicasAnnotation])
	if err != nil || before <= 0 {
		before = int(s.total())
	}
	return int32(math.Round(float64(have)*float64(allowed)/float64(before))) - have
}

// maxSurge is how many pods more than desired may exist; percentages round up. Source: apps/v1 RollingUpdateDeployment.
func maxSurge(d *appsv1.Deployment) int32 {
	surge, _ := bounds(d)
	return surge
}

func maxUnavailable(d *appsv1.Deployment) int32 {
	_, unavailable := bounds(d)
	return unavailable
}

// bounds resolves both limits: surge rounds up, unavailable down, and when both come to nothing one may be unavailable,
// or the rollout could not move.
func bounds(d *appsv1.Deployment) (surge, unavailable int32) {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return 0, 0
	}
	quarter := intstr.FromString("25%")
	up, down := &quarter, &quarter
	if ru := d.Spec.Strategy.RollingUpdate; ru != nil {
		up, down = orDefault(ru.MaxSurge, up), orDefault(ru.MaxUnavailable, down)
	}
	desired := int(replicas(d.Spec.Replicas))
	s, errS := intstr.GetScaledValueFromIntOrPercent(up, desired, true)
	u, errU := intstr.GetScaledValueFromIntOrPercent(down, desired, false)
	if errS != nil || errU != nil || s <= 0 && u <= 0 {
		return 0, int32(min(1, desired))
	}
	return int32(max(0, s)), int32(min(max(0, u), desired))
}

func orDefault(v, d *intstr.IntOrString) *intstr.IntOrString {
	if v == nil {
		return d
	}
	return v
}
