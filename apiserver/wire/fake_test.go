package wire_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/wire"
)

// fake is a client.Client that does what a test says and remembers the last request.
type fake struct {
	do    func(context.Context, *client.Request) (*client.Response, error)
	watch func(context.Context, *client.Request) (client.Watcher, error)

	mu   sync.Mutex
	last *client.Request
	user authn.User
}

func (f *fake) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	f.remember(req)
	if f.do == nil {
		return &client.Response{Object: req.Object, Deleted: req.Verb == client.Delete}, nil
	}
	return f.do(ctx, req)
}

func (f *fake) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	f.remember(req)
	return f.watch(ctx, req)
}

func (f *fake) remember(req *client.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = req
}

func (f *fake) request() *client.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

func (f *fake) as(u authn.User) client.Client {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.user = u
	return f
}

// script is a watcher that plays events and then ends with err, or waits for its end.
type script struct {
	events []client.Event
	err    error
	closed chan struct{}
	once   sync.Once
}

func play(err error, events ...client.Event) *script {
	return &script{events: events, err: err, closed: make(chan struct{})}
}

func (s *script) Next(ctx context.Context) (client.Event, error) {
	if len(s.events) > 0 {
		ev := s.events[0]
		s.events = s.events[1:]
		return ev, nil
	}
	if s.err != nil {
		return client.Event{}, s.err
	}
	select {
	case <-ctx.Done():
		return client.Event{}, ctx.Err()
	case <-s.closed:
		return client.Event{}, io.EOF
	}
}

func (s *script) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

type fleetSpec struct {
	Size int32 `json:"size"`
}

type fleetStatus struct {
	Ready int32 `json:"ready"`
}

var fleets = kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet"))

func kinds(t testing.TB) *kind.Set {
	pods := kind.Pod.With(kind.Strategy{Status: true, Subresources: []string{"binding", "eviction", "log", "exec", "attach", "portforward"}})
	deployments := kind.Deployment.With(kind.Strategy{Status: true, Scale: &kind.Scale{}})
	namespaces := kind.Namespace.With(kind.Strategy{Status: true, Subresources: []string{"finalize"}})
	set, err := kind.NewSet(pods.Kind(), deployments.Kind(), namespaces.Kind(), kind.ConfigMap.Kind(), kind.Node.Kind(), kind.ClusterRole.Kind(), fleets.Kind())
	require.NoError(t, err)
	return set
}

// admin is whom requests without a token come from.
var admin = authn.User{Name: "admin", Groups: []string{authn.GroupMasters, authn.GroupAuthenticated}}

func everybodyIsAdmin(*http.Request) (authn.User, bool, error) { return admin, true, nil }

func handler(t testing.TB, f *fake, change ...func(*wire.Config)) *wire.Handler {
	cfg := wire.Config{Kinds: kinds(t), Client: f.as, Authenticator: authn.Func(everybodyIsAdmin)}
	for _, c := range change {
		c(&cfg)
	}
	h, err := wire.New(cfg)
	require.NoError(t, err)
	return h
}

// ask sends one request. Headers are given as "Name: value".
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://api"+target, strings.NewReader(body))
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func pod(namespace, name string) *corev1.Pod {
	p := kind.Pod.New()
	p.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name, ResourceVersion: "7", UID: "u-" + "1"}
	p.Spec.NodeName = "n1"
	return p
}
