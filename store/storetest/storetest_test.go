package storetest_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A store of one's own, here one that counts its writes, runs the whole suite in two lines of a test:
//
//	storetest.Run(t, func(t *testing.T, cfg store.Config) (storetest.Store, error) {
//		s, err := store.Open(t.Context(), cfg)
//		return &counting{Store: s}, err
//	})
func ExampleStore() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	var mine storetest.Store = &counting{Store: s}
	for _, key := range []string{"a", "b", ""} {
		_, err := mine.Put(ctx, store.PutRequest{Key: []byte(key)})
		fmt.Println(err)
	}
	fmt.Println(mine.(*counting).puts, mine.Close())
	// Output:
	// <nil>
	// <nil>
	// store: put: key is empty
	// 2 <nil>
}

// counting counts what was put.
type counting struct {
	storetest.Store
	mu   sync.Mutex
	puts int
}

func (c *counting) Put(ctx context.Context, req store.PutRequest) (store.PutResult, error) {
	res, err := c.Store.Put(ctx, req)
	if err == nil {
		c.mu.Lock()
		c.puts++
		c.mu.Unlock()
	}
	return res, err
}

func TestAWrapperThatChangesNothingPasses(t *testing.T) {
	storetest.Run(t, func(t *testing.T, cfg store.Config) (storetest.Store, error) {
		s, err := store.Open(t.Context(), cfg)
		return &counting{Store: s}, err
	})
}

// The broken stores, each with one fault that a real one could have.

// stale answers a key's first value for ever.
type stale struct {
	storetest.Store
	mu    sync.Mutex
	first map[string]store.KV
}

func (s *stale) Get(ctx context.Context, key []byte) (store.KV, bool, error) {
	s.mu.Lock()
	kv, ok := s.first[string(key)]
	s.mu.Unlock()
	if ok {
		return kv, true, nil
	}
	kv, ok, err := s.Store.Get(ctx, key)
	if ok && err == nil {
		s.mu.Lock()
		s.first[string(key)] = kv
		s.mu.Unlock()
	}
	return kv, ok, err
}

// blind ignores what a transaction compares.
type blind struct{ storetest.Store }

func (b blind) Txn(ctx context.Context, txn store.Txn) (store.TxnResult, error) {
	txn.Compares = nil
	return b.Store.Txn(ctx, txn)
}

// forgetful acknowledges a put that it never makes.
type forgetful struct{ storetest.Store }

func (f forgetful) Put(ctx context.Context, req store.PutRequest) (store.PutResult, error) {
	if len(req.Value) == 2 {
		revision, err := f.Revision(ctx)
		return store.PutResult{Revision: revision + 1}, err
	}
	return f.Store.Put(ctx, req)
}

// present reads the newest revision whichever is asked for.
type present struct{ storetest.Store }

func (p present) Range(ctx context.Context, req store.RangeRequest) (store.RangeResult, error) {
	req.Revision = 0
	return p.Store.Range(ctx, req)
}

// late watches from now, whatever revision is asked for.
type late struct{ storetest.Store }

func (l late) Watch(ctx context.Context, req store.WatchRequest) (*store.Watcher, error) {
	req.Revision = 0
	return l.Store.Watch(ctx, req)
}

// idle lets leases run out although they are kept alive.
type idle struct{ storetest.Store }

func (i idle) KeepAlive(ctx context.Context, id int64) (store.Lease, error) {
	status, err := i.TimeToLive(ctx, id)
	return store.Lease{ID: id, TTL: status.TTL}, err
}

var broken = map[string]func(storetest.Store) storetest.Store{
	"stale":     func(s storetest.Store) storetest.Store { return &stale{Store: s, first: map[string]store.KV{}} },
	"blind":     func(s storetest.Store) storetest.Store { return blind{s} },
	"forgetful": func(s storetest.Store) storetest.Store { return forgetful{s} },
	"present":   func(s storetest.Store) storetest.Store { return present{s} },
	"late":      func(s storetest.Store) storetest.Store { return late{s} },
	"idle":      func(s storetest.Store) storetest.Store { return idle{s} },
}

const brokenEnv = "KEELSON_BROKEN_STORES"

// TestBroken fails on purpose, in the process that TestSuiteCatches starts.
func TestBroken(t *testing.T) {
	if os.Getenv(brokenEnv) == "" {
		t.Skip("only TestSuiteCatches runs it")
	}
	for name, wrap := range broken {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t *testing.T, cfg store.Config) (storetest.Store, error) {
				s, err := store.Open(t.Context(), cfg)
				if err != nil {
					return nil, err
				}
				return wrap(s), nil
			})
		})
	}
}

// TestSuiteCatches shows that each broken store fails the suite.
func TestSuiteCatches(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestBroken$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), brokenEnv+"=1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "%s", out)
	for name := range broken {
		require.Contains(t, string(out), "--- FAIL: TestBroken/"+name+" ")
	}
	require.NotContains(t, string(out), "panic: ")
}
