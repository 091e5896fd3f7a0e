package store_test

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/wal"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// TestMigrateLog moves a store from bolt to wal and back, with writes in between.
func TestMigrateLog(t *testing.T) {
	dir := t.TempDir()
	small := wal.Config{SegmentBytes: 64 << 10}.Open
	bolt, other := store.Config{Dir: dir, OpenLog: store.OpenBoltLog}, store.Config{Dir: dir, OpenLog: small}
	puts := 0
	work := func(cfg store.Config) (res store.RangeResult) {
		s := openDir(t, cfg)
		for range 100 {
			puts++
			_, err := s.Put(t.Context(), store.PutRequest{Key: fmt.Appendf(nil, "%04d", puts), Value: make([]byte, 1000)})
			require.NoError(t, err)
		}
		if puts == 100 {
			_, err := s.SaveSnapshot()
			require.NoError(t, err)
		}
		res = everything(t, s)
		require.Len(t, res.KVs, puts)
		require.NoError(t, s.Close())
		return res
	}
	work(bolt)
	require.ErrorIs(t, store.MigrateLog(t.Context(), dir, small, store.OpenBoltLog), store.ErrLogStore, "it belongs to bolt")
	require.ErrorIs(t, store.MigrateLog(t.Context(), dir, nil, store.OpenBoltLog), store.ErrLocked)
	require.ErrorIs(t, store.MigrateLog(t.Context(), t.TempDir(), nil, small), store.ErrLogStore)
	absent := filepath.Join(t.TempDir(), "absent")
	err := store.MigrateLog(t.Context(), absent, nil, small)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NotErrorIs(t, err, store.ErrLogStore)
	require.NoFileExists(t, absent)
	s := openDir(t, bolt)
	require.ErrorIs(t, store.MigrateLog(t.Context(), dir, nil, small), store.ErrLocked)
	require.NoError(t, s.Close())
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, store.MigrateLog(stopped, dir, nil, small), context.Canceled)
	for range 2 {
		require.NoError(t, store.MigrateLog(t.Context(), dir, nil, small))
		_, err := store.Open(t.Context(), bolt)
		require.ErrorIs(t, err, store.ErrLogStore)
		want := work(other)
		require.ErrorIs(t, store.MigrateLog(t.Context(), dir, nil, nil), store.ErrLogStore, "it is there already")
		require.NoError(t, store.MigrateLog(t.Context(), dir, small, store.OpenBoltLog))
		_, err = store.Open(t.Context(), other)
		require.ErrorIs(t, err, store.ErrLogStore)
		s := openDir(t, bolt)
		require.Equal(t, want.KVs, everything(t, s).KVs)
		require.NoError(t, s.Close())
	}
}

// TestMigrateLogTakesAllKeys looks whether a member keeps something in its stable store that a migration would forget.
func TestMigrateLogTakesAllKeys(t *testing.T) {
	dir := t.TempDir()
	s := openDir(t, store.Config{Dir: dir, OpenLog: store.OpenBoltLog, Name: "a", Peers: []store.Peer{{Name: "a", Addr: "127.0.0.1:0"}}})
	_, err := s.Put(t.Context(), store.PutRequest{Key: []byte("a")})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	require.NoError(t, store.MigrateLog(t.Context(), dir, nil, nil))
	logs, err := wal.Open(dir)
	require.NoError(t, err)
	defer logs.Close()
	file, err := bbolt.Open(filepath.Join(dir, "raft.db"), 0o600, &bbolt.Options{ReadOnly: true})
	require.NoError(t, err)
	defer file.Close()
	keys := 0
	require.NoError(t, file.View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("conf")).ForEach(func(key, want []byte) error {
			got, err := logs.Get(key)
			require.NoError(t, err, "%s", key)
			require.Equal(t, want, got, "%s", key)
			keys++
			return nil
		})
	}))
	require.GreaterOrEqual(t, keys, 5)
	last, err := logs.LastIndex()
	require.NoError(t, err)
	var e raft.Log
	require.NoError(t, logs.GetLog(last, &e))
}
