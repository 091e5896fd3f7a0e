package crd

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kjson "sigs.k8s.io/json"

	"github.com/keelson-dev/keelson/apiserver/expr"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Tagged returns a kind of the application with validation by the tags of its Go type, as custom resources have it by their schema. The tags
// of a field are minimum, maximum, minLength, maxLength, minItems, maxItems, pattern, format, enum (values between commas) and
// rule: an expression in CEL about self, and oldSelf, with message beside it. A rule about the whole spec or status stands at a
// field of that type. Fields without omitempty that are no pointers are required.
//
//	type FleetSpec struct {
//		Size int32  `json:"size" minimum:"1" maximum:"9"`
//		Mode string `json:"mode,omitempty" enum:"duel,team" rule:"self == oldSelf" message:"cannot be changed"`
//	}
//
// What the type's strategy validates already comes after. The schema is published in OpenAPI. Updates are held to what they change, as
// those of custom resources are. The error names a tag that makes no sense.
func Tagged[T kind.Instance](t kind.Type[T]) (kind.Type[T], error) {
	p, err := tagSchema(reflect.TypeFor[T]().Elem())
	if err != nil {
		return t, fmt.Errorf("kind %s: %w", t.Kind().Name, err)
	}
	env := sync.OnceValues(expr.NewEnv)
	if errs := validateSchema(env, p, false, field.NewPath("schema")); len(errs) > 0 {
		return t, fmt.Errorf("kind %s: %w", t.Kind().Name, errs.ToAggregate())
	}
	root, err := compile(p)
	if err != nil {
		return t, fmt.Errorf("kind %s: %w", t.Kind().Name, err)
	}
	var rules *ruleTree
	if root.hasRules() {
		e, err := env()
		if err != nil {
			return t, err
		}
		rules = compileRules(e, root, true)
	}
	data, err := json.Marshal(p)
	if err != nil {
		return t, err
	}
	s := t.Kind().Strategy
	s.Validate = after(root, rules, s.Validate)
	s.ValidateStatus = after(root, rules, s.ValidateStatus)
	out := t.With(s)
	out.Kind().Schema = func() []byte { return data }
	return out, nil
}

// after is validation by a schema and then by own.
func after(root *node, rules *ruleTree, own func(obj, old kind.Instance) field.ErrorList) func(obj, old kind.Instance) field.ErrorList {
	return func(obj, old kind.Instance) field.ErrorList {
		now, err := asJSON(obj)
		if err != nil {
			return field.ErrorList{field.InternalError(nil, err)}
		}
		var before map[string]any
		var errs field.ErrorList
		if old == nil {
			errs = validateValue(root, nil, now)
		} else {
			if before, err = asJSON(old); err != nil {
				return field.ErrorList{field.InternalError(nil, err)}
			}
			errs = validateChange(root, nil, now, before)
		}
		if rules != nil && !blocking(errs) {
			errs = append(errs, rules.validate(now, before)...)
		}
		if own != nil {
			errs = append(errs, own(obj, old)...)
		}
		return errs
	}
}

func asJSON(obj kind.Instance) (map[string]any, error) {
	data, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	err = kjson.UnmarshalCaseSensitivePreserveInts(data, &out)
	return out, err
}

// tagSchema is the schema of an object's type. The metadata are not its business.
func tagSchema(t reflect.Type) (*JSONSchemaProps, error) {
	p, err := structSchema(t, nil)
	if err != nil {
		return nil, err
	}
	delete(p.Properties, "metadata")
	delete(p.Properties, "apiVersion")
	delete(p.Properties, "kind")
	var required []string
	for _, r := range p.Required {
		if !isMeta(r) && r != "status" && r != "spec" {
			required = append(required, r)
		}
	}
	p.Required = required
	return p, nil
}

// structSchema is the schema of a struct; above are the types that it is in.
func structSchema(t reflect.Type, above []reflect.Type) (*JSONSchemaProps, error) {
	for _, a := range above {
		if a == t {
			return nil, fmt.Errorf("%v contains itself: such types have no structural schema", t)
		}
	}
	above = append(above, t)
	p := &JSONSchemaProps{Type: "object", Properties: map[string]JSONSchemaProps{}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous || f.Type.Name() == "TypeMeta" || f.Type.Name() == "ObjectMeta" {
			continue
		}
		if f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct {
			inner, err := structSchema(f.Type, above)
			if err != nil {
				return nil, err
			}
			for n, c := range inner.Properties {
				p.Properties[n] = c
			}
			p.Required = append(p.Required, inner.Required...)
			continue
		}
		if name == "" {
			name = f.Name
		}
		c, err := fieldSchema(f.Type, above)
		if err == nil {
			err = applyTags(c, f.Tag)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p.Properties[name] = *c
		if !strings.Contains(opts, "omitempty") && !strings.Contains(opts, "omitzero") && f.Type.Kind() != reflect.Pointer {
			p.Required = append(p.Required, name)
		}
	}
	return p, nil
}

func fieldSchema(t reflect.Type, above []reflect.Type) (*JSONSchemaProps, error) {
	if t.Kind() == reflect.Pointer {
		p, err := fieldSchema(t.Elem(), above)
		if p != nil {
			p.Nullable = true
		}
		return p, err
	}
	if p := specialSchema(t); p != nil {
		return p, nil
	}
	switch t.Kind() {
	case reflect.String:
		return &JSONSchemaProps{Type: "string"}, nil
	case reflect.Bool:
		return &JSONSchemaProps{Type: "boolean"}, nil
	case reflect.Float32, reflect.Float64:
		return &JSONSchemaProps{Type: "number"}, nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &JSONSchemaProps{Type: "integer"}, nil
	case reflect.Struct:
		return structSchema(t, above)
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &JSONSchemaProps{Type: "string", Format: "byte", Nullable: true}, nil
		}
		elem, err := fieldSchema(t.Elem(), above)
		return &JSONSchemaProps{Type: "array", Items: &SchemaOrArray{Schema: elem}, Nullable: true}, err
	case reflect.Map:
		elem, err := fieldSchema(t.Elem(), above)
		return &JSONSchemaProps{Type: "object", AdditionalProperties: &SchemaOrBool{Allows: true, Schema: elem}, Nullable: true}, err
	}
	return anything(), nil
}

func anything() *JSONSchemaProps {
	keep := true
	return &JSONSchemaProps{XPreserveUnknownFields: &keep, Nullable: true}
}

// specialSchema is the schema of a type that writes itself in its own way; nil for the others.
func specialSchema(t reflect.Type) *JSONSchemaProps {
	switch t.String() {
	case "v1.Time", "v1.MicroTime", "time.Time":
		return &JSONSchemaProps{Type: "string", Format: "date-time", Nullable: true}
	case "resource.Quantity", "intstr.IntOrString":
		return &JSONSchemaProps{XIntOrString: true}
	case "v1.Duration":
		return &JSONSchemaProps{Type: "string"}
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[json.Marshaler]()) {
		return anything()
	}
	return nil
}

// applyTags puts a field's tags into its schema.
func applyTags(p *JSONSchemaProps, tag reflect.StructTag) error {
	var errs []error
	float := func(name string, into **float64) {
		if text, ok := tag.Lookup(name); ok {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				errs = append(errs, fmt.Errorf("tag %s: %q is no number", name, text))
			}
			*into = &n
		}
	}
	whole := func(name string, into **int64) {
		if text, ok := tag.Lookup(name); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				errs = append(errs, fmt.Errorf("tag %s: %q is no number from 0 on", name, text))
			}
			*into = &n
		}
	}
	float("minimum", &p.Minimum)
	float("maximum", &p.Maximum)
	whole("minLength", &p.MinLength)
	whole("maxLength", &p.MaxLength)
	whole("minItems", &p.MinItems)
	whole("maxItems", &p.MaxItems)
	if text, ok := tag.Lookup("pattern"); ok {
		p.Pattern = text
	}
	if text, ok := tag.Lookup("format"); ok {
		p.Format = text
	}
	if text, ok := tag.Lookup("enum"); ok {
		for _, v := range strings.Split(text, ",") {
			raw := []byte(v)
			if p.Type == "string" {
				raw, _ = json.Marshal(v)
			}
			if !json.Valid(raw) {
				errs = append(errs, fmt.Errorf("tag enum: %q is no %s", v, p.Type))
			}
			p.Enum = append(p.Enum, JSON{Raw: raw})
		}
	}
	if rule, ok := tag.Lookup("rule"); ok {
		p.XValidations = append(p.XValidations, ValidationRule{Rule: rule, Message: tag.Get("message")})
	}
	return errors.Join(errs...)
}
