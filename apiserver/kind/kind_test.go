package kind_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

type fleetSpec struct {
	Size  int32             `json:"size"`
	Ports []int32           `json:"ports,omitempty"`
	Extra map[string]*int32 `json:"extra,omitempty"`
	Since *metav1.Time      `json:"since,omitempty"`
}

type fleetStatus struct {
	Ready int32 `json:"ready"`
}

// bare has no DeepCopyObject and no generic base.
type bare struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Words             [][]string `json:"words"`
}

func ExampleDefine() {
	fleets, err := kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet")
	if err != nil {
		fmt.Println(err)
		return
	}
	f := fleets.New()
	f.Name, f.Spec.Size = "lobby", 3
	data, err := fleets.Kind().EncodeJSON(f)
	fmt.Println(fleets.Kind(), err)
	fmt.Println(string(data))
	// Output:
	// fleets.games.example.com <nil>
	// {"kind":"Fleet","apiVersion":"games.example.com/v1","metadata":{"name":"lobby"},"spec":{"size":3},"status":{"ready":0}}
}

func ExampleNewSet() {
	kinds, err := kind.NewSet(kind.Pod.Kind(), kind.Deployment.Kind())
	if err != nil {
		fmt.Println(err)
		return
	}
	objects, err := kinds.DecodeManifest([]byte("apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"))
	fmt.Println(objects[0].Kind, objects[0].Object.GetName(), err)
	// Output: pods web <nil>
}

func TestCopyIsDeep(t *testing.T) {
	fleets := kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet"))
	one := int32(1)
	now := metav1.Now()
	f := fleets.New()
	f.Labels = map[string]string{"a": "b"}
	f.Spec = fleetSpec{Size: 1, Ports: []int32{1, 2}, Extra: map[string]*int32{"x": &one}, Since: &now}
	c := fleets.Copy(f)
	require.Equal(t, f, c)
	c.Labels["a"] = "changed"
	c.Spec.Ports[0] = 9
	*c.Spec.Extra["x"] = 9
	require.Equal(t, "b", f.Labels["a"])
	require.Equal(t, int32(1), f.Spec.Ports[0])
	require.Equal(t, int32(1), *f.Spec.Extra["x"])

	bares := kind.Must(kind.Describe[*bare](kind.Kind{Group: "g.example", Version: "v1", Name: "Bare"}))
	b := &bare{Words: [][]string{{"a"}}}
	bc := bares.Copy(b)
	bc.Words[0][0] = "z"
	require.Equal(t, "a", b.Words[0][0])
}

func TestEncodings(t *testing.T) {
	k := kind.Pod.Kind()
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "b"}, Spec: corev1.PodSpec{NodeName: "n"}}
	for name, encode := range map[string]func(kind.Instance) ([]byte, error){"json": k.EncodeJSON, "protobuf": k.Encode} {
		t.Run(name, func(t *testing.T) {
			data, err := encode(p)
			require.NoError(t, err)
			got, err := k.Decode(data)
			require.NoError(t, err)
			require.Equal(t, "Pod", got.GetObjectKind().GroupVersionKind().Kind)
			require.Equal(t, p.Spec, got.(*corev1.Pod).Spec)
			_, err = kind.Node.Kind().Decode(data)
			require.ErrorIs(t, err, kind.ErrWrongKind)
		})
	}
}

func TestStrictDecoding(t *testing.T) {
	k := kind.ConfigMap.Kind()
	obj, err := k.DecodeJSON([]byte(`{"metadata":{"name":"a"},"dta":{},"data":{"a":"1"}}`), true)
	var strict *kind.StrictError
	require.ErrorAs(t, err, &strict)
	require.ErrorContains(t, err, `unknown field "dta"`)
	require.Equal(t, "1", obj.(*corev1.ConfigMap).Data["a"])
	_, err = k.DecodeJSON([]byte(`{"data":[]}`), false)
	require.Error(t, err)
}

func TestManifestErrorsNameTheDocument(t *testing.T) {
	kinds, err := kind.NewSet(kind.ConfigMap.Kind())
	require.NoError(t, err)
	for in, want := range map[string]string{
		"apiVersion: v1\nkind: ConfigMap\n---\nkind: X\n":                "document 2: apiVersion and kind are required",
		"apiVersion: v1\nkind: Gone\n":                                   "unknown kind",
		"apiVersion: v1\nkind: ConfigMap\nkind: ConfigMap\n":             "document 1",
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {}\nspecial: true\n": "unknown field",
	} {
		_, err := kinds.DecodeManifest([]byte(in))
		require.ErrorContains(t, err, want, in)
	}
	got, err := kinds.DecodeManifest([]byte("---\n---\n# nothing\n---\napiVersion: v1\nkind: ConfigMap\n"))
	require.NoError(t, err)
	require.Len(t, got, 1)
}

func TestCompleteRefusesBadNames(t *testing.T) {
	for _, k := range []kind.Kind{
		{Version: "v1"}, {Name: "A", Version: "V 1"}, {Name: "A", Version: "v1", Group: "a_b"}, {Name: "A", Version: "v1", Plural: "A!"},
	} {
		_, err := kind.Describe[*bare](k)
		require.Error(t, err)
	}
	_, err := kind.NewSet(kind.Pod.Kind(), kind.Pod.Kind())
	require.ErrorContains(t, err, "twice")
}

func TestPlurals(t *testing.T) {
	for name, want := range map[string]string{"Policy": "policies", "Key": "keys", "Class": "classes", "Box": "boxes", "Fleet": "fleets"} {
		typ, err := kind.Describe[*bare](kind.Kind{Version: "v1", Name: name})
		require.NoError(t, err)
		require.Equal(t, want, typ.Kind().Plural)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(kind.ProtobufPrefix))
	f.Add([]byte(`{"kind":"Pod"}`))
	k := kind.Pod.Kind()
	f.Fuzz(func(t *testing.T, data []byte) {
		obj, err := k.Decode(data)
		require.Equal(t, err == nil, obj != nil)
	})
}
