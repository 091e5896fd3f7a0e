package controller

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Key names an object of a kind that is clear from the context. Namespace is empty for cluster-scoped kinds.
type Key = types.NamespacedName

// KeyOf is the key of an object.
func KeyOf(obj kind.Instance) Key { return Key{Namespace: obj.GetNamespace(), Name: obj.GetName()} }

// ParseKey reads "namespace/name" or, for cluster-scoped kinds, "name".
func ParseKey(s string) Key {
	for i := range len(s) {
		if s[i] == '/' {
			return Key{Namespace: s[:i], Name: s[i+1:]}
		}
	}
	return Key{Name: s}
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// display is a key for people: without the slash when there is no namespace.
func display(k Key) string {
	if k.Namespace == "" {
		return k.Name
	}
	return k.Namespace + "/" + k.Name
}

// SetOwner makes owner, of kind k, the controlling owner of obj, which is changed: it must be the caller's own. Any
// other controlling owner is replaced; owners that don't control stay. Garbage collection deletes obj with its owner.
func SetOwner(owner, obj kind.Instance, k *kind.Kind) {
	yes := true
	ref := metav1.OwnerReference{
		APIVersion: k.APIVersion(), Kind: k.Name, Name: owner.GetName(), UID: owner.GetUID(),
		Controller: &yes, BlockOwnerDeletion: &yes,
	}
	refs := []metav1.OwnerReference{ref}
	for _, r := range obj.GetOwnerReferences() {
		if r.UID != ref.UID && (r.Controller == nil || !*r.Controller) {
			refs = append(refs, r)
		}
	}
	obj.SetOwnerReferences(refs)
}

// OwnerOf is the reference to the controlling owner, or nil.
func OwnerOf(obj kind.Instance) *metav1.OwnerReference { return metav1.GetControllerOfNoCopy(obj) }

// OwnedBy reports whether owner controls obj. It compares uids: a namesake made later is another owner.
func OwnedBy(obj, owner kind.Instance) bool {
	ref := OwnerOf(obj)
	return ref != nil && ref.UID == owner.GetUID()
}
