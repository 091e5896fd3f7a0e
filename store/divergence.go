package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/raft"
)

// checkpoint is the hash after a number of commands.
type checkpoint struct{ applied, hash uint64 }

const (
	// checkpointEvery is how many commands lie between the hashes that members compare, and coarseEvery between those
	// that are kept longer: under load, members are further apart than the former reach.
	checkpointEvery = 16
	coarseEvery     = 4096
)

// checkpointRing keeps hashes at counts that are the same for all members.
type checkpointRing struct {
	every  uint64
	kept   [64]checkpoint // at count / every modulo their number
	newest uint64
}

func (r *checkpointRing) mark(c checkpoint) {
	if c.applied%r.every == 0 {
		r.kept[c.applied/r.every%uint64(len(r.kept))] = c
		r.newest = c.applied
	}
}

func (r *checkpointRing) at(applied uint64) (hash uint64, found bool) {
	c := r.kept[applied/r.every%uint64(len(r.kept))]
	return c.hash, applied > 0 && c.applied == applied
}

// mark keeps the hash now and then.
func (m *machine) mark() {
	if m.state.applied%checkpointEvery != 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.rings {
		m.rings[i].mark(checkpoint{m.state.applied, m.state.hash})
	}
}

// checkpoints returns the newest hashes that were kept, one of each ring, the older first.
func (m *machine) checkpoints() (all []checkpoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := len(m.rings) - 1; i >= 0; i-- {
		if hash, found := m.rings[i].at(m.rings[i].newest); found {
			all = append(all, checkpoint{m.rings[i].newest, hash})
		}
	}
	return all
}

// hashAt returns the hash after a number of commands, if it was kept.
func (m *machine) hashAt(applied uint64) (hash uint64, found bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.rings {
		if hash, found = m.rings[i].at(applied); found {
			return hash, true
		}
	}
	return 0, false
}

// opinion is a member's hash after the number of commands in question.
type opinion struct {
	name  string
	hash  uint64
	voter bool
}

// verdict decides which hash is right. That is the one which most voters have; but as long as not all of them are
// heard, only one which a majority of all has, so that a majority is never stopped. With as many on either side the
// leader is believed, and without it the name that comes first. It returns the names of those with another hash.
func verdict(voters int, leader string, told []opinion) (right uint64, wrong []string) {
	heard := 0
	votes, first := map[uint64]int{}, map[uint64]string{}
	for _, o := range told {
		if o.voter {
			heard++
			votes[o.hash]++
		}
		if name, found := first[o.hash]; !found || o.name == leader || name != leader && o.name < name {
			first[o.hash] = o.name
		}
	}
	best := -1
	for hash, n := range votes {
		switch {
		case n < best:
		case n > best || first[hash] == leader || first[right] != leader && first[hash] < first[right]:
			right, best = hash, n
		}
	}
	if best*2 <= voters && heard < voters {
		return 0, nil
	}
	for _, o := range told {
		if o.hash != right {
			wrong = append(wrong, o.name)
		}
	}
	return right, wrong
}

// judge compares what all members have said of the same numbers of commands, and marks those that must stop. It
// reports whether there are any new ones.
func (t *tender) judge(m *member, servers []raft.Server, reports []*report, asks []uint64) (found bool) {
	for _, at := range asks {
		voters := 0
		var told []opinion
		for i, s := range servers {
			voter := s.Suffrage == raft.Voter
			if voter {
				voters++
			}
			if s.ID == m.self {
				if hash, found := m.machine.hashAt(at); found {
					told = append(told, opinion{string(s.ID), hash, voter})
				}
			} else if r := reports[i]; r != nil {
				if j := slices.IndexFunc(r.hashes, func(c checkpoint) bool { return c.applied == at }); j >= 0 {
					told = append(told, opinion{string(s.ID), r.hashes[j].hash, voter})
				}
			}
		}
		right, wrong := verdict(voters, string(m.self), told)
		for _, name := range wrong {
			if name == string(m.self) {
				m.accept(&proof{at, right})
				return true
			}
			if h, _ := t.last(name); h.failure == "" && h.wrong == nil {
				h.wrong, found = &proof{at, right}, true
				t.keep(name, h)
			}
		}
		if len(wrong) > 0 && found {
			m.store.cfg.Logger.Sugar().Errorf("after %d commands the data of %s differ from what most members have: they are told to stop", at, strings.Join(wrong, ", "))
		}
	}
	return found
}

// accept stops this member if the proof says that its data are wrong.
func (m *member) accept(wrong *proof) {
	if wrong == nil {
		return
	}
	mine, found := m.machine.hashAt(wrong.applied)
	if found && mine == wrong.hash {
		return
	}
	m.fail(fmt.Errorf("%w: after %d commands its hash was %016x, and %016x is right: remove the member, and add a new one with an empty directory",
		ErrDiverged, wrong.applied, mine, wrong.hash))
}
