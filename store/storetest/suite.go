package storetest

import (
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// Opener makes the configuration of a fresh store out of what a test asks for: it adds a directory, for example.
type Opener func(t *testing.T, cfg store.Config) store.Config

// Memory is the Opener of stores in memory.
func Memory(_ *testing.T, cfg store.Config) store.Config { return cfg }

// Durable is the Opener of stores in a temporary directory.
func Durable(t *testing.T, cfg store.Config) store.Config {
	cfg.Dir = t.TempDir()
	return cfg
}

// Open opens a store and closes it when the test ends.
func Open(t *testing.T, opener Opener, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), opener(t, cfg))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// Run runs the whole suite against the stores that opener makes.
func Run(t *testing.T, opener Opener) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Opener)
	}{
		{"Revisions", testRevisions},
		{"Range", testRange},
		{"PutOptions", testPutOptions},
		{"Compares", testCompares},
		{"Txn", testTxn},
		{"TxnRefused", testTxnRefused},
		{"Limits", testLimits},
		{"Compact", testCompact},
		{"Retention", testRetention},
		{"Watch", testWatch},
		{"WatchCompacted", testWatchCompacted},
		{"WatchWaits", testWatchWaits},
		{"Lease", testLease},
		{"LeaseExpiry", testLeaseExpiry},
		{"Snapshot", testSnapshot},
		{"Closed", testClosed},
		{"Model", testModel},
		{"Linearizable", testLinearizable},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, opener) })
	}
}

func put(t *testing.T, s *store.Store, key, value string) int64 {
	t.Helper()
	res, err := s.Put(t.Context(), store.PutRequest{Key: []byte(key), Value: []byte(value)})
	require.NoError(t, err)
	return res.Revision
}

func del(t *testing.T, s *store.Store, key, end string) store.DeleteResult {
	t.Helper()
	res, err := s.Delete(t.Context(), store.DeleteRequest{Key: []byte(key), End: []byte(end)})
	require.NoError(t, err)
	return res
}

func get(t *testing.T, s *store.Store, key string) *store.KV {
	t.Helper()
	kv, found, err := s.Get(t.Context(), []byte(key))
	require.NoError(t, err)
	if !found {
		return nil
	}
	return &kv
}

func keys(kvs []store.KV) []string {
	names := []string{}
	for _, kv := range kvs {
		names = append(names, string(kv.Key))
	}
	return names
}
