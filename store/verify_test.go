package store_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// contentsOf returns name and content of all files below dir.
func contentsOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		all[path] = string(content)
		return err
	}))
	return all
}

func TestVerify(t *testing.T) {
	_, err := store.Verify(t.Context(), filepath.Join(t.TempDir(), "nowhere"), store.FileOptions{})
	require.ErrorIs(t, err, os.ErrNotExist)
	for name, open := range map[string]func(string) (store.LogStore, error){"bolt": store.OpenBoltLog, "default": nil} {
		for _, keys := range []store.Keyring{nil, store.StaticKeys{key("first")}} {
			t.Run(fmt.Sprint(name, " ", keys != nil), func(t *testing.T) {
				dir := t.TempDir()
				opts := store.FileOptions{Keys: keys}
				s := openDir(t, store.Config{Dir: dir, OpenLog: open, Keys: keys})
				fillStore(t, s, 0, 30)
				_, err := s.SaveSnapshot()
				require.NoError(t, err)
				fillStore(t, s, 30, 50)
				_, err = store.Verify(t.Context(), dir, opts)
				require.ErrorIs(t, err, store.ErrLocked)
				want := status(t, s)
				require.NoError(t, s.Close())
				require.Equal(t, map[bool]string{true: "wal", false: "bolt"}[open == nil], want.LogStore)
				require.Positive(t, want.FileBytes)

				before := contentsOf(t, dir)
				r, err := store.Verify(t.Context(), dir, opts)
				require.NoError(t, err)
				require.Equal(t, before, contentsOf(t, dir), "nothing is changed")
				require.NoError(t, r.Err())
				require.Len(t, r.Files, len(before))
				require.EqualValues(t, want.Term, r.Term)
				require.EqualValues(t, want.Index, r.LastIndex)
				require.EqualValues(t, r.LastIndex-r.FirstIndex+1, r.Entries)
				require.Len(t, r.Snapshots, 1)
				require.Equal(t, store.Contents{
					Index: want.Index, Term: want.Term, Applied: want.Applied, Hash: want.Hash, ClusterID: want.ClusterID,
					Revision: want.Revision, Keys: want.Keys, Members: r.Contents.Members,
				}, *r.Contents)
				require.Len(t, r.Contents.Members, 1)
				used := ""
				if keys != nil {
					used = "first"
				}
				require.Equal(t, map[string]int{used: r.Entries + 1}, r.Keys)

				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				_, err = store.Verify(ctx, dir, opts)
				require.ErrorIs(t, err, context.Canceled)
				if keys != nil { // without its keys: no damage, and no content
					r, err := store.Verify(t.Context(), dir, store.FileOptions{})
					require.NoError(t, err)
					require.NoError(t, r.Err())
					require.Nil(t, r.Contents)
					require.Equal(t, "first", r.Snapshots[0].Key)
				}
				// The snapshot is damaged, and then the log too.
				damage(t, filepath.Join(dir, r.Snapshots[0].File), 200)
				r, err = store.Verify(t.Context(), dir, opts)
				require.NoError(t, err)
				require.ErrorIs(t, r.Err(), store.ErrCorrupt)
				require.Len(t, r.Damage, 1)
				require.True(t, strings.HasPrefix(r.Damage[0].File, "snapshots"), r.Damage[0].File)
				path := filepath.Join(dir, "wal", "0000000000000001.wal")
				if open != nil {
					path = filepath.Join(dir, "raft.db")
				}
				content := before[path]
				if keys == nil {
					at := strings.LastIndex(content, "contentofvalue 49")
					require.Positive(t, at)
					damage(t, path, at)
					r, err = store.Verify(t.Context(), dir, opts)
					require.NoError(t, err)
					require.Len(t, r.Damage, 2)
					if open != nil { // otherwise a frame is named
						require.EqualValues(t, want.Index, r.Damage[0].Index, "the entry is named")
					}
				}
				require.NoError(t, os.Truncate(path, 5000))
				r, err = store.Verify(t.Context(), dir, opts)
				require.NoError(t, err)
				require.Len(t, r.Damage, 2)
				require.ErrorIs(t, r.Err(), store.ErrCorrupt)
				require.Nil(t, r.Contents)
			})
		}
	}
}

// damage changes a byte of a file.
func damage(t *testing.T, path string, at int) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[at] ^= 0x20
	require.NoError(t, os.WriteFile(path, content, 0o600))
}

func TestCompactFiles(t *testing.T) {
	_, _, err := store.CompactFiles(t.Context(), t.TempDir())
	require.ErrorIs(t, err, fs.ErrNotExist)
	t.Run("bolt", func(t *testing.T) {
		dir := t.TempDir()
		cfg := store.Config{Dir: dir, OpenLog: store.OpenBoltLog, Keys: store.StaticKeys{key("first")}}
		before, after := compactsFiles(t, cfg)
		require.Less(t, after, before/2)
		// A copy that was not finished is in nobody's way.
		half := filepath.Join(dir, "raft.db.compact.tmp")
		require.NoError(t, os.WriteFile(half, []byte("half"), 0o600))
		_, _, err = store.CompactFiles(t.Context(), dir)
		require.NoError(t, err)
		require.NoFileExists(t, half)
		require.NoError(t, os.WriteFile(half, []byte("half"), 0o600))
		s := openDir(t, cfg)
		require.NoFileExists(t, half)
		require.NoError(t, s.Close())
		damagedStays(t, dir, filepath.Join(dir, "raft.db"))
	})
	t.Run("default", func(t *testing.T) {
		dir := t.TempDir()
		cfg := store.Config{Dir: dir, Keys: store.StaticKeys{key("first")}}
		compactsFiles(t, cfg)
		segments, err := filepath.Glob(filepath.Join(dir, "wal", "*.wal"))
		require.NoError(t, err)
		require.Len(t, segments, 1)
		damagedStays(t, dir, segments[0])
	})
	t.Run("another", func(t *testing.T) {
		dir := t.TempDir()
		s := openDir(t, store.Config{Dir: dir, OpenLog: (&faults{}).open})
		require.NoError(t, s.Close())
		_, _, err := store.CompactFiles(t.Context(), dir)
		require.ErrorIs(t, err, store.ErrLogStore)
	})
}

// damagedStays cuts a file: it stays as it is then.
func damagedStays(t *testing.T, dir, path string) {
	t.Helper()
	require.NoError(t, os.Truncate(path, 5000))
	damaged := contentsOf(t, dir)
	_, _, err := store.CompactFiles(t.Context(), dir)
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.Equal(t, damaged, contentsOf(t, dir))
}

// compactsFiles fills a store, encrypts it, and compacts its files, and returns their sizes before and after.
func compactsFiles(t *testing.T, cfg store.Config) (before, after int64) {
	t.Helper()
	dir := cfg.Dir
	s := openDir(t, store.Config{Dir: dir, OpenLog: cfg.OpenLog})
	texts := fillStore(t, s, 0, 300)
	require.NoError(t, s.Close())
	s = openDir(t, cfg)
	fillStore(t, s, 300, 310)
	require.NoError(t, s.Reencrypt(t.Context()))
	_, _, err := store.CompactFiles(t.Context(), dir)
	require.ErrorIs(t, err, store.ErrLocked)
	want := everything(t, s)
	require.NoError(t, s.Close())
	require.NotEmpty(t, found(t, dir, texts...), "what is free has what was there before")

	before, after, err = store.CompactFiles(t.Context(), dir)
	require.NoError(t, err)
	require.LessOrEqual(t, after, before)
	size := 0
	for path, content := range contentsOf(t, dir) {
		if strings.HasSuffix(path, ".wal") || strings.HasSuffix(path, "raft.db") {
			size += len(content)
		}
	}
	require.EqualValues(t, size, after)
	require.Empty(t, found(t, dir, texts...), "and now nothing is left in the clear")
	r, err := store.Verify(t.Context(), dir, store.FileOptions{Keys: cfg.Keys})
	require.NoError(t, err)
	require.NoError(t, r.Err())
	require.NotContains(t, r.Keys, "")
	s = openDir(t, cfg)
	require.Equal(t, want.KVs, everything(t, s).KVs)
	require.NoError(t, s.Close())
	return before, after
}
