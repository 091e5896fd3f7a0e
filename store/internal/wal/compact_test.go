package wal

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store/internal/fault"
	"github.com/stretchr/testify/require"
)

// contents returns the files of a log, by name.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(filepath.Join(dir, dirName))
	require.NoError(t, err)
	for _, e := range entries {
		p, err := os.ReadFile(filepath.Join(dir, dirName, e.Name()))
		require.NoError(t, err)
		all[e.Name()] = string(p)
	}
	return all
}

// storeMany stores entries of 1000 bytes, some with each call.
func storeMany(t *testing.T, l *Log, first, last uint64) {
	t.Helper()
	for i := first; i <= last; {
		var entries []*raft.Log
		for range 20 {
			if i <= last {
				entries = append(entries, entry(i, 1000))
				i++
			}
		}
		require.NoError(t, l.StoreLogs(entries))
	}
}

// TestCompact makes a log small: what is there stays, also behind a gap and after a cut, and of the rest not a byte.
func TestCompact(t *testing.T) {
	for name, have := range map[string]func(l *Log) (first, last uint64){
		"dropped":    func(l *Log) (uint64, uint64) { require.NoError(t, l.DeleteRange(1, 250)); return 251, 300 },
		"all":        func(l *Log) (uint64, uint64) { return 1, 300 },
		"nothing":    func(l *Log) (uint64, uint64) { require.NoError(t, l.DeleteRange(1, 300)); return 0, 0 },
		"cut":        func(l *Log) (uint64, uint64) { require.NoError(t, l.DeleteRange(100, 300)); return 1, 99 },
		"behind gap": func(l *Log) (uint64, uint64) { require.NoError(t, l.StoreLog(entry(1000, 70_000))); return 1000, 1000 },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, 0)
			storeMany(t, l, 1, 300)
			require.NoError(t, l.SetUint64([]byte("CurrentTerm"), 7))
			first, last := have(l)
			require.NoError(t, l.Close())
			stopped, cancel := context.WithCancel(t.Context())
			cancel()
			if last > 0 {
				_, _, err := Compact(stopped, dir)
				require.ErrorIs(t, err, context.Canceled)
			}
			for range 2 {
				before, after, err := Compact(t.Context(), dir)
				require.NoError(t, err)
				require.LessOrEqual(t, after, before)
				require.LessOrEqual(t, after, max(leastBytes, int64(last-first+1)*1100)+70_100)
				files := contents(t, dir)
				require.Len(t, files, 3) // lock, end, and one segment
				r, err := Read(dir)
				require.NoError(t, err)
				n, err := r.GetUint64([]byte("CurrentTerm"))
				require.NoError(t, err)
				require.EqualValues(t, 7, n)
				gotFirst, err := r.FirstIndex()
				require.NoError(t, err)
				require.Equal(t, first, gotFirst)
				gotLast, err := r.LastIndex()
				require.NoError(t, err)
				require.Equal(t, last, gotLast)
				for i := max(first, 1); i <= last; i++ {
					var e raft.Log
					require.NoError(t, r.GetLog(i, &e))
					require.Equal(t, i, e.Index)
				}
				size, _ := r.LogSizes()
				require.NoError(t, r.Close())
				require.Equal(t, after, size)
				for _, content := range files {
					for i := uint64(1); i <= 300; i += 7 {
						if i < first || i > last {
							require.NotContains(t, content, string(entry(i, 1000).Data))
						}
					}
				}
			}
			l = open(t, dir, 0) // and it goes on
			storeMany(t, l, last+1, last+99)
			require.NoError(t, l.Close())
			l = open(t, dir, 0)
			got, err := l.LastIndex()
			require.NoError(t, err)
			require.Equal(t, last+99, got)
			require.NoError(t, l.Close())
		})
	}
	_, _, err := Compact(t.Context(), t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestRead changes nothing, whatever there is to put in order, and stores nothing.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	_, err := Read(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoDirExists(t, filepath.Join(dir, dirName), "nothing is made where there was nothing")
	l := open(t, dir, 64<<10)
	storeMany(t, l, 1, 100)
	// As a process leaves it that is killed, with an unfinished frame.
	in := l.segments[len(l.segments)-1]
	_, err = in.file.WriteAt([]byte("half"), in.end+16)
	require.NoError(t, err)
	_, err = Read(dir)
	require.ErrorIs(t, err, fault.ErrLocked)
	require.NoError(t, l.lock.Close())
	for _, name := range []string{newName, newEndName, freeName(77)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, dirName, name), []byte("x"), 0o600))
	}
	before := contents(t, dir)
	r, err := Read(dir)
	require.NoError(t, err)
	last, err := r.LastIndex()
	require.NoError(t, err)
	require.EqualValues(t, 100, last)
	require.Error(t, r.StoreLog(entry(101, 10)))
	require.Error(t, r.SetUint64([]byte("k"), 1))
	require.NoError(t, r.Close())
	require.Equal(t, before, contents(t, dir))
	require.NoError(t, open(t, dir, 64<<10).Close())
	require.NotEqual(t, before, contents(t, dir))
}
