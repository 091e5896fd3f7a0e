package store_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// TestAskerConfirms asks a leader that nobody else answers any more for the index of a read: of three members, the asker
// and the leader are a majority, if both know the same term, and if the asker has a vote.
func TestAskerConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation("")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, name := range simNames {
			require.NoError(t, sim.open(ctx, name))
		}
		defer func() {
			sim.net.freeAll(false)
			for _, name := range simNames {
				require.NoError(t, sim.close(name))
			}
		}()
		_, err := sim.member("a").Put(ctx, store.PutRequest{Key: []byte("k")})
		require.NoError(t, err)
		leader := sim.leader(ctx)
		var followers []string
		for _, name := range simNames {
			_, err := sim.member(name).Revision(ctx)
			require.NoError(t, err)
			if name != leader {
				followers = append(followers, name)
			}
		}
		l := sim.member(leader)
		status, err := l.Status(ctx)
		require.NoError(t, err)
		for _, name := range followers {
			sim.net.block(direction{name, leader})
		}
		var asking sync.WaitGroup
		for _, ask := range []struct {
			asker string
			term  uint64
			fails bool
		}{
			{followers[0], status.Term, false},
			{followers[1], status.Term, false},
			{followers[0], status.Term - 1, true},
			{followers[0], status.Term + 1, true},
			{leader, status.Term, true},
			{"stranger", status.Term, true},
			{"", 0, true},
		} {
			asking.Go(func() {
				short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
				err := store.ReadIndex(short, l, ask.asker, ask.term)
				if ask.fails {
					require.Error(t, err, "%+v", ask)
				} else {
					require.NoError(t, err, "%+v", ask)
				}
			})
		}
		asking.Wait()
	})
}
