package wire_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/wire"
)

const (
	typeJSON     = "Content-Type: application/json"
	typeYAML     = "Content-Type: application/yaml"
	typeProtobuf = "Content-Type: application/vnd.kubernetes.protobuf"
)

// TestBodiesThatAreMoreThanTheySeem sends small bodies that a decoder would make gigabytes or hours of work from.
func TestBodiesThatAreMoreThanTheySeem(t *testing.T) {
	p := &corev1.Pod{}
	p.Spec.Containers = make([]corev1.Container, 40_000)
	containers, err := kind.Pod.Kind().EncodeProtobuf(p)
	require.NoError(t, err)
	notText := kind.ClusterRole.New()
	notText.Name = "\xff\xfe"
	badName, err := kind.ClusterRole.Kind().EncodeProtobuf(notText)
	require.NoError(t, err)
	const maps, podsPath = "/api/v1/namespaces/a/configmaps", "/api/v1/namespaces/a/pods"
	for _, tt := range []struct{ name, path, contentType, body, text string }{
		{"many objects in JSON", podsPath, typeJSON, `{"spec":{"containers":[` + strings.Repeat("{},", 40_000) + `{}]}}`, "objects and lists"},
		{"many objects in YAML", podsPath, typeYAML, `{spec: {containers: [` + strings.Repeat("{},", 40_000) + `{}]}}`, "objects and lists"},
		{"many objects in protobuf", podsPath, typeProtobuf, string(containers), "objects and lists"},
		{"aliases of a long string", maps, typeYAML, `x: &a "` + strings.Repeat("s", 20_000) + "\"\ny: [" + strings.Repeat("*a,", 20_000) + "]\n", "aliases"},
		{"aliases of aliases", maps, typeYAML, "a: &a [x]\nb: &b [*a,*a,*a,*a]\n" + aliases(12), "aliases"},
		{"alias of itself", maps, typeYAML, "a: &a [*a]\n", ""},
		{"two documents", maps, typeYAML, "metadata: {name: a}\n---\nmetadata: {name: b}\n", "more than one document"},
		{"JSON that is no text", maps, typeJSON, "{\"data\":{\"a\":\"\xff\xfe\"}}", "UTF-8"},
		{"YAML that is no text", maps, typeYAML, "data: {a: \"\xff\xfe\"}", "UTF-8"},
		{"a name in protobuf that is no text", "/apis/rbac.authorization.k8s.io/v1/clusterroles", typeProtobuf, string(badName), "UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &fake{}
			w := ask(handler(t, f), "POST", tt.path, tt.body, tt.contentType)
			require.Equal(t, http.StatusBadRequest, w.Code, "%.500s", w.Body)
			require.Contains(t, w.Body.String(), tt.text)
			require.Nil(t, f.request(), "it went no further")
		})
	}
}

func aliases(levels int) string {
	var b strings.Builder
	for i := range levels {
		fmt.Fprintf(&b, "%c: &%c [*%c,*%c,*%c,*%c]\n", 'c'+i, 'c'+i, 'b'+i, 'b'+i, 'b'+i, 'b'+i)
	}
	return b.String()
}

// TestOrdinaryAliasesAndSeparatorsWork is the other side: what YAML files of people have.
func TestOrdinaryAliasesAndSeparatorsWork(t *testing.T) {
	for _, body := range []string{
		"---\nkind: ConfigMap\napiVersion: v1\nmetadata: &m {name: a}\nmore: *m\n",
		"kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n---\n",
		"kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata:\n  sh: |\n    a && b; ls *\n    ---\n",
	} {
		f := &fake{}
		w := ask(handler(t, f), "POST", "/api/v1/namespaces/a/configmaps", body, typeYAML)
		require.Equal(t, http.StatusCreated, w.Code, "%s%s", body, w.Body)
		require.Equal(t, "a", f.request().Object.GetName())
	}
}

// TestTheForbiddenAreNotRead sends a body that must not be looked at, because its sender may not write.
func TestTheForbiddenAreNotRead(t *testing.T) {
	nobody := func(c *wire.Config) {
		c.Authenticator = authn.Func(func(*http.Request) (authn.User, bool, error) { return authn.User{Name: "joe"}, true, nil })
		c.Authorizer = authz.Func(func(context.Context, authz.Attributes) (authz.Decision, error) { return authz.Decision{}, nil })
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		path := "/api/v1/namespaces/a/configmaps"
		if method != "POST" {
			path += "/x"
		}
		body := &counting{}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://api"+path, body)
		require.NoError(t, err)
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		handler(t, &fake{}, nobody).ServeHTTP(w, r)
		require.Equal(t, http.StatusForbidden, w.Code, "%s: %s", method, w.Body)
		require.Zero(t, body.read, method)
	}
}

type counting struct{ read int }

func (c *counting) Read([]byte) (int, error) { c.read++; return 0, io.EOF }

func TestAnswersToHugeMistakesAreSmall(t *testing.T) {
	f := &fake{do: func(context.Context, *client.Request) (*client.Response, error) {
		e := apierrors.NewBadRequest(strings.Repeat("m", 1<<20))
		e.ErrStatus.Details = &metav1.StatusDetails{Name: strings.Repeat("n", 1<<20)}
		for range 10_000 {
			e.ErrStatus.Details.Causes = append(e.ErrStatus.Details.Causes, metav1.StatusCause{Message: strings.Repeat("c", 5000)})
		}
		return nil, e
	}}
	w := ask(handler(t, f), "GET", "/api/v1/namespaces/a/configmaps/x", "")
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Less(t, w.Body.Len(), 256<<10)
	var status metav1.Status
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &status))
	require.Contains(t, status.Message, "shortened")

	var fields strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&fields, `,"unknown%d":1`, i)
	}
	w = ask(handler(t, &fake{}), "POST", "/api/v1/namespaces/a/configmaps", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}`+fields.String()+"}", typeJSON)
	require.Equal(t, http.StatusCreated, w.Code)
	require.LessOrEqual(t, len(w.Header().Values("Warning")), 33)
	require.Contains(t, w.Header().Values("Warning")[32], "more warnings")
}

func TestSelectorsAreBounded(t *testing.T) {
	for _, query := range []string{
		"labelSelector=%00", // the parser ends there: it would select everything
		"labelSelector=a%3Db%00,c%3Dd",
		"labelSelector=" + strings.Repeat("!a,", 1000) + "!a",
		"fieldSelector=" + strings.Repeat("metadata.name%3Da,", 1000) + "metadata.name%3Da",
	} {
		f := &fake{}
		for _, method := range []string{"GET", "DELETE"} {
			w := ask(handler(t, f), method, "/api/v1/namespaces/a/configmaps?"+query, "")
			require.Equal(t, http.StatusBadRequest, w.Code, "%.80s", query)
			require.Nil(t, f.request())
		}
	}
}

// TestImpersonationAsksForTheRightResource: a service account is a resource of its namespace.
func TestImpersonationAsksForTheRightResource(t *testing.T) {
	var asked []authz.Attributes
	f := &fake{}
	h := handler(t, f, func(c *wire.Config) {
		c.Authorizer = authz.Func(func(_ context.Context, a authz.Attributes) (authz.Decision, error) {
			asked = append(asked, a)
			return authz.Decision{Allowed: true}, nil
		})
	})
	for name, want := range map[string]authz.Attributes{
		"jane":                           {Resource: "users", Name: "jane"},
		"system:serviceaccount:ns:robot": {Resource: "serviceaccounts", Namespace: "ns", Name: "robot"},
		"system:serviceaccount:ns":       {Resource: "users", Name: "system:serviceaccount:ns"},
		"system:serviceaccount:a:b:c":    {Resource: "users", Name: "system:serviceaccount:a:b:c"},
	} {
		asked = nil
		require.Equal(t, http.StatusOK, ask(h, "GET", "/api/v1/namespaces/a/configmaps/x", "", "Impersonate-User: "+name).Code)
		require.NotEmpty(t, asked)
		want.User, want.Verb = admin, "impersonate"
		require.Equal(t, want, asked[0])
	}
	ask(h, "GET", "/api/v1/namespaces/a/configmaps/x", "", "Impersonate-User: system:anonymous")
	require.Equal(t, []string{authn.GroupUnauthenticated}, f.user.Groups)
}

// deadlines is a connection's answer that notes read deadlines.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

// TestSlowBodies: a body has a time in which it must come, from before anything is known about its sender, until it is there.
func TestSlowBodies(t *testing.T) {
	r := httptest.NewRequest("POST", "http://api/api/v1/namespaces/a/configmaps", strings.NewReader(`{"metadata":{"name":"a"}}`))
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	handler(t, &fake{}).ServeHTTP(w, r)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
	require.Len(t, w.set, 2)
	require.False(t, w.set[0].IsZero())
	require.True(t, w.set[1].IsZero(), "the connection may serve more requests")

	r = httptest.NewRequest("POST", "http://api/api/v1/namespaces/a/configmaps", iotest.ErrReader(os.ErrDeadlineExceeded))
	w = &deadlines{ResponseRecorder: httptest.NewRecorder()}
	handler(t, &fake{}).ServeHTTP(w, r)
	require.Equal(t, http.StatusRequestTimeout, w.Code, w.Body)
	require.Len(t, w.set, 1, "what is left of the body must not be waited for")
}
