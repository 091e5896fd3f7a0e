package builtin_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func ExampleKinds() {
	kinds, err := kind.NewSet(builtin.Kinds()...)
	if err != nil {
		fmt.Println(err)
		return
	}
	objects, err := kinds.DecodeManifest([]byte(`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec: {containers: [{name: web}]}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	pod := objects[0]
	pod.Kind.Default(pod.Object)
	pod.Kind.Prepare(pod.Object, nil)
	for _, problem := range pod.Kind.Validate(pod.Object, nil) {
		fmt.Println(problem)
	}
	fmt.Println(pod.Kind.Fields["spec.restartPolicy"](pod.Object), pod.Kind.Fields["status.phase"](pod.Object))
	// Output:
	// spec.containers[0].image: Required value
	// Always Pending
}

func ExampleKindsWith() {
	slice := []byte(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1}
addressType: IPv4
endpoints: [{addresses: [127.9.10.2]}]
`)
	for _, o := range []builtin.Options{{}, {EmbeddedNetwork: true}} {
		kinds, err := kind.NewSet(builtin.KindsWith(o)...)
		if err != nil {
			fmt.Println(err)
			return
		}
		objects, err := kinds.DecodeManifest(slice)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(len(objects[0].Kind.Validate(objects[0].Object, nil)))
	}
	// Output:
	// 1
	// 0
}

// Every kind that package kind names is served, so that a new one is not forgotten here.
func TestEveryKindIsCovered(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "kind", "builtin.go"))
	require.NoError(t, err)
	var named []string
	for _, m := range regexp.MustCompile(`Kind\{Name: "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		named = append(named, m[1])
	}
	require.NotEmpty(t, named)
	set, err := kind.NewSet(builtin.Kinds()...)
	require.NoError(t, err)
	var served []string
	for _, k := range set.All() {
		served = append(served, k.Name)
		require.NotNil(t, k.Validate, k.Name)
		require.NotEmpty(t, k.Columns, k.Name)
	}
	slices.Sort(named)
	slices.Sort(served)
	require.Equal(t, named, served)
}

// object reads one manifest.
func object(t *testing.T, manifest string) (*kind.Kind, kind.Instance) {
	t.Helper()
	kinds, err := kind.NewSet(builtin.Kinds()...)
	require.NoError(t, err)
	objects, err := kinds.DecodeManifest([]byte(manifest))
	require.NoError(t, err)
	require.Len(t, objects, 1)
	objects[0].Object.SetUID(types.UID("u-1"))
	if objects[0].Kind.Namespaced {
		objects[0].Object.SetNamespace("default")
	}
	return objects[0].Kind, objects[0].Object
}

// created is a manifest as a server would store it, and what is wrong with it.
func created(t *testing.T, manifest string) (*kind.Kind, kind.Instance, field.ErrorList) {
	t.Helper()
	k, obj := object(t, manifest)
	return k, obj, pass(k, obj, nil)
}

func pass(k *kind.Kind, obj, old kind.Instance) field.ErrorList {
	if k.Default != nil {
		k.Default(obj)
	}
	if k.Prepare != nil {
		k.Prepare(obj, old)
	}
	return k.Validate(obj, old)
}

func texts(errs field.ErrorList) []string {
	var out []string
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return out
}

// contains wants one error for each text, and no other.
func contains(t *testing.T, errs field.ErrorList, want []string) {
	t.Helper()
	got := texts(errs)
	require.Len(t, got, len(want), strings.Join(got, "\n"))
	for _, w := range want {
		require.True(t, slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, w) }), "want %q in\n%s", w, strings.Join(got, "\n"))
	}
}

// row is what kubectl prints for an object; wide adds the columns of -o wide.
func row(k *kind.Kind, obj kind.Instance, now time.Time, wide bool) string {
	var cells []string
	for _, c := range k.Columns {
		if c.Priority == 0 || wide {
			cells = append(cells, fmt.Sprint(c.Cell(obj, now)))
		}
	}
	return strings.Join(cells, " | ")
}
