package apiserver_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// told is an event in short.
func told(e client.Event) string {
	if e.Object == nil {
		if e.InitialEventsEnd {
			return "END"
		}
		return string(e.Type)
	}
	return string(e.Type) + " " + e.Object.GetName()
}

func open(t *testing.T, c client.Client, namespace string, opts metav1.ListOptions) client.Watcher {
	t.Helper()
	w, err := c.Watch(t.Context(), &client.Request{Verb: client.Watch, Kind: kind.Pod.Kind(), Namespace: namespace, List: opts})
	require.NoError(t, err)
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func expect(t *testing.T, w client.Watcher, want ...string) (last client.Event) {
	t.Helper()
	for _, each := range want {
		e, err := w.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, each, told(e))
		last = e
	}
	return last
}

func TestWatchStart(t *testing.T) {
	_, c := start(t)
	typed := client.For(c, pods)
	first, err := typed.Create(t.Context(), newPod("a"))
	require.NoError(t, err)
	_, err = typed.Create(t.Context(), newPod("b"))
	require.NoError(t, err)
	yes, no := true, false
	for name, tc := range map[string]struct {
		opts metav1.ListOptions
		want []string
	}{
		"unset":         {metav1.ListOptions{}, []string{"ADDED a", "ADDED b", "ADDED c"}},
		"any":           {metav1.ListOptions{ResourceVersion: "0"}, []string{"ADDED a", "ADDED b", "ADDED c"}},
		"from":          {metav1.ListOptions{ResourceVersion: first.ResourceVersion}, []string{"ADDED b", "ADDED c"}},
		"initial":       {metav1.ListOptions{SendInitialEvents: &yes, ResourceVersionMatch: "NotOlderThan", AllowWatchBookmarks: true}, []string{"ADDED a", "ADDED b", "END", "ADDED c"}},
		"initial, from": {metav1.ListOptions{SendInitialEvents: &yes, ResourceVersion: first.ResourceVersion, ResourceVersionMatch: "NotOlderThan", AllowWatchBookmarks: true}, []string{"ADDED a", "ADDED b", "END", "ADDED c"}},
		"no initial":    {metav1.ListOptions{SendInitialEvents: &no, ResourceVersionMatch: "NotOlderThan"}, []string{"ADDED c"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t, c, "", tc.opts)
			_, err := typed.Create(t.Context(), newPod("c"))
			require.NoError(t, err)
			expect(t, w, tc.want...)
			require.NoError(t, typed.Delete(t.Context(), "default", "c"))
			e := expect(t, w, "DELETED c")
			require.Equal(t, client.FormatRevision(e.Revision), e.Object.GetResourceVersion())
		})
	}
	for name, opts := range map[string]metav1.ListOptions{
		"match without initial": {ResourceVersion: "1", ResourceVersionMatch: "NotOlderThan"},
		"initial without match": {SendInitialEvents: &yes},
		"initial exact":         {SendInitialEvents: &yes, ResourceVersion: "1", ResourceVersionMatch: "Exact"},
	} {
		_, err := c.Watch(t.Context(), &client.Request{Kind: kind.Pod.Kind(), List: opts})
		require.True(t, apierrors.IsInvalid(err), "%s: %v", name, err)
	}
}

func TestWatchSelectors(t *testing.T) {
	_, c := start(t)
	typed := client.For(c, pods)
	ctx := t.Context()
	byLabel := open(t, c, "", metav1.ListOptions{LabelSelector: "app=web"})
	byNode := open(t, c, "", metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
	byName := open(t, c, "default", metav1.ListOptions{FieldSelector: "metadata.name=b"})
	elsewhere := open(t, c, "other", metav1.ListOptions{})

	a, err := typed.Create(ctx, newPod("a", "app", "db"))
	require.NoError(t, err)
	label := func(name, app string) {
		_, err := typed.Mutate(ctx, "default", name, func(p *corev1.Pod) error { p.Labels["app"] = app; return nil })
		require.NoError(t, err)
	}
	label("a", "web")
	require.NoError(t, client.Bind(ctx, c, a, "n1"))
	label("a", "cache")
	_, err = typed.Create(ctx, newPod("b", "app", "web"))
	require.NoError(t, err)
	other := newPod("z")
	other.Namespace = "other"
	_, err = typed.Create(ctx, other)
	require.NoError(t, err)
	require.NoError(t, typed.Delete(ctx, "default", "a", client.GracePeriod(0)))

	expect(t, byLabel, "ADDED a", "MODIFIED a")
	left := expect(t, byLabel, "DELETED a")
	require.Equal(t, "web", left.Object.GetLabels()["app"], "the last state that matched")
	require.Equal(t, client.FormatRevision(left.Revision), left.Object.GetResourceVersion())
	expect(t, byLabel, "ADDED b")
	expect(t, byNode, "ADDED a", "MODIFIED a", "DELETED a")
	expect(t, byName, "ADDED b")
	expect(t, elsewhere, "ADDED z")
}

func TestWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := start(t)
		seconds := int64(90)
		w := open(t, c, "", metav1.ListOptions{AllowWatchBookmarks: true, TimeoutSeconds: &seconds})
		began := time.Now()
		put(t, s, "/elsewhere", nil)
		e := expect(t, w, "BOOKMARK")
		require.LessOrEqual(t, time.Since(began), time.Minute)
		require.Equal(t, int64(2), e.Revision, "a bookmark counts what concerned others")
		expect(t, w, "BOOKMARK")
		require.Equal(t, 90*time.Second, time.Since(began))
		_, err := w.Next(t.Context())
		require.ErrorIs(t, err, io.EOF)

		short, cancel := context.WithCancel(t.Context())
		w, err = c.Watch(short, &client.Request{Kind: kind.Pod.Kind()})
		require.NoError(t, err)
		cancel()
		_, err = w.Next(t.Context())
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, w.Close())

		w = open(t, c, "", metav1.ListOptions{})
		waiting, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = w.Next(waiting)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = client.For(c, pods).Create(t.Context(), newPod("a"))
		require.NoError(t, err)
		expect(t, w, "ADDED a")

		_, err = c.Watch(t.Context(), &client.Request{Kind: kind.Pod.Kind(), List: metav1.ListOptions{ResourceVersion: "1"}})
		require.NoError(t, err, "the version that the server began with")
	})
}

func TestWatchExpired(t *testing.T) {
	first, _ := start(t)
	put(t, first, "/x", nil)
	second, err := apiserver.New(first.Store(), apiserver.Config{Kinds: testKinds()})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.Run(ctx) }()
	_, err = second.Client(authn.System("test")).Watch(ctx, &client.Request{Kind: kind.Pod.Kind(), List: metav1.ListOptions{ResourceVersion: "1"}})
	require.True(t, apierrors.IsResourceExpired(err), err)
	cancel()
	require.NoError(t, <-done)
}

func TestViewAndProgress(t *testing.T) {
	s, c := start(t)
	ctx := t.Context()
	_, err := client.For(c, pods).Create(ctx, newPod("a"))
	require.NoError(t, err)
	v, err := client.Open(ctx, c, &client.Request{Verb: client.List, Kind: kind.Pod.Kind()})
	require.NoError(t, err)
	defer func() { require.NoError(t, v.Watcher.Close()) }()
	require.Equal(t, []string{"default/a"}, names(v.Items))
	_, err = client.For(c, pods).Create(ctx, newPod("b"))
	require.NoError(t, err)
	put(t, s, "/elsewhere", nil)
	v.Watcher.(client.Progresser).RequestProgress()
	expect(t, v.Watcher, "ADDED b")
	e := expect(t, v.Watcher, "BOOKMARK")
	now, err := s.Store().Revision(ctx)
	require.NoError(t, err)
	require.Equal(t, now, e.Revision)
}

// TestWatchAgainstModel lets many writers change pods and compares what watchers make of their events, each with its own
// selector and its own point to start, with a list at the same revision.
func TestWatchAgainstModel(t *testing.T) {
	_, c := start(t)
	typed := client.For(c, pods)
	ctx := t.Context()
	const writers, rounds = 6, 150
	selectors := []client.Request{
		{}, {Namespace: "ns1"}, {List: metav1.ListOptions{LabelSelector: "app=a"}}, {List: metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}},
		{Namespace: "ns0", List: metav1.ListOptions{LabelSelector: "app!=a", FieldSelector: "spec.nodeName=n0"}},
		{Namespace: "ns1", List: metav1.ListOptions{FieldSelector: "metadata.name=p1"}},
	}
	var last int64
	var wrote sync.WaitGroup
	for i := range writers {
		wrote.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			for range rounds {
				p := newPod(fmt.Sprintf("p%d", rnd.IntN(4)), "app", string(rune('a'+rnd.IntN(3))))
				p.Namespace = fmt.Sprintf("ns%d", rnd.IntN(2))
				p.Spec.NodeName = fmt.Sprintf("n%d", rnd.IntN(2))
				var err error
				switch rnd.IntN(3) {
				case 0:
					_, err = typed.Create(ctx, p)
				case 1:
					_, err = typed.Update(ctx, p)
				case 2:
					err = typed.Delete(ctx, p.Namespace, p.Name, client.GracePeriod(0))
				}
				if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
					t.Error(err)
				}
			}
		})
	}
	type state struct {
		req      client.Request
		view     *client.View
		have     map[string]string
		revision int64
	}
	var states []*state
	for round := range 3 {
		for _, sel := range selectors {
			sel.Verb, sel.Kind = client.List, kind.Pod.Kind()
			v, err := client.Open(ctx, c, &sel)
			require.NoError(t, err, round)
			st := &state{req: sel, view: v, have: map[string]string{}, revision: v.Revision}
			for _, o := range v.Items {
				st.have[o.GetNamespace()+"/"+o.GetName()] = o.GetResourceVersion()
			}
			states = append(states, st)
		}
	}
	wrote.Wait()
	page, err := typed.List(ctx)
	require.NoError(t, err)
	last = page.Revision
	for i, st := range states {
		st.view.Watcher.(client.Progresser).RequestProgress()
		for st.revision < last {
			e, err := st.view.Watcher.Next(ctx)
			require.NoError(t, err)
			require.GreaterOrEqual(t, e.Revision, st.revision)
			st.revision = e.Revision
			if e.Type == client.Bookmark {
				continue
			}
			key := e.Object.GetNamespace() + "/" + e.Object.GetName()
			_, had := st.have[key]
			require.Equal(t, e.Type != client.Added, had, "%d: %s of %s", i, e.Type, key)
			if e.Type == client.Deleted {
				delete(st.have, key)
			} else {
				st.have[key] = e.Object.GetResourceVersion()
			}
		}
		req := st.req
		resp, err := c.Do(ctx, &req)
		require.NoError(t, err)
		want := map[string]string{}
		for _, o := range resp.Items {
			want[o.GetNamespace()+"/"+o.GetName()] = o.GetResourceVersion()
		}
		require.True(t, maps.Equal(want, st.have), "watcher %d: want %v, have %v", i, want, st.have)
		require.NoError(t, st.view.Watcher.Close())
	}
}
