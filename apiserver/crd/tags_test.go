package crd_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/crd"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

type fleetSpec struct {
	Size  int32             `json:"size" minimum:"1" maximum:"9"`
	Mode  string            `json:"mode,omitempty" enum:"duel,team" rule:"self == oldSelf" message:"cannot be changed"`
	Names []string          `json:"names,omitempty" maxItems:"2" rule:"self.isSorted()"`
	Extra map[string]string `json:"extra,omitempty"`
	Until *metav1.Time      `json:"until,omitempty"`
	Pool  pool              `json:"pool,omitzero" rule:"self.min <= self.max" message:"min must not be greater than max"`
}

type pool struct {
	Min int32 `json:"min"`
	Max int32 `json:"max"`
}

type fleetStatus struct {
	Ready int32 `json:"ready" minimum:"0"`
}

type fleet = kind.Object[fleetSpec, fleetStatus]

func ExampleTagged() {
	fleets, err := crd.Tagged(kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet")))
	if err != nil {
		fmt.Println(err)
		return
	}
	f := fleets.New()
	f.Spec = fleetSpec{Size: 12, Mode: "chess", Pool: pool{Min: 3, Max: 2}}
	for _, problem := range fleets.Kind().Validate(f, nil) {
		fmt.Println(problem)
	}
	f.Spec.Size, f.Spec.Mode = 5, "duel"
	for _, problem := range fleets.Kind().Validate(f, nil) {
		fmt.Println(problem)
	}
	// Output:
	// spec.mode: Unsupported value: "chess": supported values: "duel", "team"
	// spec.size: Invalid value: 12: spec.size in body should be less than or equal to 9
	// spec.pool: Invalid value: min must not be greater than max
}

func TestTagged(t *testing.T) {
	own := func(obj, _ kind.Instance) field.ErrorList {
		if obj.(*fleet).Name == "bad" {
			return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), "bad", "own rule")}
		}
		return nil
	}
	fleets, err := crd.Tagged(kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet")).With(kind.Strategy{Status: true, Validate: own}))
	require.NoError(t, err)
	old := fleets.New()
	old.Spec = fleetSpec{Size: 3, Mode: "duel", Names: []string{"a", "b"}}
	require.Empty(t, fleets.Kind().Validate(old, nil))
	for want, change := range map[string]func(*fleet){
		"spec.mode: Invalid value: \"team\": cannot be changed":   func(f *fleet) { f.Spec.Mode = "team" },
		"spec.names: Invalid value: failed rule: self.isSorted()": func(f *fleet) { f.Spec.Names = []string{"b", "a"} },
		"spec.names: Too many: 3: must have at most 2 items":      func(f *fleet) { f.Spec.Names = []string{"a", "b", "c"} },
		"metadata.name: Invalid value: \"bad\": own rule":         func(f *fleet) { f.Name = "bad" },
		"status.ready: Invalid value: -1":                         func(f *fleet) { f.Status.Ready = -1 },
	} {
		changed := fleets.Copy(old)
		change(changed)
		errs := fleets.Kind().Validate(changed, old)
		require.Len(t, errs, 1, want)
		require.Contains(t, errs[0].Error(), want)
	}
	require.Contains(t, string(fleets.Kind().Schema()), `"maximum":9`)
}

type badNumber struct {
	A int `json:"a" minimum:"x"`
}

type badRule struct {
	A int `json:"a" rule:"self.b == 1"`
}

type loop struct {
	Next []loop `json:"next"`
}

func TestTagsThatMakeNoSense(t *testing.T) {
	_, err := crd.Tagged(kind.Must(kind.Define[badNumber, struct{}]("games.example.com/v1", "Fleet")))
	require.ErrorContains(t, err, `spec: a: tag minimum: "x" is no number`)
	_, err = crd.Tagged(kind.Must(kind.Define[badRule, struct{}]("games.example.com/v1", "Fleet")))
	require.ErrorContains(t, err, "compilation failed")
	_, err = crd.Tagged(kind.Must(kind.Define[loop, struct{}]("games.example.com/v1", "Fleet")))
	require.ErrorContains(t, err, "contains itself")
}

func TestTaggedIsServed(t *testing.T) {
	fleets, err := crd.Tagged(kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet")))
	require.NoError(t, err)
	p := start(t, crd.Config{}, fleets.Kind())
	const path = "/apis/games.example.com/v1/namespaces/default/fleets"
	manifest := "apiVersion: games.example.com/v1\nkind: Fleet\nmetadata: {name: a}\nspec: {size: 3, mode: duel, names: [x]}\n"
	apply := path + "/a?fieldManager=me"
	made := p.ok("PATCH", apply, manifest, "Content-Type", "application/apply-patch+yaml")
	require.Equal(t, 3.0, made["spec"].(map[string]any)["size"])
	require.Contains(t, p.bad(422, "PATCH", path+"/a", `{spec: {size: 10}}`, "Content-Type", "application/merge-patch+json"), "spec.size in body should be less than or equal to 9")
	doc := p.ok("GET", "/openapi/v3/apis/games.example.com/v1", "")
	require.Contains(t, fmt.Sprint(doc), "maximum:9")
}
