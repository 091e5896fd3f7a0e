package store_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestDirectoryGone takes a running store's files away, in several ways: it stops by itself, instead of acknowledging
// what nobody will find.
func TestDirectoryGone(t *testing.T) {
	segment := filepath.Join("wal", "0000000000000001.wal")
	for name, c := range map[string]struct {
		bolt bool
		away func(dir string) error
	}{
		"removed, bolt":     {true, os.RemoveAll},
		"removed":           {false, os.RemoveAll},
		"renamed":           {false, func(dir string) error { return os.Rename(dir, dir+".old") }},
		"log removed, bolt": {true, func(dir string) error { return os.Remove(filepath.Join(dir, "raft.db")) }},
		"log removed":       {false, func(dir string) error { return os.Remove(filepath.Join(dir, segment)) }},
		"log replaced":      {false, func(dir string) error { return replace(filepath.Join(dir, segment)) }},
		"replaced": {false, func(dir string) error {
			if err := os.Rename(dir, dir+".old"); err != nil {
				return err
			}
			return os.CopyFS(dir, os.DirFS(dir+".old"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := store.Config{Dir: filepath.Join(t.TempDir(), "store"), MinFreeBytes: -1}
			if c.bolt {
				cfg.OpenLog = store.OpenBoltLog
			}
			s, err := store.Open(t.Context(), cfg)
			require.NoError(t, err)
			defer func() { _ = s.Close() }()
			_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("a")})
			require.NoError(t, err)
			w, err := s.Watch(t.Context(), store.WatchRequest{Key: []byte("nothing")})
			require.NoError(t, err)
			defer w.Close()
			require.NoError(t, c.away(cfg.Dir))
			_, err = w.Next(t.Context()) // returns when the store stops
			require.ErrorIs(t, err, store.ErrFailed)
			require.ErrorContains(t, err, cfg.Dir)
			_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("b")})
			require.ErrorIs(t, err, store.ErrFailed)
		})
	}
}

// replace puts a copy in a file's place.
func replace(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".copy", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".copy", path)
}
