package openapi_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/openapi"
)

func builtins(t testing.TB) *kind.Set {
	s, err := kind.NewSet(builtin.Kinds()...)
	require.NoError(t, err)
	return s
}

// Facts of k8s.io/api that stand in comments only.
func TestBuiltinFacts(t *testing.T) {
	schemas := openapi.Schemas(builtins(t))
	field := func(typ, name string) spec.Schema {
		t.Helper()
		s := schemas["io.k8s.api."+typ]
		require.NotNil(t, s, typ)
		require.Contains(t, s.Properties, name)
		return s.Properties[name]
	}
	for _, c := range []struct {
		typ, field, listType string
		keys                 []any
		strategy, mergeKey   any
	}{
		{"core.v1.PodSpec", "containers", "map", []any{"name"}, "merge", "name"},
		{"core.v1.PodSpec", "volumes", "map", []any{"name"}, "merge,retainKeys", "name"},
		{"core.v1.PodSpec", "tolerations", "atomic", nil, nil, nil},
		{"core.v1.PodSpec", "topologySpreadConstraints", "map", []any{"topologyKey", "whenUnsatisfiable"}, "merge", "topologyKey"},
		{"core.v1.PodSpec", "hostAliases", "map", []any{"ip"}, "merge", "ip"},
		{"core.v1.Container", "ports", "map", []any{"containerPort", "protocol"}, "merge", "containerPort"},
		{"core.v1.Container", "env", "map", []any{"name"}, "merge", "name"},
		{"core.v1.Container", "volumeDevices", "map", []any{"devicePath"}, "merge", "devicePath"},
		{"core.v1.Container", "args", "atomic", nil, nil, nil},
		{"core.v1.ServiceSpec", "ports", "map", []any{"port", "protocol"}, "merge", "port"},
		{"core.v1.NodeSpec", "podCIDRs", "set", nil, "merge", nil},
		{"core.v1.PodStatus", "conditions", "map", []any{"type"}, "merge", "type"},
		{"discovery.v1.EndpointSlice", "endpoints", "atomic", nil, nil, nil},
	} {
		ext := field(c.typ, c.field).Extensions
		at := c.typ + "." + c.field
		require.Equal(t, c.listType, ext["x-kubernetes-list-type"], at)
		require.Equal(t, c.strategy, ext["x-kubernetes-patch-strategy"], at)
		require.Equal(t, c.mergeKey, ext["x-kubernetes-patch-merge-key"], at)
		if c.keys == nil {
			require.NotContains(t, ext, "x-kubernetes-list-map-keys", at)
		} else {
			require.Equal(t, c.keys, ext["x-kubernetes-list-map-keys"], at)
		}
	}
	require.Equal(t, "atomic", schemas["io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector"].Extensions["x-kubernetes-map-type"])
	require.Equal(t, "atomic", field("core.v1.ServiceSpec", "selector").Extensions["x-kubernetes-map-type"])
	require.Equal(t, "TCP", field("core.v1.ContainerPort", "protocol").Default)
	require.Equal(t, []any{"Always", "IfNotPresent", "Never"}, field("core.v1.Container", "imagePullPolicy").Enum)
	require.Equal(t, []string{"containers"}, schemas["io.k8s.api.core.v1.PodSpec"].Required)
	require.Equal(t, "int32", field("core.v1.ContainerPort", "containerPort").Format)
	require.Equal(t, "byte", field("core.v1.Secret", "data").AdditionalProperties.Schema.Format)
	require.Contains(t, field("apps.v1.DeploymentSpec", "minReadySeconds").Description, "should be ready")
	strategy := schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]
	require.Nil(t, strategy, "nothing beside what kinds are made of")
}

// Every field that Go knows is in its schema and the reverse: an update of k8s.io/api without new data is found here.
func TestSchemasHaveTheFieldsOfTheirTypes(t *testing.T) {
	kinds := builtins(t)
	data := map[string]map[string]json.RawMessage{} // and not Schemas, which would add what the data has not
	schema := func(name string) *spec.Schema {
		dot := strings.LastIndexByte(name, '.')
		pkg := name[:dot]
		if data[pkg] == nil {
			data[pkg] = openapi.ReadPackage(t, pkg)
		}
		require.Contains(t, data[pkg], name[dot+1:])
		s := new(spec.Schema)
		require.NoError(t, json.Unmarshal(data[pkg][name[dot+1:]], s))
		return s
	}
	seen := map[reflect.Type]bool{}
	var check func(t *testing.T, typ reflect.Type)
	check = func(t *testing.T, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			check(t, typ.Elem())
			return
		case reflect.Map:
			check(t, typ.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		named, ok := reflect.New(typ).Interface().(interface{ OpenAPIModelName() string })
		if !ok || seen[typ] {
			return
		}
		seen[typ] = true
		s := schema(named.OpenAPIModelName())
		if _, ok := reflect.New(typ).Interface().(json.Marshaler); ok {
			return // no fields on the wire
		}
		want := map[string]bool{}
		fields(typ, func(name string, f reflect.StructField) {
			want[name] = true
			check(t, f.Type)
		})
		for name := range want {
			require.Contains(t, s.Properties, name, "%v: the data is older than k8s.io/api: run go generate ./apiserver/openapi", typ)
		}
		for name := range s.Properties {
			require.True(t, want[name], "%v has no field %s", typ, name)
		}
		for _, name := range s.Required {
			require.True(t, want[name], "%v has no field %s, which is required", typ, name)
		}
	}
	for _, k := range kinds.All() {
		check(t, reflect.TypeOf(k.New()))
	}
	require.Greater(t, len(seen), 200, "types were seen")
}

// fields are the fields of a struct on the wire.
func fields(typ reflect.Type, each func(name string, f reflect.StructField)) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			ft := f.Type
			if ft.Kind() == reflect.Pointer {
				ft = ft.Elem()
			}
			fields(ft, each)
		case name != "" && name != "-":
			each(name, f)
		}
	}
}

func TestAllDataIsReadable(t *testing.T) {
	files, err := fs.Glob(os.DirFS("."), "schemas/*.json.gz")
	require.NoError(t, err)
	require.Greater(t, len(files), 25)
	total := int64(0)
	read := map[string]map[string]json.RawMessage{}
	of := func(pkg string) map[string]json.RawMessage {
		if read[pkg] == nil {
			read[pkg] = openapi.ReadPackage(t, pkg)
		}
		return read[pkg]
	}
	for _, name := range files {
		info, err := os.Stat(name)
		require.NoError(t, err)
		total += info.Size()
		pkg := strings.TrimSuffix(strings.TrimPrefix(name, "schemas/"), ".json.gz")
		for typ, data := range of(pkg) {
			var s spec.Schema
			require.NoError(t, json.Unmarshal(data, &s), "%s.%s", pkg, typ)
			for _, ref := range openapi.References(data) {
				dot := strings.LastIndexByte(ref, '.')
				require.Contains(t, of(ref[:dot]), ref[dot+1:], "%s.%s refers to %s", pkg, typ, ref)
			}
		}
	}
	require.Less(t, total, int64(400<<10), "the data is part of every program")
}

func TestSchemasOfOneKindServeItsMerges(t *testing.T) {
	for _, k := range []*kind.Kind{kind.Pod.Kind(), kind.Service.Kind(), kind.ClusterRole.Kind(), kind.EndpointSlice.Kind(), kind.Deployment.Kind()} {
		s, err := kind.NewSet(k)
		require.NoError(t, err)
		schemas := openapi.Schemas(s)
		require.Contains(t, schemas, openapi.Name(k))
		c, err := managedfields.NewTypeConverter(schemas, false)
		require.NoError(t, err, k)
		obj := k.New()
		obj.SetName("a")
		_, err = c.ObjectToTyped(obj.(runtime.Object))
		require.NoError(t, err, k)
	}
}

func TestDeleteOptionsKnowTheirGroups(t *testing.T) {
	doc := v3(t, openapi.New(builtins(t), "v1.37.2"), "apis/apps/v1")
	gvks := doc.Components.Schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"].Extensions["x-kubernetes-group-version-kind"]
	require.Equal(t, []any{
		map[string]any{"group": "", "version": "v1", "kind": "DeleteOptions"},
		map[string]any{"group": "apps", "version": "v1", "kind": "DeleteOptions"},
	}, gvks)
}

func TestDocumentsFollowTheirKinds(t *testing.T) {
	kinds := set(t)
	before := openapi.New(kinds, "v1.37.2")
	index := func(d *openapi.Documents) map[string]any {
		data, err := d.Index()
		require.NoError(t, err)
		var out struct{ Paths map[string]any }
		require.NoError(t, json.Unmarshal(data, &out))
		return out.Paths
	}
	first := index(before)
	require.Contains(t, first, "apis/garden.example.com/v1")

	tree, ok := kinds.ByKind(trees.Kind().GroupVersionKind())
	require.True(t, ok)
	fewer, err := kinds.Replace([]*kind.Kind{tree}, nil)
	require.NoError(t, err)
	after := before.Follow(fewer)
	require.NotContains(t, index(after), "apis/garden.example.com/v1")
	require.NotContains(t, index(after), "apis/garden.example.com")
	require.Nil(t, after.V3("apis/garden.example.com/v1"))
	require.Same(t, before.V3("api/v1"), after.V3("api/v1"), "what has not changed is built once")
	require.NotSame(t, before.V2(), after.V2())

	other := trees.With(kind.Strategy{}) // without status
	more, err := fewer.Replace(nil, []*kind.Kind{other.Kind()})
	require.NoError(t, err)
	third := index(after.Follow(more))
	require.NotEqual(t, first["apis/garden.example.com/v1"], third["apis/garden.example.com/v1"], "another document has another hash")
	require.Equal(t, first["apis/apps/v1"], third["apis/apps/v1"])
}

func TestWatchPaths(t *testing.T) {
	docs := openapi.New(set(t), "v1.37.2")
	paths := v3(t, docs, "apis/apps/v1").Paths.Paths
	require.Equal(t, "watchAppsV1DeploymentListForAllNamespaces", paths["/apis/apps/v1/watch/deployments"].Get.OperationId)
	require.Equal(t, "watchAppsV1NamespacedDeploymentList", paths["/apis/apps/v1/watch/namespaces/{namespace}/deployments"].Get.OperationId)
	require.Equal(t, "watchAppsV1NamespacedDeployment", paths["/apis/apps/v1/watch/namespaces/{namespace}/deployments/{name}"].Get.OperationId)
	require.NotContains(t, v3(t, docs, "apis/garden.example.com/v1").Paths.Paths, "/apis/garden.example.com/v1/watch/trees")
}

func TestVerbsAndSubresources(t *testing.T) {
	k := kind.Pod.With(kind.Strategy{Verbs: []string{"get", "list"}, Subresources: []string{"binding", "log", "exec", "proxy"}})
	s, err := kind.NewSet(k.Kind(), kind.Node.Kind())
	require.NoError(t, err)
	paths := v3(t, openapi.New(s, "v1.37.2"), "api/v1").Paths.Paths
	one := "/api/v1/namespaces/{namespace}/pods/{name}"
	require.NotContains(t, paths, "/api/v1/watch/pods", "that verb is not served")
	watch := paths["/api/v1/watch/nodes/{name}"].Get
	require.Equal(t, "watchCoreV1Node watch", watch.OperationId+" "+watch.Extensions["x-kubernetes-action"].(string))
	require.Equal(t, "watchCoreV1NodeList", paths["/api/v1/watch/nodes"].Get.OperationId)
	require.NotNil(t, paths[one].Get)
	require.Nil(t, paths[one].Delete)
	require.Nil(t, paths["/api/v1/namespaces/{namespace}/pods"].Post)
	require.NotNil(t, paths["/api/v1/pods"].Get)
	require.Equal(t, "listCoreV1PodForAllNamespaces", paths["/api/v1/pods"].Get.OperationId)
	require.Equal(t, "createCoreV1NamespacedPodBinding", paths[one+"/binding"].Post.OperationId)
	require.Equal(t, map[string]any{"group": "", "version": "v1", "kind": "Binding"}, paths[one+"/binding"].Post.Extensions["x-kubernetes-group-version-kind"])
	require.Equal(t, "connectCoreV1PostNamespacedPodExec", paths[one+"/exec"].Post.OperationId)
	require.Equal(t, "connect", paths[one+"/exec"].Post.Extensions["x-kubernetes-action"])
	var query []string
	for _, p := range paths[one+"/exec"].Parameters {
		query = append(query, p.Name)
	}
	require.ElementsMatch(t, []string{"name", "namespace", "command", "container", "stderr", "stdin", "stdout", "tty"}, query)
	require.Equal(t, "string", paths[one+"/log"].Get.Responses.StatusCodeResponses[200].Content["text/plain"].Schema.Type[0])
	require.Contains(t, paths, one+"/proxy/{path}")
	require.Equal(t, "deleteCoreV1CollectionNode", paths["/api/v1/nodes"].Delete.OperationId)
	require.Equal(t, []string{"core_v1"}, paths["/api/v1/nodes"].Delete.Tags)
}

// newerReference is what core/v1's SecretReference might be in a later version.
type newerReference struct {
	Name    string          `json:"name,omitempty"`
	Fresh   []freshPart     `json:"fresh,omitempty" patchStrategy:"merge" patchMergeKey:"id"`
	Another *freshPart      `json:"another,omitempty"`
	Pods    *corev1.PodSpec `json:"pods,omitempty"`
}

type freshPart struct {
	ID   string          `json:"id"`
	Self *newerReference `json:"self,omitempty"`
}

func (newerReference) OpenAPIModelName() string { return "io.k8s.api.core.v1.SecretReference" }

func TestTypesThatAreNewerThanTheData(t *testing.T) {
	newer := kind.Must(kind.Define[struct {
		Ref    newerReference                `json:"ref"`
		Volume corev1.PersistentVolumeSource `json:"volume"` // which is made of the older one
	}, struct{}]("garden.example.com/v1", "Shed"))
	s, err := kind.NewSet(newer.Kind())
	require.NoError(t, err)
	schemas := openapi.Schemas(s)
	ref := schemas["io.k8s.api.core.v1.SecretReference"]
	require.Contains(t, ref.Properties, "namespace", "what the data says stays")
	require.Equal(t, "name is unique within a namespace to reference a secret resource.", ref.Properties["name"].Description)
	require.Equal(t, []any{"id"}, ref.Properties["fresh"].Extensions["x-kubernetes-list-map-keys"])
	part := schemas["com.github.keelson-dev.keelson.apiserver.openapi_test.freshPart"]
	require.NotNil(t, part)
	require.Equal(t, "#/components/schemas/io.k8s.api.core.v1.SecretReference", ptr(part.Properties["self"]).Ref.String())
	require.Contains(t, schemas, "io.k8s.api.core.v1.PodSpec")
	_, err = managedfields.NewTypeConverter(schemas, false)
	require.NoError(t, err)
	v3(t, openapi.New(s, "v1.37.2"), "apis/garden.example.com/v1")
}
