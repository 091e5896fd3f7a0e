package fieldmanager

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/schemaconv"
	smdschema "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/openapi"
)

// types knows a kind's fields. It is what apimachinery wants of a scheme, for one kind: it makes, defaults and converts
// objects, and gives them their merge types.
type types struct {
	kind *kind.Kind
	typ  typed.ParseableType
}

var (
	_ managedfields.TypeConverter = (*types)(nil)
	_ runtime.ObjectConvertor     = (*types)(nil)
	_ runtime.ObjectDefaulter     = (*types)(nil)
	_ runtime.ObjectCreater       = (*types)(nil)
)

func newTypes(k *kind.Kind) (*types, error) {
	t := &types{kind: k, typ: typed.DeducedParseableType}
	if _, ok := k.New().(runtime.Unstructured); ok {
		return t, nil
	}
	set, err := kind.NewSet(k)
	if err != nil {
		return nil, err
	}
	converted, err := schemaconv.ToSchemaFromOpenAPI(openapi.Schemas(set), false)
	if err != nil {
		return nil, fmt.Errorf("merge types of %s: %w", k, err)
	}
	parser := typed.Parser{Schema: smdschema.Schema{Types: converted.Types}}
	t.typ = parser.Type(openapi.Name(k))
	if !t.typ.IsValid() {
		return nil, fmt.Errorf("merge types of %s: there is no %s", k, openapi.Name(k))
	}
	return t, nil
}

// ObjectToTyped gives an object its merge types.
func (t *types) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	switch o := obj.(type) {
	case *unstructured.Unstructured:
		return t.typ.FromUnstructured(o.Object, opts...)
	case object:
		return t.typ.FromStructured(o.Instance, opts...)
	}
	return t.typ.FromStructured(obj, opts...)
}

// TypedToObject is the reverse; the object is unstructured.
func (t *types) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	m, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: the value is no object", t.kind)
	}
	return &unstructured.Unstructured{Object: m}, nil
}

// New is an empty object.
func (t *types) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if gvk != t.kind.GroupVersionKind() {
		return nil, runtime.NewNotRegisteredErrForKind(t.kind.String(), gvk)
	}
	obj := t.kind.New()
	t.kind.Stamp(obj)
	return wrap(t.kind, obj), nil
}

// Default fills what is left out.
func (t *types) Default(obj runtime.Object) {
	if inst, err := unwrap(obj); err == nil && t.kind.Default != nil {
		t.kind.Default(inst)
	}
}

// ConvertToVersion makes the kind's Go type of an unstructured object. There is one version.
func (t *types) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	if gvk, ok := to.KindForGroupVersionKinds([]schema.GroupVersionKind{t.kind.GroupVersionKind()}); !ok || gvk != t.kind.GroupVersionKind() {
		return nil, runtime.NewNotRegisteredErrForTarget(t.kind.String(), nil, to)
	}
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	obj := t.kind.New()
	if _, ok := obj.(runtime.Unstructured); ok {
		return in, nil
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
		return nil, err
	}
	t.kind.Stamp(obj)
	return wrap(t.kind, obj), nil
}

// Convert is never asked for.
func (t *types) Convert(_, _, _ any) error {
	return fmt.Errorf("%s: objects are converted to versions only", t.kind)
}

// ConvertFieldLabel is never asked for.
func (t *types) ConvertFieldLabel(schema.GroupVersionKind, string, string) (string, string, error) {
	return "", "", fmt.Errorf("%s: field selectors are not converted", t.kind)
}

// object lets instances whose Go type is the application's pass as a runtime.Object.
type object struct {
	kind.Instance
	kind *kind.Kind
}

// DeepCopyObject copies as the kind does.
func (o object) DeepCopyObject() runtime.Object { return object{o.kind.Copy(o.Instance), o.kind} }

func wrap(k *kind.Kind, obj kind.Instance) runtime.Object {
	if o, ok := obj.(runtime.Object); ok {
		return o
	}
	return object{obj, k}
}

func unwrap(obj runtime.Object) (kind.Instance, error) {
	switch o := obj.(type) {
	case object:
		return o.Instance, nil
	case kind.Instance:
		return o, nil
	}
	return nil, fmt.Errorf("a %T is no object with metadata", obj)
}
