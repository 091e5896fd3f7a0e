package clienttest

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func (f *fixture) watch(t *testing.T, opts ...client.Option) client.Watcher {
	t.Helper()
	w, err := f.maps.Watch(t.Context(), append([]client.Option{client.InNamespace(f.ns)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.Close()) })
	return w
}

// expect reads the next event that is no bookmark.
func expect(t *testing.T, w client.Watcher, want client.EventType, name string) client.Event {
	t.Helper()
	for {
		e, err := w.Next(t.Context())
		require.NoError(t, err)
		if e.Type == client.Bookmark {
			continue
		}
		require.Equal(t, want, e.Type)
		require.Equal(t, name, e.Object.GetName())
		require.Equal(t, client.FormatRevision(e.Revision), e.Object.GetResourceVersion())
		return e
	}
}

func (f *fixture) set(t *testing.T, name, key, value string) {
	t.Helper()
	_, err := f.maps.Mutate(t.Context(), f.ns, name, func(cm *corev1.ConfigMap) error {
		cm.Labels = map[string]string{key: value}
		return nil
	})
	require.NoError(t, err)
}

func watching(t *testing.T, f *fixture) {
	page, err := f.maps.List(t.Context(), client.InNamespace(f.ns))
	require.NoError(t, err)
	all := f.watch(t, client.FromRevision(page.Revision))
	red := f.watch(t, client.FromRevision(page.Revision), client.Labels(labels.SelectorFromSet(labels.Set{"color": "red"})))

	f.create(t, "a", "color", "blue")
	f.create(t, "b", "color", "red")
	f.set(t, "a", "color", "red")
	f.set(t, "b", "color", "blue")
	require.NoError(t, f.maps.Delete(t.Context(), f.ns, "a"))

	var last int64
	for _, want := range []struct {
		event client.EventType
		name  string
	}{{client.Added, "a"}, {client.Added, "b"}, {client.Modified, "a"}, {client.Modified, "b"}, {client.Deleted, "a"}} {
		e := expect(t, all, want.event, want.name)
		require.Greater(t, e.Revision, last, "in revision order")
		last = e.Revision
	}
	expect(t, red, client.Added, "b")
	expect(t, red, client.Added, "a")   // it came to match
	expect(t, red, client.Deleted, "b") // it no longer matches
	expect(t, red, client.Deleted, "a")
}

func initialEvents(t *testing.T, f *fixture) {
	f.create(t, "a")
	f.create(t, "b")
	yes := true
	w := f.watch(t, func(r *client.Request) {
		r.List.SendInitialEvents = &yes
		r.List.ResourceVersionMatch = metav1.ResourceVersionMatchNotOlderThan
		r.List.AllowWatchBookmarks = true
	})
	names := map[string]bool{}
	for range 2 {
		e, err := w.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, client.Added, e.Type)
		names[e.Object.GetName()] = true
	}
	require.Equal(t, map[string]bool{"a": true, "b": true}, names)
	for {
		e, err := w.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, client.Bookmark, e.Type)
		if e.InitialEventsEnd {
			require.Positive(t, e.Revision)
			break
		}
	}
	f.create(t, "c")
	expect(t, w, client.Added, "c")
}

func watchContext(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	w, err := f.maps.Watch(ctx, client.InNamespace(f.ns))
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Next(t.Context()); err != nil {
				ended <- err
				return
			}
		}
	}()
	cancel()
	require.Error(t, <-ended)
}

func snapshotAndThen(t *testing.T, f *fixture) {
	f.create(t, "a")
	view, err := client.Open(t.Context(), f.client, &client.Request{Verb: client.List, Kind: kind.ConfigMap.Kind(), Namespace: f.ns})
	require.NoError(t, err)
	defer func() { require.NoError(t, view.Watcher.Close()) }()
	require.Len(t, view.Items, 1)
	f.create(t, "b")
	e := expect(t, view.Watcher, client.Added, "b")
	require.Greater(t, e.Revision, view.Revision)
}
