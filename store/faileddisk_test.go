package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestFailedDiskTellsNoTerm has a member hear of a newer term when its disk fails: it does not say that it has that term,
// which is gone when it comes back, and does not vote.
func TestFailedDiskTellsNoTerm(t *testing.T) {
	aside(t, true, func(ctx context.Context, sim *simulation, leader, follower string) {
		member := sim.member(follower)
		term := statusOf(t, member).Term
		sim.disk(follower).Break()
		answer, err := member.Hear(ctx, &raft.RequestVoteRequest{
			RPCHeader: header(leader), Term: term + 2, LastLogIndex: 1 << 40, LastLogTerm: term + 1,
		}, false)
		require.NoError(t, err)
		require.Equal(t, term+2, answer.(*raft.RequestVoteResponse).Term, "Raft thinks that it has it")
		require.False(t, answer.(*raft.RequestVoteResponse).Granted)
		require.Equal(t, term, statusOf(t, member).Term)
		require.Equal(t, term, member.Position().Term)
	})
}

// unreadable is a log store of which nothing can be read once it is told so.
type unreadable struct {
	store.LogStore
	state *readFaults
}

type readFaults struct {
	mu     sync.Mutex
	inner  inmemLog
	fail   error
	failed int
	stored int // entries
	hollow int // those of no term
}

func (f *readFaults) open(string) (store.LogStore, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inner.InmemStore == nil {
		f.inner = inmemLog{raft.NewInmemStore()}
	}
	return &unreadable{f.inner, f}, nil
}

func (l *unreadable) GetLog(index uint64, entry *raft.Log) error {
	l.state.mu.Lock()
	fail := l.state.fail
	if fail != nil {
		l.state.failed++
	}
	l.state.mu.Unlock()
	if fail != nil {
		return fail
	}
	return l.LogStore.GetLog(index, entry)
}

func (l *unreadable) StoreLogs(entries []*raft.Log) error {
	l.state.mu.Lock()
	for _, e := range entries {
		if e.Term == 0 {
			l.state.hollow++
		}
	}
	l.state.stored += len(entries)
	l.state.mu.Unlock()
	return l.LogStore.StoreLogs(entries)
}

// TestUnreadableEntryIsNotSent has a leader meet an entry that it can't read when it brings a follower up to date. Raft is
// given an empty one in its place, since it would panic, and the follower must not get that.
func TestUnreadableEntryIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		f := newFleet(simNames...)
		defer f.closeAll(t)
		disks, dirs := map[string]*readFaults{}, map[string]string{}
		open := func(name string) {
			f.open(t, name, func(cfg *store.Config) {
				if disks[name] == nil {
					disks[name], dirs[name] = &readFaults{}, t.TempDir()
				}
				cfg.MemoryDisk, cfg.Dir, cfg.OpenLog = nil, dirs[name], disks[name].open
			})
		}
		for _, name := range simNames {
			open(name)
		}
		f.put(t, "a", "k", "before")
		behind := "a"
		if f.leader(t) == "a" {
			behind = "b"
		}
		in, out := around(behind)
		f.net.block(append(in, out...)...)
		var others []string
		for _, name := range simNames {
			if name != behind {
				others = append(others, name)
			}
		}
		for range 3 {
			f.put(t, others[0], "k", "meanwhile")
		}
		for _, name := range others { // what they had in memory of the log is gone
			f.close(t, name)
			open(name)
		}
		f.put(t, others[0], "k", "after")
		leader, other := others[0], others[1]
		if statusOf(t, f.members[other]).Leader {
			leader, other = other, leader
		}
		disks[leader].mu.Lock()
		disks[leader].fail = errors.New("input/output error")
		disks[leader].mu.Unlock()
		f.net.freeAll(true)
		f.until(t, "the leader stops", func() bool {
			_, err := f.members[leader].Revision(ctx)
			return errors.Is(err, store.ErrFailed)
		})
		res, err := f.members[behind].Range(ctx, store.RangeRequest{Key: []byte("k")})
		require.NoError(t, err)
		require.Equal(t, "after", string(res.KVs[0].Value))
		disks[leader].mu.Lock()
		require.Positive(t, disks[leader].failed)
		disks[leader].mu.Unlock()
		disks[behind].mu.Lock()
		defer disks[behind].mu.Unlock()
		require.Greater(t, disks[behind].stored, 3)
		require.Zero(t, disks[behind].hollow, "an entry that nobody wrote was sent")
	})
}
