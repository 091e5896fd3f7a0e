package controller

import (
	"fmt"
	"maps"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Source tells a controller which keys a change concerns. Make one with [For], [Owns], [Watches] or [From].
type Source struct {
	attach func(m *Manager, c *Controller) error
}

// For reconciles the objects of a kind when they change.
func For[T kind.Instance](t kind.Type[T], where ...Predicate) Source {
	return Watches(t, func(obj T) []Key { return []Key{KeyOf(obj)} }, where...)
}

// Owns reconciles the controlling owner, of the given kind, when an object that it owns changes. When the owner
// changes, both are reconciled.
func Owns[T, O kind.Instance](t kind.Type[T], owner kind.Type[O], where ...Predicate) Source {
	k := owner.Kind()
	return Watches(t, func(obj T) []Key {
		ref := OwnerOf(obj)
		if ref == nil || ref.Kind != k.Name || ref.APIVersion != k.APIVersion() {
			return nil
		}
		key := Key{Name: ref.Name}
		if k.Namespaced {
			key.Namespace = obj.GetNamespace()
		}
		return []Key{key}
	}, where...)
}

// Watches reconciles the keys that keys gives for a changed object: for its state before and after. keys must be quick
// and must not block; it may read other informers.
func Watches[T kind.Instance](t kind.Type[T], keys func(obj T) []Key, where ...Predicate) Source {
	return Source{func(m *Manager, c *Controller) error {
		return From(InformerFor(m, t), keys, where...).attach(m, c)
	}}
}

// From is Watches for an informer of the caller's choice, such as one with a selector.
func From[T kind.Instance](i *Informer[T], keys func(obj T) []Key, where ...Predicate) Source {
	return Source{func(_ *Manager, c *Controller) error {
		if i == nil || keys == nil {
			return fmt.Errorf("controller %s: a source needs an informer and a function from objects to keys", c.name)
		}
		name := i.core.kind.Name
		i.core.onChange(func(old, new kind.Instance) {
			for _, p := range where {
				if !p(old, new) {
					return
				}
			}
			cause := Cause{Reason: Updated, Kind: name}
			about := new
			switch {
			case old == nil:
				cause.Reason = Added
			case new == nil:
				cause.Reason, about = Deleted, old
			}
			cause.Object, cause.Revision = KeyOf(about), about.GetResourceVersion()
			seen := map[Key]struct{}{}
			for _, obj := range []kind.Instance{old, new} {
				if obj == nil {
					continue
				}
				for _, key := range keys(as[T](obj)) {
					if _, ok := seen[key]; !ok {
						seen[key] = struct{}{}
						c.enqueue(key, cause)
					}
				}
			}
		})
		return nil
	}}
}

// Predicate decides whether a change matters to a source. old is nil for a new object, new for a deleted one.
type Predicate func(old, new kind.Instance) bool

// GenerationChanged lets through what is new, deleted, has another generation (for most kinds: another spec) or has
// begun to be deleted. Changes of status, labels and annotations alone don't count.
func GenerationChanged(old, new kind.Instance) bool {
	return old == nil || new == nil || old.GetUID() != new.GetUID() || old.GetGeneration() != new.GetGeneration() ||
		(old.GetDeletionTimestamp() == nil) != (new.GetDeletionTimestamp() == nil)
}

// LabelChanged lets through what is new, deleted or has other labels.
func LabelChanged(old, new kind.Instance) bool {
	return old == nil || new == nil || !maps.Equal(old.GetLabels(), new.GetLabels())
}

// Where is a predicate of a function that knows the kind.
func Where[T kind.Instance](f func(old, new T) bool) Predicate {
	return func(old, new kind.Instance) bool { return f(as[T](old), as[T](new)) }
}

// Any lets through what at least one of the predicates does.
func Any(of ...Predicate) Predicate {
	return func(old, new kind.Instance) bool {
		for _, p := range of {
			if p(old, new) {
				return true
			}
		}
		return false
	}
}
