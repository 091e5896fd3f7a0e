package apiserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	kjson "sigs.k8s.io/json"
)

// The directives of a strategic merge patch.
// Source: the Kubernetes API conventions, "Strategic Merge Patch", and its design document on preserving order.
const (
	directivePatch      = "$patch"
	directiveRetainKeys = "$retainKeys"
	prefixOrder         = "$setElementOrder/"
	prefixDelete        = "$deleteFromPrimitiveList/"
)

// strategicMerge merges a patch into a document. How a list is merged is said by the tags patchStrategy and patchMergeKey
// of sample's Go type; lists without them are replaced, as in a JSON merge patch.
func strategicMerge(document, patch []byte, sample any) ([]byte, error) {
	var doc, p map[string]any
	if err := kjson.UnmarshalCaseSensitivePreserveInts(document, &doc); err != nil {
		return nil, err
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(patch, &p); err != nil {
		return nil, err
	}
	merged, err := mergeMap(doc, p, reflect.TypeOf(sample))
	if err != nil {
		return nil, err
	}
	return json.Marshal(merged)
}

// mergeMap merges patch into doc, which it changes.
func mergeMap(doc, patch map[string]any, t reflect.Type) (map[string]any, error) {
	switch d, _ := patch[directivePatch].(string); {
	case patch[directivePatch] == nil, d == "merge":
	case d == "replace":
		delete(patch, directivePatch)
		return patch, nil
	case d == "delete":
		return map[string]any{}, nil
	default:
		return nil, fmt.Errorf("%s: want replace, merge or delete, got %v", directivePatch, patch[directivePatch])
	}
	if retain, ok := patch[directiveRetainKeys]; ok {
		if err := retainKeys(doc, retain); err != nil {
			return nil, err
		}
	}
	for name, value := range patch { // before anything is added
		if list, ok := strings.CutPrefix(name, prefixDelete); ok {
			if err := deletePrimitives(doc, list, value); err != nil {
				return nil, err
			}
		}
	}
	var orders []string
	for name, value := range patch {
		if name == directivePatch || name == directiveRetainKeys {
			continue
		}
		if _, ok := strings.CutPrefix(name, prefixOrder); ok {
			orders = append(orders, name)
			continue
		}
		if strings.HasPrefix(name, prefixDelete) {
			continue
		}
		if value == nil {
			delete(doc, name)
			continue
		}
		merged, err := mergeValue(doc[name], value, fieldOf(t, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		doc[name] = merged
	}
	for _, name := range orders {
		list := strings.TrimPrefix(name, prefixOrder)
		if err := setOrder(doc, list, patch[name], fieldOf(t, list)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return doc, nil
}

// mergeField is what a Go type says about one field of a JSON object.
type mergeField struct {
	typ      reflect.Type // of the field's value; nil when unknown
	strategy []string
	key      string
}

func mergeValue(doc, patch any, f mergeField) (any, error) {
	replace := slices.Contains(f.strategy, "replace")
	switch p := patch.(type) {
	case map[string]any:
		d, ok := doc.(map[string]any)
		if !ok || replace {
			d = map[string]any{} // also takes the directives out of what is new
		}
		return mergeMap(d, p, f.typ)
	case []any:
		d, ok := doc.([]any)
		if !slices.Contains(f.strategy, "merge") {
			return p, nil
		}
		if !ok {
			d = nil
		}
		return mergeList(d, p, f)
	}
	return patch, nil
}

func mergeList(doc, patch []any, f mergeField) ([]any, error) {
	var elem reflect.Type
	if f.typ != nil && f.typ.Kind() == reflect.Slice {
		elem = f.typ.Elem()
	}
	if slices.ContainsFunc(patch, func(item any) bool { return isDirective(item, "replace") }) {
		doc = nil
	}
	for _, item := range patch {
		p, ok := item.(map[string]any)
		switch {
		case !ok && f.key != "":
			return nil, fmt.Errorf("list item %v is no object with a field %q", item, f.key)
		case !ok:
			if !slices.ContainsFunc(doc, func(d any) bool { return reflect.DeepEqual(d, item) }) {
				doc = append(doc, item)
			}
			continue
		case isDirective(p, "replace") && len(p) == 1:
			continue
		}
		id, ok := p[f.key]
		if f.key == "" || !ok {
			return nil, fmt.Errorf("a list item has no field %q to merge by: %v", f.key, p)
		}
		at := slices.IndexFunc(doc, func(d any) bool { return keyIs(d, f.key, id) })
		if isDirective(p, "delete") {
			doc = slices.DeleteFunc(doc, func(d any) bool { return keyIs(d, f.key, id) })
			continue
		}
		base := map[string]any{}
		if at >= 0 {
			base, _ = doc[at].(map[string]any)
		}
		merged, err := mergeMap(base, p, elem)
		if err != nil {
			return nil, err
		}
		if at >= 0 {
			doc[at] = merged
		} else {
			doc = append(doc, merged)
		}
	}
	return doc, nil
}

func isDirective(item any, want string) bool {
	m, ok := item.(map[string]any)
	return ok && m[directivePatch] == want
}

func keyIs(item any, key string, id any) bool {
	m, ok := item.(map[string]any)
	return ok && reflect.DeepEqual(m[key], id)
}

func retainKeys(doc map[string]any, value any) error {
	list, ok := value.([]any)
	if !ok {
		return fmt.Errorf("%s: want a list of field names, got %v", directiveRetainKeys, value)
	}
	for name := range doc {
		if !slices.Contains(list, any(name)) {
			delete(doc, name)
		}
	}
	return nil
}

func deletePrimitives(doc map[string]any, name string, value any) error {
	gone, ok := value.([]any)
	if !ok {
		return fmt.Errorf("%s%s: want a list, got %v", prefixDelete, name, value)
	}
	if list, ok := doc[name].([]any); ok {
		doc[name] = slices.DeleteFunc(list, func(item any) bool {
			return slices.ContainsFunc(gone, func(g any) bool { return reflect.DeepEqual(g, item) })
		})
	}
	return nil
}

// setOrder puts the listed items of doc's list into the given order. Those that the patch does not know keep their places
// among the others as well as they can.
func setOrder(doc map[string]any, name string, order any, f mergeField) error {
	wanted, ok := order.([]any)
	if !ok {
		return errors.New("want a list")
	}
	list, ok := doc[name].([]any)
	if !ok {
		return nil
	}
	rank := func(item any) int {
		return slices.IndexFunc(wanted, func(w any) bool {
			m, ok := w.(map[string]any)
			return ok && f.key != "" && keyIs(item, f.key, m[f.key]) || !ok && reflect.DeepEqual(w, item)
		})
	}
	type placed struct {
		item     any
		rank, at int
	}
	var known, others []placed
	for i, item := range list {
		if r := rank(item); r >= 0 {
			known = append(known, placed{item, r, i})
		} else {
			others = append(others, placed{item, r, i})
		}
	}
	slices.SortStableFunc(known, func(a, b placed) int { return a.rank - b.rank })
	out := make([]any, 0, len(list))
	for len(known) > 0 || len(others) > 0 {
		if len(others) == 0 || len(known) > 0 && known[0].at < others[0].at {
			out, known = append(out, known[0].item), known[1:]
		} else {
			out, others = append(out, others[0].item), others[1:]
		}
	}
	doc[name] = out
	return nil
}

// fieldOf finds what a type says about the field with a JSON name.
func fieldOf(t reflect.Type, name string) mergeField {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == nil:
		return mergeField{}
	case t.Kind() == reflect.Map:
		return mergeField{typ: t.Elem()}
	case t.Kind() != reflect.Struct:
		return mergeField{}
	}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "" && (f.Anonymous || strings.Contains(opts, "inline")) {
			if found := fieldOf(f.Type, name); found.typ != nil {
				return found
			}
			continue
		}
		if tag == name && name != "-" {
			found := mergeField{typ: f.Type, key: f.Tag.Get("patchMergeKey")}
			if s := f.Tag.Get("patchStrategy"); s != "" {
				found.strategy = strings.Split(s, ",")
			}
			return found
		}
	}
	return mergeField{}
}
