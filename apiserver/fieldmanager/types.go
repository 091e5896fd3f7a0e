package fieldmanager

import (
	"context"
	"fmt"
	"reflect"

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

// types are the merge types of one version of a kind.
type types struct {
	kind *kind.Kind
	typ  typed.ParseableType

	shape *shape        // for the quick way; nil for kinds without a Go type
	empty kind.Instance // what a new object is compared with; read-only
	sets  *sets
}

func newTypes(k *kind.Kind) (*types, error) {
	t := &types{kind: k, typ: typed.DeducedParseableType}
	if k.IsDynamic() && k.Schema == nil {
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
	if !k.IsDynamic() {
		t.empty, t.sets = k.New(), newSets()
		k.Stamp(t.empty)
		s := shapes{schema: t.typ.Schema, made: map[shapeKey]*shape{}}
		t.shape = s.of(reflect.TypeOf(t.empty), t.typ.TypeRef)
	}
	return t, nil
}

// typed gives an object its merge types.
func (t *types) typed(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	switch o := obj.(type) {
	case *unstructured.Unstructured:
		return t.typ.FromUnstructured(o.Object, opts...)
	case object:
		return t.typ.FromStructured(o.Instance, opts...)
	}
	return t.typ.FromStructured(obj, opts...)
}

// converter is what apimachinery wants of a scheme, for the versions of one kind: it makes, defaults and converts objects,
// and gives them their merge types.
type converter struct {
	types    *types // of the request's version
	manager  *Manager
	ctx      context.Context // of the request, for conversions by a webhook
	versions []*kind.Kind
}

var (
	_ managedfields.TypeConverter = converter{}
	_ runtime.ObjectConvertor     = converter{}
	_ runtime.ObjectDefaulter     = converter{}
	_ runtime.ObjectCreater       = converter{}
)

// version finds the version that an object says it has, or that is asked for.
func (c converter) version(gv schema.GroupVersion) (*kind.Kind, bool) {
	for _, k := range c.versions {
		if k.GroupVersionKind().GroupVersion() == gv {
			return k, true
		}
	}
	return nil, false
}

// ObjectToTyped gives an object the merge types of its version.
func (c converter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if gvk == c.types.kind.GroupVersionKind() {
		return c.types.typed(obj, opts...)
	}
	k, ok := c.version(gvk.GroupVersion())
	if !ok {
		return nil, runtime.NewNotRegisteredErrForKind(c.types.kind.String(), gvk)
	}
	t, err := c.manager.typesOf(k)
	if err != nil {
		return nil, err
	}
	return t.typed(obj, opts...)
}

// TypedToObject is the reverse; the object is unstructured.
func (c converter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	m, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: the value is no object", c.types.kind)
	}
	return &unstructured.Unstructured{Object: m}, nil
}

// New is an empty object.
func (c converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	k, ok := c.version(gvk.GroupVersion())
	if !ok {
		return nil, runtime.NewNotRegisteredErrForKind(c.types.kind.String(), gvk)
	}
	obj := k.New()
	k.Stamp(obj)
	return wrap(k, obj), nil
}

// Default fills what is left out.
func (c converter) Default(obj runtime.Object) {
	if inst, err := unwrap(obj); err == nil && c.types.kind.Default != nil {
		c.types.kind.Default(inst)
	}
}

// ConvertToVersion makes of an unstructured object one of the kind's Go type, and of one version another.
func (c converter) ConvertToVersion(in runtime.Object, target runtime.GroupVersioner) (runtime.Object, error) {
	from, ok := c.version(in.GetObjectKind().GroupVersionKind().GroupVersion())
	if !ok {
		return nil, runtime.NewNotRegisteredErrForKind(c.types.kind.String(), in.GetObjectKind().GroupVersionKind())
	}
	var to *kind.Kind
	for _, k := range c.versions {
		gvk := k.GroupVersionKind()
		if found, ok := target.KindForGroupVersionKinds([]schema.GroupVersionKind{gvk}); ok && found == gvk { // a version answers for all of its group
			to = k
		}
	}
	if to == nil {
		return nil, runtime.NewNotRegisteredErrForTarget(c.types.kind.String(), nil, target)
	}
	obj, err := instance(from, in)
	if err != nil || from == to {
		return obj, err
	}
	inst, err := unwrap(obj)
	if err != nil {
		return nil, err
	}
	stored, err := from.ToStored(c.ctx, inst)
	if err != nil {
		return nil, err
	}
	out, err := to.FromStored(c.ctx, []kind.Instance{stored})
	if err != nil {
		return nil, err
	}
	return wrap(to, out[0]), nil
}

// instance makes an object of the kind's Go type, if it has one.
func instance(k *kind.Kind, in runtime.Object) (runtime.Object, error) {
	u, ok := in.(*unstructured.Unstructured)
	if !ok || k.IsDynamic() {
		return in, nil
	}
	obj := k.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj); err != nil {
		return nil, err
	}
	k.Stamp(obj)
	return wrap(k, obj), nil
}

// Convert is never asked for.
func (c converter) Convert(_, _, _ any) error {
	return fmt.Errorf("%s: objects are converted to versions only", c.types.kind)
}

// ConvertFieldLabel is never asked for.
func (c converter) ConvertFieldLabel(schema.GroupVersionKind, string, string) (string, string, error) {
	return "", "", fmt.Errorf("%s: field selectors are not converted", c.types.kind)
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
