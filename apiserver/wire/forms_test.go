package wire

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func TestFormsAreMadeOnceAndBounded(t *testing.T) {
	f := newForms(100)
	made := 0
	get := func(obj kind.Instance, size int) []byte {
		data, err := f.get(obj, mediaJSON, func() ([]byte, error) { made++; return make([]byte, size), nil })
		require.NoError(t, err)
		return data
	}
	a, b, c := kind.Pod.New(), kind.Pod.New(), kind.Pod.New()
	for range 3 {
		require.Len(t, get(a, 40), 40)
		require.Len(t, get(b, 50), 50)
	}
	require.Equal(t, 2, made)
	get(c, 60) // pushes a and b out
	require.EqualValues(t, 60, f.held)
	get(c, 60)
	require.Equal(t, 3, made)
	get(a, 40)
	require.Equal(t, 4, made)
	get(b, 101) // too large to keep
	get(b, 101)
	require.Equal(t, 6, made)
	require.EqualValues(t, 100, f.held)
	require.Len(t, f.byKey, f.order.Len())

	_, err := f.get(kind.Pod.New(), mediaJSON, func() ([]byte, error) { return nil, fmt.Errorf("no") })
	require.Error(t, err)
	f = newForms(-1)
	get(a, 1)
	require.Empty(t, f.byKey)
}

// TestSharedObjectsAreNotWrittenTo encodes an object whose kind is not set: its owner's, with other readers.
func TestSharedObjectsAreNotWrittenTo(t *testing.T) {
	p := kind.Pod.New()
	p.Kind, p.APIVersion = "", ""
	data, err := newForms(0).json(kind.Pod.Kind(), p)
	require.NoError(t, err)
	require.Contains(t, string(data), `"kind":"Pod"`)
	require.Empty(t, p.Kind)
}

func BenchmarkWatchEvent(b *testing.B) {
	p := kind.Pod.New()
	for _, limit := range []int64{-1, DefaultFormBytes} {
		b.Run(fmt.Sprint("kept=", limit > 0), func(b *testing.B) {
			f := newForms(limit)
			for b.Loop() {
				if _, err := f.json(kind.Pod.Kind(), p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
