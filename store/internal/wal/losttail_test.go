package wal_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/internal/wal"
	facade "github.com/keelson-dev/keelson/store/wal"
	"github.com/stretchr/testify/require"
)

// TestLostTail takes away the end of a store's log, more than one write of it: whether the file is cut or has zeros
// there, the store does not open, and Verify says that it is damaged. If the store was not closed, a cut is noticed.
func TestLostTail(t *testing.T) {
	const puts = 40
	dir := t.TempDir()
	cfg := store.Config{Dir: dir, OpenLog: facade.Config{SegmentBytes: 64 << 10}.Open}
	s, err := store.Open(t.Context(), cfg)
	require.NoError(t, err)
	for i := range puts {
		_, err := s.Put(t.Context(), store.PutRequest{Key: fmt.Appendf(nil, "%d", i), Value: make([]byte, 100)})
		require.NoError(t, err)
	}
	path := filepath.Join(dir, "wal", wal.SegmentName(1))
	running, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, "wal", wal.SegmentName(2)))
	ends := wal.FrameEnds(t, whole)
	require.Greater(t, len(ends), puts)

	damaged := func(content []byte) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, content, 0o600))
		_, err := store.Open(t.Context(), cfg)
		require.ErrorIs(t, err, store.ErrCorrupt)
		require.ErrorContains(t, err, wal.SegmentName(1))
		report, err := store.Verify(t.Context(), dir, store.FileOptions{OpenLog: cfg.OpenLog})
		require.NoError(t, err)
		require.ErrorIs(t, report.Err(), store.ErrCorrupt)
	}
	for _, lost := range []int{1, 2, 3, puts / 2, len(ends) - 1} {
		at := ends[len(ends)-1-lost]
		damaged(whole[:at])
		damaged(append(append([]byte(nil), whole[:at]...), make([]byte, len(whole)-at)...))
		damaged(append([]byte(nil), running[:at]...))
	}
	damaged(whole[:len(whole)-8])
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	s, err = store.Open(t.Context(), cfg)
	require.NoError(t, err)
	res, err := s.Range(t.Context(), store.RangeRequest{Key: []byte{0}, End: []byte{0}, CountOnly: true})
	require.NoError(t, err)
	require.EqualValues(t, puts, res.Count)
	require.NoError(t, s.Close())
}
