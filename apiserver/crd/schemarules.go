package crd

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/expr"
)

// Bounds on schemas beside those that upstream has: a schema is walked for each object, by whoever may write one.
const (
	maxSchemaDepth = 100
	maxSchemaNodes = 20_000
)

// rootFields may stand at the root of a schema when there is a status subresource. Source: apiextensions-apiserver.
var rootFields = []string{"Description", "Type", "Format", "Title", "Maximum", "ExclusiveMaximum", "Minimum", "ExclusiveMinimum", "MaxLength", "MinLength",
	"Pattern", "MaxItems", "MinItems", "UniqueItems", "MultipleOf", "Required", "Items", "Properties", "ExternalDocs", "Example", "XPreserveUnknownFields", "XValidations"}

var schemaTypes = []string{"array", "boolean", "integer", "null", "number", "object", "string"}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// validateSchema reports what is wrong with the schema of a version.
func validateSchema(env func() (*expr.Env, error), p *JSONSchemaProps, status bool, at *field.Path) (errs field.ErrorList) {
	if nodes, deep := measure(p, 0); deep > maxSchemaDepth || nodes > maxSchemaNodes {
		return field.ErrorList{field.Forbidden(at, fmt.Sprintf("the schema has %d parts, nested %d deep: at most %d and %d are allowed", nodes, deep, maxSchemaNodes, maxSchemaDepth))}
	}
	if status {
		errs = append(errs, validateRoot(p, at)...)
	}
	if p.Nullable {
		errs = append(errs, field.Forbidden(field.NewPath(at.String()+".nullable"), "nullable cannot be true at the root"))
	}
	structural := checkStructural(p, at)
	errs = append(errs, structural...)
	r := schemaRules{defaults: true}
	errs = append(errs, r.check(p, at, true)...)
	if len(errs) > 0 {
		return errs
	}
	root, err := compile(p)
	if err != nil {
		return field.ErrorList{field.Invalid(at, "", fmt.Sprintf("error building validator: %v", err))}
	}
	if errs = checkDefaults(root, at, true); len(errs) > 0 {
		return errs
	}
	return validateRules(env, root, at)
}

// measure counts a schema's parts and how deep they are nested.
func measure(p *JSONSchemaProps, depth int) (nodes, deepest int) {
	if p == nil || depth > 2*maxSchemaDepth {
		return 0, depth
	}
	nodes, deepest = 1, depth
	add := func(c *JSONSchemaProps) {
		n, d := measure(c, depth+1)
		nodes, deepest = nodes+n, max(deepest, d)
	}
	each(p, add)
	return nodes, deepest
}

// each visits the schemas directly in a schema.
func each(p *JSONSchemaProps, visit func(*JSONSchemaProps)) {
	for _, list := range [][]JSONSchemaProps{p.AllOf, p.AnyOf, p.OneOf} {
		for i := range list {
			visit(&list[i])
		}
	}
	for _, m := range []map[string]JSONSchemaProps{p.Properties, p.PatternProperties, p.Definitions} {
		for _, name := range sortedKeys(m) {
			c := m[name]
			visit(&c)
		}
	}
	for _, c := range p.Dependencies {
		if c.Schema != nil {
			visit(c.Schema)
		}
	}
	if p.Not != nil {
		visit(p.Not)
	}
	if p.Items != nil {
		if p.Items.Schema != nil {
			visit(p.Items.Schema)
		}
		for i := range p.Items.JSONSchemas {
			visit(&p.Items.JSONSchemas[i])
		}
	}
	for _, a := range []*SchemaOrBool{p.AdditionalProperties, p.AdditionalItems} {
		if a != nil && a.Schema != nil {
			visit(a.Schema)
		}
	}
}

func validateRoot(p *JSONSchemaProps, at *field.Path) field.ErrorList {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if v.Field(i).IsZero() {
			continue
		}
		if name == "Type" {
			if p.Type != "object" {
				return field.ErrorList{field.Invalid(field.NewPath(at.String()+".type"), p.Type, `only "object" is allowed as the type at the root of the schema if the status subresource is enabled`)}
			}
			continue
		}
		if !slices.Contains(rootFields, name) {
			return field.ErrorList{field.Invalid(at, name, fmt.Sprintf(`only %v fields are allowed at the root of the schema if the status subresource is enabled`, rootFields))}
		}
	}
	return nil
}

// schemaRules carries down what the rules depend on above a schema.
type schemaRules struct {
	defaults   bool   // are allowed
	why        string // they are not
	insideMeta bool
}

// check reports what is wrong with one schema and those in it.
func (r schemaRules) check(p *JSONSchemaProps, at *field.Path, root bool) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	errs = append(errs, r.supported(p, at)...)
	if p.UniqueItems {
		errs = append(errs, field.Forbidden(at.Child("uniqueItems"), "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"))
	}
	if a := p.AdditionalProperties; a != nil {
		if len(p.Properties) > 0 && (!a.Allows || a.Schema != nil) {
			errs = append(errs, field.Forbidden(at.Child("additionalProperties"), "additionalProperties and properties are mutual exclusive"))
		}
		sub := r
		if r.insideMeta {
			sub.defaults, sub.why = false, "inside additionalProperties applying to object metadata"
		}
		errs = append(errs, sub.check(a.Schema, at.Child("additionalProperties"), false)...)
	}
	for _, name := range sortedKeys(p.Properties) {
		child, sub := p.Properties[name], r
		if (root || p.XEmbeddedResource) && isMeta(name) {
			sub.insideMeta = true
			if root {
				sub.defaults, sub.why = false, "in top-level "+name
			}
		}
		errs = append(errs, sub.check(&child, at.Child("properties").Key(name), false)...)
	}
	errs = append(errs, r.check(p.Not, at.Child("not"), false)...)
	for _, list := range []struct {
		name string
		of   []JSONSchemaProps
	}{{"allOf", p.AllOf}, {"oneOf", p.OneOf}, {"anyOf", p.AnyOf}} {
		for i := range list.of {
			errs = append(errs, r.check(&list.of[i], at.Child(list.name).Index(i), false)...)
		}
	}
	if p.Items != nil {
		errs = append(errs, r.check(p.Items.Schema, at.Child("items"), false)...)
	}
	errs = append(errs, validateMapType(p, at)...)
	errs = append(errs, validateListType(p, at)...)
	return append(errs, validateRuleTexts(p, at)...)
}

// supported reports what JSON schema has and custom resources do not.
func (r schemaRules) supported(p *JSONSchemaProps, at *field.Path) (errs field.ErrorList) {
	if p.Type != "" && !slices.Contains(schemaTypes, p.Type) {
		errs = append(errs, field.NotSupported(at.Child("type"), p.Type, schemaTypes))
	}
	if p.Default != nil && !r.defaults {
		errs = append(errs, field.Forbidden(at.Child("default"), strings.TrimSpace("must not be set "+r.why)))
	}
	forbid := func(bad bool, name, text string) {
		if bad {
			errs = append(errs, field.Forbidden(at.Child(name), text))
		}
	}
	forbid(p.ID != "", "id", "id is not supported")
	forbid(p.AdditionalItems != nil, "additionalItems", "additionalItems is not supported")
	forbid(len(p.PatternProperties) > 0, "patternProperties", "patternProperties is not supported")
	forbid(len(p.Definitions) > 0, "definitions", "definitions is not supported")
	forbid(p.Dependencies != nil, "dependencies", "dependencies is not supported")
	forbid(p.Ref != nil, "$ref", "$ref is not supported")
	forbid(p.Type == "null", "type", "type cannot be set to null, use nullable as an alternative")
	forbid(p.Items != nil && len(p.Items.JSONSchemas) > 0, "items", "items must be a schema object and not an array")
	forbid(r.insideMeta && p.XEmbeddedResource, "x-kubernetes-embedded-resource", "must not be used inside of resource meta")
	if p.XPreserveUnknownFields != nil && !*p.XPreserveUnknownFields {
		errs = append(errs, field.Invalid(at.Child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined"))
	}
	return errs
}

func needsType(p *JSONSchemaProps, at *field.Path, want, extension string) field.ErrorList {
	text := fmt.Sprintf("must be %s if %s is specified", want, extension)
	switch p.Type {
	case want:
		return nil
	case "":
		return field.ErrorList{field.Required(at.Child("type"), text)}
	}
	return field.ErrorList{field.Invalid(at.Child("type"), p.Type, text)}
}

func validateMapType(p *JSONSchemaProps, at *field.Path) field.ErrorList {
	if p.XMapType == nil {
		return nil
	}
	errs := needsType(p, at, "object", "x-kubernetes-map-type")
	if *p.XMapType != mapAtomic && *p.XMapType != "granular" {
		errs = append(errs, field.NotSupported(at.Child("x-kubernetes-map-type"), *p.XMapType, []string{mapAtomic, "granular"}))
	}
	return errs
}

func validateListType(p *JSONSchemaProps, at *field.Path) (errs field.ErrorList) {
	keysAt := at.Child("x-kubernetes-list-map-keys")
	if len(p.XListMapKeys) > 0 {
		if p.XListType == nil {
			errs = append(errs, field.Required(at.Child("x-kubernetes-list-type"), "must be map if x-kubernetes-list-map-keys is non-empty"))
		} else if *p.XListType != listMap {
			errs = append(errs, field.Invalid(at.Child("x-kubernetes-list-type"), *p.XListType, "must be map if x-kubernetes-list-map-keys is non-empty"))
		}
	}
	if p.XListType == nil {
		return errs
	}
	if bad := needsType(p, at, "array", "x-kubernetes-list-type"); len(bad) > 0 {
		errs = append(errs, bad...)
	} else if *p.XListType == listSet && p.Items != nil && p.Items.Schema != nil {
		switch is := p.Items.Schema; {
		case is.Type == "array" && is.XListType != nil && *is.XListType != mapAtomic:
			errs = append(errs, field.Invalid(at.Child("items").Child("x-kubernetes-list-type"), *is.XListType, "must be atomic as item of a list with x-kubernetes-list-type=set"))
		case is.Type == "object" && (is.XMapType == nil || *is.XMapType != mapAtomic):
			errs = append(errs, field.Invalid(at.Child("items").Child("x-kubernetes-map-type"), is.XMapType, "must be atomic as item of a list with x-kubernetes-list-type=set"))
		}
	}
	if !slices.Contains([]string{mapAtomic, listSet, listMap}, *p.XListType) {
		errs = append(errs, field.NotSupported(at.Child("x-kubernetes-list-type"), *p.XListType, []string{mapAtomic, listSet, listMap}))
	}
	if *p.XListType == listMap {
		errs = append(errs, validateListMap(p, at, keysAt)...)
	}
	if (*p.XListType == listMap || *p.XListType == listSet) && p.Items != nil && p.Items.Schema != nil && p.Items.Schema.Nullable {
		errs = append(errs, field.Forbidden(at.Child("items").Child("nullable"), "cannot be nullable when x-kubernetes-list-type is "+*p.XListType))
	}
	return errs
}

func validateListMap(p *JSONSchemaProps, at, keysAt *field.Path) (errs field.ErrorList) {
	if len(p.XListMapKeys) == 0 {
		errs = append(errs, field.Required(keysAt, "must not be empty if x-kubernetes-list-type is map"))
	}
	switch {
	case p.Items == nil:
		return append(errs, field.Required(at.Child("items"), "must have a schema if x-kubernetes-list-type is map"))
	case p.Items.Schema == nil:
		return append(errs, field.Invalid(at.Child("items"), "", "must only have a single schema if x-kubernetes-list-type is map"))
	case p.Items.Schema.Type != "object":
		return append(errs, field.Invalid(at.Child("items").Child("type"), p.Items.Schema.Type, "must be object if parent array's x-kubernetes-list-type is map"))
	}
	items := p.Items.Schema
	for i, key := range p.XListMapKeys {
		at := at.Child("items").Child("properties").Key(key)
		child, ok := items.Properties[key]
		if !ok {
			errs = append(errs, field.Invalid(keysAt, p.XListMapKeys, "entries must all be names of item properties"))
		} else if child.Type == "array" || child.Type == "object" {
			errs = append(errs, field.Invalid(at.Child("type"), items.Type, "must be a scalar type if parent array's x-kubernetes-list-type is map"))
		}
		if slices.Contains(p.XListMapKeys[:i], key) {
			errs = append(errs, field.Invalid(keysAt, p.XListMapKeys, "must not contain duplicate entries"))
		}
		if ok && !slices.Contains(items.Required, key) && child.Default == nil {
			errs = append(errs, field.Required(at.Child("default"), "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"))
		}
		if ok && child.Nullable {
			errs = append(errs, field.Forbidden(at.Child("nullable"), "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"))
		}
	}
	return errs
}

// validateRuleTexts checks the rules in CEL as far as they are text.
func validateRuleTexts(p *JSONSchemaProps, at *field.Path) (errs field.ErrorList) {
	newline := func(s string) bool { return strings.ContainsAny(s, "\n\r") }
	for i, r := range p.XValidations {
		at := at.Child("x-kubernetes-validations").Index(i)
		rule, message := strings.TrimSpace(r.Rule), strings.TrimSpace(r.Message)
		switch {
		case rule == "":
			errs = append(errs, field.Required(at.Child("rule"), "rule is not specified"))
		case r.Message != "" && message == "":
			errs = append(errs, field.Invalid(at.Child("message"), r.Message, "must be non-empty if specified"))
		case newline(message):
			errs = append(errs, field.Invalid(at.Child("message"), r.Message, "must not contain line breaks"))
		case newline(rule) && message == "":
			errs = append(errs, field.Required(at.Child("message"), "message must be specified if rule contains line breaks"))
		}
		if r.MessageExpression != "" && strings.TrimSpace(r.MessageExpression) == "" {
			errs = append(errs, field.Required(at.Child("messageExpression"), "messageExpression must be non-empty if specified"))
		}
		reasons := []string{"FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"}
		if r.Reason != nil && !slices.Contains(reasons, *r.Reason) {
			errs = append(errs, field.NotSupported(at.Child("reason"), *r.Reason, reasons))
		}
		switch {
		case r.FieldPath == "":
		case strings.TrimSpace(r.FieldPath) == "":
			errs = append(errs, field.Invalid(at.Child("fieldPath"), r.FieldPath, "must be non-empty if specified"))
		case newline(r.FieldPath):
			errs = append(errs, field.Invalid(at.Child("fieldPath"), r.FieldPath, "must not contain line breaks"))
		default:
			if _, err := rulePath(p, r.FieldPath); err != nil {
				errs = append(errs, field.Invalid(at.Child("fieldPath"), r.FieldPath, "must be a valid path"))
			}
		}
	}
	return errs
}

// checkDefaults validates the defaults in a schema by the schema itself.
func checkDefaults(n *node, at *field.Path, root bool) (errs field.ErrorList) {
	if n == nil {
		return nil
	}
	if n.hasDef {
		at := at.Child("default")
		pruned := copyValue(n.def)
		var p pruner
		if object, ok := pruned.(map[string]any); ok {
			p.object(object, n, "", n.embedded || root)
		} else {
			p.value(pruned, n, "")
		}
		if len(p.unknown) > 0 {
			errs = append(errs, field.Invalid(at, n.def, "must not have unknown fields"))
		} else {
			errs = append(errs, validateValue(n, at, n.def)...)
		}
	}
	errs = append(errs, checkDefaults(n.items, at.Child("items"), false)...)
	for _, name := range sortedKeys(n.properties) {
		errs = append(errs, checkDefaults(n.properties[name], at.Child("properties").Key(name), false)...)
	}
	return errs
}
