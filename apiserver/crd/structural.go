package crd

import (
	"fmt"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// level is where in a schema a structural rule is checked: the texts differ.
type level int

const (
	rootLevel level = iota
	itemLevel
	fieldLevel
)

// checkStructural reports where a schema is not structural: each value must have one type, said outside of value validation.
// Source of the rules: KEP-2896's predecessor, "structural schemas", and apiextensions-apiserver, pkg/apiserver/schema.
func checkStructural(p *JSONSchemaProps, at *field.Path) field.ErrorList {
	errs := structuralNode(p, rootLevel, at)
	errs = append(errs, complete(p, p, at, at)...)
	slices.SortFunc(errs, func(a, b *field.Error) int {
		switch x, y := a.Error(), b.Error(); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	return errs
}

func structuralNode(p *JSONSchemaProps, lvl level, at *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	preserve := p.XPreserveUnknownFields != nil && *p.XPreserveUnknownFields
	if p.Type == "array" && (p.Items == nil || p.Items.Schema == nil) {
		errs = append(errs, field.Required(at.Child("items"), "must be specified"))
	}
	if p.Items != nil {
		errs = append(errs, structuralNode(p.Items.Schema, itemLevel, at.Child("items"))...)
	}
	for _, name := range sortedKeys(p.Properties) {
		child := p.Properties[name]
		errs = append(errs, structuralNode(&child, fieldLevel, at.Child("properties").Key(name))...)
	}
	if a := p.AdditionalProperties; a != nil {
		if lvl == rootLevel {
			errs = append(errs, field.Forbidden(at.Child("additionalProperties"), "must not be used at the root"))
		}
		errs = append(errs, structuralNode(a.Schema, fieldLevel, at.Child("additionalProperties"))...)
	}
	if p.XIntOrString && preserve {
		errs = append(errs, field.Invalid(at.Child("x-kubernetes-preserve-unknown-fields"), preserve, "must be false if x-kubernetes-int-or-string is true"))
	}
	if p.XIntOrString && p.XEmbeddedResource {
		errs = append(errs, field.Invalid(at.Child("x-kubernetes-embedded-resource"), p.XEmbeddedResource, "must be false if x-kubernetes-int-or-string is true"))
	}
	errs = append(errs, valueRules(p, eitherType(p.AnyOf), len(p.AllOf) > 0 && eitherType(p.AllOf[0].AnyOf), lvl, at)...)
	switch {
	case p.XEmbeddedResource && p.Type == "":
		errs = append(errs, field.Required(at.Child("type"), "must be object if x-kubernetes-embedded-resource is true"))
	case p.XEmbeddedResource && p.Type != "object":
		errs = append(errs, field.Invalid(at.Child("type"), p.Type, "must be object if x-kubernetes-embedded-resource is true"))
	case p.Type == "" && !p.XIntOrString && !preserve:
		text := map[level]string{rootLevel: "must not be empty at the root", itemLevel: "must not be empty for specified array items", fieldLevel: "must not be empty for specified object fields"}
		errs = append(errs, field.Required(at.Child("type"), text[lvl]))
	}
	if p.XEmbeddedResource && p.AdditionalProperties != nil {
		errs = append(errs, field.Forbidden(at.Child("additionalProperties"), "must not be used if x-kubernetes-embedded-resource is set"))
	}
	if lvl == rootLevel && p.Type != "" && p.Type != "object" {
		errs = append(errs, field.Invalid(at.Child("type"), p.Type, "must be object at the root"))
	}
	errs = append(errs, structuralMeta(p, lvl, at)...)
	if p.XEmbeddedResource && !preserve && len(p.Properties) == 0 {
		errs = append(errs, field.Required(at.Child("properties"), "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"))
	}
	return errs
}

// structuralMeta checks what a schema says of the fields that every object has.
func structuralMeta(p *JSONSchemaProps, lvl level, at *field.Path) (errs field.ErrorList) {
	whole := lvl == rootLevel || p.XEmbeddedResource
	for _, name := range []string{"kind", "apiVersion"} {
		if child, ok := p.Properties[name]; ok && whole && child.Type != "string" {
			errs = append(errs, field.Invalid(at.Child("properties").Key(name).Child("type"), child.Type, "must be string"))
		}
	}
	meta, ok := p.Properties["metadata"]
	if !ok {
		return errs
	}
	at = at.Child("properties").Key("metadata")
	if whole && meta.Type != "object" {
		errs = append(errs, field.Invalid(at.Child("type"), meta.Type, "must be object"))
	}
	if lvl == rootLevel {
		allowed := true
		for name := range meta.Properties {
			allowed = allowed && (name == "name" || name == "generateName")
		}
		rest := meta
		rest.Properties, rest.Type, rest.Description, rest.Default = nil, "", "", nil
		if !allowed || !isEmpty(&rest) || meta.Description != "" {
			errs = append(errs, field.Forbidden(at, "must not specify anything other than name and generateName, but metadata is implicitly specified"))
		}
	}
	return errs
}

// eitherType reports whether alternatives are those of an integer or a string, as x-kubernetes-int-or-string is written out.
func eitherType(of []JSONSchemaProps) bool {
	if len(of) != 2 || of[0].Type != "integer" || of[1].Type != "string" {
		return false
	}
	for _, each := range of {
		each.Type = ""
		if !isEmpty(&each) {
			return false
		}
	}
	return true
}

// valueRules checks the value validation of a level: alternatives may say nothing about structure.
func valueRules(p *JSONSchemaProps, skipAnyOf, skipFirstAllOf bool, lvl level, at *field.Path) (errs field.ErrorList) {
	if !skipAnyOf {
		for i := range p.AnyOf {
			errs = append(errs, nestedRules(&p.AnyOf[i], false, lvl, at.Child("anyOf").Index(i))...)
		}
	}
	for i := range p.AllOf {
		errs = append(errs, nestedRules(&p.AllOf[i], skipFirstAllOf && i == 0, lvl, at.Child("allOf").Index(i))...)
	}
	for i := range p.OneOf {
		errs = append(errs, nestedRules(&p.OneOf[i], false, lvl, at.Child("oneOf").Index(i))...)
	}
	errs = append(errs, nestedRules(p.Not, false, lvl, at.Child("not"))...)
	if p.Pattern != "" {
		if _, err := regexp.Compile(p.Pattern); err != nil {
			errs = append(errs, field.Invalid(at.Child("pattern"), p.Pattern, fmt.Sprintf("must be a valid regular expression, but isn't: %v", err)))
		}
	}
	return errs
}

func nestedRules(p *JSONSchemaProps, skipAnyOf bool, lvl level, at *field.Path) (errs field.ErrorList) {
	if p == nil {
		return nil
	}
	errs = append(errs, valueRules(p, skipAnyOf, false, lvl, at)...)
	if p.Items != nil {
		errs = append(errs, nestedRules(p.Items.Schema, false, lvl, at.Child("items"))...)
	}
	for _, name := range sortedKeys(p.Properties) {
		child := p.Properties[name]
		errs = append(errs, nestedRules(&child, false, fieldLevel, at.Child("properties").Key(name))...)
	}
	forbid := func(bad bool, name, text string) {
		if bad {
			errs = append(errs, field.Forbidden(at.Child(name), text))
		}
	}
	forbid(p.Type != "", "type", "must be empty to be structural")
	forbid(p.AdditionalProperties != nil, "additionalProperties", "must be undefined to be structural")
	forbid(p.Default != nil, "default", "must be undefined to be structural")
	forbid(p.Title != "", "title", "must be empty to be structural")
	forbid(p.Description != "", "description", "must be empty to be structural")
	forbid(p.Nullable, "nullable", "must be false to be structural")
	forbid(p.XPreserveUnknownFields != nil && *p.XPreserveUnknownFields, "x-kubernetes-preserve-unknown-fields", "must be false to be structural")
	forbid(p.XEmbeddedResource, "x-kubernetes-embedded-resource", "must be false to be structural")
	forbid(p.XIntOrString, "x-kubernetes-int-or-string", "must be false to be structural")
	forbid(len(p.XListMapKeys) > 0, "x-kubernetes-list-map-keys", "must be empty to be structural")
	forbid(p.XListType != nil, "x-kubernetes-list-type", "must be undefined to be structural")
	forbid(p.XMapType != nil, "x-kubernetes-map-type", "must be undefined to be structural")
	forbid(len(p.XValidations) > 0, "x-kubernetes-validations", "must be empty to be structural")
	if _, ok := p.Properties["metadata"]; ok {
		errs = append(errs, field.Forbidden(at.Child("properties").Key("metadata"), "must not be specified in a nested context"))
	}
	return errs
}

// complete checks that whatever alternatives speak of is said to exist outside of them.
func complete(v, s *JSONSchemaProps, sAt, vAt *field.Path) (errs field.ErrorList) {
	errs = append(errs, nestedComplete(v.Not, s, sAt, vAt.Child("not"))...)
	for _, each := range []struct {
		name string
		of   []JSONSchemaProps
	}{{"allOf", v.AllOf}, {"anyOf", v.AnyOf}, {"oneOf", v.OneOf}} {
		for i := range each.of {
			errs = append(errs, nestedComplete(&each.of[i], s, sAt, vAt.Child(each.name).Index(i))...)
		}
	}
	return errs
}

func nestedComplete(v, s *JSONSchemaProps, sAt, vAt *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	if s == nil {
		return field.ErrorList{field.Required(sAt, fmt.Sprintf("because it is defined in %s", vAt.String()))}
	}
	errs := complete(v, s, sAt, vAt)
	if v.Items != nil {
		var items *JSONSchemaProps
		if s.Items != nil {
			items = s.Items.Schema
		}
		errs = append(errs, nestedComplete(v.Items.Schema, items, sAt.Child("items"), vAt.Child("items"))...)
	}
	for _, name := range sortedKeys(v.Properties) {
		child := v.Properties[name]
		if of, ok := s.Properties[name]; ok {
			errs = append(errs, nestedComplete(&child, &of, sAt.Child("properties").Key(name), vAt.Child("properties").Key(name))...)
		} else {
			errs = append(errs, field.Required(sAt.Child("properties").Key(name), fmt.Sprintf("because it is defined in %s", vAt.Child("properties").Key(name))))
		}
	}
	return errs
}
