package crd

import (
	"encoding/json"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Group and Version are where definitions are served: apiextensions.k8s.io/v1.
const (
	Group   = "apiextensions.k8s.io"
	Version = "v1"
)

// CleanupFinalizer keeps a definition until its objects are gone.
const CleanupFinalizer = "customresourcecleanup.apiextensions.k8s.io"

// apiApproved is the annotation that community groups must carry.
const apiApproved = "api-approved.kubernetes.io"

// The values of a definition's scope and of its conversion strategy.
const (
	ClusterScoped   = "Cluster"
	NamespaceScoped = "Namespaced"

	NoneConverter    = "None"
	WebhookConverter = "Webhook"
)

// The types of a definition's conditions.
const (
	Established                           = "Established"
	NamesAccepted                         = "NamesAccepted"
	NonStructuralSchema                   = "NonStructuralSchema"
	Terminating                           = "Terminating"
	KubernetesAPIApprovalPolicyConformant = "KubernetesAPIApprovalPolicyConformant"
)

// CustomResourceDefinition is apiextensions.k8s.io/v1's. The types and tags of this file are those of the API, in JSON and in protobuf.
type CustomResourceDefinition struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty" protobuf:"bytes,1,opt,name=metadata"`

	Spec   Spec   `json:"spec" protobuf:"bytes,2,opt,name=spec"`
	Status Status `json:"status,omitempty" protobuf:"bytes,3,opt,name=status"`
}

// OpenAPIModelName is the name that the schema has upstream.
func (CustomResourceDefinition) OpenAPIModelName() string {
	return "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"
}

// Spec is what a definition asks for.
type Spec struct {
	Group                 string              `json:"group" protobuf:"bytes,1,opt,name=group"`
	Names                 Names               `json:"names" protobuf:"bytes,3,opt,name=names"`
	Scope                 string              `json:"scope" protobuf:"bytes,4,opt,name=scope"`
	Versions              []DefinitionVersion `json:"versions" protobuf:"bytes,7,rep,name=versions"`
	Conversion            *Conversion         `json:"conversion,omitempty" protobuf:"bytes,9,opt,name=conversion"`
	PreserveUnknownFields bool                `json:"preserveUnknownFields,omitempty" protobuf:"varint,10,opt,name=preserveUnknownFields"`
}

// Names are what a custom resource is called.
type Names struct {
	Plural     string   `json:"plural" protobuf:"bytes,1,opt,name=plural"`
	Singular   string   `json:"singular,omitempty" protobuf:"bytes,2,opt,name=singular"`
	ShortNames []string `json:"shortNames,omitempty" protobuf:"bytes,3,opt,name=shortNames"`
	Kind       string   `json:"kind" protobuf:"bytes,4,opt,name=kind"`
	ListKind   string   `json:"listKind,omitempty" protobuf:"bytes,5,opt,name=listKind"`
	Categories []string `json:"categories,omitempty" protobuf:"bytes,6,rep,name=categories"`
}

// DefinitionVersion is one version of a custom resource.
type DefinitionVersion struct {
	Name                     string            `json:"name" protobuf:"bytes,1,opt,name=name"`
	Served                   bool              `json:"served" protobuf:"varint,2,opt,name=served"`
	Storage                  bool              `json:"storage" protobuf:"varint,3,opt,name=storage"`
	Deprecated               bool              `json:"deprecated,omitempty" protobuf:"varint,7,opt,name=deprecated"`
	DeprecationWarning       *string           `json:"deprecationWarning,omitempty" protobuf:"bytes,8,opt,name=deprecationWarning"`
	Schema                   *Validation       `json:"schema,omitempty" protobuf:"bytes,4,opt,name=schema"`
	Subresources             *Subresources     `json:"subresources,omitempty" protobuf:"bytes,5,opt,name=subresources"`
	AdditionalPrinterColumns []PrinterColumn   `json:"additionalPrinterColumns,omitempty" protobuf:"bytes,6,rep,name=additionalPrinterColumns"`
	SelectableFields         []SelectableField `json:"selectableFields,omitempty" protobuf:"bytes,9,rep,name=selectableFields"`
}

// Validation holds a version's schema.
type Validation struct {
	OpenAPIV3Schema *JSONSchemaProps `json:"openAPIV3Schema,omitempty" protobuf:"bytes,1,opt,name=openAPIV3Schema"`
}

// SelectableField is a field that field selectors may name.
type SelectableField struct {
	JSONPath string `json:"jsonPath" protobuf:"bytes,1,opt,name=jsonPath"`
}

// PrinterColumn is a column of kubectl get.
type PrinterColumn struct {
	Name        string `json:"name" protobuf:"bytes,1,opt,name=name"`
	Type        string `json:"type" protobuf:"bytes,2,opt,name=type"`
	Format      string `json:"format,omitempty" protobuf:"bytes,3,opt,name=format"`
	Description string `json:"description,omitempty" protobuf:"bytes,4,opt,name=description"`
	Priority    int32  `json:"priority,omitempty" protobuf:"varint,5,opt,name=priority"`
	JSONPath    string `json:"jsonPath" protobuf:"bytes,6,opt,name=jsonPath"`
}

// Subresources are those of a version.
type Subresources struct {
	Status *StatusSubresource `json:"status,omitempty" protobuf:"bytes,1,opt,name=status"`
	Scale  *ScaleSubresource  `json:"scale,omitempty" protobuf:"bytes,2,opt,name=scale"`
}

// StatusSubresource says that there is one.
type StatusSubresource struct{}

// ScaleSubresource says where an object has its replica counts.
type ScaleSubresource struct {
	SpecReplicasPath   string  `json:"specReplicasPath" protobuf:"bytes,1,opt,name=specReplicasPath"`
	StatusReplicasPath string  `json:"statusReplicasPath" protobuf:"bytes,2,opt,name=statusReplicasPath"`
	LabelSelectorPath  *string `json:"labelSelectorPath,omitempty" protobuf:"bytes,3,opt,name=labelSelectorPath"`
}

// Conversion says how one version becomes another.
type Conversion struct {
	Strategy string             `json:"strategy" protobuf:"bytes,1,opt,name=strategy"`
	Webhook  *WebhookConversion `json:"webhook,omitempty" protobuf:"bytes,2,opt,name=webhook"`
}

// WebhookConversion is a conversion by an HTTPS server.
type WebhookConversion struct {
	ClientConfig             *WebhookClientConfig `json:"clientConfig,omitempty" protobuf:"bytes,2,opt,name=clientConfig"`
	ConversionReviewVersions []string             `json:"conversionReviewVersions" protobuf:"bytes,3,rep,name=conversionReviewVersions"`
}

// WebhookClientConfig says where a webhook is.
type WebhookClientConfig struct {
	URL      *string           `json:"url,omitempty" protobuf:"bytes,3,opt,name=url"`
	Service  *ServiceReference `json:"service,omitempty" protobuf:"bytes,1,opt,name=service"`
	CABundle []byte            `json:"caBundle,omitempty" protobuf:"bytes,2,opt,name=caBundle"`
}

// ServiceReference names the Service of a webhook.
type ServiceReference struct {
	Namespace string  `json:"namespace" protobuf:"bytes,1,opt,name=namespace"`
	Name      string  `json:"name" protobuf:"bytes,2,opt,name=name"`
	Path      *string `json:"path,omitempty" protobuf:"bytes,3,opt,name=path"`
	Port      *int32  `json:"port,omitempty" protobuf:"varint,4,opt,name=port"`
}

// Status is how far a definition has come.
type Status struct {
	Conditions         []Condition `json:"conditions" protobuf:"bytes,1,rep,name=conditions"`
	AcceptedNames      Names       `json:"acceptedNames" protobuf:"bytes,2,opt,name=acceptedNames"`
	StoredVersions     []string    `json:"storedVersions" protobuf:"bytes,3,rep,name=storedVersions"`
	ObservedGeneration int64       `json:"observedGeneration,omitempty" protobuf:"varint,4,opt,name=observedGeneration"`
}

// Condition is one condition of a definition.
type Condition struct {
	Type               string                 `json:"type" protobuf:"bytes,1,opt,name=type"`
	Status             metav1.ConditionStatus `json:"status" protobuf:"bytes,2,opt,name=status"`
	LastTransitionTime metav1.Time            `json:"lastTransitionTime,omitempty" protobuf:"bytes,3,opt,name=lastTransitionTime"`
	Reason             string                 `json:"reason,omitempty" protobuf:"bytes,4,opt,name=reason"`
	Message            string                 `json:"message,omitempty" protobuf:"bytes,5,opt,name=message"`
	ObservedGeneration int64                  `json:"observedGeneration,omitempty" protobuf:"varint,6,opt,name=observedGeneration"`
}

// JSONSchemaProps is a JSON schema in the form of OpenAPI v3, with the extensions of Kubernetes.
type JSONSchemaProps struct {
	ID                     string                         `json:"id,omitempty" protobuf:"bytes,1,opt,name=id"`
	Schema                 string                         `json:"$schema,omitempty" protobuf:"bytes,2,opt,name=schema"`
	Ref                    *string                        `json:"$ref,omitempty" protobuf:"bytes,3,opt,name=ref"`
	Description            string                         `json:"description,omitempty" protobuf:"bytes,4,opt,name=description"`
	Type                   string                         `json:"type,omitempty" protobuf:"bytes,5,opt,name=type"`
	Format                 string                         `json:"format,omitempty" protobuf:"bytes,6,opt,name=format"`
	Title                  string                         `json:"title,omitempty" protobuf:"bytes,7,opt,name=title"`
	Default                *JSON                          `json:"default,omitempty" protobuf:"bytes,8,opt,name=default"`
	Maximum                *float64                       `json:"maximum,omitempty" protobuf:"fixed64,9,opt,name=maximum"`
	ExclusiveMaximum       bool                           `json:"exclusiveMaximum,omitempty" protobuf:"varint,10,opt,name=exclusiveMaximum"`
	Minimum                *float64                       `json:"minimum,omitempty" protobuf:"fixed64,11,opt,name=minimum"`
	ExclusiveMinimum       bool                           `json:"exclusiveMinimum,omitempty" protobuf:"varint,12,opt,name=exclusiveMinimum"`
	MaxLength              *int64                         `json:"maxLength,omitempty" protobuf:"varint,13,opt,name=maxLength"`
	MinLength              *int64                         `json:"minLength,omitempty" protobuf:"varint,14,opt,name=minLength"`
	Pattern                string                         `json:"pattern,omitempty" protobuf:"bytes,15,opt,name=pattern"`
	MaxItems               *int64                         `json:"maxItems,omitempty" protobuf:"varint,16,opt,name=maxItems"`
	MinItems               *int64                         `json:"minItems,omitempty" protobuf:"varint,17,opt,name=minItems"`
	UniqueItems            bool                           `json:"uniqueItems,omitempty" protobuf:"varint,18,opt,name=uniqueItems"`
	MultipleOf             *float64                       `json:"multipleOf,omitempty" protobuf:"fixed64,19,opt,name=multipleOf"`
	Enum                   []JSON                         `json:"enum,omitempty" protobuf:"bytes,20,rep,name=enum"`
	MaxProperties          *int64                         `json:"maxProperties,omitempty" protobuf:"varint,21,opt,name=maxProperties"`
	MinProperties          *int64                         `json:"minProperties,omitempty" protobuf:"varint,22,opt,name=minProperties"`
	Required               []string                       `json:"required,omitempty" protobuf:"bytes,23,rep,name=required"`
	Items                  *SchemaOrArray                 `json:"items,omitempty" protobuf:"bytes,24,opt,name=items"`
	AllOf                  []JSONSchemaProps              `json:"allOf,omitempty" protobuf:"bytes,25,rep,name=allOf"`
	OneOf                  []JSONSchemaProps              `json:"oneOf,omitempty" protobuf:"bytes,26,rep,name=oneOf"`
	AnyOf                  []JSONSchemaProps              `json:"anyOf,omitempty" protobuf:"bytes,27,rep,name=anyOf"`
	Not                    *JSONSchemaProps               `json:"not,omitempty" protobuf:"bytes,28,opt,name=not"`
	Properties             map[string]JSONSchemaProps     `json:"properties,omitempty" protobuf:"bytes,29,rep,name=properties"`
	AdditionalProperties   *SchemaOrBool                  `json:"additionalProperties,omitempty" protobuf:"bytes,30,opt,name=additionalProperties"`
	PatternProperties      map[string]JSONSchemaProps     `json:"patternProperties,omitempty" protobuf:"bytes,31,rep,name=patternProperties"`
	Dependencies           map[string]SchemaOrStringArray `json:"dependencies,omitempty" protobuf:"bytes,32,rep,name=dependencies"`
	AdditionalItems        *SchemaOrBool                  `json:"additionalItems,omitempty" protobuf:"bytes,33,opt,name=additionalItems"`
	Definitions            map[string]JSONSchemaProps     `json:"definitions,omitempty" protobuf:"bytes,34,rep,name=definitions"`
	ExternalDocs           *ExternalDocumentation         `json:"externalDocs,omitempty" protobuf:"bytes,35,opt,name=externalDocs"`
	Example                *JSON                          `json:"example,omitempty" protobuf:"bytes,36,opt,name=example"`
	Nullable               bool                           `json:"nullable,omitempty" protobuf:"varint,37,opt,name=nullable"`
	XPreserveUnknownFields *bool                          `json:"x-kubernetes-preserve-unknown-fields,omitempty" protobuf:"varint,38,opt,name=xKubernetesPreserveUnknownFields"`
	XEmbeddedResource      bool                           `json:"x-kubernetes-embedded-resource,omitempty" protobuf:"varint,39,opt,name=xKubernetesEmbeddedResource"`
	XIntOrString           bool                           `json:"x-kubernetes-int-or-string,omitempty" protobuf:"varint,40,opt,name=xKubernetesIntOrString"`
	XListMapKeys           []string                       `json:"x-kubernetes-list-map-keys,omitempty" protobuf:"bytes,41,rep,name=xKubernetesListMapKeys"`
	XListType              *string                        `json:"x-kubernetes-list-type,omitempty" protobuf:"bytes,42,opt,name=xKubernetesListType"`
	XMapType               *string                        `json:"x-kubernetes-map-type,omitempty" protobuf:"bytes,43,opt,name=xKubernetesMapType"`
	XValidations           []ValidationRule               `json:"x-kubernetes-validations,omitempty" patchStrategy:"merge" patchMergeKey:"rule" protobuf:"bytes,44,rep,name=xKubernetesValidations"`
}

// ValidationRule is a rule in CEL about the value that the schema describes.
type ValidationRule struct {
	Rule              string  `json:"rule" protobuf:"bytes,1,opt,name=rule"`
	Message           string  `json:"message,omitempty" protobuf:"bytes,2,opt,name=message"`
	MessageExpression string  `json:"messageExpression,omitempty" protobuf:"bytes,3,opt,name=messageExpression"`
	Reason            *string `json:"reason,omitempty" protobuf:"bytes,4,opt,name=reason"`
	FieldPath         string  `json:"fieldPath,omitempty" protobuf:"bytes,5,opt,name=fieldPath"`
	OptionalOldSelf   *bool   `json:"optionalOldSelf,omitempty" protobuf:"varint,6,opt,name=optionalOldSelf"`
}

// ExternalDocumentation refers to documentation elsewhere.
type ExternalDocumentation struct {
	Description string `json:"description,omitempty" protobuf:"bytes,1,opt,name=description"`
	URL         string `json:"url,omitempty" protobuf:"bytes,2,opt,name=url"`
}

// JSON is any JSON value, as it was written.
type JSON struct {
	Raw []byte `json:"-" protobuf:"bytes,1,opt,name=raw"`
}

// SchemaOrArray is one schema, or several in a row.
type SchemaOrArray struct {
	Schema      *JSONSchemaProps  `protobuf:"bytes,1,opt,name=schema"`
	JSONSchemas []JSONSchemaProps `protobuf:"bytes,2,rep,name=jSONSchemas"`
}

// SchemaOrBool is a schema or a truth value.
type SchemaOrBool struct {
	Allows bool             `protobuf:"varint,1,opt,name=allows"`
	Schema *JSONSchemaProps `protobuf:"bytes,2,opt,name=schema"`
}

// SchemaOrStringArray is a schema or names of properties.
type SchemaOrStringArray struct {
	Schema   *JSONSchemaProps `protobuf:"bytes,1,opt,name=schema"`
	Property []string         `protobuf:"bytes,2,rep,name=property"`
}

// OpenAPISchemaType says that any type will do.
func (JSON) OpenAPISchemaType() []string { return nil }

// OpenAPISchemaType says that any type will do.
func (SchemaOrArray) OpenAPISchemaType() []string { return nil }

// OpenAPISchemaType says that any type will do.
func (SchemaOrBool) OpenAPISchemaType() []string { return nil }

// OpenAPISchemaType says that any type will do.
func (SchemaOrStringArray) OpenAPISchemaType() []string { return nil }

// MarshalJSON writes the value as it is.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j.Raw) == 0 {
		return []byte("null"), nil
	}
	return j.Raw, nil
}

// UnmarshalJSON keeps the value as it is.
func (j *JSON) UnmarshalJSON(data []byte) error {
	j.Raw = nil
	if string(data) != "null" {
		j.Raw = append([]byte(nil), data...)
	}
	return nil
}

// MarshalJSON writes whichever is there.
func (s SchemaOrArray) MarshalJSON() ([]byte, error) {
	if len(s.JSONSchemas) > 0 {
		return json.Marshal(s.JSONSchemas)
	}
	return json.Marshal(s.Schema)
}

// UnmarshalJSON reads an object or an array.
func (s *SchemaOrArray) UnmarshalJSON(data []byte) error {
	*s = SchemaOrArray{}
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, &s.JSONSchemas)
	}
	if string(data) == "null" {
		return nil
	}
	s.Schema = &JSONSchemaProps{}
	return json.Unmarshal(data, s.Schema)
}

// MarshalJSON writes the schema or, without one, the truth value.
func (s SchemaOrBool) MarshalJSON() ([]byte, error) {
	if s.Schema != nil {
		return json.Marshal(s.Schema)
	}
	return json.Marshal(s.Allows)
}

// UnmarshalJSON reads an object or a truth value.
func (s *SchemaOrBool) UnmarshalJSON(data []byte) error {
	*s = SchemaOrBool{}
	switch {
	case len(data) == 0 || string(data) == "null":
		return nil
	case data[0] == '{':
		s.Allows, s.Schema = true, &JSONSchemaProps{}
		return json.Unmarshal(data, s.Schema)
	case json.Unmarshal(data, &s.Allows) != nil:
		return errors.New("boolean or JSON schema expected")
	}
	return nil
}

// MarshalJSON writes whichever is there.
func (s SchemaOrStringArray) MarshalJSON() ([]byte, error) {
	if len(s.Property) > 0 {
		return json.Marshal(s.Property)
	}
	return json.Marshal(s.Schema)
}

// UnmarshalJSON reads an object or an array of names.
func (s *SchemaOrStringArray) UnmarshalJSON(data []byte) error {
	*s = SchemaOrStringArray{}
	if len(data) > 0 && data[0] == '[' {
		return json.Unmarshal(data, &s.Property)
	}
	if string(data) == "null" {
		return nil
	}
	s.Schema = &JSONSchemaProps{}
	return json.Unmarshal(data, s.Schema)
}
