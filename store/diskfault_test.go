package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/wal"
	"github.com/stretchr/testify/require"
)

// faultyLog is a log store whose disk fails, or hangs, when told to.
type faultyLog struct {
	store.LogStore
	state *faults
}

// faults is what a faultyLog's disk does; it outlives the log store, as a disk does.
type faults struct {
	mu     sync.Mutex
	inner  store.LogStore // nil: made in memory
	fail   error
	hang   chan struct{} // writes wait until it is closed
	failed int
	hung   int
	closed int
}

type inmemLog struct{ *raft.InmemStore }

func (inmemLog) Close() error { return nil }

func (f *faults) open(string) (store.LogStore, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inner == nil {
		f.inner = inmemLog{raft.NewInmemStore()}
	}
	return &faultyLog{f.inner, f}, nil
}

func (f *faults) set(fail error, hang chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail, f.hang = fail, hang
}

func (f *faults) counts() (failed, hung, closed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed, f.hung, f.closed
}

func (l *faultyLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

func (l *faultyLog) StoreLogs(entries []*raft.Log) error {
	l.state.mu.Lock()
	fail, hang := l.state.fail, l.state.hang
	if fail != nil {
		l.state.failed++
	}
	if hang != nil {
		l.state.hung++
	}
	l.state.mu.Unlock()
	if hang != nil {
		<-hang
	}
	if fail != nil {
		return fail
	}
	return l.LogStore.StoreLogs(entries)
}

func (l *faultyLog) Close() error {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	l.state.closed++
	return l.LogStore.Close()
}

// faultyCluster opens three members whose disks are faults.
func faultyCluster(t *testing.T) (members map[string]*store.Store, disks map[string]*faults) {
	net := newSimnet()
	members, disks = map[string]*store.Store{}, map[string]*faults{}
	var peers []store.Peer
	for _, name := range simNames {
		peers = append(peers, store.Peer{Name: name, Addr: name})
	}
	for _, name := range simNames {
		disks[name] = &faults{}
		s, err := store.Open(t.Context(), store.Config{
			Name: name, Peers: peers, Listener: net.listen(name), Dial: net.dial(name), Dir: t.TempDir(), OpenLog: disks[name].open,
		})
		require.NoError(t, err)
		members[name] = s
	}
	return members, disks
}

// leading returns who leads, and the others.
func leading(t *testing.T, members map[string]*store.Store) (leader string, others []string) {
	t.Helper()
	for name, s := range members {
		status, err := s.Status(t.Context())
		require.NoError(t, err)
		if status.Leader {
			leader = name
		} else {
			others = append(others, name)
		}
	}
	require.NotEmpty(t, leader)
	return leader, others
}

// TestDiskOfTheLeader has the leader's disk hang, or a sync fail: that member stops, another leads, and writes go on.
func TestDiskOfTheLeader(t *testing.T) {
	broken := errors.New("input/output error")
	for _, hangs := range []bool{true, false} {
		t.Run(fmt.Sprint("hangs ", hangs), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				members, disks := faultyCluster(t)
				for i, name := range simNames {
					_, err := members[name].Put(ctx, store.PutRequest{Key: fmt.Append(nil, i)})
					require.NoError(t, err)
				}
				old, others := leading(t, members)
				hang := make(chan struct{})
				kind := broken
				if hangs {
					kind = store.ErrDiskTimeout
					disks[old].set(nil, hang)
				} else {
					disks[old].set(broken, nil)
				}
				start := time.Now()
				opCtx, cancel := context.WithTimeout(ctx, time.Minute)
				defer cancel()
				_, err := members[others[0]].Put(opCtx, store.PutRequest{Key: []byte("during")})
				require.NoError(t, err, "another leads")
				took := time.Since(start)
				failed, hung, _ := disks[old].counts()
				if hangs {
					require.Positive(t, hung, "the fault was the leader's")
					require.GreaterOrEqual(t, took, store.DefaultDiskTimeout, "nothing else ended the hang")
				} else {
					require.Positive(t, failed, "the fault was the leader's")
				}
				stopped := members[old]
				delete(members, old)
				now, _ := leading(t, members)
				for i := range 20 {
					_, err := members[others[i%2]].Put(opCtx, store.PutRequest{Key: fmt.Append(nil, "after", i)})
					require.NoError(t, err)
				}
				require.Len(t, everything(t, members[others[1]]).KVs, 3+1+20)

				_, err = stopped.Put(opCtx, store.PutRequest{Key: []byte("late")})
				require.ErrorIs(t, err, store.ErrFailed)
				require.ErrorIs(t, err, kind)
				_, err = stopped.Range(opCtx, store.RangeRequest{Key: []byte("0"), Serializable: true})
				require.ErrorIs(t, err, store.ErrFailed)
				err = stopped.Close()
				if hangs {
					require.ErrorIs(t, err, store.ErrDiskTimeout)
					_, _, closed := disks[old].counts()
					require.Zero(t, closed, "the call still runs")
					close(hang)
					synctest.Wait()
				} else {
					require.NoError(t, err)
				}
				_, _, closed := disks[old].counts()
				require.Equal(t, 1, closed)

				_, err = members[now].Put(opCtx, store.PutRequest{Key: []byte("last")})
				require.NoError(t, err)
				for _, s := range members {
					require.NoError(t, s.Close())
				}
			})
		})
	}
}

// TestDiskOfAFollower stops a follower; the leader goes on as if nothing was.
func TestDiskOfAFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		members, disks := faultyCluster(t)
		_, err := members["a"].Put(ctx, store.PutRequest{Key: []byte("k")})
		require.NoError(t, err)
		leader, others := leading(t, members)
		hang := make(chan struct{})
		disks[others[0]].set(nil, hang)
		for range 10 {
			start := time.Now()
			_, err := members[leader].Put(ctx, store.PutRequest{Key: []byte("k")})
			require.NoError(t, err)
			require.Less(t, time.Since(start), time.Second, "virtual: nobody waits for the one that hangs")
		}
		<-time.After(2 * store.DefaultDiskTimeout)
		_, hung, _ := disks[others[0]].counts()
		require.Positive(t, hung)
		_, err = members[others[0]].Put(ctx, store.PutRequest{Key: []byte("k")})
		require.ErrorIs(t, err, store.ErrDiskTimeout)
		close(hang)
		for _, s := range members {
			require.NoError(t, s.Close())
		}
	})
}

// TestDiskFull has a disk without room under a lone store: a typed error, nothing lost, and it goes on when it is opened
// again with room.
func TestDiskFull(t *testing.T) {
	for name, inner := range map[string]func(string) (store.LogStore, error){"bolt": store.OpenBoltLog, "wal": wal.Open} {
		t.Run(name, func(t *testing.T) { diskFull(t, inner) })
	}
}

func diskFull(t *testing.T, inner func(string) (store.LogStore, error)) {
	dir := t.TempDir()
	disk := &faults{}
	open := func() *store.Store {
		return openDir(t, store.Config{Dir: dir, OpenLog: func(dir string) (store.LogStore, error) {
			logs, err := inner(dir)
			return &faultyLog{logs, disk}, err
		}})
	}
	s := open()
	for i := range 10 {
		_, err := s.Put(t.Context(), store.PutRequest{Key: fmt.Append(nil, i), Value: bytes.Repeat([]byte("v"), 1000)})
		require.NoError(t, err)
	}
	disk.set(&syscallError{syscall.ENOSPC}, nil)
	_, err := s.Put(t.Context(), store.PutRequest{Key: []byte("full")})
	require.Error(t, err)
	failed, _, _ := disk.counts()
	require.Positive(t, failed)
	_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("after")})
	require.ErrorIs(t, err, store.ErrFailed)
	require.ErrorIs(t, err, store.ErrDiskFull)
	require.NoError(t, s.Close())
	disk.set(nil, nil)
	s = open()
	defer s.Close()
	for i := range 10 {
		_, found, err := s.Get(t.Context(), fmt.Append(nil, i))
		require.NoError(t, err)
		require.True(t, found)
	}
	_, found, err := s.Get(t.Context(), []byte("after"))
	require.NoError(t, err)
	require.False(t, found, "it was refused")
	_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("full")})
	require.NoError(t, err)
}

// syscallError is an error from a write, as the os package makes them.
type syscallError struct{ error }

func (e *syscallError) Unwrap() error { return e.error }
