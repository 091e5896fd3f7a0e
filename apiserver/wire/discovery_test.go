package wire_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"github.com/keelson-dev/keelson/apiserver/wire"
)

// What kubectl 1.32 sends.
const acceptAggregated = "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"

func TestAggregatedDiscovery(t *testing.T) {
	h := handler(t, &fake{})
	var core, groups apidiscoveryv2.APIGroupDiscoveryList
	w := ask(h, "GET", "/api", "", acceptAggregated)
	require.Equal(t, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", w.Header().Get("Content-Type"))
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &core))
	require.Len(t, core.Items, 1)
	pods := core.Items[0].Versions[0].Resources
	i := 0
	for pods[i].Resource != "pods" {
		i++
	}
	require.Equal(t, []string{"po"}, pods[i].ShortNames)
	require.Equal(t, []string{"all"}, pods[i].Categories)
	require.Equal(t, "pod", pods[i].SingularResource)
	require.Equal(t, apidiscoveryv2.ScopeNamespace, pods[i].Scope)
	require.Contains(t, pods[i].Verbs, "watch")
	subs := map[string]string{}
	for _, s := range pods[i].Subresources {
		subs[s.Subresource] = s.ResponseKind.Group + "/" + s.ResponseKind.Kind
	}
	require.Equal(t, map[string]string{"status": "/Pod", "binding": "/Binding", "eviction": "policy/Eviction", "log": "/Pod", "exec": "/Pod", "attach": "/Pod", "portforward": "/Pod"}, subs)

	w = ask(h, "GET", "/apis", "", acceptAggregated)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &groups))
	var names []string
	for _, g := range groups.Items {
		names = append(names, g.Name)
	}
	require.Equal(t, []string{"apps", "rbac.authorization.k8s.io", "games.example.com", "authentication.k8s.io", "authorization.k8s.io"}, names)
}

func TestLegacyDiscovery(t *testing.T) {
	h := handler(t, &fake{})
	get := func(path string, into any) {
		t.Helper()
		w := ask(h, "GET", path, "", "Accept: application/json")
		require.Equal(t, 200, w.Code, w.Body.String())
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), into))
	}
	var versions metav1.APIVersions
	get("/api", &versions)
	require.Equal(t, []string{"v1"}, versions.Versions)
	var groups metav1.APIGroupList
	get("/apis", &groups)
	require.Equal(t, "apps/v1", groups.Groups[0].PreferredVersion.GroupVersion)
	var group metav1.APIGroup
	get("/apis/apps", &group)
	require.Equal(t, "apps", group.Name)
	var list metav1.APIResourceList
	get("/apis/apps/v1", &list)
	require.Equal(t, "apps/v1", list.GroupVersion)
	var names []string
	for _, r := range list.APIResources {
		names = append(names, r.Name)
	}
	require.Equal(t, []string{"deployments", "deployments/scale", "deployments/status"}, names)
	require.Equal(t, "autoscaling", list.APIResources[1].Group)
	var paths metav1.RootPaths
	get("/", &paths)
	require.Contains(t, paths.Paths, "/apis/games.example.com/v1")
}

func TestVersionAndHealth(t *testing.T) {
	healthy := errors.New("not yet")
	h := handler(t, &fake{}, func(c *wire.Config) {
		c.Checks = []wire.Check{{Name: "caches", ReadyOnly: true, Run: func(context.Context) error { return healthy }}}
	})
	var v version.Info
	require.NoError(t, json.Unmarshal(ask(h, "GET", "/version", "").Body.Bytes(), &v))
	require.Equal(t, "1 37 v1.37.2-keelson", v.Major+" "+v.Minor+" "+v.GitVersion)

	require.Equal(t, "ok", ask(h, "GET", "/livez", "").Body.String())
	w := ask(h, "GET", "/readyz", "")
	require.Equal(t, 500, w.Code)
	require.Equal(t, "[+]ping ok\n[-]caches failed: reason withheld\nreadyz check failed\n", w.Body.String())
	require.Equal(t, 500, ask(h, "GET", "/readyz/caches", "").Code)
	require.Equal(t, 200, ask(h, "GET", "/readyz?exclude=caches", "").Code)
	healthy = nil
	require.Equal(t, "[+]ping ok\n[+]caches ok\nreadyz check passed\n", ask(h, "GET", "/readyz?verbose", "").Body.String())

	_, err := wire.New(wire.Config{Kinds: kinds(t), Client: (&fake{}).as, Version: "new"})
	require.ErrorContains(t, err, "Config.Version")
	_, err = wire.New(wire.Config{})
	require.ErrorContains(t, err, "required")
}

func TestOpenAPIDocuments(t *testing.T) {
	h := handler(t, &fake{})
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	require.NoError(t, json.Unmarshal(ask(h, "GET", "/openapi/v3", "").Body.Bytes(), &index))
	w := ask(h, "GET", index.Paths["apis/apps/v1"].ServerRelativeURL, "", "Accept: application/json")
	require.Equal(t, 200, w.Code)
	require.Contains(t, w.Header().Get("Cache-Control"), "immutable")
	require.Contains(t, w.Body.String(), "fieldValidation")
	etag := w.Header().Get("ETag")
	require.Equal(t, 304, ask(h, "GET", "/openapi/v3/apis/apps/v1", "", "If-None-Match: "+etag).Code)

	w = ask(h, "GET", "/openapi/v2", "", "Accept: application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
	require.Equal(t, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf", w.Header().Get("Content-Type"))
	var doc openapi_v2.Document
	require.NoError(t, proto.Unmarshal(w.Body.Bytes(), &doc))
	require.NotEmpty(t, doc.GetDefinitions().GetAdditionalProperties())
	require.Equal(t, 406, ask(h, "GET", "/openapi/v2", "", "Accept: text/css").Code)
}
