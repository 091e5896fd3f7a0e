package plugins

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/scheduler"
)

// Taints keeps pods off nodes whose taints they don't tolerate, and prefers nodes with fewer PreferNoSchedule taints.
type Taints struct{}

// Name implements scheduler.Plugin.
func (Taints) Name() string { return "TaintToleration" }

// Filter implements scheduler.Filter.
func (Taints) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	for i := range t.Node.Spec.Taints {
		taint := &t.Node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule || tolerated(c.Unit.Pod.Spec.Tolerations, taint) {
			continue
		}
		return scheduler.RejectForGood("node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value)
	}
	return nil
}

// Score counts the PreferNoSchedule taints that the pod does not tolerate; Normalize turns the count around.
func (Taints) Score(c *scheduler.Cycle, t *scheduler.Target) int64 {
	var n int64
	for i := range t.Node.Spec.Taints {
		taint := &t.Node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule && !tolerated(c.Unit.Pod.Spec.Tolerations, taint) {
			n++
		}
	}
	return n
}

// Normalize implements scheduler.Normalizer.
func (Taints) Normalize(_ *scheduler.Cycle, scores []int64) { normalize(scores, true) }

// Requeue implements scheduler.Requeuer.
func (Taints) Requeue(_ *scheduler.Unit, e scheduler.Event) bool { return nodeChanged(e) }

// tolerated says whether any toleration matches a taint. Source: core/v1 Toleration.
func tolerated(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	for i := range tolerations {
		t := &tolerations[i]
		if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
			continue
		}
		switch t.Operator {
		case "", corev1.TolerationOpEqual:
			if t.Key != "" && t.Value == taint.Value {
				return true
			}
		case corev1.TolerationOpExists:
			return true
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			want, errWant := strconv.ParseInt(t.Value, 10, 64)
			have, errHave := strconv.ParseInt(taint.Value, 10, 64)
			if errWant == nil && errHave == nil && (t.Operator == corev1.TolerationOpLt && have < want || t.Operator == corev1.TolerationOpGt && have > want) {
				return true
			}
		}
	}
	return false
}

// normalize stretches scores so that the largest becomes scheduler.MaxScore; with reverse, the smallest does.
func normalize(scores []int64, reverse bool) {
	var most int64
	for _, s := range scores {
		most = max(most, s)
	}
	for i, s := range scores {
		if most > 0 {
			s = s * scheduler.MaxScore / most
		}
		if reverse {
			s = scheduler.MaxScore - s
		}
		scores[i] = s
	}
}
