package wire_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"github.com/keelson-dev/keelson/apiserver/kind"
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
	require.Equal(t, map[string]string{"status": "/Pod", "binding": "/Binding", "eviction": "policy/Eviction", "log": "/Pod", "exec": "/PodExecOptions", "attach": "/PodAttachOptions", "portforward": "/PodPortForwardOptions"}, subs)

	w = ask(h, "GET", "/apis", "", acceptAggregated)
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &groups))
	var names []string
	for _, g := range groups.Items {
		names = append(names, g.Name)
	}
	require.Equal(t, []string{"apps", "authentication.k8s.io", "authorization.k8s.io", "rbac.authorization.k8s.io", "games.example.com"}, names)
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
	require.Equal(t, "internal server error: reason withheld\n", ask(h, "GET", "/readyz/caches", "").Body.String())
	require.Equal(t, "[+]ping ok\n[+]caches excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"etcd\",\"log\"\nreadyz check passed\n",
		ask(h, "GET", "/readyz?verbose&exclude=log&exclude=caches&exclude=etcd", "").Body.String())
	require.Equal(t, 404, ask(h, "GET", "/livez/caches", "").Code)
	healthy = nil
	require.Equal(t, "[+]ping ok\n[+]caches ok\nreadyz check passed\n", ask(h, "GET", "/readyz?verbose", "").Body.String())

	_, err := wire.New(wire.Config{Kinds: kinds(t), Client: (&fake{}).as, Version: "new"})
	require.ErrorContains(t, err, "Config.Version")
	_, err = wire.New(wire.Config{})
	require.ErrorContains(t, err, "required")
}

func TestAggregatedDiscoveryIsNotSentTwice(t *testing.T) {
	h := handler(t, &fake{})
	w := ask(h, "GET", "/apis", "", acceptAggregated)
	tag := w.Header().Get("ETag")
	require.NotEmpty(t, tag)
	require.Equal(t, "public", w.Header().Get("Cache-Control"))
	require.Contains(t, w.Header().Values("Vary"), "Accept")
	for _, have := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		w = ask(h, "GET", "/apis", "", acceptAggregated, "If-None-Match: "+have)
		require.Equal(t, 304, w.Code, have)
		require.Empty(t, w.Body.String())
		require.Equal(t, tag, w.Header().Get("ETag"))
	}
	require.Equal(t, 200, ask(h, "GET", "/apis", "", acceptAggregated, `If-None-Match: "other"`).Code)
	require.NotEqual(t, tag, ask(h, "GET", "/api", "", acceptAggregated).Header().Get("ETag"))
}

func TestDiscoveryForms(t *testing.T) {
	h := handler(t, &fake{})
	const v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	for _, c := range []struct{ accept, media, apiVersion string }{
		{v2, v2, "apidiscovery.k8s.io/v2"},
		{strings.Replace(v2, "v=v2", "v=v2beta1", 1), strings.Replace(v2, "v=v2", "v=v2beta1", 1), "apidiscovery.k8s.io/v2beta1"},
		{v2 + ";profile=nopeer", v2, "apidiscovery.k8s.io/v2"},
		{strings.Replace(v2, "v=v2", "v=v3", 1) + ", application/json", "application/json", "v1"},
		{"application/json, " + v2, "application/json", "v1"},
		{"application/json;q=0.5, " + v2, v2, "apidiscovery.k8s.io/v2"},
		{"", "application/json", "v1"},
		{"*/*", "application/json", "v1"},
		{"application/*", "application/json", "v1"},
		{v2 + ";q=0, application/json", "application/json", "v1"},
	} {
		w := ask(h, "GET", "/apis", "", "Accept: "+c.accept)
		require.Equal(t, 200, w.Code, c.accept)
		require.Equal(t, c.media, w.Header().Get("Content-Type"), c.accept)
		var got metav1.TypeMeta
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
		require.Equal(t, c.apiVersion, got.APIVersion, c.accept)
	}
	for _, accept := range []string{"text/css", strings.Repeat("a/b,", 5000), ";;;,,,=", "application/json;as=Table"} {
		w := ask(h, "GET", "/apis", "", "Accept: "+accept)
		require.Equal(t, 406, w.Code, accept)
		var status metav1.Status
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &status))
		require.Equal(t, metav1.StatusReasonNotAcceptable, status.Reason)
	}
	for _, path := range []string{"/api/v1/none", "/api/v1/none/of/these/that/there/are"} {
		w := ask(h, "GET", path, "", "Accept: application/json")
		require.Equal(t, 404, w.Code, path)
		var status metav1.Status
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &status), path)
		require.Equal(t, metav1.StatusReasonNotFound, status.Reason, path)
	}
	for _, path := range []string{"/apis/none", "/apis/none/v1", "/apis/apps/v2", "/api/v2", "/openapi/v4", "/openapi", "/openapi/v3/apis/none/v1", "/readyz/none", "/readyz/ping/x"} {
		w := ask(h, "GET", path, "", "Accept: application/json")
		require.Equal(t, "404 404 page not found\n", fmt.Sprint(w.Code, " ", w.Body.String()), path)
	}
}

func TestDiscoveryOfVersionsAndStorage(t *testing.T) {
	h := handler(t, &fake{})
	var list metav1.APIResourceList
	require.NoError(t, json.Unmarshal(ask(h, "GET", "/api/v1", "").Body.Bytes(), &list))
	hashes := map[string]string{}
	for _, r := range list.APIResources {
		hashes[r.Name] = r.StorageVersionHash
	}
	require.Equal(t, "xPOwRZ+Yhw8=", hashes["pods"], "what kube-apiserver says of core/v1 Pods")
	require.Empty(t, hashes["pods/status"])
}

func TestVerbsThatAreNotServed(t *testing.T) {
	f := &fake{}
	h := handler(t, f, func(c *wire.Config) {
		set, err := kind.NewSet(kind.ConfigMap.With(kind.Strategy{Verbs: []string{"list", "get"}}).Kind())
		require.NoError(t, err)
		c.Kinds = set
	})
	var list metav1.APIResourceList
	require.NoError(t, json.Unmarshal(ask(h, "GET", "/api/v1", "").Body.Bytes(), &list))
	require.Equal(t, metav1.Verbs{"get", "list"}, list.APIResources[0].Verbs)
	all, one := "/api/v1/namespaces/a/configmaps", "/api/v1/namespaces/a/configmaps/b"
	for _, c := range [][2]string{{"POST", all}, {"DELETE", all}, {"PUT", one}, {"PATCH", one}, {"DELETE", one}, {"GET", all + "?watch=1"}} {
		require.Equal(t, 405, ask(h, c[0], c[1], "{}", "Content-Type: application/json").Code, c)
		require.Nil(t, f.request(), "%v reached the client", c)
	}
	require.NotEqual(t, 405, ask(h, "GET", one, "").Code)
	require.NotNil(t, f.request())
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

	// The address with a wrong hash leads to the one with the right hash.
	right := index.Paths["apis/apps/v1"].ServerRelativeURL
	w = ask(h, "GET", "/openapi/v3/apis/apps/v1?hash=wrong", "")
	require.Equal(t, 301, w.Code)
	require.Equal(t, right, w.Header().Get("Location"))
	require.Empty(t, w.Header().Get("Expires"))
	w = ask(h, "GET", "/openapi/v3/apis/apps/v1", "")
	require.Equal(t, "no-cache, private", w.Header().Get("Cache-Control"), "an address without a hash says something else tomorrow")

	// Compressed and not, in both encodings, it is one document.
	for _, accept := range []string{"application/json", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"} {
		plain := ask(h, "GET", right, "", "Accept: "+accept)
		packed := ask(h, "GET", right, "", "Accept: "+accept, "Accept-Encoding: gzip")
		require.Equal(t, "gzip", packed.Header().Get("Content-Encoding"))
		z, err := gzip.NewReader(packed.Body)
		require.NoError(t, err)
		data, err := io.ReadAll(z)
		require.NoError(t, err)
		require.Equal(t, plain.Body.Bytes(), data)
		require.Equal(t, plain.Header().Get("ETag"), packed.Header().Get("ETag"))
	}
	w = ask(h, "GET", right, "", "Accept: application/com.github.proto-openapi.spec.v3@v1.0+protobuf;q=0.1, application/json;q=0.9")
	require.Equal(t, "application/json", w.Header().Get("Content-Type"))
	var v3 openapi_v3.Document
	w = ask(h, "GET", right, "", "Accept: application/com.github.proto-openapi.spec.v3.v1.0+protobuf")
	require.NoError(t, proto.Unmarshal(w.Body.Bytes(), &v3))
	require.Equal(t, "3.0.0", v3.GetOpenapi())

	first := ask(h, "GET", "/openapi/v3", "")
	require.Equal(t, 304, ask(h, "GET", "/openapi/v3", "", "If-None-Match: "+first.Header().Get("ETag")).Code)
}
