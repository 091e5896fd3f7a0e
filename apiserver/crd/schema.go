package crd

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	kjson "sigs.k8s.io/json"
)

// The values of x-kubernetes-list-type and x-kubernetes-map-type.
const (
	listSet   = "set"
	listMap   = "map"
	mapAtomic = "atomic"
)

// node is one level of a structural schema, made ready to be used on values: what a field is, apart from what its value must be, stands
// in nodes alone. It is immutable.
type node struct {
	props *JSONSchemaProps

	typ         string
	nullable    bool
	preserve    bool // unknown fields are kept
	embedded    bool // a whole object with apiVersion, kind and metadata
	intOrString bool

	properties map[string]*node
	open       bool  // additionalProperties stands there
	additional *node // its schema; nil also when it is true
	items      *node

	def      any // default
	hasDef   bool
	listType string
	keys     []string // of a list that is a map
	mapType  string

	check *validate.SchemaValidator // of this level; nil when there is nothing to check
	shape *spec.Schema
}

// compile makes nodes of a schema that has been found structural.
func compile(p *JSONSchemaProps) (*node, error) {
	if p == nil {
		return nil, nil
	}
	n := &node{
		props: p, typ: p.Type, nullable: p.Nullable, embedded: p.XEmbeddedResource, intOrString: p.XIntOrString,
		preserve: p.XPreserveUnknownFields != nil && *p.XPreserveUnknownFields, keys: p.XListMapKeys,
	}
	if p.XListType != nil {
		n.listType = *p.XListType
	}
	if p.XMapType != nil {
		n.mapType = *p.XMapType
	}
	if p.Default != nil {
		v, err := p.Default.value()
		if err != nil {
			return nil, fmt.Errorf("default: %w", err)
		}
		n.def, n.hasDef = v, v != nil
	}
	var err error
	if p.Items != nil {
		if n.items, err = compile(p.Items.Schema); err != nil {
			return nil, fmt.Errorf("items: %w", err)
		}
	}
	if a := p.AdditionalProperties; a != nil && (a.Allows || a.Schema != nil) {
		n.open = true
		if n.additional, err = compile(a.Schema); err != nil {
			return nil, fmt.Errorf("additionalProperties: %w", err)
		}
	}
	if len(p.Properties) > 0 {
		n.properties = make(map[string]*node, len(p.Properties))
		for name, prop := range p.Properties {
			if n.properties[name], err = compile(&prop); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return n, n.compileCheck()
}

// compileCheck makes the validator of this level alone: levels are walked by ours, so that what has not changed can be left out.
func (n *node) compileCheck() error {
	shallow := *n.props
	shallow.Properties, shallow.AdditionalProperties, shallow.Items, shallow.Default = nil, nil, nil, nil
	shallow.XValidations, shallow.Example, shallow.ExternalDocs, shallow.Description = nil, nil, nil, ""
	s, err := openAPI(&shallow)
	if err != nil {
		return err
	}
	n.shape = s
	n.check = validate.NewSchemaValidator(s, nil, "", strfmt.Default)
	return nil
}

// child is the schema of a field, nil when there is none.
func (n *node) child(name string) *node {
	if n == nil {
		return nil
	}
	if p, ok := n.properties[name]; ok {
		return p
	}
	return n.additional
}

// value is the JSON value, with whole numbers as int64.
func (j JSON) value() (any, error) {
	var v any
	if len(j.Raw) == 0 {
		return nil, nil
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(j.Raw, &v); err != nil {
		return nil, err
	}
	return v, nil
}

// openAPI is a schema in the form that kube-openapi validates by.
func openAPI(p *JSONSchemaProps) (*spec.Schema, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	out := &spec.Schema{}
	if err := json.Unmarshal(data, out); err != nil {
		return nil, err
	}
	return out, adjust(p, out)
}

// adjust makes up for what the two forms say differently.
func adjust(p *JSONSchemaProps, s *spec.Schema) error {
	if p.Ref != nil {
		return errors.New("$ref is not supported")
	}
	if p.XIntOrString {
		s.Type = spec.StringOrArray{"integer", "string"}
	}
	for i := range p.Enum {
		v, err := p.Enum[i].value()
		if err != nil {
			return err
		}
		s.Enum[i] = v
	}
	for _, each := range []struct {
		from []JSONSchemaProps
		to   []spec.Schema
	}{{p.AllOf, s.AllOf}, {p.AnyOf, s.AnyOf}, {p.OneOf, s.OneOf}} {
		for i := range each.from {
			if err := adjust(&each.from[i], &each.to[i]); err != nil {
				return err
			}
		}
	}
	if p.Not != nil {
		if err := adjust(p.Not, s.Not); err != nil {
			return err
		}
	}
	if p.Items != nil && p.Items.Schema != nil {
		if err := adjust(p.Items.Schema, s.Items.Schema); err != nil {
			return err
		}
	}
	if p.AdditionalProperties != nil && p.AdditionalProperties.Schema != nil {
		if err := adjust(p.AdditionalProperties.Schema, s.AdditionalProperties.Schema); err != nil {
			return err
		}
	}
	for name, prop := range p.Properties {
		to := s.Properties[name]
		if err := adjust(&prop, &to); err != nil {
			return err
		}
		s.Properties[name] = to
	}
	return nil
}
