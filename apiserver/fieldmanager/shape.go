package fieldmanager

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// form is how values of a type are compared.
type form uint8

const (
	strange form = iota // in no way that is known here: left to structured-merge-diff
	scalar              // as a whole: numbers, strings, and what is atomic
	fields              // a struct, field by field
	entries             // a map, key by key
	keyed               // a list of structs, by their keys
	set                 // a list of strings or numbers, by value
)

// shape is a Go type together with its merge type. Shapes refer to each other and are immutable once made.
type shape struct {
	form   form
	custom bool    // the type writes itself
	fields []field // of a struct, by JSON name
	elem   *shape  // of a map or a list
	keys   []key   // of a keyed list, by name
}

// field is one field of a struct.
type field struct {
	name    string
	element string // f:name
	path    []int
	entry   *value.FieldCacheEntry
	empty   bool // omitempty
	zero    bool // omitzero
	shape   *shape
}

// key is one key of a keyed list.
type key struct {
	name  string
	field *field // in the element
	other string // what stands for a missing one, serialized; empty: nothing
}

// shapes makes the shapes of one kind.
type shapes struct {
	schema *schema.Schema
	made   map[shapeKey]*shape
}

type shapeKey struct {
	typ reflect.Type
	ref string
	rel schema.ElementRelationship
}

// of makes the shape of a Go type, which is no pointer, for a merge type.
func (s *shapes) of(t reflect.Type, ref schema.TypeRef) *shape {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	k := shapeKey{typ: t}
	named := ref.NamedType != nil
	if named {
		k.ref = *ref.NamedType
		if ref.ElementRelationship != nil {
			k.rel = *ref.ElementRelationship
		}
		if known := s.made[k]; known != nil {
			return known
		}
	}
	out := &shape{}
	if named {
		s.made[k] = out
	}
	atom, ok := s.schema.Resolve(ref)
	if ok {
		s.fill(out, t, atom)
	}
	return out
}

// fill finds the form for a type; it stays strange when type and merge type do not fit together.
func (s *shapes) fill(out *shape, t reflect.Type, a schema.Atom) {
	if a.Scalar != nil && (t == reflect.TypeFor[intstr.IntOrString]() || t == reflect.TypeFor[resource.Quantity]()) {
		out.form, out.custom = scalar, true // their merge type may be anything, they never are
		return
	}
	only := 0
	for _, has := range []bool{a.Scalar != nil, a.List != nil, a.Map != nil} {
		if has {
			only++
		}
	}
	if only != 1 {
		return
	}
	kinds := value.TypeReflectEntryOf(t)
	if kinds.CanConvertToUnstructured() {
		if a.Scalar != nil {
			out.form, out.custom = scalar, true
		}
		return
	}
	switch {
	case a.Scalar != nil:
		if scalarKind(t, *a.Scalar) {
			out.form = scalar
		}
	case a.Map != nil && t.Kind() == reflect.Struct:
		out.fields = s.fieldsOf(t, a.Map)
		if out.form = fields; a.Map.ElementRelationship == schema.Atomic {
			out.form = scalar
		}
	case a.Map != nil && t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		out.elem = s.of(t.Elem(), a.Map.ElementType)
		switch {
		case a.Map.ElementRelationship == schema.Atomic:
			out.form = scalar
		case len(a.Map.Fields) == 0:
			out.form = entries
		}
	case a.List != nil && t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		out.elem = s.of(t.Elem(), a.List.ElementType)
		switch {
		case a.List.ElementRelationship != schema.Associative:
			out.form = scalar
		case len(a.List.Keys) > 0:
			s.keyed(out, a.List)
		case out.elem.form == scalar && !out.elem.custom && (t.Elem().Kind() == reflect.String || isInt(t.Elem())):
			out.form = set
		}
	}
}

// fieldsOf are the fields of a struct as JSON has them. An atomic struct needs them too, to be compared.
func (s *shapes) fieldsOf(t reflect.Type, m *schema.Map) []field {
	var out []field
	for _, e := range value.TypeReflectEntryOf(t).OrderedFields() {
		sf, ok := fieldNamed(t, e.JsonName, nil)
		f := field{name: e.JsonName, element: "f:" + e.JsonName, entry: e, shape: &shape{}}
		if ok {
			f.path, f.empty, f.zero = sf.path, sf.empty, sf.zero
			ref := m.ElementType
			if declared, ok := m.FindField(e.JsonName); ok {
				ref = declared.Type
			}
			if ref.NamedType != nil || ref.Inlined != (schema.Atom{}) {
				f.shape = s.of(sf.typ, ref)
			}
		}
		out = append(out, f)
	}
	return out
}

func (s *shapes) keyed(out *shape, l *schema.List) {
	if len(out.elem.fields) == 0 { // atomic elements have fields, too
		return
	}
	element, _ := s.schema.Resolve(l.ElementType)
	for _, name := range l.Keys {
		i := slices.IndexFunc(out.elem.fields, func(f field) bool { return f.name == name })
		if i < 0 || out.elem.fields[i].shape.form != scalar || out.elem.fields[i].shape.custom {
			return
		}
		k := key{name: name, field: &out.elem.fields[i]}
		if declared, ok := element.Map.FindField(name); ok && declared.Default != nil {
			switch d := declared.Default.(type) {
			case string:
				if !plainText(d) {
					return
				}
				k.other = `"` + d + `"`
			case int64:
				k.other = strconv.FormatInt(d, 10)
			case float64: // as a schema that was read from JSON has it: 0 of containerPort
				if d != math.Trunc(d) || math.Abs(d) > 1<<53 {
					return
				}
				k.other = strconv.FormatInt(int64(d), 10)
			default:
				if k.other = fmt.Sprint(d); k.other != "true" && k.other != "false" {
					return
				}
			}
		}
		out.keys = append(out.keys, k)
	}
	slices.SortFunc(out.keys, func(a, b key) int { return cmp.Compare(a.name, b.name) })
	out.form = keyed
}

func isInt(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return true
	}
	return false
}

// scalarKind reports whether a Go type is what the merge type expects.
func scalarKind(t reflect.Type, s schema.Scalar) bool {
	switch k := t.Kind(); {
	case k == reflect.String, k == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return s == schema.String || s == schema.Untyped
	case k == reflect.Bool:
		return s == schema.Boolean || s == schema.Untyped
	case isInt(t), k == reflect.Float64, k == reflect.Float32, k == reflect.Uint8, k == reflect.Uint16, k == reflect.Uint32:
		return s == schema.Numeric || s == schema.Untyped
	}
	return false
}

// goField is where a JSON name stands in a Go struct.
type goField struct {
	path        []int
	typ         reflect.Type
	empty, zero bool
}

// fieldNamed finds the field by the rules of structured-merge-diff: of two with one name the later one counts.
func fieldNamed(t reflect.Type, name string, path []int) (found goField, ok bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" || f.PkgPath != "" && !f.Anonymous {
			continue
		}
		at := append(slices.Clone(path), i)
		own, opts := splitTag(tag)
		if f.Anonymous && own == "" {
			if f.Type.Kind() == reflect.Struct {
				if inner, has := fieldNamed(f.Type, name, at); has {
					found, ok = inner, true
				}
			}
			continue
		}
		if own == "" {
			own = f.Name
		}
		if own == name {
			found, ok = goField{at, f.Type, slices.Contains(opts, "omitempty"), slices.Contains(opts, "omitzero")}, true
		}
	}
	return found, ok
}

func splitTag(tag string) (name string, opts []string) {
	parts := strings.Split(tag, ",")
	return parts[0], parts[1:]
}
