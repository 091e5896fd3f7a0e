package wire_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/client"
)

// FuzzRequests holds that no request makes the front panic, and that what reaches the client is sound: a known kind, and
// names that are one path segment each.
func FuzzRequests(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "/api/v1/namespaces/x/pods/p/status?resourceVersion=1", ""},
		{"GET", "/apis/apps/v1/deployments?watch=1&limit=5&labelSelector=a+in+(b)", ""},
		{"POST", "/api/v1/namespaces/x/configmaps?dryRun=All", `{"metadata":{"name":"a"}}`},
		{"PATCH", "/api/v1/namespaces/%2e%2e/pods/a%2fb", "{}"},
		{"DELETE", "/api/v1/namespaces/x", "k8s\x00"},
		{"GET", "/openapi/v3/apis", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	fake := &fake{watch: func(context.Context, *client.Request) (client.Watcher, error) { return play(io.EOF), nil }}
	h := handler(f, fake)
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Skip()
		}
		fake.remember(nil)
		r := &http.Request{Method: method, URL: u, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(t.Context()))
		require.NotEqual(t, 500, w.Code, w.Body.String())
		if req := fake.request(); req != nil {
			require.NotNil(t, req.Kind)
			for _, s := range []string{req.Namespace, req.Name, req.Subresource} {
				require.NotContains(t, s, "/")
				require.NotContains(t, []string{".", ".."}, s)
			}
		}
	})
}

// FuzzDescriptions holds that whatever is asked of discovery and OpenAPI gets an answer of the kinds that clients know, and that a
// redirect leads to a document of this server.
func FuzzDescriptions(f *testing.F) {
	for _, seed := range [][4]string{
		{"/openapi/v3/apis/apps/v1", "hash=x", "application/json", ""},
		{"/openapi/v3/api/v1", "hash=%22%0d%0aX:y", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", "*"},
		{"/openapi/v2", "", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf;q=0.1,*/*", `W/"a", "b"`},
		{"/apis", "", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=nan", ""},
		{"/readyz", "verbose&exclude=a&exclude=%00", "", ""},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	h := handler(f, &fake{})
	f.Fuzz(func(t *testing.T, path, query, accept, match string) {
		if !strings.HasPrefix(path, "/") {
			t.Skip()
		}
		r := &http.Request{
			Method: http.MethodGet, URL: &url.URL{Path: path, RawQuery: query}, Body: http.NoBody,
			Header: http.Header{"Accept": {accept}, "If-None-Match": {match}, "Accept-Encoding": {"gzip"}},
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r.WithContext(t.Context()))
		switch w.Code {
		case 200, 304, 400, 404, 405, 406:
		case 301:
			require.Regexp(t, `^/openapi/v3/[a-z0-9./-]+\?hash=[0-9A-F]{128}$`, w.Header().Get("Location"))
		default:
			require.Fail(t, "unexpected answer", "%d: %s", w.Code, w.Body.String())
		}
	})
}
