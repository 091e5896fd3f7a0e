package apiserver_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

// squadSpec is what fleets were in v1alpha1.
type squadSpec struct {
	Count int32  `json:"count"`
	Image string `json:"image,omitempty"`
}

type squad = kind.Object[squadSpec, fleetStatus]

// squads are the further version of fleets.
var squads = kind.Must(kind.Define[squadSpec, fleetStatus]("games.example.com/v1alpha1", "Fleet")).Version(kind.Conversions(fleets,
	func(s *squad) (*fleet, error) {
		return &fleet{ObjectMeta: s.ObjectMeta, Spec: fleetSpec{Size: s.Spec.Count, Image: s.Spec.Image}, Status: s.Status}, nil
	},
	func(f *fleet) (*squad, error) {
		if f.Spec.Size == 13 {
			return nil, fmt.Errorf("13 brings bad luck")
		}
		return &squad{ObjectMeta: f.ObjectMeta, Spec: squadSpec{Count: f.Spec.Size, Image: f.Spec.Image}, Status: f.Status}, nil
	},
))

func twoVersions(cfg *apiserver.Config) {
	cfg.Kinds = append([]*kind.Kind{squads.Kind()}, testKinds()...)
}

func TestVersions(t *testing.T) {
	s, c := start(t, twoVersions)
	ctx := t.Context()
	olds, news := client.For(c, squads), client.For(c, fleets)
	oldEvents, err := olds.Watch(ctx, client.InNamespace("default"))
	require.NoError(t, err)
	defer func() { require.NoError(t, oldEvents.Close()) }()
	newEvents, err := news.Watch(ctx, client.InNamespace("default"))
	require.NoError(t, err)
	defer func() { require.NoError(t, newEvents.Close()) }()

	made := squads.New()
	made.Name, made.Namespace, made.Spec.Count = "a", "default", 3
	made, err = olds.Create(ctx, made)
	require.NoError(t, err)
	require.Equal(t, "games.example.com/v1alpha1", made.APIVersion)
	require.Equal(t, "default", made.Spec.Image, "the stored version's default")
	require.Equal(t, int64(1), made.Generation)

	f, err := news.Get(ctx, "default", "a")
	require.NoError(t, err)
	require.Equal(t, int32(3), f.Spec.Size)
	require.Equal(t, made.ResourceVersion, f.ResourceVersion)
	kvs, err := s.Store().Range(ctx, store.RangeRequest{Key: []byte("/registry/games.example.com/fleets/default/a")})
	require.NoError(t, err)
	require.Contains(t, string(kvs.KVs[0].Value), `"apiVersion":"games.example.com/v1"`)

	f = fleets.Copy(f)
	f.Spec.Size = 5
	_, err = news.Update(ctx, f)
	require.NoError(t, err)
	patched, err := olds.Patch(ctx, "default", "a", types.MergePatchType, []byte(`{"spec":{"count":6}}`))
	require.NoError(t, err)
	require.Equal(t, int32(6), patched.Spec.Count)
	require.Equal(t, int64(3), patched.Generation)
	patched = squads.Copy(patched)
	patched.Status.Ready = 2
	_, err = olds.UpdateStatus(ctx, patched)
	require.NoError(t, err)
	_, err = olds.Patch(ctx, "default", "a", types.MergePatchType, []byte(`{"spec":{"count":-1}}`))
	require.True(t, apierrors.IsInvalid(err), "the stored version's validation, on the converted object: %v", err)
	require.ErrorContains(t, err, "spec.size")

	list, err := olds.List(ctx)
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	require.Equal(t, squadSpec{6, "default"}, list.Items[0].Spec)
	require.NoError(t, olds.Delete(ctx, "default", "a"))

	for _, want := range []string{"ADDED 3", "MODIFIED 5", "MODIFIED 6", "MODIFIED 6", "DELETED 6"} {
		e, err := oldEvents.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprint(e.Type, " ", e.Object.(*squad).Spec.Count))
		e2, err := newEvents.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprint(e2.Type, " ", e2.Object.(*fleet).Spec.Size))
		require.Equal(t, e.Object.GetResourceVersion(), e2.Object.GetResourceVersion())
		require.Equal(t, squads.Kind().GroupVersionKind(), e.Object.GetObjectKind().GroupVersionKind())
	}
}

func TestConversionThatFails(t *testing.T) {
	_, c := start(t, twoVersions)
	ctx := t.Context()
	_, err := client.For(c, fleets).Create(ctx, newFleet("unlucky", 13))
	require.NoError(t, err)
	_, err = client.For(c, squads).Get(ctx, "default", "unlucky")
	require.True(t, apierrors.IsInternalError(err), "%v", err)
	require.ErrorContains(t, err, "bad luck")
	_, err = client.For(c, squads).List(ctx)
	require.ErrorContains(t, err, "bad luck")
	f, err := client.For(c, fleets).Get(ctx, "default", "unlucky")
	require.NoError(t, err)
	require.Equal(t, int32(13), f.Spec.Size)
}

func TestVersionsOnTheWire(t *testing.T) {
	s, c := start(t, twoVersions, func(cfg *apiserver.Config) { cfg.AllowAnonymous = true })
	_, err := client.For(c, fleets).Create(t.Context(), newFleet("a", 4))
	require.NoError(t, err)
	web := httptest.NewServer(s)
	defer web.Close()
	require.Contains(t, read(t, web, "/apis/games.example.com"), `"preferredVersion":{"groupVersion":"games.example.com/v1"`)
	require.Contains(t, read(t, web, "/apis/games.example.com"), `"versions":[{"groupVersion":"games.example.com/v1","version":"v1"},{"groupVersion":"games.example.com/v1alpha1"`)
	require.Contains(t, read(t, web, "/apis/games.example.com/v1alpha1/namespaces/default/fleets/a"), `"count":4`)
	require.Contains(t, read(t, web, "/apis/games.example.com/v1/namespaces/default/fleets/a"), `"size":4`)
	require.Contains(t, read(t, web, "/openapi/v3/apis/games.example.com/v1alpha1"), `"count"`)
}

func read(t *testing.T, web *httptest.Server, path string) string {
	t.Helper()
	resp, err := web.Client().Get(web.URL + path)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	if resp.StatusCode != http.StatusOK {
		return resp.Status + " " + string(data)
	}
	return string(data)
}

type makerSpec struct {
	Plural string `json:"plural"`
	Other  string `json:"other,omitempty"`
}

type maker = kind.Object[makerSpec, struct{}]

// makers are a small kind of definitions: each stands for one kind without a Go type.
var makers = kind.Must(kind.Define[makerSpec, struct{}]("make.example.com/v1", "Maker"))

func withMakers(cfg *apiserver.Config) {
	cfg.AllowAnonymous = true
	cfg.Kinds = append(cfg.Kinds, makers.Kind())
	cfg.Definitions = &apiserver.Definitions{
		Kind: makers.Kind(),
		Same: func(a, b kind.Instance) bool { return a.(*maker).Spec == b.(*maker).Spec },
		Kinds: func(obj kind.Instance) ([]*kind.Kind, error) {
			k, err := made(obj.(*maker).Spec.Plural)
			return []*kind.Kind{k}, err
		},
	}
}

func made(plural string) (*kind.Kind, error) {
	t, err := kind.Dynamic(kind.Kind{Group: "made.example.com", Version: "v1", Name: strings.ToUpper(plural[:1]) + plural[1:], Plural: plural, Singular: plural, Namespaced: true,
		Strategy: kind.Strategy{Generation: kind.GenerationAlways}})
	return t.Kind(), err
}

func newMaker(name, plural string) *maker {
	m := makers.New()
	m.Name, m.Namespace, m.Spec.Plural = name, "default", plural
	return m
}

func TestKindsComeAndGo(t *testing.T) {
	s, c := start(t, withMakers)
	ctx := t.Context()
	web := httptest.NewServer(s)
	defer web.Close()
	put(t, s, "/registry/made.example.com/things/default/early", []byte(`{"apiVersion":"made.example.com/v1","kind":"Things","metadata":{"name":"early","namespace":"default"},"x":1}`))
	k, err := made("things")
	require.NoError(t, err)
	things := client.For(c, kind.Untyped(k))
	_, err = things.Get(ctx, "default", "early")
	require.True(t, apierrors.IsNotFound(err))
	require.Contains(t, read(t, web, "/apis/made.example.com/v1"), "404")

	def, err := client.For(c, makers).Create(ctx, newMaker("m", "things"))
	require.NoError(t, err)
	obj, err := things.Get(ctx, "default", "early") // at once: the definition's revision is there
	require.NoError(t, err)
	require.Equal(t, int64(1), obj.(*unstructured.Unstructured).Object["x"])
	require.Contains(t, read(t, web, "/apis/made.example.com/v1"), `"things"`)
	require.Contains(t, read(t, web, "/openapi/v3/apis/made.example.com/v1"), `com.example.made.v1.Things`)
	require.Contains(t, read(t, web, "/apis/made.example.com/v1/namespaces/default/things"), `"kind":"ThingsList"`)

	late := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": "late", "namespace": "default"}, "n": 7}}
	created, err := things.Create(ctx, late)
	require.NoError(t, err)
	require.Equal(t, int64(1), created.GetGeneration())
	w, err := things.Watch(ctx)
	require.NoError(t, err)
	changed := k.Copy(created).(*unstructured.Unstructured)
	changed.Object["n"] = int64(8)
	_, err = things.Update(ctx, changed)
	require.NoError(t, err)
	for _, want := range []string{"ADDED early", "ADDED late", "MODIFIED late"} {
		e, err := w.Next(ctx)
		require.NoError(t, err)
		require.Equal(t, want, fmt.Sprint(e.Type, " ", e.Object.GetName()))
	}

	def = makers.Copy(def)
	def.Labels = map[string]string{"same": "kinds"}
	def, err = client.For(c, makers).Update(ctx, def)
	require.NoError(t, err)
	_, err = things.Patch(ctx, "default", "late", types.MergePatchType, []byte(`{"n":9}`))
	require.NoError(t, err)
	e, err := w.Next(ctx)
	require.NoError(t, err)
	require.Equal(t, int64(3), e.Object.GetGeneration(), "a definition that stands for the same kinds disturbs nobody")

	def = makers.Copy(def)
	def.Spec.Other = "changed"
	_, err = client.For(c, makers).Update(ctx, def)
	require.NoError(t, err)
	_, err = w.Next(ctx)
	require.ErrorIs(t, err, io.EOF)
	page, err := things.List(ctx)
	require.NoError(t, err)
	require.Len(t, page.Items, 2)

	require.NoError(t, client.For(c, makers).Delete(ctx, "default", "m"))
	_, err = things.List(ctx)
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	require.Contains(t, read(t, web, "/apis/made.example.com"), "404")
	_, found := s.Kinds().Find(k)
	require.False(t, found)
}

func TestDefinitionsThatMakeNoSense(t *testing.T) {
	_, c := start(t, withMakers)
	ctx := t.Context()
	_, err := client.For(c, makers).Create(ctx, newMaker("bad", "Not A Name"))
	require.NoError(t, err)
	_, err = client.For(c, makers).Create(ctx, newMaker("one", "things"))
	require.NoError(t, err)
	_, err = client.For(c, makers).Create(ctx, newMaker("two", "things"))
	require.NoError(t, err)
	k, err := made("things")
	require.NoError(t, err)
	_, err = client.For(c, kind.Untyped(k)).List(ctx)
	require.NoError(t, err, "the first of two definitions of one kind holds")
}

func TestDefinitionsAreReadAtTheStart(t *testing.T) {
	st, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	data, err := makers.Kind().Encode(newMaker("m", "things"))
	require.NoError(t, err)
	for key, value := range map[string][]byte{
		"/registry/make.example.com/makers/default/m":     data,
		"/registry/made.example.com/things/default/early": []byte(`{"apiVersion":"made.example.com/v1","kind":"Things","metadata":{"name":"early","namespace":"default"}}`),
	} {
		_, err := st.Txn(t.Context(), store.Txn{Then: []store.Op{{Put: &store.PutRequest{Key: []byte(key), Value: value}}}})
		require.NoError(t, err)
	}
	cfg := apiserver.Config{Kinds: testKinds()}
	withMakers(&cfg)
	s, err := apiserver.New(st, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	k, err := made("things")
	require.NoError(t, err)
	got, err := client.For(s.Client(authn.System("test")), kind.Untyped(k)).List(t.Context())
	require.NoError(t, err)
	require.Len(t, got.Items, 1)
}
