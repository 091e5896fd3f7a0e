package wal_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/logtest"
	"github.com/keelson-dev/keelson/store/wal"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) { logtest.RunLogStore(t, wal.Open) }

// TestSuiteSmall has the suite go through many segments.
func TestSuiteSmall(t *testing.T) {
	logtest.RunLogStore(t, wal.Config{SegmentBytes: 64 << 10}.Open)
}

// TestErrors has no log where there is an error, and says the rest of what it is in store's words.
func TestErrors(t *testing.T) {
	logs, err := wal.Config{SegmentBytes: 1}.Open(t.TempDir())
	require.ErrorIs(t, err, store.ErrConfig)
	require.ErrorContains(t, err, "SegmentBytes")
	require.Nil(t, logs)
	for _, optional := range []any{(*store.LogNamer)(nil), (*store.LogSizer)(nil), (*store.LogPresence)(nil)} {
		logs, err := wal.Open(t.TempDir())
		require.NoError(t, err)
		require.Implements(t, optional, logs)
		require.NoError(t, logs.Close())
	}
}

// TestStore runs a store on it, with snapshots, in small files.
func TestStore(t *testing.T) {
	cfg := store.Config{Dir: t.TempDir(), OpenLog: wal.Config{SegmentBytes: 64 << 10}.Open}
	for round := range 3 {
		s, err := store.Open(t.Context(), cfg)
		require.NoError(t, err)
		for i := range 200 {
			_, err := s.Put(t.Context(), store.PutRequest{Key: fmt.Appendf(nil, "%d/%d", round, i), Value: make([]byte, i*5)})
			require.NoError(t, err)
		}
		res, err := s.Range(t.Context(), store.RangeRequest{Key: []byte{0}, End: []byte{0}})
		require.NoError(t, err)
		require.Len(t, res.KVs, 200*(round+1))
		require.NoError(t, s.Close())
	}
	_, err := store.Open(t.Context(), store.Config{Dir: cfg.Dir, OpenLog: store.OpenBoltLog})
	require.ErrorIs(t, err, store.ErrLogStore)
	require.NoFileExists(t, filepath.Join(cfg.Dir, "wal", "raft.db"))
	s, err := store.Open(t.Context(), store.Config{Dir: cfg.Dir}) // with files of another size
	require.NoError(t, err)
	require.NoError(t, s.Close())
}
