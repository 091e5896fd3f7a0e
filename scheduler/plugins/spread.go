package plugins

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/keelson-dev/keelson/scheduler"
)

// Spread evens pods out over nodes and zones, as their topologySpreadConstraints say. Pods without constraints that
// have a controller are spread over nodes as a preference.
type Spread struct{}

// Name implements scheduler.Plugin.
func (Spread) Name() string { return "PodTopologySpread" }

// constraint is one spread constraint with the number of matching pods in each domain.
type constraint struct {
	key     string
	maxSkew int64
	hard    bool
	self    int64 // 1 if the pod itself matches the selector
	counts  map[string]int64
	minimum int64
}

type spreadState struct{ constraints []constraint }

// PreFilter counts the pods that each constraint is about.
func (Spread) PreFilter(c *scheduler.Cycle) *scheduler.Verdict {
	var s spreadState
	pod := c.Unit.Pod
	for i := range pod.Spec.TopologySpreadConstraints {
		tsc := &pod.Spec.TopologySpreadConstraints[i]
		selector, err := spreadSelector(pod, tsc)
		if err != nil {
			return scheduler.RejectForGood("pod topology spread constraint %d has a bad selector: %s", i, err)
		}
		s.constraints = append(s.constraints, count(c, tsc, selector))
	}
	if len(s.constraints) == 0 {
		if owner := metav1.GetControllerOfNoCopy(c.Unit.Object); owner != nil {
			s.constraints = append(s.constraints, countSiblings(c, owner))
		}
	}
	scheduler.Save(c, s)
	return nil
}

func spreadSelector(pod *corev1.Pod, tsc *corev1.TopologySpreadConstraint) (labels.Selector, error) {
	selector, err := metav1.LabelSelectorAsSelector(tsc.LabelSelector)
	if err != nil {
		return nil, err
	}
	for _, key := range tsc.MatchLabelKeys {
		if value, ok := pod.Labels[key]; ok {
			r, err := labels.NewRequirement(key, "=", []string{value})
			if err != nil {
				return nil, err
			}
			selector = selector.Add(*r)
		}
	}
	return selector, nil
}

func count(c *scheduler.Cycle, tsc *corev1.TopologySpreadConstraint, selector labels.Selector) constraint {
	pod := c.Unit.Pod
	out := constraint{
		key: tsc.TopologyKey, maxSkew: int64(tsc.MaxSkew), counts: make(map[string]int64),
		hard: tsc.WhenUnsatisfiable == corev1.DoNotSchedule,
	}
	if selector.Matches(labels.Set(pod.Labels)) {
		out.self = 1
	}
	for _, t := range c.Snapshot.Targets {
		domain, ok := t.Node.Labels[tsc.TopologyKey]
		if !ok || !counts(pod, t.Node, tsc) {
			continue
		}
		out.counts[domain] += 0
		for _, u := range t.Units {
			if u.Pod.Namespace == pod.Namespace && u.Pod.DeletionTimestamp == nil && selector.Matches(labels.Set(u.Pod.Labels)) {
				out.counts[domain]++
			}
		}
	}
	out.minimum = smallest(out.counts)
	if tsc.MinDomains != nil && int32(len(out.counts)) < *tsc.MinDomains {
		out.minimum = 0
	}
	return out
}

// counts says whether a node's pods take part: by default those of nodes that the pod's own affinity matches, whatever
// their taints. Source: KEP-3094.
func counts(pod *corev1.Pod, node *corev1.Node, tsc *corev1.TopologySpreadConstraint) bool {
	if tsc.NodeAffinityPolicy == nil || *tsc.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor {
		if !nodeMatches(pod, node) {
			return false
		}
	}
	if tsc.NodeTaintsPolicy == nil || *tsc.NodeTaintsPolicy == corev1.NodeInclusionPolicyIgnore {
		return true
	}
	for i := range node.Spec.Taints {
		if node.Spec.Taints[i].Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(pod.Spec.Tolerations, &node.Spec.Taints[i]) {
			return false
		}
	}
	return true
}

func countSiblings(c *scheduler.Cycle, owner *metav1.OwnerReference) constraint {
	out := constraint{key: corev1.LabelHostname, maxSkew: 1, self: 1, counts: make(map[string]int64)}
	for _, t := range c.Snapshot.Targets {
		domain, ok := t.Node.Labels[corev1.LabelHostname]
		if !ok {
			continue
		}
		out.counts[domain] += 0
		for _, u := range t.Units {
			if o := metav1.GetControllerOfNoCopy(u.Object); o != nil && o.UID == owner.UID && u.Object.GetDeletionTimestamp() == nil {
				out.counts[domain]++
			}
		}
	}
	out.minimum = smallest(out.counts)
	return out
}

func smallest(counts map[string]int64) int64 {
	least, first := int64(0), true
	for n := range maps.Values(counts) {
		if first || n < least {
			least, first = n, false
		}
	}
	return least
}

// Filter implements scheduler.Filter.
func (Spread) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	s, _ := scheduler.Load[spreadState](c)
	for i := range s.constraints {
		k := &s.constraints[i]
		if !k.hard {
			continue
		}
		domain, ok := t.Node.Labels[k.key]
		if !ok {
			return scheduler.RejectForGood("node(s) didn't match pod topology spread constraints (missing required label)")
		}
		if k.counts[domain]+k.self-k.minimum > k.maxSkew {
			return scheduler.Reject("node(s) didn't match pod topology spread constraints")
		}
	}
	return nil
}

// Score adds up the matching pods in the target's domains; Normalize turns that around.
func (Spread) Score(c *scheduler.Cycle, t *scheduler.Target) int64 {
	s, _ := scheduler.Load[spreadState](c)
	var sum int64
	for i := range s.constraints {
		k := &s.constraints[i]
		domain, ok := t.Node.Labels[k.key]
		if !ok {
			sum += 1 << 20 // a node outside every domain is the last choice
			continue
		}
		sum += k.counts[domain]
	}
	return sum
}

// Normalize implements scheduler.Normalizer.
func (Spread) Normalize(_ *scheduler.Cycle, scores []int64) { normalize(scores, true) }
