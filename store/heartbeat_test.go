package store_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// aside is a cluster of three of which one member, that does not lead, is cut off, if it is to be.
func aside(t *testing.T, cut bool, f func(ctx context.Context, sim *simulation, leader, follower string)) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation("")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, name := range simNames {
			require.NoError(t, sim.open(ctx, name))
		}
		defer func() {
			sim.net.freeAll(false)
			for _, name := range sim.all() {
				require.NoError(t, sim.close(name))
			}
			sim.ending.Wait()
		}()
		for _, name := range simNames {
			_, err := sim.member(name).Put(ctx, store.PutRequest{Key: []byte(name)})
			require.NoError(t, err)
		}
		leader := sim.leader(ctx)
		follower := "a"
		if leader == "a" {
			follower = "b"
		}
		if cut {
			in, out := around(follower)
			sim.net.block(append(in, out...)...)
			pause(ctx, 5*time.Second)
		}
		f(ctx, sim, leader, follower)
	})
}

func header(name string) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(name), Addr: []byte(name)}
}

// TestHeartbeatDuringVote has a heartbeat of an older term arrive while a member's disk keeps the term in which it is
// about to vote. The vote must stand, also after a power cut.
func TestHeartbeatDuringVote(t *testing.T) {
	aside(t, true, func(ctx context.Context, sim *simulation, leader, follower string) {
		member := sim.member(follower)
		term := statusOf(t, member).Term
		release := sim.disk(follower).Hang()
		var under sync.WaitGroup
		under.Go(func() {
			answer, err := member.Hear(ctx, &raft.RequestVoteRequest{
				RPCHeader: header(leader), Term: term + 2, LastLogIndex: 1 << 40, LastLogTerm: term + 1,
			}, false)
			require.NoError(t, err)
			require.True(t, answer.(*raft.RequestVoteResponse).Granted, "the member votes")
		})
		synctest.Wait()
		_, caught := sim.disk(follower).Counts()
		require.Equal(t, 1, caught, "the term is not kept yet")
		under.Go(func() {
			answer, err := member.Hear(ctx, &raft.AppendEntriesRequest{RPCHeader: header(leader), Term: term + 1}, true)
			require.NoError(t, err)
			require.Equal(t, term+2, answer.(*raft.AppendEntriesResponse).Term)
			require.False(t, answer.(*raft.AppendEntriesResponse).Success, "a heartbeat of the term before")
		})
		synctest.Wait()
		release()
		under.Wait()
		require.Equal(t, term+2, statusOf(t, member).Term)
		require.True(t, sim.crash(follower))
		require.NoError(t, sim.open(ctx, follower))
		require.GreaterOrEqual(t, statusOf(t, sim.member(follower)).Term, term+2, "the term that the member voted in is lost")
	})
}

// TestHeartbeatDuringSync has a follower's disk hang while it stores what the leader has sent: the leader still hears
// of it.
func TestHeartbeatDuringSync(t *testing.T) {
	aside(t, false, func(ctx context.Context, sim *simulation, leader, follower string) {
		member := sim.member(follower)
		term := statusOf(t, member).Term
		release := sim.disk(follower).Hang()
		defer release()
		_, err := sim.member(leader).Put(ctx, store.PutRequest{Key: []byte("k")})
		require.NoError(t, err)
		synctest.Wait()
		_, caught := sim.disk(follower).Counts()
		require.Equal(t, 1, caught, "an entry is not synced yet")
		beat := func(term uint64) (*raft.AppendEntriesResponse, error) {
			waiting, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			answer, err := member.Hear(waiting, &raft.AppendEntriesRequest{RPCHeader: header(leader), Term: term}, true)
			if err != nil {
				return nil, err
			}
			return answer.(*raft.AppendEntriesResponse), nil
		}
		answer, err := beat(term)
		require.NoError(t, err)
		require.True(t, answer.Success)
		_, err = beat(term - 1)
		require.ErrorIs(t, err, context.DeadlineExceeded, "one of another term waits")
		_, err = beat(term)
		require.NoError(t, err, "and holds nobody up")
	})
}
