package kind_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

type squadSpec struct {
	Count int32 `json:"count"`
}

type (
	fleet = kind.Object[fleetSpec, fleetStatus]
	squad = kind.Object[squadSpec, fleetStatus]
)

func ExampleConversions() {
	fleets := kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet"))
	squads := kind.Must(kind.Define[squadSpec, fleetStatus]("games.example.com/v1alpha1", "Fleet")).Version(kind.Conversions(fleets,
		func(s *squad) (*fleet, error) {
			return &fleet{ObjectMeta: s.ObjectMeta, Spec: fleetSpec{Size: s.Spec.Count}, Status: s.Status}, nil
		},
		func(f *fleet) (*squad, error) {
			return &squad{ObjectMeta: f.ObjectMeta, Spec: squadSpec{Count: f.Spec.Size}, Status: f.Status}, nil
		}))
	kinds, err := kind.NewSet(fleets.Kind(), squads.Kind()) // what apiserver.Config.Kinds takes
	if err != nil {
		fmt.Println(err)
		return
	}
	old, _ := kinds.Find(squads.Kind())
	s := squads.New()
	s.Name, s.Spec.Count = "lobby", 3
	stored, err := old.ToStored(context.Background(), s)
	fmt.Println(stored.(*fleet).APIVersion, stored.(*fleet).Spec.Size, err)
	// Output:
	// games.example.com/v1 3 <nil>
}

func TestConversionsAreChecked(t *testing.T) {
	fleets := kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet"))
	for want, to := range map[string]func(context.Context, []kind.Instance) ([]kind.Instance, error){
		"a conversion may not rename": func(context.Context, []kind.Instance) ([]kind.Instance, error) {
			return []kind.Instance{&fleet{ObjectMeta: metav1.ObjectMeta{Name: "other"}}}, nil
		},
		"1 objects became 0": func(context.Context, []kind.Instance) ([]kind.Instance, error) { return nil, nil },
		"no luck":            func(context.Context, []kind.Instance) ([]kind.Instance, error) { return nil, errors.New("no luck") },
	} {
		squads := kind.Must(kind.Define[squadSpec, fleetStatus]("games.example.com/v1alpha1", "Fleet")).Version(&kind.Hub{Kind: fleets.Kind(), To: to, From: to})
		s := squads.New()
		s.Name = "a"
		_, err := squads.Kind().ToStored(t.Context(), s)
		require.ErrorContains(t, err, want)
	}
}

func TestSetsOfVersions(t *testing.T) {
	fleets := kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet"))
	same := func(_ context.Context, in []kind.Instance) ([]kind.Instance, error) { return in, nil }
	version := func(name string) *kind.Kind {
		return kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/"+name, "Fleet")).Version(&kind.Hub{Kind: fleets.Kind(), To: same, From: same}).Kind()
	}
	set, err := kind.NewSet(version("v1beta1"), version("v1alpha1"), kind.Pod.Kind())
	require.NoError(t, err)
	require.Len(t, set.All(), 3)
	seen := set.Resources()
	require.Len(t, seen, 2, "the stored version is not served, the best of the others stands for it")
	require.Equal(t, "v1beta1", seen[0].Version)
	require.Same(t, set.All()[0].Stored(), set.All()[1].Stored())
	more, err := set.Replace([]*kind.Kind{version("v1alpha1")}, []*kind.Kind{kind.Node.Kind()})
	require.NoError(t, err)
	require.Len(t, more.All(), 3)
	require.Same(t, set.All()[0], more.All()[0])
	_, err = kind.NewSet(&kind.Kind{Version: "v1", Name: "A", Hub: &kind.Hub{}, New: fleets.Kind().New})
	require.ErrorContains(t, err, "Hub")
	for _, order := range [][2]string{{"v2", "v1"}, {"v1", "v1beta2"}, {"v1beta1", "v1alpha9"}, {"v1alpha1", "other"}, {"a", "b"}} {
		require.Negative(t, kind.CompareVersions(order[0], order[1]), order)
	}
}

func TestDynamic(t *testing.T) {
	typ, err := kind.Dynamic(kind.Kind{Group: "g.example", Version: "v1", Name: "Thing", Strategy: kind.Strategy{Prune: func(obj kind.Instance) []string {
		delete(obj.(*unstructured.Unstructured).Object, "extra")
		return []string{"extra"}
	}}})
	require.NoError(t, err)
	k := typ.Kind()
	obj, err := k.DecodeJSON([]byte(`{"metadata":{"name":"a","nope":1},"n":1,"n":2,"extra":true}`), true)
	var strict *kind.StrictError
	require.ErrorAs(t, err, &strict)
	require.Equal(t, `strict decoding: duplicate field "n"
unknown field "metadata.nope"
unknown field "extra"`, err.Error())
	require.Equal(t, int64(2), obj.(*unstructured.Unstructured).Object["n"])
	data, err := k.Encode(obj)
	require.NoError(t, err)
	require.Equal(t, `{"apiVersion":"g.example/v1","kind":"Thing","metadata":{"name":"a"},"n":2}`, string(data))
	for _, bad := range []string{"null", "[]", `{"kind":1}`, `{"metadata":[]}`, `{"metadata":{"labels":{"a":1}}}`, `{"kind":"Other","apiVersion":"g.example/v1"}`} {
		_, err := k.DecodeJSON([]byte(bad), false)
		require.Error(t, err, bad)
	}
	own := &unstructured.Unstructured{Object: map[string]any{"n": 7, "list": []string{"a"}, "f": func() {}}}
	c := typ.Copy(own)
	require.Equal(t, map[string]any{"n": int64(7), "list": []any{"a"}, "f": nil}, c.Object, "what a program put there becomes what it is in JSON")
	shallow := kind.Shallow(c)
	shallow.SetResourceVersion("9")
	require.Empty(t, c.GetResourceVersion())
}
