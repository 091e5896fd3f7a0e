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
