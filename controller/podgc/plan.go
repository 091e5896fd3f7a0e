package podgc

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// outOfService reports whether a node's machine is known to be off.
func outOfService(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
			return false
		}
	}
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

type verdict int

const (
	stays    verdict = iota
	orphaned         // its node is missing, which is to be confirmed
	goes             // nothing will end its deletion
)

// judge says what is to become of a pod; node is nil when its node does not exist.
func judge(p *corev1.Pod, node *corev1.Node) verdict {
	switch {
	case p.Spec.NodeName == "" && p.DeletionTimestamp != nil && len(p.Finalizers) == 0:
		return goes
	case p.Spec.NodeName == "":
		return stays
	case node == nil:
		return orphaned
	case p.DeletionTimestamp != nil && outOfService(node):
		return goes
	}
	return stays
}

// surplus are the ended pods beyond the threshold: evicted ones first, then the oldest.
func surplus(ended []*corev1.Pod, threshold int) []*corev1.Pod {
	if threshold < 0 || len(ended) <= threshold {
		return nil
	}
	evicted := func(p *corev1.Pod) int {
		if p.Status.Reason == "Evicted" {
			return 0
		}
		return 1
	}
	sorted := slices.Clone(ended)
	slices.SortFunc(sorted, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(evicted(a), evicted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return sorted[:len(sorted)-threshold]
}
