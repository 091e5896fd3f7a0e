package garbage

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// ownerState is what is known of an owner.
type ownerState int

const (
	solid   ownerState = iota // it exists, or nothing can be said
	waiting                   // it exists, and is being deleted after its dependents
	absent                    // it does not exist
)

// action is what to do with an object that has owners; at most one of trim and remove.
type action struct {
	trim   bool
	keep   []metav1.OwnerReference // with trim: the references that stay
	remove bool
	policy metav1.DeletionPropagation // with remove
}

// decide says what to do with an object by the states of its owners, and whether it has dependents itself.
func decide(obj kind.Instance, states []ownerState, dependents bool) action {
	var keep []metav1.OwnerReference
	for i, ref := range obj.GetOwnerReferences() {
		if states[i] == solid {
			keep = append(keep, ref)
		}
	}
	switch {
	case len(keep) == len(states):
		return action{}
	case len(keep) > 0:
		return action{trim: true, keep: keep}
	case dependents && slices.Contains(states, waiting):
		return action{remove: true, policy: metav1.DeletePropagationForeground}
	}
	return action{remove: true, policy: policyOf(obj)}
}

// policyOf is what an object says itself about its dependents.
func policyOf(obj kind.Instance) metav1.DeletionPropagation {
	switch {
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

func blocks(ref metav1.OwnerReference) bool {
	return ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion
}

// deletingDependents reports whether an object is being deleted in the foreground.
func deletingDependents(obj kind.Instance) bool {
	return obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents)
}

func orphaning(obj kind.Instance) bool {
	return obj.GetDeletionTimestamp() != nil && slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents)
}

// holds reports whether a dependent keeps its owner, which is deleted in the foreground, from going.
func holds(dependent kind.Instance, owner types.UID) bool {
	return slices.ContainsFunc(dependent.GetOwnerReferences(), func(ref metav1.OwnerReference) bool { return ref.UID == owner && blocks(ref) })
}

func without(refs []metav1.OwnerReference, owner types.UID) []metav1.OwnerReference {
	out := []metav1.OwnerReference{}
	for _, ref := range refs {
		if ref.UID != owner {
			out = append(out, ref)
		}
	}
	return out
}

// sameOwners compares what matters of two lists of references.
func sameOwners(a, b []metav1.OwnerReference) bool {
	return slices.EqualFunc(a, b, func(x, y metav1.OwnerReference) bool {
		return x.UID == y.UID && x.Name == y.Name && x.Kind == y.Kind && x.APIVersion == y.APIVersion && blocks(x) == blocks(y)
	})
}
