package kind

import (
	"fmt"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Type is a kind whose Go type is known to the compiler. It is a small value, safe to copy and to share.
type Type[T Instance] struct{ kind *Kind }

// Kind is the plain description.
func (t Type[T]) Kind() *Kind { return t.kind }

// New is an empty object with its apiVersion and kind set.
func (t Type[T]) New() T { return t.kind.New().(T) }

// Copy is a deep copy, for changing an object that came from a cache.
func (t Type[T]) Copy(obj T) T { return t.kind.Copy(obj).(T) }

// With returns the type with another behaviour; t stays as it is.
func (t Type[T]) With(s Strategy) Type[T] { return Type[T]{t.kind.With(s)} }

// Describe makes a kind from any struct that embeds metav1.TypeMeta and metav1.ObjectMeta; T is the pointer to it.
// k gives the identity and the behaviour; its New and Copy may be left nil.
func Describe[T Instance](k Kind) (Type[T], error) {
	rt := reflect.TypeFor[T]()
	if rt.Kind() != reflect.Pointer || rt.Elem().Kind() != reflect.Struct {
		return Type[T]{}, fmt.Errorf("kind %q: the Go type must be a pointer to a struct, got %v", k.Name, rt)
	}
	if k.New == nil {
		gvk := k.GroupVersionKind()
		k.New = func() Instance {
			obj := reflect.New(rt.Elem()).Interface().(Instance)
			obj.GetObjectKind().SetGroupVersionKind(gvk)
			return obj
		}
	}
	if err := k.Complete(); err != nil {
		return Type[T]{}, err
	}
	return Type[T]{&k}, nil
}

// Define makes a namespaced kind of Object[Spec, Status] with a status subresource. apiVersion is "group/version".
// The names follow from name; for anything else use [Describe] with Kind's fields, or adjust with [Type.With].
func Define[Spec, Status any](apiVersion, name string) (Type[*Object[Spec, Status]], error) {
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err != nil {
		return Type[*Object[Spec, Status]]{}, fmt.Errorf("kind %q: apiVersion: %w", name, err)
	}
	return Describe[*Object[Spec, Status]](Kind{
		Group: gv.Group, Version: gv.Version, Name: name, Namespaced: true, Strategy: Strategy{Status: true},
	})
}

// Must returns t or panics: for package variables that hold an application's own kinds, whose arguments are constants.
func Must[T Instance](t Type[T], err error) Type[T] {
	if err != nil {
		panic(err)
	}
	return t
}

// Object is a kind's Go type made from a spec and a status.
type Object[Spec, Status any] struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   Spec   `json:"spec,omitempty"`
	Status Status `json:"status,omitempty"`
}

// Untyped is the typed face of a kind whose Go type is not known to the caller: for generic code over typed helpers.
func Untyped(k *Kind) Type[Instance] { return Type[Instance]{k} }
