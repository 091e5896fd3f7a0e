package crd

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
)

// maxValueErrors ends the validation of an object: nobody reads more.
const maxValueErrors = 100

// validateValue holds a value to its schema.
func validateValue(n *node, at *field.Path, v any) field.ErrorList {
	w := walker{}
	w.value(n, at, v, nil, false)
	return w.errs
}

// validateChange holds a new value to its schema, but for what has not changed: objects that were stored before a schema was tightened
// can still be changed elsewhere. Source: KEP-4008, CRD validation ratcheting.
func validateChange(n *node, at *field.Path, v, old any) field.ErrorList {
	w := walker{}
	w.value(n, at, v, old, true)
	return w.errs
}

// walker goes down a value and its schema side by side.
type walker struct{ errs field.ErrorList }

// value checks a value; known says that old is what it was before.
func (w *walker) value(n *node, at *field.Path, v, old any, known bool) {
	if n == nil || len(w.errs) >= maxValueErrors || known && equality.Semantic.DeepEqual(v, old) {
		return
	}
	if n.check != nil && !n.check.Validate(v).IsValid() {
		path := ""
		if at != nil {
			path = at.String()
		}
		w.errs = append(w.errs, problems(at, validate.NewSchemaValidator(n.shape, nil, path, strfmt.Default).Validate(v))...)
	}
	switch v := v.(type) {
	case map[string]any:
		w.object(n, at, v, old, known)
	case []any:
		w.list(n, at, v, old, known)
	}
}

func (w *walker) object(n *node, at *field.Path, object map[string]any, old any, known bool) {
	before, ok := old.(map[string]any)
	known = known && ok && n.mapType != mapAtomic
	if n.embedded {
		w.errs = append(w.errs, checkEmbedded(at, object)...)
	}
	for _, name := range sortedKeys(object) {
		c := n.child(name)
		if c == nil {
			continue
		}
		to := at.Key(name)
		if n.properties[name] != nil {
			to = at.Child(name)
		}
		was, had := before[name]
		w.value(c, to, object[name], was, known && had)
	}
}

func (w *walker) list(n *node, at *field.Path, list []any, old any, known bool) {
	w.errs = append(w.errs, checkUnique(n, at, list)...)
	if n.items == nil {
		return
	}
	byKey := map[string]any{}
	if before, ok := old.([]any); ok && known && n.listType == listMap {
		for _, each := range before {
			byKey[mapKey(n.keys, each)] = each
		}
	}
	for i, each := range list {
		was, had := byKey[mapKey(n.keys, each)]
		w.value(n.items, at.Index(i), each, was, had)
	}
}

// mapKey is what an element of a list that is a map is known by.
func mapKey(keys []string, v any) string {
	object, _ := v.(map[string]any)
	parts := make([]any, len(keys))
	for i, k := range keys {
		parts[i] = object[k]
	}
	data, err := json.Marshal(parts)
	if err != nil {
		return ""
	}
	return string(data)
}

// checkUnique finds elements that are twice in a list that is a set or a map.
func checkUnique(n *node, at *field.Path, list []any) (errs field.ErrorList) {
	if n.listType != listSet && n.listType != listMap {
		return nil
	}
	times := make(map[string]int, len(list))
	for i, each := range list {
		object, isObject := each.(map[string]any)
		id := ""
		var shown any = each
		if n.listType == listMap {
			if each != nil && !isObject {
				return field.ErrorList{field.Invalid(at.Index(i), each, "must be an object for an array of list-type map")}
			}
			key := map[string]any{}
			for _, k := range n.keys {
				if v, ok := object[k]; ok {
					key[k] = v
				}
			}
			id, shown = mapKey(n.keys, each), key
		} else {
			data, err := json.Marshal(each)
			if err != nil {
				continue
			}
			id = string(data)
		}
		if times[id]++; times[id] == 2 {
			errs = append(errs, field.Duplicate(at.Index(i), shown))
		}
	}
	return errs
}

// checkEmbedded checks what every object has.
func checkEmbedded(at *field.Path, object map[string]any) (errs field.ErrorList) {
	for _, name := range []string{"apiVersion", "kind"} {
		if v, _ := object[name].(string); v == "" {
			errs = append(errs, field.Required(at.Child(name), "must not be empty"))
		}
	}
	if meta, ok := object["metadata"]; ok {
		if _, ok := meta.(map[string]any); !ok {
			errs = append(errs, field.TypeInvalid(at.Child("metadata"), meta, "must be an object"))
		}
	}
	return errs
}

// problems are kube-openapi's findings as the API tells them.
func problems(at *field.Path, result *validate.Result) (errs field.ErrorList) {
	for _, err := range result.Errors {
		v, ok := err.(*openapierrors.Validation)
		if !ok {
			errs = append(errs, field.Invalid(at, "", err.Error()))
			continue
		}
		to := at
		if name := strings.TrimPrefix(v.Name, "."); name != "" && (at == nil || name != at.String()) {
			to = field.NewPath(name)
		}
		value := v.Value
		if value == nil {
			value = ""
		}
		switch v.Code() {
		case openapierrors.RequiredFailCode:
			errs = append(errs, field.Required(to, ""))
		case openapierrors.EnumFailCode:
			values := make([]string, len(v.Values))
			for i, each := range v.Values {
				if s, ok := each.(string); ok {
					values[i] = s
				} else if data, err := json.Marshal(each); err == nil {
					values[i] = string(data)
				}
			}
			errs = append(errs, field.NotSupported(to, v.Value, values))
		case openapierrors.TooLongFailCode:
			errs = append(errs, field.TooLong(to, "", int(number(v.Valid))))
		case openapierrors.MaxItemsFailCode, openapierrors.TooManyPropertiesCode:
			errs = append(errs, field.TooMany(to, int(number(v.Value)), int(number(v.Valid))))
		case openapierrors.InvalidTypeCode:
			errs = append(errs, field.TypeInvalid(to, value, err.Error()))
		default:
			errs = append(errs, field.Invalid(to, value, err.Error()))
		}
	}
	return errs
}

func number(v any) int64 {
	if n, ok := v.(int64); ok {
		return n
	}
	return -1
}

// blocking reports whether rules in CEL cannot be trusted with a value any more: they would fail for the same reasons.
func blocking(errs field.ErrorList) bool {
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}

var errNotChecked = fmt.Sprint("some validation rules were not checked because the object was invalid; correct the existing errors to complete validation")
