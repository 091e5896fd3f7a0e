package openapi

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShelfIsBounded(t *testing.T) {
	s := newShelf(10)
	built := map[*Document]int{}
	get := func(d *Document, size int) {
		data, err := s.get(shelfKey{doc: d}, func() ([]byte, error) {
			built[d]++
			return make([]byte, size), nil
		})
		require.NoError(t, err)
		require.Len(t, data, size)
	}
	a, b, c := new(Document), new(Document), new(Document)
	get(a, 4)
	get(b, 4)
	get(a, 4) // b is now the one not used for longest
	get(c, 4)
	require.Equal(t, 8, s.bytes)
	get(a, 4)
	get(b, 4)
	require.Equal(t, map[*Document]int{a: 1, b: 2, c: 1}, built)
	get(c, 100) // was pushed out by b; alone it is too much, and stays until the next one
	require.Equal(t, 100, s.bytes)
	get(a, 4)
	require.Equal(t, 4, s.bytes)
	s.keep(func(d *Document) bool { return d != a })
	require.Zero(t, s.bytes)
}

func TestShelfBuildsOnceAndForgetsFailures(t *testing.T) {
	s := newShelf(10)
	d := new(Document)
	bad := errors.New("bad")
	_, err := s.get(shelfKey{doc: d}, func() ([]byte, error) { return nil, bad })
	require.ErrorIs(t, err, bad)
	var built atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			data, err := s.get(shelfKey{doc: d}, func() ([]byte, error) {
				built.Add(1)
				return []byte("x"), nil
			})
			if err != nil || string(data) != "x" {
				t.Errorf("got %q, %v", data, err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, built.Load())
	require.Equal(t, 1, s.bytes)
}
