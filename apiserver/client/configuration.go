package client

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Apply is server-side apply: what obj says is merged into the object of its name, which is created when there is none, and ManagedBy
// (which is required) manages it from then on. A field that this manager applied before and obj leaves out is removed, unless
// others manage it too. Fields that others manage and obj changes are a 409 Conflict, unless the option Force takes them over.
//
// What obj says is its non-zero values, and what its pointers point to; the status is not applied, and of the metadata what a manifest
// would have. A resourceVersion or uid that is set must be the stored one. To apply a zero that is no pointer's, give
// [Typed.Patch] the configuration in JSON or YAML, with types.ApplyYAMLPatchType.
func (t Typed[T]) Apply(ctx context.Context, obj T, opts ...Option) (T, error) {
	return t.apply(ctx, "", obj, opts)
}

// ApplyStatus is Apply for the status, which is all of obj that counts.
func (t Typed[T]) ApplyStatus(ctx context.Context, obj T, opts ...Option) (T, error) {
	return t.apply(ctx, "status", obj, opts)
}

func (t Typed[T]) apply(ctx context.Context, subresource string, obj T, opts []Option) (T, error) {
	data, err := configuration(t.typ.Kind(), subresource, obj)
	if err != nil {
		var zero T
		return zero, err
	}
	req := t.request(Patch, obj.GetNamespace(), obj.GetName(), opts)
	req.Subresource, req.PatchType, req.PatchData = subresource, types.ApplyYAMLPatchType, data
	return t.one(ctx, req)
}

// configuration is what an object says, as JSON.
func configuration(k *kind.Kind, subresource string, obj kind.Instance) ([]byte, error) {
	var said map[string]any
	if u, ok := obj.(*unstructured.Unstructured); ok {
		said = k.Copy(u).(*unstructured.Unstructured).Object
	} else {
		v, _ := wish(reflect.ValueOf(obj).Elem())
		said, _ = v.(map[string]any)
	}
	out := map[string]any{"apiVersion": k.APIVersion(), "kind": k.Name}
	for name, v := range said {
		switch {
		case name == "apiVersion" || name == "kind":
		case name == "metadata":
			if meta, ok := v.(map[string]any); ok {
				out[name] = metadataOf(meta, subresource)
			}
		case (name == "status") == (subresource == "status"):
			out[name] = v
		}
	}
	return json.Marshal(out)
}

// metadataOf keeps of an object's metadata what is its author's.
func metadataOf(meta map[string]any, subresource string) map[string]any {
	names := []string{"name", "namespace", "uid", "resourceVersion"}
	if subresource == "" {
		names = append(names, "labels", "annotations", "ownerReferences", "finalizers")
	}
	out := make(map[string]any, len(names))
	for _, name := range names {
		if v, ok := meta[name]; ok {
			out[name] = v
		}
	}
	return out
}

// wish is a value as JSON has it, without what is empty. It is false when nothing is left.
func wish(v reflect.Value) (any, bool) {
	if v.CanInterface() {
		if m, ok := marshaler(v); ok {
			return m, !v.IsZero()
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil, false
		}
		inner, some := wish(v.Elem())
		if !some && v.Elem().Kind() == reflect.Struct {
			return map[string]any{}, true
		}
		return inner, true
	case reflect.Struct:
		out := map[string]any{}
		wishes(v, out)
		return out, len(out) > 0
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Interface(), !v.IsNil()
		}
		out := make([]any, v.Len())
		for i := range out {
			out[i], _ = wish(v.Index(i))
		}
		return out, true
	case reflect.Map:
		if v.IsNil() {
			return nil, false
		}
		out := make(map[string]any, v.Len())
		for it := v.MapRange(); it.Next(); {
			out[it.Key().String()], _ = wish(it.Value())
		}
		return out, true
	}
	return v.Interface(), !v.IsZero()
}

// marshaler is the value itself when it writes its own JSON.
func marshaler(v reflect.Value) (json.Marshaler, bool) {
	if m, ok := v.Interface().(json.Marshaler); ok {
		return m, v.Kind() != reflect.Pointer || !v.IsNil()
	}
	if v.CanAddr() {
		m, ok := v.Addr().Interface().(json.Marshaler)
		return m, ok
	}
	return nil, false
}

// wishes adds the fields of a struct.
func wishes(v reflect.Value, out map[string]any) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := strings.Split(f.Tag.Get("json"), ",")
		if tag[0] == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && (tag[0] == "" || slices.Contains(tag[1:], "inline")) && tag[0] == "" {
			if inner := v.Field(i); inner.Kind() == reflect.Struct {
				wishes(inner, out)
			}
			continue
		}
		name := tag[0]
		if name == "" {
			name = f.Name
		}
		if w, some := wish(v.Field(i)); some {
			out[name] = w
		}
	}
}
