package apiserver_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// shelf has fields that no rule but ownership looks at.
type shelf = kind.Object[struct {
	A string            `json:"a,omitempty"`
	B string            `json:"b,omitempty"`
	C map[string]string `json:"c,omitempty"`
}, struct{}]

// owned is a naive model of an object under server-side apply: the value of each field, and who owns it.
type owned struct {
	values map[string]string
	owners map[string]map[string]bool
}

// conflicts are the fields that a configuration would take from others.
func (o *owned) conflicts(me string, configuration map[string]string) []string {
	var out []string
	for f, v := range configuration {
		others := maps.Clone(o.owners[f])
		delete(others, me)
		if o.values[f] != v && len(others) > 0 {
			out = append(out, f)
		}
	}
	slices.Sort(out)
	return out
}

func (o *owned) apply(me string, configuration map[string]string) {
	for f, v := range configuration {
		if o.values[f] != v || o.owners[f] == nil {
			o.owners[f] = map[string]bool{}
		}
		o.values[f], o.owners[f][me] = v, true
	}
	for f, who := range o.owners {
		if _, ok := configuration[f]; !ok && who[me] {
			if delete(who, me); len(who) == 0 {
				delete(o.values, f)
				delete(o.owners, f)
			}
		}
	}
}

func (o *owned) update(me string, values map[string]string) {
	for f := range o.values {
		if _, ok := values[f]; !ok {
			delete(o.owners, f)
		}
	}
	for f, v := range values {
		if old, ok := o.values[f]; !ok || old != v {
			o.owners[f] = map[string]bool{me: true}
		}
	}
	o.values = values
}

// TestApplyModel lets random managers apply and update random fields, and holds values, owners and conflicts to the model.
func TestApplyModel(t *testing.T) {
	typ := kind.Must(kind.Describe[*shelf](kind.Kind{Group: "example.com", Version: "v1", Name: "Shelf", Namespaced: true}))
	_, c := start(t, func(cfg *apiserver.Config) { cfg.Kinds = []*kind.Kind{typ.Kind()} })
	ctx, typed := t.Context(), client.For(c, typ)
	fields := []string{"spec.a", "spec.b", "spec.c.x", "spec.c.y", "metadata.labels.l"}
	kept := map[string]string{"metadata.labels.keep": "1", "spec.c.keep": "1"}
	refused, forced := 0, 0
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 3))
		model := &owned{values: map[string]string{}, owners: map[string]map[string]bool{}}
		name := fmt.Sprint("s", seed)
		some := func() map[string]string {
			out := map[string]string{}
			for _, f := range fields {
				if random.IntN(2) == 0 {
					out[f] = []string{"1", "2"}[random.IntN(2)]
				}
			}
			return out
		}
		// Something always has an owner, since while an object has none at all, updates are not tracked; and the maps are never empty, since
		// a map that goes and comes again is a field of its own.
		_, err := c.Do(ctx, applying(typ.Kind(), "", "root", string(document(name, kept)), func(r *client.Request) { r.Name = name }))
		require.NoError(t, err)
		for step := range 60 {
			about := fmt.Sprintf("seed %d, step %d", seed, step)
			manager := []string{"ann", "bob", "cid"}[random.IntN(3)]
			var got *shelf
			if random.IntN(3) == 0 {
				values := some()
				obj := typ.New()
				require.NoError(t, json.Unmarshal(document(name, values, kept), obj))
				got, err = typed.Update(ctx, obj, client.ManagedBy(manager))
				require.NoError(t, err, about)
				model.update(manager+" Update", values)
			} else {
				configuration, force := some(), random.IntN(2) == 0
				me := manager + " Apply"
				want := model.conflicts(me, configuration)
				resp, err := c.Do(ctx, applying(typ.Kind(), "", manager, string(document(name, configuration)), func(r *client.Request) { r.Name, r.Force = name, force }))
				if len(want) > 0 && !force {
					refused++
					require.True(t, apierrors.IsConflict(err), "%s: %v", about, err)
					require.Equal(t, want, conflicting(err), about)
					continue
				}
				require.NoError(t, err, about)
				forced += len(want)
				model.apply(me, configuration)
				got = resp.Object.(*shelf)
			}
			require.Equal(t, model.values, valuesOf(got), about)
			require.Equal(t, ownersOf(model), ownedPaths(got, fields), about)
		}
	}
	require.Greater(t, refused, 20)
	require.Greater(t, forced, 20)
}

// document is a manifest with some fields.
func document(name string, values ...map[string]string) []byte {
	root := map[string]any{"apiVersion": "example.com/v1", "kind": "Shelf", "metadata": map[string]any{"name": name, "namespace": "default"}}
	all := map[string]string{}
	for _, v := range values {
		maps.Copy(all, v)
	}
	for f, v := range all {
		at, path := root, strings.Split(f, ".")
		for _, p := range path[:len(path)-1] {
			if at[p] == nil {
				at[p] = map[string]any{}
			}
			at = at[p].(map[string]any)
		}
		at[path[len(path)-1]] = v
	}
	data, err := json.Marshal(root)
	if err != nil {
		panic(err)
	}
	return data
}

func valuesOf(s *shelf) map[string]string {
	out := map[string]string{}
	for f, v := range map[string]string{"spec.a": s.Spec.A, "spec.b": s.Spec.B, "spec.c.x": s.Spec.C["x"], "spec.c.y": s.Spec.C["y"], "metadata.labels.l": s.Labels["l"]} {
		if v != "" {
			out[f] = v
		}
	}
	return out
}

func ownersOf(o *owned) map[string][]string {
	out := map[string][]string{}
	for f, who := range o.owners {
		for w := range who {
			out[f] = append(out[f], w)
		}
		slices.Sort(out[f])
	}
	return out
}

// ownedPaths are the owners of fields by the object's managed fields.
func ownedPaths(obj kind.Instance, fields []string) map[string][]string {
	out := map[string][]string{}
	for who, raw := range owners(obj) {
		var set map[string]any
		if err := json.Unmarshal([]byte(raw), &set); err != nil {
			panic(err)
		}
		for _, f := range fields {
			at, ok := set, true
			for _, p := range strings.Split(f, ".") {
				if at, ok = at["f:"+p].(map[string]any); !ok {
					break
				}
			}
			if ok && len(at) == 0 {
				out[f] = append(out[f], who)
			}
		}
	}
	for _, who := range out {
		slices.Sort(who)
	}
	return out
}

// conflicting are the fields that a conflict names.
func conflicting(err error) []string {
	var status apierrors.APIStatus
	if !apierrors.IsConflict(err) {
		return nil
	}
	status, _ = err.(apierrors.APIStatus)
	var out []string
	for _, c := range status.Status().Details.Causes {
		out = append(out, strings.TrimPrefix(c.Field, "."))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
