package fieldmanager

import (
	"bytes"
	"reflect"
	"slices"
	"strconv"

	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// comparison finds what differs between two objects of one Go type, as structured-merge-diff's Compare does between typed values,
// without making values of everything: an object that is written is looked at field by field where it is.
//
// A reflect.Value that is not valid stands for a field that is not there, as opposed to one that is null.
type comparison struct {
	strange bool // something was met that only structured-merge-diff knows: the outcome is void
	gone    bool // something is in the old object only
}

// objects compares whole objects. visit tells which fields of the object and of its metadata count.
func (c *comparison) objects(s *shape, old, obj any, visit func(parent, name string) bool) *tree {
	out := &tree{}
	if s.form != fields {
		c.strange = true
		return out
	}
	l, r := reflect.ValueOf(old).Elem(), reflect.ValueOf(obj).Elem()
	for i := range s.fields {
		f := &s.fields[i]
		if !visit("", f.name) {
			continue
		}
		if f.name != "metadata" {
			out.grow(c.field(f, l, r))
			continue
		}
		meta := &tree{element: f.element}
		ml, mr := f.of(l), f.of(r)
		for j := range f.shape.fields {
			if g := &f.shape.fields[j]; visit("metadata", g.name) {
				meta.grow(c.field(g, ml, mr))
			}
		}
		if len(meta.below) > 0 {
			out.grow(meta)
		}
	}
	return out
}

func (t *tree) grow(b *tree) {
	if b != nil {
		t.below = append(t.below, b)
	}
}

// of is the field's value in a struct.
func (f *field) of(v reflect.Value) reflect.Value {
	if len(f.path) == 1 {
		return v.Field(f.path[0])
	}
	if f.path == nil {
		return f.entry.GetFrom(v)
	}
	return v.FieldByIndex(f.path)
}

// present is the field's value, or none when JSON leaves it out.
func (f *field) present(v reflect.Value) reflect.Value {
	if !v.IsValid() {
		return v
	}
	v = f.of(v)
	if f.empty && isEmpty(v) || f.zero && f.entry.CanOmit(v) || f.path == nil && f.entry.CanOmit(v) {
		return reflect.Value{}
	}
	return v
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Array, reflect.Map, reflect.Slice, reflect.String:
		return v.Len() == 0
	case reflect.Interface, reflect.Pointer:
		return v.IsNil()
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

// field compares a field of two structs, either of which may not be there.
func (c *comparison) field(f *field, l, r reflect.Value) *tree {
	l, r = f.present(l), f.present(r)
	if !l.IsValid() && !r.IsValid() {
		return nil
	}
	return c.values(f.shape, f.element, l, r)
}

// values compares two values of which at least one is there. It answers nil when they are the same.
func (c *comparison) values(s *shape, element string, l, r reflect.Value) *tree {
	if s.form == scalar {
		return c.leaf(element, l, r)
	}
	vl, vr := inside(l), inside(r)
	if s.form == strange {
		if vl.IsValid() || vr.IsValid() {
			c.strange = true
			return nil
		}
		return c.leaf(element, l, r)
	}
	out := &tree{element: element}
	some := false
	switch s.form {
	case fields:
		for i := range s.fields {
			f := &s.fields[i]
			fl, fr := f.present(vl), f.present(vr)
			if fl.IsValid() || fr.IsValid() {
				some = true
				out.grow(c.values(f.shape, f.element, fl, fr))
			}
		}
	case entries:
		some = length(vl) > 0 || length(vr) > 0
		c.entries(s, out, vl, vr)
	case keyed, set:
		some = length(vl) > 0 || length(vr) > 0
		c.items(s, out, vl, vr)
	}
	if !some {
		return c.leaf(element, l, r) // which keeps null and empty apart
	}
	switch {
	case !l.IsValid():
		out.member = true
	case !r.IsValid():
		out.gone, c.gone = true, true
	case len(out.below) == 0:
		return nil
	}
	return out
}

// inside is what a value points to; not valid when it is null or not there.
func inside(v reflect.Value) reflect.Value {
	for v.IsValid() {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			v = v.Elem() // not valid when it is nil
			continue
		case reflect.Map, reflect.Slice:
			if v.IsNil() {
				return reflect.Value{}
			}
		}
		break
	}
	return v
}

func length(v reflect.Value) int {
	if !v.IsValid() {
		return 0
	}
	return v.Len()
}

// leaf compares two values as a whole.
func (c *comparison) leaf(element string, l, r reflect.Value) *tree {
	switch {
	case !l.IsValid():
		return &tree{element: element, member: true}
	case !r.IsValid():
		c.gone = true
		return &tree{element: element, gone: true}
	case !c.same(l, r):
		return &tree{element: element, member: true}
	}
	return nil
}

// entries compares maps by key.
func (c *comparison) entries(s *shape, out *tree, l, r reflect.Value) {
	for _, side := range []reflect.Value{l, r} {
		if length(side) == 0 {
			continue
		}
		for it := side.MapRange(); it.Next(); {
			k := it.Key()
			vl, vr := it.Value(), reflect.Value{}
			if side == r {
				if length(l) > 0 && l.MapIndex(k).IsValid() {
					continue // was compared from the other side
				}
				vl, vr = reflect.Value{}, vl
			} else if length(r) > 0 {
				vr = r.MapIndex(k)
			}
			if vl.IsValid() && vr.IsValid() && vl.Kind() == reflect.String && vl.String() == vr.String() {
				continue
			}
			if !plainText(k.String()) {
				c.strange = true
				return
			}
			out.grow(c.values(s.elem, "f:"+k.String(), vl, vr))
		}
	}
}

// items compares lists by keys or values.
func (c *comparison) items(s *shape, out *tree, l, r reflect.Value) {
	left, right := c.elements(s, l), c.elements(s, r)
	if c.strange {
		return
	}
	at := func(list []string, e string) int { return slices.Index(list, e) }
	if len(left)+len(right) > 2*maxFind {
		where := make(map[string]int, len(right))
		for i, e := range right {
			where[e] = i
		}
		here := make(map[string]int, len(left))
		for i, e := range left {
			here[e] = i
		}
		at = func(list []string, e string) int {
			index := where
			if len(list) > 0 && len(left) > 0 && &list[0] == &left[0] {
				index = here
			}
			if i, ok := index[e]; ok {
				return i
			}
			return -1
		}
	}
	for i, e := range left {
		var vr reflect.Value
		if j := at(right, e); j >= 0 {
			vr = r.Index(j)
		}
		out.grow(c.values(s.elem, e, l.Index(i), vr))
	}
	for i, e := range right {
		if at(left, e) < 0 {
			out.grow(c.values(s.elem, e, reflect.Value{}, r.Index(i)))
		}
	}
}

// elements are the path elements of a list's items. Two of one key are a case for structured-merge-diff.
func (c *comparison) elements(s *shape, list reflect.Value) []string {
	n := length(list)
	if n == 0 {
		return nil
	}
	out := make([]string, n)
	var seen map[string]bool
	if n > maxFind {
		seen = make(map[string]bool, n)
	}
	for i := range n {
		e, ok := s.element(inside(list.Index(i)))
		if !ok || seen[e] || seen == nil && slices.Contains(out[:i], e) {
			c.strange = true
			return nil
		}
		if out[i] = e; seen != nil {
			seen[e] = true
		}
	}
	return out
}

// element is the path element of an item.
func (s *shape) element(item reflect.Value) (string, bool) {
	if !item.IsValid() {
		return "", false
	}
	if s.form == set {
		out, ok := appendScalar([]byte("v:"), item)
		return string(out), ok
	}
	out := []byte("k:{")
	for i := range s.keys {
		k := &s.keys[i]
		v := k.field.present(item)
		if !v.IsValid() && k.other == "" {
			continue
		}
		if len(out) > len("k:{") {
			out = append(out, ',')
		}
		out = append(out, '"')
		out = append(out, k.name...)
		out = append(out, '"', ':')
		if !v.IsValid() {
			out = append(out, k.other...)
			continue
		}
		var ok bool
		if out, ok = appendScalar(out, inside(v)); !ok {
			return "", false
		}
	}
	if len(out) == len("k:{") {
		return "", false
	}
	return string(append(out, '}')), true
}

func appendScalar(out []byte, v reflect.Value) ([]byte, bool) {
	switch {
	case !v.IsValid():
		return out, false
	case v.Kind() == reflect.String:
		text := v.String()
		out = append(out, '"')
		out = append(out, text...)
		return append(out, '"'), plainText(text)
	case v.Kind() == reflect.Bool:
		return strconv.AppendBool(out, v.Bool()), true
	case isInt(v.Type()):
		return strconv.AppendInt(out, v.Int(), 10), true
	}
	return out, false
}

// same reports whether two values of one type are the same in JSON.
func (c *comparison) same(l, r reflect.Value) bool {
	kinds := value.TypeReflectEntryOf(l.Type())
	if kinds.CanConvertToUnstructured() {
		return c.sameText(kinds, l, r)
	}
	switch l.Kind() {
	case reflect.Pointer, reflect.Interface:
		if l.IsNil() || r.IsNil() {
			return l.IsNil() == r.IsNil()
		}
		if l.Kind() == reflect.Interface && l.Elem().Type() != r.Elem().Type() {
			c.strange = true
			return false
		}
		return c.same(l.Elem(), r.Elem())
	case reflect.Struct:
		for _, f := range kinds.OrderedFields() {
			vl, vr := f.GetFrom(l), f.GetFrom(r)
			if no := f.CanOmit(vl); no != f.CanOmit(vr) || !no && !c.same(vl, vr) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if l.IsNil() != r.IsNil() || l.Len() != r.Len() {
			return false
		}
		if l.Type().Elem().Kind() == reflect.Uint8 {
			return bytes.Equal(l.Bytes(), r.Bytes())
		}
		for i := range l.Len() {
			if !c.same(l.Index(i), r.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if l.IsNil() != r.IsNil() || l.Len() != r.Len() {
			return false
		}
		for it := l.MapRange(); it.Next(); {
			other := r.MapIndex(it.Key())
			if !other.IsValid() || !c.same(it.Value(), other) {
				return false
			}
		}
		return true
	}
	return l.Equal(r)
}

// sameText compares values that write themselves.
func (c *comparison) sameText(kinds *value.TypeReflectCacheEntry, l, r reflect.Value) bool {
	if l.Kind() != reflect.Pointer && l.Comparable() && l.Equal(r) {
		return true
	}
	tl, errL := kinds.ToUnstructured(l)
	tr, errR := kinds.ToUnstructured(r)
	if errL != nil || errR != nil {
		c.strange = true
		return false
	}
	return reflect.DeepEqual(tl, tr)
}
