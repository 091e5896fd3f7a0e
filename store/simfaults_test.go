package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keelson-dev/keelson/store"
)

// keep grants leases and keeps each alive for a while.
func (sim *simulation) keep(ctx context.Context, rnd *rand.Rand) {
	const ttl = 1500 * time.Millisecond
	for id := int64(1); ctx.Err() == nil; id++ {
		note := func(began time.Time, err error) bool {
			if err == nil {
				sim.mu.Lock()
				sim.alive[id] = began.Add(ttl)
				sim.mu.Unlock()
			}
			return err == nil
		}
		each := func(f func(ctx context.Context, s *store.Store) error) bool {
			s := sim.member(simNames[rnd.IntN(len(simNames))])
			if s == nil {
				return false
			}
			opCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return f(opCtx, s) == nil
		}
		if !each(func(ctx context.Context, s *store.Store) error {
			began := time.Now()
			_, err := s.Grant(ctx, id, ttl)
			note(began, err)
			if err == nil {
				_, err = s.Put(ctx, store.PutRequest{Key: fmt.Appendf(nil, "lease/%d", id), Lease: id})
			}
			return err
		}) {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		for range 20 {
			each(func(ctx context.Context, s *store.Store) error {
				began := time.Now()
				_, err := s.KeepAlive(ctx, id)
				note(began, err)
				return err
			})
			pause(ctx, 150*time.Millisecond)
		}
	}
}

// around returns the directions to and from a member.
func around(name string) (in, out []direction) {
	for _, other := range simNames {
		if other != name {
			in, out = append(in, direction{other, name}), append(out, direction{name, other})
		}
	}
	return in, out
}

// breakThings injects one fault after the other until ctx ends, and leaves everything whole.
func (sim *simulation) breakThings(ctx context.Context, rnd *rand.Rand) error {
	for ctx.Err() == nil {
		pause(ctx, time.Duration(500+rnd.IntN(2000))*time.Millisecond)
		leader := sim.leader(ctx)
		victim := simNames[rnd.IntN(len(simNames))]
		if rnd.IntN(2) == 0 && leader != "" {
			victim = leader // faults of the leader are the interesting ones
		}
		in, out := around(victim)
		hold := time.Duration(200+rnd.IntN(3500)) * time.Millisecond
		lose := rnd.IntN(2) == 0
		transfer := func() {
			if s := sim.member(leader); s != nil {
				opCtx, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				_ = s.TransferLeadership(opCtx, "")
			}
		}
		fault := []string{"isolated", "deaf", "mute", "flapping", "transfer", "transfer unheard", "restart", "restart alone", "lost"}[rnd.IntN(9)]
		sim.fault(fault)
		switch fault {
		case "isolated": // or paused: what was sent to it arrives later
			sim.net.block(append(in, out...)...)
			pause(ctx, hold)
		case "deaf":
			sim.net.block(in...)
			pause(ctx, hold)
		case "mute":
			sim.net.block(out...)
			pause(ctx, hold)
		case "flapping":
			for range 5 {
				sim.net.block(append(in, out...)...)
				pause(ctx, hold/10)
				sim.net.freeAll(lose)
				pause(ctx, hold/10)
			}
		case "transfer":
			transfer()
		case "transfer unheard":
			in, _ := around(leader)
			if leader != "" {
				sim.net.block(in...)
				transfer()
				pause(ctx, hold/4)
			}
		case "restart", "restart alone":
			if fault == "restart alone" {
				sim.net.block(append(in, out...)...)
			}
			if err := sim.close(victim); err != nil {
				return err
			}
			sim.net.freeAll(true)
			pause(ctx, hold)
			if err := sim.open(context.WithoutCancel(ctx), victim); err != nil {
				return err
			}
		case "lost": // answers, together with their connections
			d := append(in, out...)[rnd.IntN(4)]
			for range 4 {
				sim.net.block(d)
				pause(ctx, 150*time.Millisecond)
				sim.net.free(true, d)
			}
		}
		sim.net.freeAll(lose)
	}
	return nil
}
