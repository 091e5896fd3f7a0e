package kind

import (
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
)

// copierFor chooses how objects of sample's type are copied: by their own DeepCopyObject, or by walking them.
func copierFor(sample Instance) func(Instance) Instance {
	if _, ok := sample.(runtime.Object); ok {
		return func(in Instance) Instance {
			return in.(runtime.Object).DeepCopyObject().(Instance)
		}
	}
	return func(in Instance) Instance {
		return deepCopy(reflect.ValueOf(in)).Interface().(Instance)
	}
}

// deepCopy copies a value by walking it. A struct that can copy itself (metav1.Time, resource.Quantity, ObjectMeta)
// does so; unexported fields are copied shallowly, which is right for the value types that have them.
func deepCopy(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type().Elem())
		copyInto(out, v)
		return out
	case reflect.Interface:
		if v.IsNil() {
			return v
		}
		out := reflect.New(v.Type()).Elem()
		out.Set(deepCopy(v.Elem()))
		return out
	case reflect.Slice:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		if plain(v.Type().Elem()) {
			reflect.Copy(out, v)
			return out
		}
		for i := range v.Len() {
			out.Index(i).Set(deepCopy(v.Index(i)))
		}
		return out
	case reflect.Map:
		if v.IsNil() {
			return v
		}
		out := reflect.MakeMapWithSize(v.Type(), v.Len())
		for it := v.MapRange(); it.Next(); {
			out.SetMapIndex(it.Key(), deepCopy(it.Value()))
		}
		return out
	case reflect.Struct, reflect.Array:
		in := reflect.New(v.Type())
		in.Elem().Set(v)
		out := reflect.New(v.Type())
		copyInto(out, in)
		return out.Elem()
	}
	return v
}

// copyInto copies *in to *out, both pointers to the same type.
func copyInto(out, in reflect.Value) {
	if m := in.MethodByName("DeepCopyInto"); m.IsValid() && m.Type().NumIn() == 1 && m.Type().In(0) == out.Type() {
		m.Call([]reflect.Value{out})
		return
	}
	src, dst := in.Elem(), out.Elem()
	switch src.Kind() {
	case reflect.Struct:
		dst.Set(src)
		for i := range src.NumField() {
			if src.Type().Field(i).IsExported() && !plain(src.Field(i).Type()) {
				dst.Field(i).Set(deepCopy(src.Field(i)))
			}
		}
	case reflect.Array:
		for i := range src.Len() {
			dst.Index(i).Set(deepCopy(src.Index(i)))
		}
	default:
		dst.Set(deepCopy(src))
	}
}

func plain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map, reflect.Struct, reflect.Array:
		return false
	}
	return true
}
