package store_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestCallsWhileOpening asks a member that is just being opened, and has no Raft yet, whether a term stands. A schedule
// of the simulation found that it did not survive the question.
func TestCallsWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation("")
		ctx := t.Context()
		for _, name := range simNames {
			require.NoError(t, sim.open(ctx, name))
		}
		_, err := sim.member("a").Put(ctx, store.PutRequest{Key: []byte("k")})
		require.NoError(t, err)
		victim := "b"
		if sim.leader(ctx) == victim {
			victim = "c"
		}
		require.NoError(t, sim.close(victim))
		release := sim.disk(victim).HoldOpening()
		opened := make(chan error)
		go func() { opened <- sim.open(ctx, victim) }()
		synctest.Wait()
		for _, name := range simNames {
			if s := sim.member(name); s != nil {
				_, err := s.Revision(ctx) // the leader asks all voters
				require.NoError(t, err)
			}
		}
		<-time.After(time.Second) // the leader's tender asks too
		require.Empty(t, opened, "it was not being opened")
		release()
		require.NoError(t, <-opened)
		_, err = sim.member(victim).Revision(ctx)
		require.NoError(t, err)
		for _, name := range simNames {
			require.NoError(t, sim.close(name))
		}
	})
}

// TestWatcherAheadOfSnapshot has a watcher at a member that is behind wait for a revision which is still to come, when
// the member is sent a snapshot without the history in between: it needs nothing of that, and only has to watch again.
// Another one, that does need it, is told.
func TestWatcherAheadOfSnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation("")
		ctx := t.Context()
		for _, name := range simNames {
			require.NoError(t, sim.open(ctx, name))
		}
		_, err := sim.member("a").Put(ctx, store.PutRequest{Key: []byte("k")})
		require.NoError(t, err)
		leader, behind := sim.leader(ctx), "b"
		if leader == behind {
			behind = "c"
		}
		_, err = sim.member(behind).Revision(ctx) // it knows which cluster it is of
		require.NoError(t, err)
		in, out := around(behind)
		sim.net.block(append(in, out...)...)
		var watchers []*store.Watcher
		for _, req := range []store.WatchRequest{
			{Key: []byte{0}, End: []byte{0}, Revision: 302}, {Key: []byte("k"), Revision: 302}, {Key: []byte("k"), Revision: 50}, {Key: []byte("x"), Revision: 2},
		} {
			w, err := sim.member(behind).Watch(ctx, req)
			require.NoError(t, err)
			defer w.Close()
			watchers = append(watchers, w)
		}
		for range 300 {
			_, err := sim.member(leader).Put(ctx, store.PutRequest{Key: []byte("k")})
			require.NoError(t, err)
		}
		require.NoError(t, sim.member(leader).Compact(ctx, 300))
		require.NoError(t, sim.member(leader).Compacting())
		sim.net.freeAll(true)
		revision, err := sim.member(behind).Revision(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 302, revision)
		for _, w := range watchers[:2] {
			_, err := w.Next(ctx)
			require.ErrorIs(t, err, store.ErrClosed)
			w, err := sim.member(behind).Watch(ctx, store.WatchRequest{Key: []byte("k"), Revision: w.Start()})
			require.NoError(t, err)
			defer w.Close()
			batch, err := w.Next(ctx)
			require.NoError(t, err)
			require.Len(t, batch.Events, 1)
			require.EqualValues(t, 302, batch.Events[0].KV.ModRevision)
		}
		for _, w := range watchers[2:] {
			_, err := w.Next(ctx)
			var failed *store.Error
			require.ErrorAs(t, err, &failed)
			require.ErrorIs(t, err, store.ErrCompacted)
			require.EqualValues(t, 300, failed.Revision)
		}
		for _, name := range simNames {
			require.NoError(t, sim.close(name))
		}
	})
}
