//go:build unix

package proctest

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-dev/keelson/store"
)

// TestPause stops and continues the leader, longer than the others wait before they elect another, and a follower. The
// leader that wakes up believes for a moment that it still leads.
func TestPause(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	c := found(t, names...)
	l := drive(c, 9, names...)
	l.timeout.Store(int64(2 * time.Second))
	w := follow(c, turns(names...))
	for round := range 2 {
		l.await(100)
		l.hot.Add(1)
		leader := c.leader(names[round])
		other := names[0]
		if other == leader {
			other = names[1]
		}
		before := c.serves(other)

		paused := c.process(leader)
		paused.signal(t, syscall.SIGSTOP)
		const key = "while the leader was paused"
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c.until(other, "another leads", func(st store.Status) bool {
			return st.LeaderName != "" && st.LeaderName != leader && st.Term > before.Term
		})
		value := names[round]
		_, err := pb.NewKVClient(c.node(other).conn).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
		require.NoError(t, err)
		// Reads wait at the one that is paused, to be answered at the moment it wakes up: with what had been written when they were asked.
		stale := make(chan string, 8)
		kv := pb.NewKVClient(c.node(leader).conn)
		for range cap(stale) {
			go func() {
				res, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte(key)})
				switch {
				case err != nil:
					stale <- err.Error()
				case len(res.Kvs) == 0:
					stale <- ""
				default:
					stale <- string(res.Kvs[0].Value)
				}
			}()
		}
		l.await(50) // the reads are at the door by now
		l.awaitError()
		paused.signal(t, syscall.SIGCONT)
		for range cap(stale) {
			require.Equal(t, value, <-stale, "a read that was asked of the old leader")
		}
		l.await(100)

		follower := names[0]
		if now := c.leader(leader); follower == now {
			follower = names[1]
		}
		st := c.serves(follower)
		c.process(follower).signal(t, syscall.SIGSTOP)
		l.await(200)
		missed := c.serves(names[2]).Revision
		require.Greater(t, missed, st.Revision+100, "the others went on") // some of the 200 may have been written before it was paused
		c.process(follower).signal(t, syscall.SIGCONT)
		after := c.serves(follower)
		require.GreaterOrEqual(t, after.Revision, missed, "it has what it missed")
	}
	l.finish(names...)
	w.finish(c.serves("a").Revision, l.contents(t, "a"), 0)
	require.NotEmpty(t, l.errors, "requests to a member that is paused time out")
}
