package wal

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-dev/keelson/store/internal/fault"
	"github.com/stretchr/testify/require"
)

// frames returns where each frame of a segment ends.
func frames(t *testing.T, p []byte) (ends []int, last frame) {
	t.Helper()
	h, format := decodeHeader(p)
	require.EqualValues(t, version, format)
	for at := headerSize; ; {
		f, size, ok := decodeFrame(p[at:], h.salt, true)
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
		_, err := Open(dir, 0)
		if i == len(endMagic)-1 {
			require.ErrorIs(t, err, fault.ErrVersion)
		} else {
			require.ErrorIs(t, err, fault.ErrCorrupt, "byte %d", i)
		}
		require.NoError(t, os.WriteFile(path, second[:i], 0o600))
		_, err = Open(dir, 0)
		require.ErrorIs(t, err, fault.ErrCorrupt, "%d bytes", i)
	}
	other := open(t, t.TempDir(), 64<<10)
	require.NoError(t, os.WriteFile(path, end{other.id, 1}.encode(), 0o600))
	require.NoError(t, other.Close())
	_, err = Open(dir, 0)
	require.ErrorIs(t, err, fault.ErrCorrupt)
	require.NoError(t, os.WriteFile(path, second, 0o600))
	require.NoError(t, open(t, dir, 64<<10).Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "wal", segmentName(1))))
	_, err = Open(dir, 0)
	require.ErrorIs(t, err, fault.ErrCorrupt)
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
