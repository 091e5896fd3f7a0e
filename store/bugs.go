package store

import (
	"math/rand/v2"
	"slices"
	"time"
)

// bugs puts faults back that the store does not have, one at a time, so that tests can show that they would notice.
// Only tests can set them; each is one branch where the fault would be.
type bugs struct {
	verifyLeader  bool // reads trust Raft's VerifyLeader
	noConfirm     bool // reads trust whoever thinks that it leads
	nonVoters     bool // who has no vote confirms a term as if it had one
	sharesRound   bool // a read joins the round that is under way
	earlyReign    bool // reads are served before anything of the new term is committed
	noCommitWait  bool // the leader's reads don't wait for what it knows to be committed
	latePublish   bool // what was applied counts as visible before it is
	earlyAck      bool // a write is acknowledged before it is visible
	repeats       bool // what is proposed twice is run twice
	shortSessions bool // sessions are forgotten after a few commands
	lostSessions  bool // snapshots lack the sessions
	liveSnapshot  bool // a snapshot has what came after its index
	noTombstones  bool // snapshots lack deletions
	keepsWatchers bool // a snapshot without the history in between leaves watchers as they are
	anyExpiry     bool // leases end for whoever says so
	noFullTime    bool // a new leader does not give leases their full time
	attachesBoth  bool // a key whose lease has changed ends with the old one too
	skipsFirst    bool // a watch from a revision begins behind it
	aheadBookmark bool // a watcher's revision is ahead of its events
	splitsTxn     bool // a watcher is given one event at a time
	overTrim      bool // a compaction drops the version that its revision still sees
	countsLimit   bool // a range with a limit counts up to it
	keepsCreate   bool // a key that comes back has the create revision it had

	ungated    bool // the version of the formats is raised without asking the members
	misapplies bool // the value of each put comes out one byte longer

	keepNonVoters bool // no fault: members without a vote are not promoted
	// disk, if set, puts something in front of a memory disk. fail stops the member.
	disk func(behind disk, fail func(error)) disk
}

// moment is how long the faults last that need somebody to come in between.
const moment = 20 * time.Millisecond

// linger waits a moment if a fault is put back.
func linger(bug bool) bool {
	if bug {
		time.Sleep(moment)
	}
	return bug
}

// dawdle takes up to two moments, so that members are at different places.
func dawdle(bug bool) {
	if bug {
		time.Sleep(rand.N(2 * moment))
	}
}

// split gives out the first event of a batch and keeps the rest for the next.
func (w *Watcher) split(batch WatchBatch) WatchBatch {
	w.rest = append(w.rest, batch.Events...)
	batch.Events, w.rest = w.rest[:1:1], w.rest[1:]
	batch.Revision = batch.Events[0].KV.ModRevision
	return batch
}

// distort returns what is wrong with snapshots.
func (m *machine) distort() func(*machineSnapshot) {
	switch bugs := &m.state.bugs; {
	case bugs.lostSessions:
		return func(s *machineSnapshot) { s.sessions = newSessions() }
	case bugs.noTombstones:
		return func(s *machineSnapshot) { s.view = s.view.withoutTombstones() }
	case bugs.liveSnapshot:
		return func(s *machineSnapshot) {
			linger(true)
			s.view = m.store.current.Load()
		}
	}
	return nil
}

// withoutTombstones returns the view as if deletions left nothing behind.
func (v *view) withoutTombstones() *view {
	bare := *v
	bare.items = tree{}
	v.items.ascend("", func(newest *version) bool {
		if newest = newest.at(v.revision); newest != nil {
			kept := slices.DeleteFunc(newest.since(newest.oldest()), (*version).tombstone)
			for i := range kept {
				copied := *kept[i]
				kept[i] = &copied
			}
			bare.items.set(chain(kept))
		}
		return true
	})
	return &bare
}
