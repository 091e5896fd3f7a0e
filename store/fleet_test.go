package store_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// fleet is members of one cluster in a bubble, each opened as its own Config says.
type fleet struct {
	net *simnet

	mu      sync.Mutex // guards members, for who uses them while they come and go
	disks   map[string]*store.MemoryDisk
	members map[string]*store.Store
	peers   []store.Peer
}

func newFleet(names ...string) *fleet {
	f := &fleet{net: newSimnet(), disks: map[string]*store.MemoryDisk{}, members: map[string]*store.Store{}}
	for _, name := range names {
		f.peers = append(f.peers, store.Peer{Name: name, Addr: name})
	}
	return f
}

// config returns what a member is opened with if nothing else is wanted.
func (f *fleet) config(name string) store.Config {
	if f.disks[name] == nil {
		f.disks[name] = &store.MemoryDisk{}
	}
	return store.Config{
		Name: name, Peers: f.peers, Listener: f.net.listen(name), Dial: f.net.dial(name), MemoryDisk: f.disks[name], Retention: -1,
	}
}

// open opens a member, with changes to its Config.
func (f *fleet) open(t *testing.T, name string, edit func(*store.Config)) *store.Store {
	t.Helper()
	cfg := f.config(name)
	if edit != nil {
		edit(&cfg)
	}
	s, err := store.Open(t.Context(), cfg)
	require.NoError(t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members[name] = s
	return s
}

func (f *fleet) close(t *testing.T, name string) {
	t.Helper()
	f.mu.Lock()
	s := f.members[name]
	delete(f.members, name)
	f.mu.Unlock()
	if s != nil {
		require.NoError(t, s.Close())
	}
}

func (f *fleet) closeAll(t *testing.T) {
	t.Helper()
	for name := range f.disks {
		f.close(t, name)
	}
}

func statusOf(t *testing.T, s *store.Store) store.Status {
	t.Helper()
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	return status
}

// leader waits until all that are open agree on who leads.
func (f *fleet) leader(t *testing.T) (name string) {
	t.Helper()
	f.until(t, "one member leads", func() bool {
		name = ""
		for _, s := range f.members {
			status := statusOf(t, s)
			if status.LeaderName == "" || name != "" && name != status.LeaderName {
				return false
			}
			name = status.LeaderName
		}
		return f.members[name] != nil && statusOf(t, f.members[name]).Leader
	})
	return name
}

// until waits in virtual time until cond holds.
func (f *fleet) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		require.True(t, time.Now().Before(deadline), "not within a minute: %s", what)
		time.Sleep(50 * time.Millisecond)
	}
}

func (f *fleet) put(t *testing.T, member, key, value string) {
	t.Helper()
	_, err := f.members[member].Put(t.Context(), store.PutRequest{Key: []byte(key), Value: []byte(value)})
	require.NoError(t, err)
}

func contextWithTimeout(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}
