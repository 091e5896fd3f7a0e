package kind

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "sigs.k8s.io/json"
)

// Dynamic describes a kind that has no Go type: its objects are *unstructured.Unstructured, maps as JSON makes them. k gives the
// identity and the behaviour; its New and Copy are set.
func Dynamic(k Kind) (Type[*unstructured.Unstructured], error) {
	apiVersion, name := k.APIVersion(), k.Name
	k.New = func() Instance {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": name}}
	}
	k.Copy = func(in Instance) Instance {
		object, _ := copyJSON(in.(*unstructured.Unstructured).Object).(map[string]any)
		return &unstructured.Unstructured{Object: object}
	}
	if err := k.Complete(); err != nil {
		return Type[*unstructured.Unstructured]{}, err
	}
	return Type[*unstructured.Unstructured]{&k}, nil
}

// IsDynamic reports whether the kind has no Go type.
func (k *Kind) IsDynamic() bool {
	_, ok := k.New().(*unstructured.Unstructured)
	return ok
}

// copyJSON copies a value as JSON makes them. Values of other types, which only a program can have put there, become what they are
// in JSON; those without a JSON form become nil.
func copyJSON(v any) any {
	switch t := v.(type) {
	case nil, string, bool, int64, float64:
		return v
	case map[string]any:
		if t == nil {
			return nil
		}
		out := make(map[string]any, len(t))
		for k, e := range t {
			out[k] = copyJSON(e)
		}
		return out
	case []any:
		if t == nil {
			return nil
		}
		out := make([]any, len(t))
		for i, e := range t {
			out[i] = copyJSON(e)
		}
		return out
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	var out any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &out); err != nil {
		return nil
	}
	return out
}

// decodeDynamic reads a JSON object into a map. The metadata are held to their Go type, as those of every kind are.
func (k *Kind) decodeDynamic(data []byte, strict bool) (*unstructured.Unstructured, []error, error) {
	var object map[string]any
	var problems []error
	var err error
	if strict {
		problems, err = kjson.UnmarshalStrict(data, &object)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(data, &object)
	}
	if err != nil {
		return nil, nil, err
	}
	if object == nil {
		return nil, nil, errors.New("want a JSON object, got null")
	}
	for _, name := range []string{"apiVersion", "kind"} {
		if v, ok := object[name]; ok {
			if _, ok := v.(string); !ok {
				return nil, nil, fmt.Errorf("%s: want a string, got %T", name, v)
			}
		}
	}
	unknown, err := typedMeta(object)
	if err != nil {
		return nil, nil, err
	}
	problems = append(problems, unknown...)
	obj := &unstructured.Unstructured{Object: object}
	if k.Prune != nil {
		for _, path := range k.Prune(obj) {
			problems = append(problems, fmt.Errorf("unknown field %q", path))
		}
	}
	if !strict {
		problems = nil
	}
	return obj, problems, nil
}

// typedMeta makes object's metadata what metav1.ObjectMeta keeps of them.
func typedMeta(object map[string]any) ([]error, error) {
	v, ok := object["metadata"]
	if !ok || v == nil {
		delete(object, "metadata")
		return nil, nil
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, fmt.Errorf("metadata: want an object, got %T", v)
	}
	data, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	var holder struct {
		Meta metav1.ObjectMeta `json:"metadata"`
	}
	wrapped := append(append([]byte(`{"metadata":`), data...), '}')
	unknown, err := kjson.UnmarshalStrict(wrapped, &holder)
	if err != nil {
		return nil, err
	}
	meta, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&holder.Meta)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	if meta["creationTimestamp"] == nil {
		delete(meta, "creationTimestamp")
	}
	object["metadata"] = meta
	return unknown, nil
}

// Shallow is a copy of an immutable object whose own metadata may be set anew. Everything else is shared.
func Shallow(obj Instance) Instance {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		object := maps.Clone(u.Object)
		if meta, ok := object["metadata"].(map[string]any); ok {
			object["metadata"] = maps.Clone(meta)
		}
		return &unstructured.Unstructured{Object: object}
	}
	v := reflect.New(reflect.TypeOf(obj).Elem())
	v.Elem().Set(reflect.ValueOf(obj).Elem())
	return v.Interface().(Instance)
}

// assign makes obj what from is. Both are of one type.
func assign(obj, from Instance) { reflect.ValueOf(obj).Elem().Set(reflect.ValueOf(from).Elem()) }

// ClearStatus empties the object's status, if it has one.
func ClearStatus(obj Instance) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		delete(u.Object, "status")
		return
	}
	if st := StatusOf(obj); st.IsValid() {
		st.Set(reflect.Zero(st.Type()))
	}
}

// SetStatus gives obj the status of from, which is of the same kind. The status is shared, not copied.
func SetStatus(obj, from Instance) {
	if u, ok := obj.(*unstructured.Unstructured); ok {
		f, ok := from.(*unstructured.Unstructured)
		if !ok {
			return
		}
		if st, ok := f.Object["status"]; ok {
			u.Object["status"] = st
		} else {
			delete(u.Object, "status")
		}
		return
	}
	if st := StatusOf(obj); st.IsValid() {
		st.Set(StatusOf(from))
	}
}

// SameSpec reports whether two objects of one kind are the same but for their type, metadata and, unless withStatus, their status.
func SameSpec(a, b Instance, withStatus bool) bool {
	if ua, ok := a.(*unstructured.Unstructured); ok {
		ub, ok := b.(*unstructured.Unstructured)
		return ok && equality.Semantic.DeepEqual(specOf(ua, withStatus), specOf(ub, withStatus))
	}
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		switch f := va.Type().Field(i); {
		case !f.IsExported(), f.Name == "TypeMeta", f.Name == "ObjectMeta", f.Name == "Status" && !withStatus:
		case !equality.Semantic.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()):
			return false
		}
	}
	return true
}

func specOf(u *unstructured.Unstructured, withStatus bool) map[string]any {
	out := make(map[string]any, len(u.Object))
	for name, v := range u.Object {
		if name != "apiVersion" && name != "kind" && name != "metadata" && (name != "status" || withStatus) {
			out[name] = v
		}
	}
	return out
}
