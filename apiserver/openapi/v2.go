package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// assembleV2 writes the older document, about everything at once, from what the newer ones say.
func assembleV2(b *builder, pages map[string]*page, version string) ([]byte, error) {
	ps := &paths{b: b, all: map[string]*spec3.Path{}}
	for _, at := range slices.Sorted(maps.Keys(pages)) {
		ps.page(pages[at])
	}
	definitions := spec.Definitions{}
	for name, s := range b.all() {
		if b.given[name] {
			toV2(s)
		}
		older(s)
		definitions[name] = *s
	}
	items := make(map[string]spec.PathItem, len(ps.all))
	for at, p := range ps.all {
		items[at] = olderPath(p)
	}
	data, err := json.Marshal(&spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger: "2.0", Info: info(version), Paths: &spec.Paths{Paths: items}, Definitions: definitions,
		SecurityDefinitions: spec.SecurityDefinitions{"BearerToken": &spec.SecurityScheme{SecuritySchemeProps: spec.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication",
		}}},
		Security: []map[string][]string{{"BearerToken": {}}},
	}})
	if err != nil {
		return nil, fmt.Errorf("openapi: encode v2: %w", err)
	}
	return data, nil
}

func encodeV2(data []byte) ([]byte, error) {
	parsed, err := openapi_v2.ParseDocument(data)
	if err != nil {
		return nil, fmt.Errorf("openapi: v2: %w", err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
}

// older makes a schema what the older format says of it: that has no defaults, no alternatives, and texts beside references.
func older(s *spec.Schema) {
	s.Default = nil
	s.Nullable = false
	if len(s.OneOf) > 0 { // a number or a text
		s.OneOf, s.Type = nil, []string{"string"}
	}
	s.AnyOf, s.Not = nil, nil
	if len(s.AllOf) == 1 && s.AllOf[0].Ref.String() != "" {
		s.Ref, s.AllOf = s.AllOf[0].Ref, nil
	}
	if ref := s.Ref.String(); ref != "" {
		s.Ref = spec.MustCreateRef("#/definitions/" + strings.TrimPrefix(ref, refPrefix))
	}
	for i := range s.AllOf {
		older(&s.AllOf[i])
	}
	for name, p := range s.Properties {
		older(&p)
		s.Properties[name] = p
	}
	if s.Items != nil && s.Items.Schema != nil {
		older(s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		older(s.AdditionalProperties.Schema)
	}
}

func olderPath(p *spec3.Path) spec.PathItem {
	return spec.PathItem{PathItemProps: spec.PathItemProps{
		Get: olderOperation(p.Get), Put: olderOperation(p.Put), Post: olderOperation(p.Post), Delete: olderOperation(p.Delete),
		Options: olderOperation(p.Options), Head: olderOperation(p.Head), Patch: olderOperation(p.Patch), Parameters: olderParameters(p.Parameters),
	}}
}

func olderOperation(o *spec3.Operation) *spec.Operation {
	if o == nil {
		return nil
	}
	out := &spec.Operation{VendorExtensible: o.VendorExtensible, OperationProps: spec.OperationProps{
		Description: o.Description, ID: o.OperationId, Tags: o.Tags, Schemes: []string{"https"}, Parameters: olderParameters(o.Parameters),
		Responses: &spec.Responses{ResponsesProps: spec.ResponsesProps{StatusCodeResponses: map[int]spec.Response{}}},
	}}
	if o.RequestBody != nil {
		for _, media := range slices.Sorted(maps.Keys(o.RequestBody.Content)) {
			out.Consumes = append(out.Consumes, media)
		}
		body := olderSchema(o.RequestBody.Content[out.Consumes[0]].Schema)
		out.Parameters = append(out.Parameters, spec.Parameter{ParamProps: spec.ParamProps{Name: "body", In: "body", Required: o.RequestBody.Required, Schema: body}})
	}
	for code, r := range o.Responses.StatusCodeResponses {
		answer := spec.Response{ResponseProps: spec.ResponseProps{Description: r.Description}}
		for _, media := range slices.Sorted(maps.Keys(r.Content)) {
			answer.Schema = olderSchema(r.Content[media].Schema)
			if !slices.Contains(out.Produces, media) {
				out.Produces = append(out.Produces, media)
			}
		}
		out.Responses.StatusCodeResponses[code] = answer
	}
	slices.Sort(out.Produces)
	return out
}

// olderSchema is a copy of the schema of a body: a reference or a simple type.
func olderSchema(s *spec.Schema) *spec.Schema {
	c := *s
	older(&c)
	return &c
}

func olderParameters(in []*spec3.Parameter) []spec.Parameter {
	var out []spec.Parameter
	for _, p := range in {
		out = append(out, spec.Parameter{
			ParamProps:        spec.ParamProps{Name: p.Name, In: p.In, Description: p.Description, Required: p.Required},
			SimpleSchema:      spec.SimpleSchema{Type: p.Schema.Type[0]},
			CommonValidations: spec.CommonValidations{UniqueItems: true},
		})
	}
	return out
}
