package openapi

import (
	"encoding/json"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

var objectMetaType = reflect.TypeFor[metav1.ObjectMeta]()

// dynamic adds the schema of a kind without a Go type, as the kind gives it, with the fields that every object has.
func (b *builder) dynamic(k *kind.Kind, name string) {
	s := object("")
	if k.Schema != nil {
		given := &spec.Schema{}
		if err := json.Unmarshal(k.Schema(), given); err == nil { // who makes the kind has checked it
			s = given
		}
	} else {
		s.AddExtension("x-kubernetes-preserve-unknown-fields", true)
	}
	if s.Properties == nil {
		s.Properties = map[string]spec.Schema{}
	}
	s.Properties["apiVersion"] = described(*spec.StringProperty(), typeMetaDoc["apiVersion"])
	s.Properties["kind"] = described(*spec.StringProperty(), typeMetaDoc["kind"])
	s.Properties["metadata"] = b.reference(objectMetaType, "Standard object metadata.")
	b.made[name] = s
	b.given[name] = true
}

// toV2 takes out of a schema what OpenAPI v2 does not have, as kube-apiserver does for custom resources: a client that reads v2 then
// knows less, and refuses nothing that the server accepts.
func toV2(s *spec.Schema) {
	if len(s.AllOf) == 1 && s.AllOf[0].Ref.String() != "" { // the metadata
		s.Ref = s.AllOf[0].Ref
	}
	s.OneOf, s.AnyOf, s.AllOf, s.Not = nil, nil, nil, nil
	if keep, _ := s.Extensions.GetBool("x-kubernetes-preserve-unknown-fields"); keep || s.Nullable {
		s.Type, s.Items, s.Properties, s.AdditionalProperties, s.Required = nil, nil, nil, nil, nil
	}
	if either, _ := s.Extensions.GetBool("x-kubernetes-int-or-string"); either {
		s.Type = nil
	}
	s.Nullable = false
	s.Default = nil
	if s.Items != nil && s.Items.Schema != nil {
		toV2(s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		toV2(s.AdditionalProperties.Schema)
	}
	for name, p := range s.Properties {
		toV2(&p)
		s.Properties[name] = p
	}
}
