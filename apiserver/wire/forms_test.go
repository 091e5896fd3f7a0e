package wire

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func TestFormsAreMadeOnceAndBounded(t *testing.T) {
	f := newForms(100)
	made := 0
	get := func(of *client.Forms, size int) []byte {
		data, err := f.get(of, client.FormJSON, func() ([]byte, error) { made++; return make([]byte, size), nil })
		require.NoError(t, err)
		return data
	}
	var a, b, c, d client.Forms
	for range 3 {
		require.Len(t, get(&a, 40), 40)
		require.Len(t, get(&b, 50), 50)
	}
	require.Equal(t, 2, made)
	get(&c, 70) // both others have to go
	get(&c, 70)
	require.Equal(t, 3, made)
	require.EqualValues(t, 70, f.held)
	require.Len(t, f.all, 1)
	get(&a, 40)
	require.Equal(t, 4, made)
	get(&d, 101) // too large to keep
	get(&d, 101)
	require.Equal(t, 6, made)
	require.EqualValues(t, 40, f.held)
	get(nil, 1)
	require.Equal(t, 7, made)

	_, err := f.get(&client.Forms{}, client.FormJSON, func() ([]byte, error) { return nil, fmt.Errorf("no") })
	require.Error(t, err)
	f = newForms(-1)
	get(&b, 1)
	require.Empty(t, f.all)
}

// TestStoredBytesServe holds that the stored bytes are sent with a version in them, and only if they say what the object does.
func TestStoredBytesServe(t *testing.T) {
	k := kind.Pod.Kind()
	e, err := newEnvelope(k.APIVersion(), k.Name)
	require.NoError(t, err)
	stored := func(p *corev1.Pod) *client.Forms {
		copied := kind.Pod.Copy(p)
		copied.ResourceVersion = ""
		data, err := k.EncodeProtobuf(copied)
		require.NoError(t, err)
		var of client.Forms
		of.Init(data)
		return &of
	}
	p := kind.Pod.New()
	p.Name, p.Namespace, p.UID, p.ResourceVersion = "p", "x", "u", "123456"
	p.Labels = map[string]string{"b": "c", "a": strings.Repeat("long", 100)}
	p.Spec.NodeName = "n"
	for _, version := range []string{"1", "123456", "9223372036854775807"} {
		p.ResourceVersion = version
		want, err := k.EncodeProtobuf(p)
		require.NoError(t, err)
		of := stored(p)
		f := newForms(1 << 20)
		for range 2 {
			m, err := f.protobuf(e, k, p, of)
			require.NoError(t, err)
			require.Equal(t, version, m.version, "the stored bytes were not used")
			require.Equal(t, want, e.append(nil, m))
			require.Len(t, want, e.size(m.size()))
			m.rest = nil
			var meta metav1.PartialObjectMetadata
			require.NoError(t, meta.Unmarshal(m.append(nil)))
			require.Equal(t, p.ObjectMeta, meta.ObjectMeta)
		}
		require.Zero(t, f.held, "nothing had to be kept")
	}
	of := stored(p)
	p.Spec.RestartPolicy = corev1.RestartPolicyNever // as a default that older bytes lack
	want, err := k.EncodeProtobuf(p)
	require.NoError(t, err)
	f := newForms(1 << 20)
	for range 2 {
		m, err := f.protobuf(e, k, p, of)
		require.NoError(t, err)
		require.Equal(t, want, e.append(nil, m))
	}
	require.EqualValues(t, len(want), f.held)
}

func FuzzSplice(f *testing.F) {
	k := kind.Pod.Kind()
	e, err := newEnvelope(k.APIVersion(), k.Name)
	require.NoError(f, err)
	p := kind.Pod.New()
	p.Name = "p"
	data, err := k.EncodeProtobuf(p)
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte("k8s\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, ok := e.splice(data, "7")
		if !ok {
			return
		}
		out := e.append(nil, m)
		require.Len(t, out, e.size(m.size()))
		before, err := k.DecodeProtobuf(data)
		if err != nil {
			return
		}
		after, err := k.DecodeProtobuf(out)
		require.NoError(t, err)
		require.Equal(t, before.GetName(), after.GetName())
	})
}

// TestSharedObjectsAreNotWrittenTo encodes an object whose kind is not set: its owner's, with other readers.
func TestSharedObjectsAreNotWrittenTo(t *testing.T) {
	p := kind.Pod.New()
	p.Kind, p.APIVersion = "", ""
	data, err := newForms(0).json(kind.Pod.Kind(), p, nil)
	require.NoError(t, err)
	require.Contains(t, string(data), `"kind":"Pod"`)
	require.Empty(t, p.Kind)
}

func BenchmarkWatchEvent(b *testing.B) {
	p := kind.Pod.New()
	for _, limit := range []int64{-1, DefaultFormBytes} {
		b.Run(fmt.Sprint("kept=", limit > 0), func(b *testing.B) {
			f := newForms(limit)
			var of client.Forms
			for b.Loop() {
				if _, err := f.json(kind.Pod.Kind(), p, &of); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
