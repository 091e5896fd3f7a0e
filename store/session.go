package store

import (
	"errors"
	"slices"

	"github.com/google/btree"
)

// A member numbers what it proposes, under a session it chose when it was opened, so that it may propose the same
// command again when an answer was lost. The state machine remembers per session which numbers it has run.
//
// A session is forgotten when it was not used for sessionLife commands. No copy of a command can come so late: a
// leader refuses commands whose proposer, when it sent them, was more than sessionStale commands behind; and a
// proposer sends nothing of which it has seen the outcome in its own state machine.
const (
	sessionLife  = 1 << 20
	sessionStale = 1 << 19
	sessionSweep = 1 << 12 // how often, in commands, old sessions are looked for
)

// errRepeated says that the state machine has run the command already.
var errRepeated = errors.New("command was run before")

// session is what the state machine knows of a proposer: every number below low is done with, and those in done.
type session struct {
	id   uint64
	low  uint64
	done []uint64 // in order, all of them low or above
	used uint64   // the count of commands at its last use
	age  uint64   // the state's when it was made: snapshots that were taken since share it
}

func sessionLess(a, b *session) bool { return a.id < b.id }

// admit reports whether a command has not been run, and takes note that it is. Records that a snapshot shares are
// replaced, never changed.
func (st *state) admit(cmd *command) bool {
	s := st.session(cmd.session)
	old, low := s.done, s.low
	s.low, s.used = max(low, cmd.ack), st.applied
	kept, _ := slices.BinarySearch(old, s.low)
	at, repeated := slices.BinarySearch(old, cmd.seq)
	repeated = repeated || cmd.seq < low
	s.done = old[kept:]
	if !repeated && cmd.seq >= s.low {
		if at == len(old) { // the ordinary case; only the newest record appends to the array it shares
			s.done = append(s.done, cmd.seq)
		} else {
			s.done = slices.Insert(slices.Clone(s.done), at-kept, cmd.seq)
		}
	}
	return !repeated
}

// session returns a record that may be changed. Commands of one session mostly come one after the other.
func (st *state) session(id uint64) *session {
	if s := st.proposer; s != nil && s.id == id && s.age == st.age {
		return s
	}
	s := &session{id: id}
	if old, found := st.sessions.Get(s); found {
		if s = old; s.age != st.age {
			s = &session{id: id, low: old.low, done: old.done, used: old.used}
		}
	}
	s.age = st.age
	st.sessions.ReplaceOrInsert(s)
	st.proposer = s
	return s
}

// sharedSessions returns the sessions as they are now.
func (st *state) sharedSessions() *btree.BTreeG[*session] {
	st.age++
	return st.sessions.Clone()
}

// sweep forgets sessions that nobody can use any more.
func (st *state) sweep() {
	if st.applied%sessionSweep != 0 && !st.bugs.shortSessions {
		return
	}
	var old []*session
	st.sessions.Ascend(func(s *session) bool {
		if st.applied-s.used > sessionLife || st.bugs.shortSessions && st.applied-s.used > 4 {
			old = append(old, s)
		}
		return true
	})
	for _, s := range old {
		st.sessions.Delete(s)
		st.proposer = nil
	}
}

// ran reports whether the state machine has run a command.
func (st *state) ran(id, seq uint64) bool {
	s, found := st.sessions.Get(&session{id: id})
	if !found {
		return false
	}
	_, done := slices.BinarySearch(s.done, seq)
	return done || seq < s.low
}

func newSessions() *btree.BTreeG[*session] { return btree.NewG(degree, sessionLess) }
