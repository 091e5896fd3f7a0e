package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestLostTail takes away the end of a store's log, more than one write of it: whether the file is cut or has zeros
// there, the store does not open, and Verify says that it is damaged. If the store was not closed, a cut is noticed.
func TestLostTail(t *testing.T) {
	const puts = 40
	dir := t.TempDir()
	cfg := store.Config{Dir: dir, OpenLog: Config{SegmentBytes: 64 << 10}.Open}
	s, err := store.Open(t.Context(), cfg)
	require.NoError(t, err)
	for i := range puts {
		_, err := s.Put(t.Context(), store.PutRequest{Key: fmt.Appendf(nil, "%d", i), Value: make([]byte, 100)})
		require.NoError(t, err)
	}
	path := filepath.Join(dir, "wal", segmentName(1))
	running, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoFileExists(t, filepath.Join(dir, "wal", segmentName(2)))
	ends, _ := frames(t, whole)
	require.Greater(t, len(ends), puts)

	damaged := func(content []byte) {
		t.Helper()
		require.NoError(t, os.WriteFile(path, content, 0o600))
		_, err := store.Open(t.Context(), cfg)
		require.ErrorIs(t, err, store.ErrCorrupt)
		require.ErrorContains(t, err, segmentName(1))
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

// frames returns where each frame of a segment ends.
func frames(t *testing.T, p []byte) (ends []int, last frame) {
	t.Helper()
	h, format := decodeHeader(p)
	require.EqualValues(t, version, format)
	for at := headerSize; ; {
		f, size, ok := decodeFrame(p[at:], h.salt)
		if !ok {
			return ends, last
		}
		at, last = at+size, f
		ends = append(ends, at)
	}
}

// TestEnd shows what is made of the file that says how far the log went.
func TestEnd(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 64<<10)
	require.NoError(t, l.StoreLog(entry(1, 100)))
	path := filepath.Join(dir, "wal", endName)
	require.NoFileExists(t, path)
	require.NoError(t, l.Close())
	first, err := os.ReadFile(path)
	require.NoError(t, err)

	// What was closed once and not the second time still has to have what it had the first time, and may have more.
	l = open(t, dir, 64<<10)
	require.NoError(t, l.StoreLog(entry(2, 100)))
	require.NoError(t, l.Close())
	second, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.NoError(t, os.WriteFile(path, first, 0o600))
	l = open(t, dir, 64<<10)
	last, err := l.LastIndex()
	require.NoError(t, err)
	require.EqualValues(t, 2, last)
	require.NoError(t, l.Close())
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, second, again, "it is put right even if nothing was written")
	require.NoError(t, open(t, dir, 64<<10).Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "wal", newEndName), second[:5], 0o600))
	require.NoError(t, open(t, dir, 64<<10).Close())
	require.NoFileExists(t, filepath.Join(dir, "wal", newEndName))

	for i := range second {
		wrong := append([]byte(nil), second...)
		wrong[i] ^= 0x40
		require.NoError(t, os.WriteFile(path, wrong, 0o600))
		_, err := Open(dir)
		if i == len(endMagic)-1 {
			require.ErrorIs(t, err, store.ErrVersion)
		} else {
			require.ErrorIs(t, err, store.ErrCorrupt, "byte %d", i)
		}
		require.NoError(t, os.WriteFile(path, second[:i], 0o600))
		_, err = Open(dir)
		require.ErrorIs(t, err, store.ErrCorrupt, "%d bytes", i)
	}
	other := open(t, t.TempDir(), 64<<10)
	require.NoError(t, os.WriteFile(path, end{other.id, 1}.encode(), 0o600))
	require.NoError(t, other.Close())
	_, err = Open(dir)
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.NoError(t, os.WriteFile(path, second, 0o600))
	require.NoError(t, open(t, dir, 64<<10).Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "wal", segmentName(1))))
	_, err = Open(dir)
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.ErrorContains(t, err, "all segments are missing")
}

// TestUnsized goes on with segments that do not say how large they are and are shorter than they were meant to be, and
// uses their files again.
func TestUnsized(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 64<<10)
	for i := uint64(1); i <= 10; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1000)))
	}
	require.NoError(t, l.Close())
	path := filepath.Join(dir, "wal", segmentName(1))
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	ends, _ := frames(t, whole)
	require.NoError(t, os.WriteFile(path, unsized(whole[:ends[len(ends)-1]]), 0o600))
	l = open(t, dir, 64<<10)
	last := uint64(10)
	for l.segments[len(l.segments)-1].number < 3 { // which has the file of the first
		last++
		require.NoError(t, l.StoreLog(entry(last, 1000)))
		require.NoError(t, l.DeleteRange(1, last-1))
	}
	require.NoFileExists(t, filepath.Join(dir, "wal", freeName(1)))
	require.NoError(t, l.Close())
	l = open(t, dir, 64<<10)
	got, err := l.LastIndex()
	require.NoError(t, err)
	require.Equal(t, last, got)
	require.NoError(t, l.Close())
	require.NoFileExists(t, path)
}
