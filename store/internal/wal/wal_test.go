package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store/internal/fault"
	"github.com/stretchr/testify/require"
)

func open(t *testing.T, dir string, segmentBytes int64) *Log {
	t.Helper()
	l, err := Open(dir, segmentBytes)
	require.NoError(t, err)
	return l
}

func entry(index uint64, size int) *raft.Log {
	data := fmt.Appendf(nil, "entry %d ", index)
	for len(data) < size {
		data = append(data, byte(int(index)*7+len(data)))
	}
	return &raft.Log{Index: index, Term: 1, Data: data[:size]}
}

// TestConfig names what is wrong.
func TestConfig(t *testing.T) {
	for _, n := range []int64{-1, 1, 64<<10 - 1, maxFrame + 1} {
		_, err := Open(t.TempDir(), n)
		require.ErrorIs(t, err, fault.ErrConfig)
		require.ErrorContains(t, err, "SegmentBytes")
	}
	_, err := Open(filepath.Join(t.TempDir(), "absent"), 0)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestFilesAreUsedAgain writes far more than is kept.
func TestFilesAreUsedAgain(t *testing.T) {
	const segment = 64 << 10
	dir := t.TempDir()
	l := open(t, dir, segment)
	require.NoError(t, l.SetUint64([]byte("CurrentTerm"), 7))
	for i := uint64(1); i <= 2000; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1000)))
		if i%100 == 0 && i > 100 {
			require.NoError(t, l.DeleteRange(i-199, i-100))
		}
	}
	require.Greater(t, l.segments[len(l.segments)-1].number, uint64(25))
	files, err := os.ReadDir(filepath.Join(dir, "wal"))
	require.NoError(t, err)
	require.Less(t, len(files), 10)
	reused := false
	for _, f := range files {
		reused = reused || isFree(f.Name())
	}
	require.True(t, reused)
	file, free := l.LogSizes()
	require.Less(t, file, int64(10*segment))
	require.GreaterOrEqual(t, free, int64(segment))
	require.NoError(t, l.Close())
	l = open(t, dir, segment)
	first, err := l.FirstIndex()
	require.NoError(t, err)
	require.EqualValues(t, 1901, first)
	n, err := l.GetUint64([]byte("CurrentTerm")) // it was stored in a file that has long been used for something else
	require.NoError(t, err)
	require.EqualValues(t, 7, n)
	require.NoError(t, l.Close())
}

// TestClosed asks a log that is closed.
func TestClosed(t *testing.T) {
	l := open(t, t.TempDir(), 0)
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.StoreLog(entry(1, 10)), errClosed)
}

// TestWrongUse refuses what Raft never does, instead of storing it.
func TestWrongUse(t *testing.T) {
	for name, f := range map[string]func(l *Log) error{
		"not consecutive": func(l *Log) error { return l.StoreLogs([]*raft.Log{entry(11, 1), entry(13, 1)}) },
		"twice":           func(l *Log) error { return l.StoreLog(entry(10, 1)) },
		"no index":        func(l *Log) error { return l.StoreLog(entry(0, 1)) },
		"from the middle": func(l *Log) error { return l.DeleteRange(3, 5) },
		"large value":     func(l *Log) error { return l.Set([]byte("k"), make([]byte, 2<<20)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, 0)
			for i := range uint64(10) {
				require.NoError(t, l.StoreLog(entry(i+1, 10)))
			}
			require.Error(t, f(l))
			require.Error(t, l.StoreLog(entry(11, 10)), "an error is final")
			require.NoError(t, l.Close())
			l = open(t, dir, 0)
			last, err := l.LastIndex()
			require.NoError(t, err)
			require.EqualValues(t, 10, last)
			require.NoError(t, l.Close())
		})
	}
}

// TestPermission meets files that can't be written.
func TestPermission(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everything")
	}
	dir := t.TempDir()
	l := open(t, dir, 0)
	require.NoError(t, l.StoreLog(entry(1, 10)))
	require.NoError(t, l.Close())
	path := filepath.Join(dir, "wal", segmentName(1))
	require.NoError(t, os.Chmod(path, 0o400))
	_, err := Open(dir, 0)
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, open(t, dir, 0).Close())
}

// TestForeignFiles has other files in the directory.
func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 64<<10)
	require.NoError(t, l.StoreLog(entry(1, 10)))
	require.NoError(t, l.Close())
	path := func(name string) string { return filepath.Join(dir, "wal", name) }
	for name, size := range map[string]int{newName: 100, freeName(77): 64 << 10, freeName(78): 10, "notes.txt": 5} {
		require.NoError(t, os.WriteFile(path(name), make([]byte, size), 0o600))
	}
	l = open(t, dir, 64<<10)
	require.NoFileExists(t, path(newName))
	require.NoFileExists(t, path(freeName(78)))
	require.FileExists(t, path("notes.txt"))
	require.Len(t, l.free, 1)
	for i := uint64(2); i < 100; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1000)))
	}
	require.NoFileExists(t, path(freeName(77)), "it is segment 2 now")
	require.NoError(t, l.Close())
	require.NoError(t, os.WriteFile(path("x.wal"), nil, 0o600))
	_, err := Open(dir, 0)
	require.ErrorIs(t, err, fault.ErrCorrupt)
}

// TestMissingSegment takes segments away.
func TestMissingSegment(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 64<<10)
	for i := uint64(1); i <= 300; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1000)))
	}
	require.NoError(t, l.Close())
	newest := l.segments[len(l.segments)-1].number
	require.Greater(t, newest, uint64(3))
	for n := uint64(1); n <= newest; n++ {
		path := filepath.Join(dir, "wal", segmentName(n))
		require.NoError(t, os.Rename(path, path+".away"))
		_, err := Open(dir, 0)
		require.ErrorIs(t, err, fault.ErrCorrupt)
		require.ErrorContains(t, err, "missing")
		require.NoError(t, os.Rename(path+".away", path))
	}
	// One from another place, or from another time.
	first, second := filepath.Join(dir, "wal", segmentName(1)), filepath.Join(dir, "wal", segmentName(2))
	good, err := os.ReadFile(second)
	require.NoError(t, err)
	one, err := os.ReadFile(first)
	require.NoError(t, err)
	other := t.TempDir()
	l = open(t, other, 64<<10)
	for i := uint64(1); i <= 100; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1000)))
	}
	require.NoError(t, l.Close())
	foreign, err := os.ReadFile(filepath.Join(other, "wal", segmentName(2)))
	require.NoError(t, err)
	for _, wrong := range [][]byte{one, foreign, nil, []byte(strings.Repeat("x", 70<<10))} {
		require.NoError(t, os.WriteFile(second, wrong, 0o600))
		_, err := Open(dir, 0)
		require.ErrorIs(t, err, fault.ErrCorrupt)
	}
	// The first one's last frame, which the second one follows.
	last := append([]byte(nil), one...)
	clear(last[lastFrame(t, one):])
	require.NoError(t, os.WriteFile(second, good, 0o600))
	require.NoError(t, os.WriteFile(first, last, 0o600))
	_, err = Open(dir, 0)
	require.ErrorIs(t, err, fault.ErrCorrupt)
	require.ErrorContains(t, err, segmentName(1))
	require.NoError(t, os.WriteFile(first, one, 0o600))
	newer := append([]byte(nil), good...)
	h, _ := decodeHeader(good)
	copy(newer, h.encode())
	newer[len(magic)]++
	copy(newer[headerUsed-4:], checksum(newer[:headerUsed-4]))
	require.NoError(t, os.WriteFile(second, newer, 0o600))
	_, err = Open(dir, 0)
	require.ErrorIs(t, err, fault.ErrVersion)
	require.NoError(t, os.WriteFile(second, good, 0o600))
	require.NoError(t, open(t, dir, 64<<10).Close())
}

// lastFrame returns where the last frame of a segment begins that is not its seal.
func lastFrame(t *testing.T, p []byte) (last int) {
	h, _ := decodeHeader(p)
	for at := headerSize; ; {
		f, size, ok := decodeFrame(p[at:], h.salt, true)
		require.True(t, ok)
		if f.kind == kindSealed {
			return last
		}
		last, at = at, at+size
	}
}

// TestReadOfAFileUsedAgain has the entry that is being read dropped, and its file used again, before it is read.
func TestReadOfAFileUsedAgain(t *testing.T) {
	disk := newMemory()
	l, err := openInline(disk, 4<<10)
	require.NoError(t, err)
	for i := uint64(1); i <= 3; i++ {
		require.NoError(t, l.StoreLog(entry(i, 1000)))
	}
	node := disk.names[segmentName(1)]
	disk.onRead = func() {
		disk.onRead = nil
		for i := uint64(4); i <= 20; i++ {
			require.NoError(t, l.StoreLog(entry(i, 1000)))
			require.NoError(t, l.DeleteRange(1, i-1))
		}
	}
	require.ErrorIs(t, l.GetLog(2, &raft.Log{}), raft.ErrLogNotFound)
	h, _ := decodeHeader(node.now)
	require.Greater(t, h.segment, uint64(1), "it has not been used again")
}

// TestLargeFrame stores what does not fit into a segment.
func TestLargeFrame(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, 64<<10)
	require.NoError(t, l.StoreLogs([]*raft.Log{entry(1, 10), entry(2, 300_000), entry(3, 10)}))
	require.NoError(t, l.StoreLog(entry(4, 10)))
	require.NoError(t, l.Close())
	l = open(t, dir, 64<<10)
	var e raft.Log
	require.NoError(t, l.GetLog(2, &e))
	require.Equal(t, entry(2, 300_000).Data, e.Data)
	require.NoError(t, l.DeleteRange(1, 3))
	require.NoError(t, l.GetLog(4, &e))
	require.NoError(t, l.Close())
	if !errors.Is(l.GetLog(1, &e), raft.ErrLogNotFound) {
		t.Fatal("entry 1 was dropped")
	}
}
