package https_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/https"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/wire"
	"github.com/keelson-dev/keelson/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fleetSpec struct {
	Size int32 `json:"size"`
}

type fleetStatus struct{}

var fleets = kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet"))

// memory is a small server behind the wire: objects by name, and watches that play what a test puts in.
type memory struct {
	mu      sync.Mutex
	objects map[string]kind.Instance
	last    *client.Request
	user    authn.User
	fail    error
	events  chan client.Event
	closed  chan struct{} // receives when a watch ends
}

func newMemory() *memory {
	return &memory{objects: map[string]kind.Instance{}, events: make(chan client.Event, 16), closed: make(chan struct{}, 16)}
}

func (m *memory) as(u authn.User) client.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.user = u
	return m
}

func (m *memory) Do(_ context.Context, req *client.Request) (*client.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = req
	if m.fail != nil {
		return nil, m.fail
	}
	key := req.Kind.Name + "/" + req.Namespace + "/" + req.Name
	switch req.Verb {
	case client.Create, client.Update:
		if req.Subresource != "" {
			return &client.Response{Object: req.Object}, nil
		}
		key = req.Kind.Name + "/" + req.Namespace + "/" + req.Object.GetName()
		if m.objects[key] != nil && req.Verb == client.Create {
			return nil, apierrors.NewAlreadyExists(req.Kind.GroupResource(), req.Object.GetName())
		}
		obj := req.Kind.Copy(req.Object)
		obj.SetResourceVersion("5")
		m.objects[key] = obj
		return &client.Response{Object: obj, Warnings: []string{"mind this"}}, nil
	case client.List:
		resp := &client.Response{Revision: 9, Continue: "next"}
		var keys []string
		for k := range m.objects {
			if strings.HasPrefix(k, req.Kind.Name+"/"+req.Namespace) {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		for _, k := range keys {
			resp.Items = append(resp.Items, m.objects[k])
		}
		return resp, nil
	case client.DeleteCollection:
		return &client.Response{}, nil
	}
	obj, ok := m.objects[key]
	if !ok {
		return nil, apierrors.NewNotFound(req.Kind.GroupResource(), req.Name)
	}
	if req.Verb == client.Delete {
		delete(m.objects, key)
		return &client.Response{Object: obj, Deleted: true}, nil
	}
	return &client.Response{Object: obj}, nil
}

func (m *memory) Watch(_ context.Context, req *client.Request) (client.Watcher, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = req
	return &player{m}, m.fail
}

type player struct{ m *memory }

func (p *player) Next(ctx context.Context) (client.Event, error) {
	select {
	case <-ctx.Done():
		return client.Event{}, ctx.Err()
	case ev, ok := <-p.m.events:
		switch {
		case !ok:
			return ev, io.EOF
		case ev.Type == "":
			return ev, apierrors.NewResourceExpired("too old")
		}
		return ev, nil
	}
}

func (p *player) Close() error { p.m.closed <- struct{}{}; return nil }

func (m *memory) seen() *client.Request {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// serve runs a handler behind TLS in memory and gives a config to reach it as admin.
func serve(t *testing.T, h func(ca *pki.CA) http.Handler) https.Config {
	ca, err := pki.NewCA("ca", time.Hour)
	require.NoError(t, err)
	pair, err := ca.Issue(pki.Request{Hosts: []string{"api"}})
	require.NoError(t, err)
	cert, err := pair.TLS()
	require.NoError(t, err)
	l := memnet.Listen("api")
	s := &http.Server{Handler: h(ca), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		_ = s.Close()
		_ = l.Close()
		<-done
	})
	admin, err := ca.Issue(pki.Request{CommonName: "admin"})
	require.NoError(t, err)
	return https.Config{Server: "https://api", CAData: ca.CertPEM(), CertData: admin.CertPEM, KeyData: admin.KeyPEM, Dial: l.DialContext}
}

func connect(t *testing.T, cfg https.Config) *https.Client {
	c, err := https.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func start(t *testing.T, m *memory) https.Config {
	pods := kind.Pod.With(kind.Strategy{Status: true, Subresources: []string{"binding"}})
	kinds, err := kind.NewSet(pods.Kind(), kind.ConfigMap.Kind(), kind.Node.Kind(), kind.Deployment.With(kind.Strategy{Scale: &kind.Scale{}}).Kind(), fleets.Kind())
	require.NoError(t, err)
	return serve(t, func(ca *pki.CA) http.Handler {
		h, err := wire.New(wire.Config{Kinds: kinds, Client: m.as, Authenticator: authn.Certificates(ca.Pool())})
		require.NoError(t, err)
		return h
	})
}

func TestObjectsTravelWhole(t *testing.T) {
	for _, json := range []bool{false, true} {
		t.Run(fmt.Sprint("json=", json), func(t *testing.T) {
			m := newMemory()
			cfg := start(t, m)
			cfg.JSON, cfg.UserAgent = json, "tester/1"
			c := connect(t, cfg)
			ctx := t.Context()
			pods := client.For(c, kind.Pod)
			p := &corev1.Pod{}
			p.Name, p.Namespace, p.Spec.NodeName = "p", "x", "n1"
			made, err := pods.Create(ctx, p)
			require.NoError(t, err)
			require.Equal(t, "5", made.ResourceVersion)
			require.Equal(t, "Pod", made.Kind)
			require.Empty(t, p.Kind, "the caller's object was written to")
			require.Equal(t, "admin", m.user.Name)
			require.Equal(t, "tester", m.seen().FieldManager)
			_, err = pods.Create(ctx, p)
			require.True(t, apierrors.IsAlreadyExists(err), err)
			got, err := pods.Get(ctx, "x", "p")
			require.NoError(t, err)
			require.Equal(t, "n1", got.Spec.NodeName)
			_, err = pods.Get(ctx, "x", "gone")
			require.True(t, apierrors.IsNotFound(err), err)
			require.ErrorContains(t, err, `pods "gone" not found`)

			page, err := pods.List(ctx, client.InNamespace("x"), client.Labels(labels.SelectorFromSet(labels.Set{"a": "b"})), client.Limit(3))
			require.NoError(t, err)
			require.EqualValues(t, 9, page.Revision)
			require.Equal(t, "next", page.Continue)
			require.Len(t, page.Items, 1)
			require.Equal(t, "n1", page.Items[0].Spec.NodeName)
			require.Equal(t, "Pod", page.Items[0].Kind)
			require.Equal(t, "a=b", m.seen().List.LabelSelector)
			require.EqualValues(t, 3, m.seen().List.Limit)

			f := fleets.New()
			f.Name, f.Namespace, f.Spec.Size = "f", "x", 3
			fleet, err := client.For(c, fleets).Create(ctx, f, client.DryRun(), client.ManagedBy("me"))
			require.NoError(t, err)
			require.EqualValues(t, 3, fleet.Spec.Size)
			require.True(t, m.seen().DryRun)
			require.Equal(t, "me", m.seen().FieldManager)
			_, err = client.For(c, fleets).Patch(ctx, "x", "f", types.MergePatchType, []byte(`{"spec":{}}`))
			require.NoError(t, err)
			require.JSONEq(t, `{"spec":{}}`, string(m.seen().PatchData))
			all, err := client.For(c, fleets).List(ctx)
			require.NoError(t, err)
			require.EqualValues(t, 3, all.Items[0].Spec.Size)

			require.NoError(t, client.Bind(ctx, c, made, "n2"))
			require.Equal(t, "n2", m.seen().Object.(*corev1.Binding).Target.Name)
			require.NoError(t, client.For(c, kind.Deployment).Scale(ctx, "x", "d", 4))
			require.EqualValues(t, 4, m.seen().Object.(*autoscalingv1.Scale).Spec.Replicas)

			require.NoError(t, pods.Delete(ctx, "x", "p", client.GracePeriod(3), client.IfUID("u")))
			require.EqualValues(t, 3, *m.seen().Delete.GracePeriodSeconds)
			require.EqualValues(t, "u", *m.seen().Delete.Preconditions.UID)
			require.NoError(t, pods.DeleteAll(ctx, client.InNamespace("x")))

			resp, err := c.Do(ctx, &client.Request{Verb: client.Create, Kind: kind.Pod.Kind(), Namespace: "x", Object: p})
			require.NoError(t, err)
			require.Equal(t, []string{"mind this"}, resp.Warnings)
			resp, err = c.Do(ctx, &client.Request{Verb: client.Delete, Kind: kind.Pod.Kind(), Namespace: "x", Name: "p"})
			require.NoError(t, err)
			require.True(t, resp.Deleted)
		})
	}
}

func TestNamesCannotLeaveTheirSegment(t *testing.T) {
	m := newMemory()
	c := connect(t, start(t, m))
	for _, name := range []string{"a/b", "..", "a?b=c", "a%2fb", "."} {
		m.last = nil
		_, err := client.For(c, kind.Pod).Get(t.Context(), "x", name)
		require.Error(t, err)
		if seen := m.seen(); seen != nil {
			require.Equal(t, name, seen.Name)
		}
	}
	_, err := client.For(c, kind.Pod).Get(t.Context(), "x", "")
	require.ErrorContains(t, err, "a name is required")
}

func TestWatch(t *testing.T) {
	for _, json := range []bool{false, true} {
		t.Run(fmt.Sprint("json=", json), func(t *testing.T) {
			m := newMemory()
			cfg := start(t, m)
			cfg.JSON = json
			c := connect(t, cfg)
			ctx := t.Context()
			w, err := client.For(c, kind.Pod).Watch(ctx, client.FromRevision(3))
			require.NoError(t, err)
			require.Equal(t, "3", m.seen().List.ResourceVersion)
			p := kind.Pod.New()
			p.Name, p.ResourceVersion, p.Spec.NodeName = "p", "4", "n1"
			m.events <- client.Event{Type: client.Added, Object: p, Revision: 4}
			m.events <- client.Event{Type: client.Bookmark, Revision: 6, InitialEventsEnd: true}
			m.events <- client.Event{}
			ev, err := w.Next(ctx)
			require.NoError(t, err)
			require.Equal(t, client.Added, ev.Type)
			require.EqualValues(t, 4, ev.Revision)
			require.Equal(t, "n1", ev.Object.(*corev1.Pod).Spec.NodeName)
			ev, err = w.Next(ctx)
			require.NoError(t, err)
			require.Equal(t, client.Event{Type: client.Bookmark, Revision: 6, InitialEventsEnd: true}, ev)
			for range 2 { // an end stays
				_, err = w.Next(ctx)
				require.True(t, apierrors.IsResourceExpired(err), err)
			}
			require.NoError(t, w.Close())
			<-m.closed

			// The end in order, a reader that gives up, and a close from elsewhere.
			w, err = c.Watch(ctx, &client.Request{Kind: kind.Pod.Kind(), Namespace: "x", Name: "p"})
			require.NoError(t, err)
			require.Equal(t, "metadata.name=p", m.seen().List.FieldSelector)
			cancelled, cancel := context.WithCancel(ctx)
			cancel()
			_, err = w.Next(cancelled)
			require.ErrorIs(t, err, context.Canceled)
			close(m.events)
			_, err = w.Next(ctx)
			require.ErrorIs(t, err, io.EOF)
			require.NoError(t, w.Close())
			<-m.closed

			m.events = make(chan client.Event)
			w, err = c.Watch(ctx, &client.Request{Kind: kind.Pod.Kind()})
			require.NoError(t, err)
			require.NoError(t, w.Close())
			_, err = w.Next(ctx)
			require.Error(t, err)
			<-m.closed // the server's side ended too

			m.fail = apierrors.NewForbidden(kind.Pod.Kind().GroupResource(), "", errors.New("no"))
			_, err = c.Watch(ctx, &client.Request{Kind: kind.Pod.Kind()})
			require.True(t, apierrors.IsForbidden(err), err)
		})
	}
}

func TestReadsAreRepeatedAfter429(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		cfg := serve(t, func(*pki.CA) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				if calls++; calls%3 != 0 {
					w.Header().Set("Retry-After", "20")
					w.WriteHeader(http.StatusTooManyRequests)
					_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"TooManyRequests","code":429}`)
					return
				}
				_, _ = io.WriteString(w, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p"}}`)
			})
		})
		c := connect(t, cfg)
		begin := time.Now()
		p, err := client.For(c, kind.Pod).Get(t.Context(), "x", "p")
		require.NoError(t, err)
		require.Equal(t, "p", p.Name)
		require.Equal(t, 40*time.Second, time.Since(begin))
		_, err = client.For(c, kind.Pod).Create(t.Context(), p)
		require.True(t, apierrors.IsTooManyRequests(err), "a write is not sent twice: %v", err)
		require.Equal(t, 4, calls)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = client.For(c, kind.Pod).Get(ctx, "x", "p")
		require.True(t, apierrors.IsTooManyRequests(err), err)
		require.NoError(t, c.Close())
	})
}

func TestStrangeAnswersAreErrors(t *testing.T) {
	var answer func(http.ResponseWriter)
	c := connect(t, serve(t, func(*pki.CA) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w) })
	}))
	for name, tt := range map[string]struct {
		code              int
		contentType, body string
		want              string
	}{
		"html":         {200, "text/html", "<p>", "text/html"},
		"half":         {200, "application/json", `{"kind":`, "decode answer"},
		"another kind": {200, "application/json", `{"kind":"Node","apiVersion":"v1"}`, "wrong kind"},
		"no envelope":  {200, "application/vnd.kubernetes.protobuf", "hello", "envelope"},
		"plain error":  {503, "text/plain", "sorry", "sorry"},
		"redirect":     {302, "text/plain", "", ""},
		"bad status":   {500, "application/vnd.kubernetes.protobuf", "k8s\x00\xff", "envelope"},
	} {
		t.Run(name, func(t *testing.T) {
			answer = func(w http.ResponseWriter) {
				w.Header().Set("Content-Type", tt.contentType)
				w.Header().Set("Location", "https://elsewhere/")
				w.WriteHeader(tt.code)
				_, _ = io.WriteString(w, tt.body)
			}
			_, err := client.For(c, kind.Pod).Get(t.Context(), "x", "p")
			require.ErrorContains(t, err, tt.want)
			_, err = c.Watch(t.Context(), &client.Request{Kind: kind.Pod.Kind()})
			if tt.code == 200 && tt.contentType != "text/html" {
				require.NoError(t, err) // the stream's beginning tells nothing of its content
				return
			}
			require.Error(t, err)
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, cfg := range map[string]https.Config{
		"Config.Server":   {Server: "127.0.0.1:6443"},
		"Config.CAData":   {Server: "https://a", CAData: []byte("x")},
		"Config.CertData": {Server: "https://a", CertData: []byte("x")},
	} {
		_, err := https.New(cfg)
		require.ErrorContains(t, err, name)
	}
}
