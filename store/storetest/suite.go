package storetest

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// Store is what the suite asks of a store: the methods of *store.Store. A type that embeds one and overrides a method
// (a cache in front, a limiter, a proxy to a remote one) runs the suite too.
type Store interface {
	Range(ctx context.Context, req store.RangeRequest) (store.RangeResult, error)
	Get(ctx context.Context, key []byte) (kv store.KV, found bool, err error)
	Txn(ctx context.Context, txn store.Txn) (store.TxnResult, error)
	Put(ctx context.Context, req store.PutRequest) (store.PutResult, error)
	Delete(ctx context.Context, req store.DeleteRequest) (store.DeleteResult, error)
	Compact(ctx context.Context, revision int64) error
	Revision(ctx context.Context) (int64, error)
	Status(ctx context.Context) (store.Status, error)
	Snapshot(ctx context.Context, w io.Writer) error
	Watch(ctx context.Context, req store.WatchRequest) (*store.Watcher, error)
	Grant(ctx context.Context, id int64, ttl time.Duration) (store.Lease, error)
	KeepAlive(ctx context.Context, id int64) (store.Lease, error)
	Revoke(ctx context.Context, id int64) (int64, error)
	TimeToLive(ctx context.Context, id int64) (store.LeaseStatus, error)
	Leases(ctx context.Context) ([]int64, error)
	Close() error
}

var _ Store = (*store.Store)(nil)

// Opener opens a fresh store with the limits, the retention and the snapshot to restore that a test asks for in cfg.
// Where it keeps its data is the opener's to say.
type Opener func(t *testing.T, cfg store.Config) (Store, error)

// Memory is the Opener of stores in memory.
func Memory(t *testing.T, cfg store.Config) (Store, error) { return store.Open(t.Context(), cfg) }

// Durable is the Opener of stores in a temporary directory.
func Durable(t *testing.T, cfg store.Config) (Store, error) {
	cfg.Dir = t.TempDir()
	return store.Open(t.Context(), cfg)
}

// Open opens a store and closes it when the test ends.
func Open(t *testing.T, opener Opener, cfg store.Config) Store {
	t.Helper()
	s, err := opener(t, cfg)
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
		{"TxnVisits", testTxnVisits},
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

func put(t *testing.T, s Store, key, value string) int64 {
	t.Helper()
	res, err := s.Put(t.Context(), store.PutRequest{Key: []byte(key), Value: []byte(value)})
	require.NoError(t, err)
	return res.Revision
}

func del(t *testing.T, s Store, key, end string) store.DeleteResult {
	t.Helper()
	res, err := s.Delete(t.Context(), store.DeleteRequest{Key: []byte(key), End: []byte(end)})
	require.NoError(t, err)
	return res
}

func get(t *testing.T, s Store, key string) *store.KV {
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
