package openapi_test

import (
	"encoding/json"
	"fmt"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/openapi"
)

type tree struct {
	Children []tree             `json:"children,omitempty"`
	Port     intstr.IntOrString `json:"port"`
	Memory   resource.Quantity  `json:"memory,omitempty"`
	Data     []byte             `json:"data,omitempty"`
	Since    *metav1.Time       `json:"since,omitempty"`
	ByName   map[string][]int32 `json:"byName,omitempty"`
	Any      any                `json:"any,omitempty"`
	Inline   struct {
		A bool `json:"a"`
	} `json:"inline,omitempty"`
	hidden  int
	Skipped string `json:"-"`
}

type status struct{}

var trees = kind.Must(kind.Define[tree, status]("garden.example.com/v1", "Tree"))

func set(t testing.TB) *kind.Set {
	s, err := kind.NewSet(kind.Pod.Kind(), kind.Service.Kind(), kind.Deployment.With(kind.Strategy{Status: true}).Kind(), trees.Kind())
	require.NoError(t, err)
	return s
}

func ExampleNew() {
	kinds, err := kind.NewSet(kind.Pod.Kind(), kind.Deployment.Kind())
	if err != nil {
		fmt.Println(err)
		return
	}
	docs := openapi.New(kinds, "v1.37.2")
	data, err := docs.V3("apis/apps/v1").Bytes(openapi.JSON)
	if err != nil {
		fmt.Println(err)
		return
	}
	var parsed spec3.OpenAPI
	fmt.Println(json.Unmarshal(data, &parsed))
	fmt.Println(parsed.Components.Schemas["io.k8s.api.apps.v1.Deployment"].Description)
	// Output:
	// <nil>
	// Deployment enables declarative updates for Pods and ReplicaSets.
}

func TestOwnKinds(t *testing.T) {
	schemas := openapi.Schemas(set(t))
	top := schemas["com.example.garden.v1.Tree"]
	require.Equal(t, []any{map[string]any{"group": "garden.example.com", "version": "v1", "kind": "Tree"}}, top.Extensions["x-kubernetes-group-version-kind"])
	require.Contains(t, schemas, "com.example.garden.v1.TreeList")
	require.NotEmpty(t, top.Properties["apiVersion"].Description)
	ref := top.Properties["spec"]
	name := ref.Ref.String()
	s := schemas[name[len("#/components/schemas/"):]]
	require.NotNil(t, s, name)
	require.Equal(t, []string{"port"}, s.Required)
	require.Equal(t, name, s.Properties["children"].Items.Schema.Ref.String(), "a type that refers to itself")
	require.Equal(t, "byte", s.Properties["data"].Format)
	require.Equal(t, "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Time", ptr(s.Properties["since"]).Ref.String())
	require.Equal(t, "date-time", schemas["io.k8s.apimachinery.pkg.apis.meta.v1.Time"].Format)
	require.Len(t, schemas["io.k8s.apimachinery.pkg.util.intstr.IntOrString"].OneOf, 2)
	require.Contains(t, schemas, "io.k8s.apimachinery.pkg.api.resource.Quantity")
	require.Equal(t, "int32", s.Properties["byName"].AdditionalProperties.Schema.Items.Schema.Format)
	require.Contains(t, s.Properties["inline"].Properties, "a")
	require.NotContains(t, s.Properties, "Skipped")
}

func ptr(s spec.Schema) *spec.Schema { return &s }

func TestMergeRules(t *testing.T) {
	schemas := openapi.Schemas(set(t))
	ext := func(typ, field string) spec.Extensions { return schemas[typ].Properties[field].Extensions }
	containers := ext("io.k8s.api.core.v1.PodSpec", "containers")
	require.Equal(t, "merge", containers["x-kubernetes-patch-strategy"])
	require.Equal(t, "name", containers["x-kubernetes-patch-merge-key"])
	require.Equal(t, []any{"name"}, containers["x-kubernetes-list-map-keys"])
	require.Equal(t, []any{"port", "protocol"}, ext("io.k8s.api.core.v1.ServiceSpec", "ports")["x-kubernetes-list-map-keys"])
	require.Equal(t, "set", ext("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "finalizers")["x-kubernetes-list-type"])
	require.Equal(t, "atomic", ext("io.k8s.api.core.v1.Container", "args")["x-kubernetes-list-type"])
	require.Equal(t, "atomic", schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"].Extensions["x-kubernetes-map-type"])
}

func TestSchemasServeStructuralMerges(t *testing.T) {
	schemas := map[string]*spec.Schema{}
	for name, s := range openapi.Schemas(set(t)) {
		schemas[name] = s
	}
	c, err := managedfields.NewTypeConverter(schemas, false)
	require.NoError(t, err)
	p := kind.Pod.New()
	p.Name = "p"
	typed, err := c.ObjectToTyped(p)
	require.NoError(t, err)
	require.NotNil(t, typed)
}

func TestDocumentsAreWhole(t *testing.T) {
	docs := openapi.New(set(t), "v1.37.2")
	for _, path := range []string{"api/v1", "apis/apps/v1", "apis/garden.example.com/v1", "api", "apis", "apis/apps", "version"} {
		parsed := v3(t, docs, path)
		for name, s := range parsed.Components.Schemas {
			checkRefs(t, name, s, parsed.Components.Schemas, "#/components/schemas/")
		}
		hash, err := docs.V3(path).Hash()
		require.NoError(t, err)
		again, err := openapi.New(set(t), "v1.37.2").V3(path).Hash()
		require.NoError(t, err)
		require.Equal(t, hash, again, "the document differs from run to run")
		pb, err := docs.V3(path).Bytes(openapi.Protobuf)
		require.NoError(t, err)
		var doc openapi_v3.Document
		require.NoError(t, proto.Unmarshal(pb, &doc))
		require.Len(t, doc.GetComponents().GetSchemas().GetAdditionalProperties(), len(parsed.Components.Schemas))
	}
	require.Nil(t, docs.V3("apis/none/v1"))

	data, err := docs.V2().Bytes(openapi.JSON)
	require.NoError(t, err)
	var parsed spec.Swagger
	require.NoError(t, json.Unmarshal(data, &parsed))
	all := map[string]*spec.Schema{}
	for name, s := range parsed.Definitions {
		all[name] = &s
	}
	for name, s := range all {
		checkRefs(t, name, s, all, "#/definitions/")
	}
	require.Equal(t, spec.StringOrArray{"string"}, all["io.k8s.apimachinery.pkg.util.intstr.IntOrString"].Type)
	pb, err := docs.V2().Bytes(openapi.Protobuf)
	require.NoError(t, err)
	var doc openapi_v2.Document
	require.NoError(t, proto.Unmarshal(pb, &doc))
	require.Len(t, doc.GetDefinitions().GetAdditionalProperties(), len(all))
	require.Len(t, doc.GetPaths().GetPath(), len(parsed.Paths.Paths))
}

// v3 is a document as kube-openapi reads it.
func v3(t testing.TB, docs *openapi.Documents, path string) *spec3.OpenAPI {
	t.Helper()
	doc := docs.V3(path)
	require.NotNil(t, doc, path)
	data, err := doc.Bytes(openapi.JSON)
	require.NoError(t, err)
	var parsed spec3.OpenAPI
	require.NoError(t, json.Unmarshal(data, &parsed))
	return &parsed
}

func checkRefs(t *testing.T, at string, s *spec.Schema, all map[string]*spec.Schema, prefix string) {
	if ref := s.Ref.String(); ref != "" {
		require.Contains(t, all, ref[len(prefix):], "at %s", at)
	}
	for name, p := range s.Properties {
		checkRefs(t, at+"."+name, &p, all, prefix)
	}
	for i := range s.AllOf {
		checkRefs(t, at, &s.AllOf[i], all, prefix)
	}
	if s.Items != nil && s.Items.Schema != nil {
		checkRefs(t, at, s.Items.Schema, all, prefix)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		checkRefs(t, at, s.AdditionalProperties.Schema, all, prefix)
	}
}

func TestPatchAnnouncesFieldValidation(t *testing.T) {
	parsed := v3(t, openapi.New(set(t), "v1.37.2"), "apis/apps/v1")
	patch := parsed.Paths.Paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"].Patch
	var names []string
	for _, p := range patch.Parameters {
		names = append(names, p.In+" "+p.Name)
	}
	require.Contains(t, names, "query fieldValidation")
	require.Equal(t, "patch", patch.Extensions["x-kubernetes-action"])
	require.Contains(t, parsed.Paths.Paths, "/apis/apps/v1/namespaces/{namespace}/deployments/{name}/status")
}
