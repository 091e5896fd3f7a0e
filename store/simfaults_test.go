package store_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/keelson-dev/keelson/store"
)

// simFaults are all that breakThings and operate do.
var simFaults = []string{
	"isolated", "paused", "deaf", "mute", "flapping", "slow link", "slow member", "lost replies", "transfer", "transfer unheard", "restart", "restart alone",
	"power cut", "power cut of all", "hung sync", "failed sync", "compaction", "compaction past watchers", "snapshot", "snapshots in a row", "snapshot sent",
	"member added and removed", "member replaced",
}

// around returns the directions to and from one of the first members.
func around(name string) (in, out []direction) { return directions(name, simNames) }

func directions(name string, all []string) (in, out []direction) {
	for _, other := range all {
		if other != name {
			in, out = append(in, direction{other, name}), append(out, direction{name, other})
		}
	}
	return in, out
}

// reopen opens a member again.
func (sim *simulation) reopen(ctx context.Context, name string) {
	if err := sim.open(context.WithoutCancel(ctx), name); err != nil {
		sim.problem("open %s again: %v", name, err)
	}
}

func (sim *simulation) transfer(ctx context.Context, leader string) {
	if s := sim.member(leader); s != nil {
		opCtx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_ = s.TransferLeadership(opCtx, "") // it may have lost leadership before
	}
}

// breakThings injects one fault after the other until ctx ends, and leaves everything whole. Members that the operator
// adds or removes are left in peace; what comes to them through the network is not.
func (sim *simulation) breakThings(ctx context.Context, rnd *rand.Rand) {
	for ctx.Err() == nil {
		pause(ctx, time.Duration(300+rnd.IntN(1700))*time.Millisecond)
		leader := sim.leader(ctx)
		names := sim.all()
		victim := names[rnd.IntN(len(names))]
		if rnd.IntN(2) == 0 && leader != "" {
			victim = leader // faults of the leader are the interesting ones
		}
		disk := sim.disk(victim)
		if sim.member(victim) == nil || disk == nil || sim.failed() {
			continue // the operator is at it
		}
		in, out := directions(victim, names)
		all := append(in[:len(in):len(in)], out...)
		hold := time.Duration(200+rnd.IntN(3300)) * time.Millisecond
		lose := rnd.IntN(2) == 0
		choices := simFaults[:16]
		fault := choices[rnd.IntN(len(choices))]
		if leader == "" && fault == "transfer unheard" {
			continue
		}
		sim.fault(fault, fmt.Sprintf("%s for %v, leader %q, lose %v", victim, hold, leader, lose))
		switch fault {
		case "isolated": // what was sent to it arrives later, or not
			sim.net.block(all...)
			pause(ctx, hold)
		case "paused":
			release := disk.Hang()
			sim.net.block(all...)
			pause(ctx, hold)
			lose = false
			sim.net.freeAll(lose)
			release()
		case "deaf":
			sim.net.block(in...)
			pause(ctx, hold)
		case "mute":
			sim.net.block(out...)
			pause(ctx, hold)
		case "flapping":
			for range 5 {
				sim.net.block(all...)
				pause(ctx, hold/10)
				sim.net.freeAll(lose)
				pause(ctx, hold/10)
			}
		case "slow link":
			d := all[rnd.IntN(len(all))]
			sim.net.slow(time.Duration(5+rnd.IntN(150))*time.Millisecond, d)
			pause(ctx, hold)
			sim.net.slow(0, d)
		case "slow member":
			sim.net.slow(time.Duration(2+rnd.IntN(40))*time.Millisecond, all...)
			pause(ctx, hold)
			sim.net.slow(0, all...)
		case "lost replies": // together with their connections
			d := all[rnd.IntN(len(all))]
			for range 4 {
				sim.net.block(d)
				pause(ctx, 150*time.Millisecond)
				sim.net.free(true, d)
			}
		case "transfer":
			sim.transfer(ctx, leader)
		case "transfer unheard":
			in, _ := directions(leader, names)
			sim.net.block(in...)
			sim.transfer(ctx, leader)
			pause(ctx, hold/4)
		case "restart", "restart alone":
			if fault == "restart alone" {
				sim.net.block(all...)
			}
			s := sim.take(victim)
			if s == nil {
				break // it was just removed
			}
			if err := s.Close(); err != nil {
				sim.problem("close %s: %v", victim, err)
			}
			sim.net.freeAll(true)
			pause(ctx, hold)
			sim.reopen(ctx, victim)
		case "power cut":
			if sim.crash(victim) {
				pause(ctx, hold)
				sim.reopen(ctx, victim)
			}
		case "power cut of all":
			var dark []string
			for _, name := range names {
				if sim.crash(name) {
					dark = append(dark, name)
				}
			}
			pause(ctx, hold/4)
			for _, name := range dark {
				sim.reopen(ctx, name)
			}
		case "hung sync":
			release := disk.Hang()
			pause(ctx, hold)
			release()
		case "failed sync": // is final: whoever runs the member starts it again, here on a disk that is whole again
			disk.Break()
			pause(ctx, hold)
			if s := sim.take(victim); s != nil {
				if err := s.Close(); err != nil {
					sim.note("close %s: %v", victim, err)
				}
				sim.reopen(ctx, victim)
			}
		}
		sim.net.freeAll(lose)
	}
}

// operate does what an operator, or a program in its place, does while things are well, and does it whatever else goes on.
func (sim *simulation) operate(ctx context.Context, rnd *rand.Rand) {
	changes := 0
	for ctx.Err() == nil {
		pause(ctx, time.Duration(500+rnd.IntN(3000))*time.Millisecond)
		if ctx.Err() != nil || sim.failed() {
			return
		}
		switch n := rnd.IntN(12); {
		case n < 4:
			sim.compact(ctx, rnd, n == 0)
		case n < 7:
			name, s := sim.any(rnd)
			if s == nil {
				continue
			}
			times := 1
			if rnd.IntN(3) == 0 {
				times = 2
			}
			for range times {
				if err := s.Compacting(); err == nil {
					sim.fault([]string{"snapshot", "snapshots in a row"}[times-1], name)
				}
			}
		case n < 9:
			sim.sendSnapshot(ctx, rnd)
		case changes < 2:
			changes++
			sim.changeMember(ctx, rnd, n == 9, fmt.Sprintf("new%d", changes))
		}
	}
}

// compact has history compacted, and sometimes so much that watchers which are behind miss some.
func (sim *simulation) compact(ctx context.Context, rnd *rand.Rand, past bool) {
	name, s := sim.any(rnd)
	sim.mu.Lock()
	revision, fault := sim.known-20-rnd.Int64N(60), "compaction"
	if past {
		revision, fault = sim.known, "compaction past watchers"
	}
	if revision > 1 {
		sim.compacted[revision] = true
	}
	sim.mu.Unlock()
	if s == nil || revision <= 1 {
		return
	}
	opCtx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	sim.fault(fault, fmt.Sprintf("at revision %d by %s", revision, name))
	_ = s.Compact(opCtx, revision) // it may have been done, or fail as all others do
}

// sendSnapshot leaves a member behind, until the others no longer have the entries that it lacks.
func (sim *simulation) sendSnapshot(ctx context.Context, rnd *rand.Rand) {
	leader := sim.leader(ctx)
	victim, s := sim.any(rnd)
	if leader == "" || victim == leader || s == nil {
		return
	}
	in, out := directions(victim, sim.all())
	sim.net.block(append(in, out...)...)
	if s := sim.member(leader); s != nil {
		opCtx, cancel := context.WithTimeout(ctx, 5*time.Second)
		for range store.Trailing + 20 {
			value := fmt.Sprintf("burst.%d", sim.stamp())
			if _, err := s.Put(opCtx, store.PutRequest{Key: []byte("burst"), Value: []byte(value)}); err != nil {
				break
			}
		}
		cancel()
	}
	if rnd.IntN(2) == 0 {
		sim.compact(ctx, rnd, true)
	}
	for _, name := range sim.all() {
		if s := sim.member(name); s != nil && name != victim {
			if err := s.Compacting(); err == nil && name == leader {
				sim.fault("snapshot sent", victim)
			}
		}
	}
	sim.net.freeAll(rnd.IntN(2) == 0)
}

// changeMember adds a member and takes it away again, or takes another one away in its place. Once begun it is finished.
func (sim *simulation) changeMember(ctx context.Context, rnd *rand.Rand, replace bool, fresh string) {
	through := func(what string, f func(ctx context.Context, s *store.Store) error) bool {
		for try := 0; try < 60; try++ {
			name, s := sim.any(rnd)
			if s == nil || name == fresh {
				pause(context.WithoutCancel(ctx), 200*time.Millisecond)
				continue
			}
			opCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
			err := f(opCtx, s)
			cancel()
			if err == nil {
				return true
			}
			sim.note("%s by way of %s: %v", what, name, err)
			pause(context.WithoutCancel(ctx), 100*time.Millisecond)
		}
		sim.problem("%s does not come about", what)
		return false
	}
	sim.note("member %s is added", fresh)
	if !through("add "+fresh, func(ctx context.Context, s *store.Store) error {
		return s.AddMember(ctx, store.Peer{Name: fresh, Addr: fresh})
	}) {
		return
	}
	if err := sim.join(context.WithoutCancel(ctx), fresh); err != nil {
		sim.problem("join %s: %v", fresh, err)
		return
	}
	for range 100 {
		if s := sim.member(fresh); s != nil {
			status, err := s.Status(context.WithoutCancel(ctx))
			votes := false
			for _, m := range status.Members {
				votes = votes || m.Name == fresh && m.Voter
			}
			if err == nil && votes {
				sim.note("member %s votes", fresh)
				break
			}
		}
		pause(context.WithoutCancel(ctx), 100*time.Millisecond)
	}
	gone, fault := fresh, "member added and removed"
	if replace {
		fault = "member replaced"
		for gone == fresh {
			gone, _ = sim.any(rnd)
		}
	}
	sim.fault(fault, gone)
	if through("remove "+gone, func(ctx context.Context, s *store.Store) error { return s.RemoveMember(ctx, gone) }) {
		sim.retire(gone)
	}
}

// retire closes a member that was removed.
func (sim *simulation) retire(name string) {
	for sim.member(name) == nil { // somebody is just opening it again
		pause(context.Background(), 50*time.Millisecond)
	}
	sim.mu.Lock()
	for i, n := range sim.names {
		if n == name {
			sim.names = append(sim.names[:i:i], sim.names[i+1:]...)
		}
	}
	s := sim.members[name]
	delete(sim.members, name)
	sim.old = append(sim.old, sim.disks[name])
	delete(sim.disks, name)
	sim.mu.Unlock()
	if err := s.Close(); err != nil {
		sim.note("close %s: %v", name, err)
	}
}
