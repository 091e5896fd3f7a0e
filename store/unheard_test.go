package store_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// timeoutNow is what Raft's message that hands over leadership begins with.
const timeoutNow = 3

// unheard brings a cluster to where the leader has handed over and hears nothing of it: it goes on believing that it
// leads for a moment. The answers of one follower, from before, are still under way. It calls f with the old leader's
// name and the new one's.
func unheard(t *testing.T, bug store.Bug, prepare func(ctx context.Context, sim *simulation, leader string), f func(ctx context.Context, sim *simulation, old, next, third string)) {
	unheardWith(t, bug, nil, prepare, f)
}

// unheardWith is unheard with members whose Config is changed.
func unheardWith(t *testing.T, bug store.Bug, edit func(store.Config) store.Config, prepare func(ctx context.Context, sim *simulation, leader string), f func(ctx context.Context, sim *simulation, old, next, third string)) {
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(bug)
		sim.edit = edit
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
		}()
		_, err := sim.member("a").Put(ctx, store.PutRequest{Key: []byte("k"), Value: []byte("old")})
		require.NoError(t, err)
		old := sim.leader(ctx)
		require.NotEmpty(t, old)
		others := slices.DeleteFunc(slices.Clone(simNames), func(n string) bool { return n == old })
		next, third := others[0], others[1]
		for _, n := range others { // they have it too, and connections to each other
			_, err := sim.member(n).Revision(ctx)
			require.NoError(t, err)
		}
		prepare(ctx, sim, old)
		sim.net.block(direction{third, old})
		<-time.After(250 * time.Millisecond) // its answers to heartbeats are held by now
		sim.net.mu.Lock()
		sim.net.before = func(d direction, p []byte) {
			if d == (direction{old, next}) && p[0] == timeoutNow {
				sim.net.block(direction{next, old})
			}
		}
		sim.net.mu.Unlock()
		var transfer sync.WaitGroup
		defer transfer.Wait()
		transfer.Go(func() {
			opCtx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			_ = sim.member(old).TransferLeadership(opCtx, next)
		})
		for {
			status, err := sim.member(next).Status(ctx)
			require.NoError(t, err)
			if status.Leader {
				break
			}
			<-time.After(time.Millisecond)
			require.NoError(t, ctx.Err(), "leadership was not handed over")
		}
		status, err := sim.member(old).Status(ctx)
		require.NoError(t, err)
		require.True(t, status.Leader, "the old leader should not know yet")
		f(ctx, sim, old, next, third)
	})
}

// readUnheard reads at the old leader what was written at the new one, while old answers come in.
func readUnheard(t *testing.T, bug store.Bug) (value string) {
	unheard(t, bug, func(context.Context, *simulation, string) {}, func(ctx context.Context, sim *simulation, old, next, third string) {
		_, err := sim.member(next).Put(ctx, store.PutRequest{Key: []byte("k"), Value: []byte("new")})
		require.NoError(t, err)
		var read sync.WaitGroup
		read.Go(func() {
			kv, _, err := sim.member(old).Get(ctx, []byte("k"))
			require.NoError(t, err)
			value = string(kv.Value)
		})
		synctest.Wait()
		sim.net.free(false, direction{third, old})
		synctest.Wait()
		<-time.After(2 * time.Second)
		sim.net.freeAll(false)
		read.Wait()
	})
	return value
}

// sceneRead says what is wrong with reads at a leader that has handed over and has not heard of it.
func sceneRead(t *testing.T, bug store.Bug) string {
	if value := readUnheard(t, bug); value != "new" {
		return "a read after an unheard transfer gets the value from before"
	}
	return ""
}

func TestReadAfterUnheardTransfer(t *testing.T) {
	require.Empty(t, sceneRead(t, ""))
	for _, bug := range []store.Bug{store.BugNoConfirm, store.BugVerifyLeader} {
		require.NotEmpty(t, sceneRead(t, bug), "%s should show", bug)
	}
}

// leaseUnheard keeps a lease alive at the new leader while the old one sees it run out.
func leaseUnheard(t *testing.T, bug store.Bug) (alive bool) {
	const ttl = time.Second
	unheard(t, bug, func(ctx context.Context, sim *simulation, leader string) {
		_, err := sim.member(leader).Grant(ctx, 1, ttl)
		require.NoError(t, err)
		<-time.After(500 * time.Millisecond)
	}, func(ctx context.Context, sim *simulation, old, next, third string) {
		renew := func() {
			_, err := sim.member(next).KeepAlive(ctx, 1)
			require.NoError(t, err)
		}
		renew()
		<-time.After(300 * time.Millisecond) // the old leader has seen it run out
		renew()
		<-time.After(700 * time.Millisecond)
		renew()
		sim.net.freeAll(false)
		<-time.After(500 * time.Millisecond)
		ids, err := sim.member(next).Leases(ctx)
		require.NoError(t, err)
		alive = len(ids) == 1
	})
	return alive
}

// sceneLease says what is wrong with leases that an old leader sees run out.
func sceneLease(t *testing.T, bug store.Bug) string {
	if !leaseUnheard(t, bug) {
		return "a lease that is kept alive at the new leader is ended by the old one"
	}
	return ""
}

func TestLeaseAfterUnheardTransfer(t *testing.T) {
	require.Empty(t, sceneLease(t, ""))
	require.NotEmpty(t, sceneLease(t, store.BugAnyExpiry), "%s should show", store.BugAnyExpiry)
}

// sceneNonVoters says what is wrong with a read at a leader that has handed over unheard, while a member without a
// vote, which has heard nothing either, says that the term stands.
func sceneNonVoters(t *testing.T, bug store.Bug) (wrong string) {
	unheardWith(t, bug, store.WithoutPromotion, func(ctx context.Context, sim *simulation, leader string) {
		require.NoError(t, sim.member(leader).AddMember(ctx, store.Peer{Name: "late", Addr: "late"}))
		require.NoError(t, sim.join(ctx, "late"))
		_, err := sim.member("late").Revision(ctx)
		require.NoError(t, err)
		require.NotContains(t, voters(t, sim.member(leader)), "late")
		for _, name := range simNames {
			if name != leader { // whoever leads next can't tell it
				sim.net.block(direction{name, "late"}, direction{"late", name})
			}
		}
	}, func(ctx context.Context, sim *simulation, old, next, third string) {
		_, err := sim.member(next).Put(ctx, store.PutRequest{Key: []byte("k"), Value: []byte("new")})
		require.NoError(t, err)
		opCtx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if kv, _, err := sim.member(old).Get(opCtx, []byte("k")); err == nil && string(kv.Value) != "new" {
			wrong = "a read after an unheard transfer gets the value from before, confirmed by a member without a vote"
		}
	})
	return wrong
}

// sceneFullTime says what is wrong with a lease that somebody tried to keep alive all the time, when the leader is gone
// for nearly as long as the lease lasts.
func sceneFullTime(t *testing.T, bug store.Bug) (wrong string) {
	const ttl = 3 * time.Second
	synctest.Test(t, func(t *testing.T) {
		sim := newSimulation(bug)
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
		_, err := sim.member("a").Grant(ctx, 1, ttl)
		require.NoError(t, err)
		old := sim.leader(ctx)
		<-time.After(200 * time.Millisecond) // followers have it
		in, out := around(old)
		sim.net.block(append(in, out...)...)
		next := ""
		for began := time.Now(); next == "" || next == old; {
			<-time.After(10 * time.Millisecond)
			next = sim.leader(ctx)
			require.Less(t, time.Since(began), 20*time.Second)
			if time.Since(began) > ttl && next == old {
				next = ""
			}
		}
		reigns := time.Now()
		<-time.After(ttl - 200*time.Millisecond)
		ids, err := sim.member(next).Leases(ctx)
		require.NoError(t, err)
		if len(ids) == 0 {
			wrong = fmt.Sprintf("a lease of %v has ended within %v of the new leader's election", ttl, time.Since(reigns).Round(100*time.Millisecond))
		}
	})
	return wrong
}
