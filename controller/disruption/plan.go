package disruption

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// byOwners reports whether a budget is about as many pods as their owners ask for, instead of those that there are.
func byOwners(spec policyv1.PodDisruptionBudgetSpec) bool {
	return spec.MaxUnavailable != nil || spec.MinAvailable != nil && spec.MinAvailable.Type == intstr.String
}

// amounts gives how many pods a budget expects, and how many of them it wants healthy. selected is how many pods there
// are that it selects, asked how many their owners ask for. Percentages are rounded up.
func amounts(spec policyv1.PodDisruptionBudgetSpec, selected, asked int) (expected, healthy int, err error) {
	switch {
	case spec.MaxUnavailable != nil:
		most, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, asked, true)
		return asked, max(0, asked-most), err
	case spec.MinAvailable == nil:
		return selected, 0, nil
	case spec.MinAvailable.Type == intstr.Int:
		return selected, spec.MinAvailable.IntValue(), nil
	}
	least, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, asked, true)
	return asked, least, err
}

// evicted tells the evictions of a budget that are still to be seen from those that are over, and says how long it takes
// until the next is given up; 0 means that there is none. What is given up is of pods that are there and live on.
func evicted(noted map[string]metav1.Time, pods []*corev1.Pod, now time.Time, timeout time.Duration) (still map[string]metav1.Time, after time.Duration, givenUp []*corev1.Pod) {
	for _, p := range pods {
		at, ok := noted[p.Name]
		if !ok || p.DeletionTimestamp != nil {
			continue
		}
		left := at.Add(timeout).Sub(now)
		if left <= 0 {
			givenUp = append(givenUp, p)
			continue
		}
		if still == nil {
			still = map[string]metav1.Time{}
		}
		still[p.Name] = at
		if after == 0 || left < after {
			after = left
		}
	}
	return still, after, givenUp
}

// healthy counts the pods that are ready, not on their way out, and not about to be evicted.
func healthy(pods []*corev1.Pod, evicted map[string]metav1.Time) int {
	n := 0
	for _, p := range pods {
		if _, gone := evicted[p.Name]; !gone && p.DeletionTimestamp == nil && ready(p) {
			n++
		}
	}
	return n
}

func ready(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// statusOf is a budget's new status. failure says why it could not be found out; then nothing may be evicted.
func statusOf(b *policyv1.PodDisruptionBudget, expected, want, current int, evicted map[string]metav1.Time, failure error) policyv1.PodDisruptionBudgetStatus {
	s := *b.Status.DeepCopy()
	c := metav1.Condition{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, ObservedGeneration: b.Generation}
	s.ObservedGeneration, s.DisruptionsAllowed = b.Generation, 0
	switch {
	case failure != nil:
		c.Reason, c.Message = policyv1.SyncFailedReason, failure.Error()
	default:
		s.DisruptedPods = evicted
		s.ExpectedPods, s.DesiredHealthy, s.CurrentHealthy = int32(expected), int32(want), int32(current)
		if allowed := current - want; expected > 0 && allowed > 0 {
			s.DisruptionsAllowed = int32(allowed)
		}
		c.Reason = policyv1.InsufficientPodsReason
		if s.DisruptionsAllowed > 0 {
			c.Status, c.Reason = metav1.ConditionTrue, policyv1.SufficientPodsReason
		}
	}
	meta.SetStatusCondition(&s.Conditions, c)
	return s
}
