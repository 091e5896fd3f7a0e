package plugins

import (
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/scheduler"
)

// NodeAffinity keeps pods to nodes that their nodeSelector and required node affinity match, and prefers those that
// their preferred terms match.
type NodeAffinity struct{}

// Name implements scheduler.Plugin.
func (NodeAffinity) Name() string { return "NodeAffinity" }

// Filter implements scheduler.Filter.
func (NodeAffinity) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	if !nodeMatches(c.Unit.Pod, t.Node) {
		return scheduler.RejectForGood("node(s) didn't match Pod's node affinity/selector")
	}
	return nil
}

// Score adds the weights of the preferred terms that match.
func (NodeAffinity) Score(c *scheduler.Cycle, t *scheduler.Target) int64 {
	a := c.Unit.Pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil {
		return 0
	}
	var sum int64
	for i := range a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		p := &a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution[i]
		if termMatches(&p.Preference, t.Node) {
			sum += int64(p.Weight)
		}
	}
	return sum
}

// Normalize implements scheduler.Normalizer.
func (NodeAffinity) Normalize(_ *scheduler.Cycle, scores []int64) { normalize(scores, false) }

// Requeue implements scheduler.Requeuer.
func (NodeAffinity) Requeue(u *scheduler.Unit, e scheduler.Event) bool {
	return nodeChanged(e) && nodeMatches(u.Pod, e.New.Node)
}

func nodeMatches(pod *corev1.Pod, node *corev1.Node) bool {
	for key, want := range pod.Spec.NodeSelector {
		if have, ok := node.Labels[key]; !ok || have != want {
			return false
		}
	}
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return true
	}
	terms := a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	return slices.ContainsFunc(terms, func(term corev1.NodeSelectorTerm) bool { return termMatches(&term, node) })
}

// termMatches ands a term's expressions; a term without any matches nothing. Source: core/v1 NodeSelectorTerm.
func termMatches(term *corev1.NodeSelectorTerm, node *corev1.Node) bool {
	if len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0 {
		return false
	}
	for i := range term.MatchExpressions {
		value, ok := node.Labels[term.MatchExpressions[i].Key]
		if !requirementMatches(&term.MatchExpressions[i], value, ok) {
			return false
		}
	}
	for i := range term.MatchFields {
		ok := term.MatchFields[i].Key == "metadata.name"
		if !ok || !requirementMatches(&term.MatchFields[i], node.Name, true) {
			return false
		}
	}
	return true
}

func requirementMatches(r *corev1.NodeSelectorRequirement, value string, present bool) bool {
	switch r.Operator {
	case corev1.NodeSelectorOpIn:
		return present && slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpNotIn:
		return !present || !slices.Contains(r.Values, value)
	case corev1.NodeSelectorOpExists:
		return present
	case corev1.NodeSelectorOpDoesNotExist:
		return !present
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if !present || len(r.Values) != 1 {
			return false
		}
		have, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return false
		}
		limit, err := strconv.ParseInt(r.Values[0], 10, 64)
		if err != nil {
			return false
		}
		return r.Operator == corev1.NodeSelectorOpGt && have > limit || r.Operator == corev1.NodeSelectorOpLt && have < limit
	}
	return false
}
