package wire_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/wire"
)

const (
	acceptTable    = "Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	acceptProtobuf = "Accept: application/vnd.kubernetes.protobuf,application/json"
)

// answers is a client that gives one pod, or a list of n.
func answers(n int) *fake {
	return &fake{do: func(_ context.Context, req *client.Request) (*client.Response, error) {
		if req.Verb != client.List {
			return &client.Response{Object: pod("x", "p")}, nil
		}
		resp := &client.Response{Revision: 42, Continue: "more", Remaining: new(int64(3))}
		for range n {
			resp.Items = append(resp.Items, pod("x", "p"))
		}
		return resp, nil
	}}
}

func TestObjectForms(t *testing.T) {
	h := handler(t, answers(1))
	const path = "/api/v1/namespaces/x/pods/p"
	check := func(p *corev1.Pod) {
		t.Helper()
		require.Equal(t, "p", p.Name)
		require.Equal(t, "n1", p.Spec.NodeName)
	}
	for _, accept := range []string{"Accept: */*", "Accept: application/json", "Accept: text/html, application/*;q=0.1", "X: none"} {
		w := ask(h, "GET", path, "", accept)
		require.Equal(t, "application/json", w.Header().Get("Content-Type"))
		var p corev1.Pod
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &p))
		require.Equal(t, "Pod", p.Kind)
		check(&p)
	}
	w := ask(h, "GET", path, "", "Accept: application/json;q=0.5, application/yaml")
	require.Equal(t, "application/yaml", w.Header().Get("Content-Type"))
	var p corev1.Pod
	require.NoError(t, yaml.Unmarshal(w.Body.Bytes(), &p))
	check(&p)

	w = ask(h, "GET", path, "", acceptProtobuf)
	require.Equal(t, "application/vnd.kubernetes.protobuf", w.Header().Get("Content-Type"))
	obj, err := kind.Pod.Kind().DecodeProtobuf(w.Body.Bytes())
	require.NoError(t, err)
	check(obj.(*corev1.Pod))

	w = ask(h, "GET", path, "", "Accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
	require.Contains(t, w.Body.String(), `"kind":"PartialObjectMetadata"`)
	require.NotContains(t, w.Body.String(), "n1")

	w = ask(h, "GET", path, "", "Accept: application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
	raw, gvk, err := kind.OpenEnvelope(w.Body.Bytes())
	require.NoError(t, err)
	require.Equal(t, "PartialObjectMetadata", gvk.Kind)
	var meta metav1.PartialObjectMetadata
	require.NoError(t, meta.Unmarshal(raw))
	require.Equal(t, "p", meta.Name)

	w = ask(h, "GET", path, "", acceptTable)
	var table metav1.Table
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &table))
	require.Equal(t, []any{"p", "<unknown>"}, table.Rows[0].Cells)
	require.Equal(t, "7", table.ResourceVersion)
	require.Equal(t, "Name", table.ColumnDefinitions[0].Name)
	require.Contains(t, string(table.Rows[0].Object.Raw), "PartialObjectMetadata")
	w = ask(h, "GET", path+"?includeObject=Object", "", acceptTable)
	require.Contains(t, w.Body.String(), `"nodeName":"n1"`)
	w = ask(h, "GET", path+"?includeObject=None", "", acceptTable)
	require.NotContains(t, w.Body.String(), `PartialObject`)
}

func TestListForms(t *testing.T) {
	h := handler(t, answers(2))
	check := func(l *corev1.PodList) {
		t.Helper()
		require.Len(t, l.Items, 2)
		require.Equal(t, "n1", l.Items[1].Spec.NodeName)
		require.Equal(t, "42", l.ResourceVersion)
		require.Equal(t, "more", l.Continue)
		require.EqualValues(t, 3, *l.RemainingItemCount)
	}
	var l corev1.PodList
	w := ask(h, "GET", "/api/v1/pods", "")
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &l))
	require.Equal(t, "PodList", l.Kind)
	require.Equal(t, "v1", l.APIVersion)
	check(&l)

	w = ask(h, "GET", "/api/v1/pods", "", acceptProtobuf)
	raw, gvk, err := kind.OpenEnvelope(w.Body.Bytes())
	require.NoError(t, err)
	require.Equal(t, schema.GroupVersionKind{Version: "v1", Kind: "PodList"}, gvk)
	l = corev1.PodList{}
	require.NoError(t, l.Unmarshal(raw))
	check(&l)

	l = corev1.PodList{}
	w = ask(h, "GET", "/api/v1/pods", "", "Accept: application/yaml")
	require.NoError(t, yaml.Unmarshal(w.Body.Bytes(), &l))
	check(&l)

	w = ask(h, "GET", "/api/v1/pods", "", "Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
	var metas metav1.PartialObjectMetadataList
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &metas))
	require.Len(t, metas.Items, 2)
	require.Equal(t, "42", metas.ResourceVersion)

	w = ask(h, "GET", "/api/v1/pods", "", acceptTable)
	var table metav1.Table
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &table))
	require.Len(t, table.Rows, 2)
	require.Equal(t, "more", table.Continue)

	w = ask(handler(t, answers(0)), "GET", "/api/v1/pods", "")
	require.Contains(t, w.Body.String(), `"items":[]`)
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	h := handler(t, answers(1000))
	w := ask(h, "GET", "/api/v1/pods", "", "Accept-Encoding: gzip")
	require.Equal(t, "gzip", w.Header().Get("Content-Encoding"))
	z, err := gzip.NewReader(w.Body)
	require.NoError(t, err)
	data, err := io.ReadAll(z)
	require.NoError(t, err)
	require.True(t, json.Valid(data))
	for _, encoding := range []string{"identity", "gzip;q=0"} {
		w = ask(h, "GET", "/api/v1/pods", "", "Accept-Encoding: "+encoding)
		require.Empty(t, w.Header().Get("Content-Encoding"))
	}
	require.Empty(t, ask(handler(t, answers(1)), "GET", "/api/v1/pods", "", "Accept-Encoding: gzip").Header().Get("Content-Encoding"))
}

func TestDeleteAnswers(t *testing.T) {
	gone := true
	f := &fake{do: func(_ context.Context, req *client.Request) (*client.Response, error) {
		return &client.Response{Object: pod("x", "p"), Deleted: gone, Warnings: []string{`be "careful"`}}, nil
	}}
	h := handler(t, f)
	w := ask(h, "DELETE", "/api/v1/namespaces/x/pods/p", "")
	var s metav1.Status
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &s))
	require.Equal(t, metav1.StatusSuccess, s.Status)
	require.Equal(t, &metav1.StatusDetails{Name: "p", Kind: "pods", UID: "u-1"}, s.Details)
	require.Equal(t, `299 - "be \"careful\""`, w.Header().Get("Warning"))
	gone = false
	w = ask(h, "DELETE", "/api/v1/namespaces/x/pods/p", "")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), `"kind":"Pod"`)
}

func TestErrorsBecomeStatuses(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for name, tt := range map[string]struct {
		err        error
		code       int
		reason     metav1.StatusReason
		retryAfter string
	}{
		"not found": {err: apierrors.NewNotFound(pods, "p"), code: 404, reason: metav1.StatusReasonNotFound},
		"conflict":  {err: apierrors.NewConflict(pods, "p", errors.New("changed")), code: 409, reason: metav1.StatusReasonConflict},
		"too many":  {err: apierrors.NewTooManyRequests("later", 7), code: 429, reason: metav1.StatusReasonTooManyRequests, retryAfter: "7"},
		"wrapped":   {err: errors.Join(errors.New("x"), apierrors.NewGone("old")), code: 410, reason: metav1.StatusReasonGone},
		"deadline":  {err: context.DeadlineExceeded, code: 504, reason: metav1.StatusReasonTimeout},
		"plain":     {err: errors.New("broken"), code: 500, reason: metav1.StatusReasonInternalError},
		"code 0":    {err: &apierrors.StatusError{}, code: 500},
	} {
		t.Run(name, func(t *testing.T) {
			h := handler(t, &fake{do: func(context.Context, *client.Request) (*client.Response, error) { return nil, tt.err }})
			w := ask(h, "GET", "/api/v1/namespaces/x/pods/p", "")
			s := statusIn(t, w)
			require.Equal(t, tt.code, w.Code)
			require.EqualValues(t, tt.code, s.Code)
			require.Equal(t, tt.reason, s.Reason)
			require.Equal(t, tt.retryAfter, w.Header().Get("Retry-After"))
		})
	}
}

func TestPanicsAreContained(t *testing.T) {
	h := handler(t, &fake{do: func(context.Context, *client.Request) (*client.Response, error) { panic("boom") }})
	w := ask(h, "GET", "/api/v1/namespaces/x/pods/p", "")
	require.Equal(t, 500, w.Code)
	require.Equal(t, metav1.StatusReasonInternalError, statusIn(t, w).Reason)

	// After the answer began, only breaking the connection tells the client that it is not whole.
	h = handler(t, &fake{watch: func(context.Context, *client.Request) (client.Watcher, error) { return exploding{}, nil }})
	require.PanicsWithValue(t, http.ErrAbortHandler, func() { ask(h, "GET", "/api/v1/pods?watch=true", "") })
}

type exploding struct{}

func (exploding) Next(context.Context) (client.Event, error) { panic("boom") }
func (exploding) Close() error                               { return nil }

func TestWhoMayAsk(t *testing.T) {
	deny := authz.Func(func(_ context.Context, a authz.Attributes) (authz.Decision, error) {
		return authz.Decision{Allowed: a.User.In(authn.GroupMasters) || a.Path == "/readyz", Reason: "no rule"}, nil
	})
	tokens := authn.Tokens(map[string]authn.User{"a": {Name: "admin", Groups: []string{authn.GroupMasters}}, "u": {Name: "user"}})
	f := &fake{}
	h := handler(t, f, func(c *wire.Config) { c.Authenticator, c.Authorizer = tokens, deny })
	for _, tt := range []struct {
		path, token string
		more        string
		code        int
		as          string
	}{
		{path: "/readyz", code: 200},
		{path: "/version", code: 403},
		{path: "/version", token: "a", code: 200},
		{path: "/version", token: "bad", code: 401},
		{path: "/api/v1/pods", code: 401},
		{path: "/api", code: 401},
		{path: "/api", token: "u", code: 403},
		{path: "/api/v1/namespaces/x/configmaps/a", token: "u", code: 200, as: "user"}, // the client authorizes
		{path: "/api/v1/namespaces/x/configmaps/a", token: "a", more: "Impersonate-User: jane", code: 200, as: "jane"},
		{path: "/api/v1/namespaces/x/configmaps/a", token: "u", more: "Impersonate-User: jane", code: 403},
		{path: "/api/v1/namespaces/x/configmaps/a", token: "a", more: "Impersonate-Group: g", code: 400},
		{path: "/api/v1/namespaces/x/pods/p/log", token: "u", code: 403},
		{path: "/api/v1/namespaces/x/pods/p/log", token: "a", code: 503},
	} {
		t.Run(tt.path+" "+tt.token+" "+tt.more, func(t *testing.T) {
			headers := []string{tt.more}
			if tt.token != "" {
				headers = append(headers, "Authorization: Bearer "+tt.token)
			}
			w := ask(h, "GET", tt.path, "", headers...)
			require.Equal(t, tt.code, w.Code, w.Body.String())
			if tt.as != "" {
				require.Equal(t, tt.as, f.user.Name)
				require.Contains(t, f.user.Groups, authn.GroupAuthenticated)
			}
		})
	}
}

func TestReviews(t *testing.T) {
	only := authz.Func(func(_ context.Context, a authz.Attributes) (authz.Decision, error) {
		return authz.Decision{Allowed: a.Verb == "get" && a.Resource == "pods" && a.User.Name == "admin", Reason: "because"}, nil
	})
	h := handler(t, &fake{}, func(c *wire.Config) { c.Authorizer = only })
	ask := func(path, body string) string {
		w := ask(h, "POST", path, body)
		return strings.TrimSpace(w.Body.String())
	}
	require.Contains(t, ask("/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`), `"username":"admin"`)
	const self = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	require.Contains(t, ask(self, `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`), `"status":{"allowed":true,"reason":"because"}`)
	require.Contains(t, ask(self, `{"spec":{"resourceAttributes":{"verb":"list","resource":"pods"}}}`), `"allowed":false`)
	require.Contains(t, ask(self, `{"spec":{}}`), `exactly one of`)
	require.Contains(t, ask("/apis/authorization.k8s.io/v1/subjectaccessreviews", `{"spec":{"user":"x"}}`), `Forbidden`)
}
