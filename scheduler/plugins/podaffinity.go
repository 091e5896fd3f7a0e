package plugins

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/keelson-dev/keelson/scheduler"
)

// PodAffinity keeps pods near to or away from other pods, as the required terms of their affinity and anti-affinity
// say, the anti-affinity of pods that are already placed included; preferred terms count in the score. Terms that
// select namespaces by label see the pod's own namespace only.
type PodAffinity struct{}

// Name implements scheduler.Plugin.
func (PodAffinity) Name() string { return "InterPodAffinity" }

// near is one term with the domains in which it matches a placed pod.
type near struct {
	key     string
	domains map[string]int64
	self    bool // the pod matches its own term: the first of a group may go anywhere
	weight  int64
}

type podAffinityState struct {
	affinity, anti, preferred []near
	forbidden                 map[[2]string]bool // key and domain that a placed pod keeps this one out of
}

// PreFilter finds the domains of every term.
func (PodAffinity) PreFilter(c *scheduler.Cycle) *scheduler.Verdict {
	var s podAffinityState
	a := c.Unit.Pod.Spec.Affinity
	if a != nil && a.PodAffinity != nil {
		for i := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			s.affinity = append(s.affinity, find(c, &a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i], 0))
		}
		for _, w := range a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			s.preferred = append(s.preferred, find(c, &w.PodAffinityTerm, int64(w.Weight)))
		}
	}
	if a != nil && a.PodAntiAffinity != nil {
		for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			s.anti = append(s.anti, find(c, &a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i], 0))
		}
		for _, w := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
			s.preferred = append(s.preferred, find(c, &w.PodAffinityTerm, -int64(w.Weight)))
		}
	}
	s.forbidden = forbidden(c)
	scheduler.Save(c, s)
	return nil
}

func find(c *scheduler.Cycle, term *corev1.PodAffinityTerm, weight int64) near {
	pod := c.Unit.Pod
	out := near{key: term.TopologyKey, domains: make(map[string]int64), self: selects(term, pod, pod), weight: weight}
	for _, t := range c.Snapshot.Targets {
		domain, ok := t.Node.Labels[term.TopologyKey]
		if !ok {
			continue
		}
		for _, u := range t.Units {
			if selects(term, pod, u.Pod) {
				out.domains[domain]++
			}
		}
	}
	return out
}

// forbidden collects the domains that the anti-affinity of placed pods closes to this one.
func forbidden(c *scheduler.Cycle) map[[2]string]bool {
	var out map[[2]string]bool
	for _, t := range c.Snapshot.Targets {
		for _, u := range t.Units {
			a := u.Pod.Spec.Affinity
			if a == nil || a.PodAntiAffinity == nil {
				continue
			}
			for i := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
				term := &a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution[i]
				domain, ok := t.Node.Labels[term.TopologyKey]
				if ok && selects(term, u.Pod, c.Unit.Pod) {
					if out == nil {
						out = make(map[[2]string]bool)
					}
					out[[2]string{term.TopologyKey, domain}] = true
				}
			}
		}
	}
	return out
}

// selects says whether a term of owner's affinity is about pod. A selector that can't be parsed selects nothing:
// validation has refused it.
func selects(term *corev1.PodAffinityTerm, owner, pod *corev1.Pod) bool {
	namespaces := term.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{owner.Namespace}
	}
	if !slices.Contains(namespaces, pod.Namespace) {
		return false
	}
	selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
	return err == nil && selector.Matches(labels.Set(pod.Labels))
}

// Filter implements scheduler.Filter.
func (PodAffinity) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	s, _ := scheduler.Load[podAffinityState](c)
	for _, n := range s.affinity {
		domain, ok := t.Node.Labels[n.key]
		if !ok || n.domains[domain] == 0 && !(n.self && len(n.domains) == 0) {
			return scheduler.RejectForGood("node(s) didn't match pod affinity rules")
		}
	}
	for _, n := range s.anti {
		if domain, ok := t.Node.Labels[n.key]; ok && n.domains[domain] > 0 {
			return scheduler.Reject("node(s) didn't match pod anti-affinity rules")
		}
	}
	for at := range s.forbidden {
		if domain, ok := t.Node.Labels[at[0]]; ok && domain == at[1] {
			return scheduler.Reject("node(s) didn't satisfy existing pods anti-affinity rules")
		}
	}
	return nil
}

// Score adds the weights of preferred terms, for each pod they find in the target's domain.
func (PodAffinity) Score(c *scheduler.Cycle, t *scheduler.Target) int64 {
	s, _ := scheduler.Load[podAffinityState](c)
	var sum int64
	for _, n := range s.preferred {
		if domain, ok := t.Node.Labels[n.key]; ok {
			sum += n.weight * n.domains[domain]
		}
	}
	return sum
}

// Normalize maps the range of sums to 0..100, as sums may be negative.
func (PodAffinity) Normalize(_ *scheduler.Cycle, scores []int64) {
	least, most := scores[0], scores[0]
	for _, v := range scores {
		least, most = min(least, v), max(most, v)
	}
	for i, v := range scores {
		if most == least {
			scores[i] = 0
			continue
		}
		scores[i] = (v - least) * scheduler.MaxScore / (most - least)
	}
}
