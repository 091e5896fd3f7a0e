package store

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// sole knows whether this member leads as the only voter. Then nobody else can be elected, and a read needs no round.
//
// That holds in a term when a configuration with this one voter is both the newest and committed. It is set at the
// beginning of a reign, when everything from before is committed and nothing else has been begun, and when the last
// of the changes under way is committed. It is unset before a change begins, and so before any other voter can hear
// of it.
type sole struct {
	term atomic.Uint64 // in which it holds; 0 if it does not

	mu       sync.Mutex
	changing int
}

// leadsAlone reports whether nobody else can have been elected before the call.
func (m *member) leadsAlone() bool {
	term := m.sole.term.Load()
	return term != 0 && m.term() == term
}

// enthrone begins a reign, in which everything from before is committed.
func (m *member) enthrone(term uint64) {
	m.sole.mu.Lock()
	if m.sole.changing == 0 && m.onlyVoter() {
		m.sole.term.Store(term)
	}
	m.sole.mu.Unlock()
	m.reign.Store(term)
}

// reconfigure carries out a change of the configuration while this member leads.
func (m *member) reconfigure(change func() raft.IndexFuture) error {
	m.sole.mu.Lock()
	m.sole.changing++
	m.sole.term.Store(0)
	m.sole.mu.Unlock()
	err := m.enter(func() error { return change().Error() })
	m.sole.mu.Lock()
	if m.sole.changing--; m.sole.changing == 0 && err == nil && m.onlyVoter() {
		m.sole.term.Store(m.term())
	}
	m.sole.mu.Unlock()
	return err
}

func (m *member) onlyVoter() bool {
	voters := 0
	for _, s := range m.configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
			if s.ID != m.self {
				return false
			}
		}
	}
	return voters == 1
}

// catchUp waits until the state machine has got to where this leader knew, at the call, that entries are committed:
// a member without a vote may have applied and answered them already.
func (m *member) catchUp(ctx context.Context) error {
	committed := m.raft.CommitIndex()
	if m.machine.index.Load() >= committed {
		return m.failure()
	}
	return m.await(ctx, func() bool { return m.machine.index.Load() >= committed })
}
