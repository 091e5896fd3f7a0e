package client_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fleetSpec struct {
	Size   int32             `json:"size"`
	Extras map[string]string `json:"extras,omitempty"`
}

type fleetStatus struct {
	Ready int32 `json:"ready"`
}

type fleet = kind.Object[fleetSpec, fleetStatus]

var fleets = kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet")).With(kind.Strategy{Status: true})

// serve runs an API server in memory, and ends it when stop is called.
func serve(ctx context.Context) (s *apiserver.Server, stop func() error, err error) {
	st, err := store.Open(ctx, store.Config{})
	if err != nil {
		return nil, nil, err
	}
	s, err = apiserver.New(st, apiserver.Config{Kinds: append(builtin.Kinds(), fleets.Kind())})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return s, func() error {
		cancel()
		if err := <-done; err != nil {
			return err
		}
		return st.Close()
	}, nil
}

// server is serve for the time of a test.
func server(t *testing.T) *apiserver.Server {
	t.Helper()
	s, stop, err := serve(context.WithoutCancel(t.Context()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, stop()) })
	return s
}

// plain hides all that a client can do beyond the contract, and shows a test each request before it is sent. before
// may refuse it.
type plain struct {
	to     client.Client
	before func(*client.Request) error
}

func (p plain) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	if p.before != nil {
		if err := p.before(req); err != nil {
			return nil, err
		}
	}
	return p.to.Do(ctx, req)
}

func (p plain) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	return p.to.Watch(ctx, req)
}

func configMap(name string) *corev1.ConfigMap {
	cm := kind.ConfigMap.New()
	cm.Namespace, cm.Name = "default", name
	return cm
}

func TestOpenReadsEveryPageAndThenWatches(t *testing.T) {
	const many = 1100 // three pages
	c := server(t).Client(authn.System("test"))
	maps := client.For(c, kind.ConfigMap)
	for n := range many {
		_, err := maps.Create(t.Context(), configMap(fmt.Sprintf("cm-%04d", n)))
		require.NoError(t, err)
	}
	var pages []client.Request
	over := plain{c, func(req *client.Request) error {
		pages = append(pages, *req)
		// Something changes between the pages: the snapshot is of one revision all the same.
		_, err := maps.Create(t.Context(), configMap(fmt.Sprintf("new-%d", len(pages))))
		return err
	}}
	req := &client.Request{Verb: client.List, Kind: kind.ConfigMap.Kind(), Namespace: "default"}
	req.List.ResourceVersion = "1" // not older than: a later page must not repeat it
	view, err := client.Open(t.Context(), over, req)
	require.NoError(t, err)
	defer func() { require.NoError(t, view.Watcher.Close()) }()
	require.Len(t, pages, 3)
	require.Equal(t, "1", req.List.ResourceVersion, "the caller's request stays as it is")
	require.Len(t, view.Items, many+1, "what was there, and what came before the first page")
	for _, want := range []string{"new-2", "new-3"} {
		e, err := view.Watcher.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, client.Added, e.Type)
		require.Equal(t, want, e.Object.GetName())
		require.Greater(t, e.Revision, view.Revision)
	}
}

func TestOpenStartsOverWhenItsPagesExpire(t *testing.T) {
	c := server(t).Client(authn.System("test"))
	for n := range 501 {
		_, err := client.For(c, kind.ConfigMap).Create(t.Context(), configMap(fmt.Sprintf("cm-%04d", n)))
		require.NoError(t, err)
	}
	var limits []int64
	expired := apierrors.NewResourceExpired("the history is gone")
	view, err := client.Open(t.Context(), plain{c, func(req *client.Request) error {
		limits = append(limits, req.List.Limit)
		if req.List.Continue != "" {
			return expired
		}
		return nil
	}}, &client.Request{Verb: client.List, Kind: kind.ConfigMap.Kind()})
	require.NoError(t, err)
	require.NoError(t, view.Watcher.Close())
	require.Equal(t, []int64{500, 500, 0}, limits)
	require.Len(t, view.Items, 501)

	_, err = client.Open(t.Context(), plain{c, func(*client.Request) error { return expired }},
		&client.Request{Verb: client.List, Kind: kind.ConfigMap.Kind()})
	require.Equal(t, expired, err, "a first page that expires is the caller's to see")
}

func TestOpenAsksAViewer(t *testing.T) {
	c := server(t).Client(authn.System("test"))
	_, err := client.For(c, fleets).Create(t.Context(), newFleet("lobby", 1))
	require.NoError(t, err)
	req := &client.Request{Verb: client.List, Kind: fleets.Kind()}
	one, err := client.Open(t.Context(), c, req)
	require.NoError(t, err)
	defer func() { require.NoError(t, one.Watcher.Close()) }()
	other, err := client.Open(t.Context(), c, req)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Watcher.Close()) }()
	require.Same(t, one.Items[0], other.Items[0], "readers in the server's process share its objects")
}

func TestBind(t *testing.T) {
	c := server(t).Client(authn.System("test"))
	pods := client.For(c, kind.Pod)
	pod := kind.Pod.New()
	pod.Namespace, pod.Name = "default", "web"
	pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "web"}}
	pod, err := pods.Create(t.Context(), pod)
	require.NoError(t, err)
	require.NoError(t, client.Bind(t.Context(), c, pod, "rack-1"))
	pod, err = pods.Get(t.Context(), "default", "web")
	require.NoError(t, err)
	require.Equal(t, "rack-1", pod.Spec.NodeName)
	require.True(t, apierrors.IsConflict(client.Bind(t.Context(), c, pod, "rack-2")), "a pod is bound once")

	namesake := kind.Pod.Copy(pod)
	namesake.UID = "of the pod that had this name before"
	require.True(t, apierrors.IsConflict(client.Bind(t.Context(), c, namesake, "rack-1")))
}

func TestWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := server(t).Client(authn.System("test"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		w, err := client.For(c, fleets).Watch(ctx)
		require.NoError(t, err)
		defer func() { require.NoError(t, w.Close()) }()
		_, err = client.For(c, fleets).Create(ctx, newFleet("lobby", 1))
		require.NoError(t, err)
		e, err := w.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, "lobby", e.Object.GetName())
		_, err = w.Next(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestExitError(t *testing.T) {
	require.EqualError(t, &client.ExitError{Code: 7}, "the command in the container ended with exit code 7")
}

func names(items []kind.Instance) []string {
	var out []string
	for _, i := range items {
		out = append(out, i.GetName())
	}
	slices.Sort(out)
	return out
}

func newFleet(name string, size int32) *fleet {
	f := fleets.New()
	f.Namespace, f.Name, f.Spec.Size = "default", name, size
	return f
}
