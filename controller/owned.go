package controller

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Owned finds the objects of a kind by the owner that controls them, through an index of the shared informer. Make it
// with [OwnedIn] before the informer runs.
type Owned[T kind.Instance] struct{ informer *Informer[T] }

const ownerIndex = "controller/owner"

// OwnedIn adds the index to an informer; several callers share one.
func OwnedIn[T kind.Instance](i *Informer[T]) (Owned[T], error) {
	err := i.AddIndex(ownerIndex, func(obj T) []string {
		if ref := OwnerOf(obj); ref != nil {
			return []string{string(ref.UID)}
		}
		return []string{orphansOf(obj.GetNamespace())}
	})
	return Owned[T]{i}, err
}

// By is the objects that owner controls, ordered by name. The slice is the caller's.
func (o Owned[T]) By(owner kind.Instance) []T { return o.ByUID(owner.GetUID()) }

// ByUID is By for an owner of which only the uid is known.
func (o Owned[T]) ByUID(uid types.UID) []T { return o.informer.ByIndex(ownerIndex, string(uid)) }

// Orphans is the objects of a namespace that nobody controls, ordered by name. The slice is the caller's.
func (o Owned[T]) Orphans(namespace string) []T {
	return o.informer.ByIndex(ownerIndex, orphansOf(namespace))
}

// orphansOf can't be a uid: those have no slash.
func orphansOf(namespace string) string { return "orphans/" + namespace }
