package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// rounds groups reads: those that come while a round is under way share the next one, since the answers of the first
// may be older than they are.
type rounds struct {
	mu      sync.Mutex
	next    *round
	running bool
	late    *round // the one under way, for a fault that tests put back
}

// round finds out how many commands a read must see.
type round struct {
	done    chan struct{}
	applied uint64
	err     error
}

// join returns a round that starts after the call.
func (m *member) join() *round {
	m.rounds.mu.Lock()
	if m.rounds.next == nil {
		m.rounds.next = &round{done: make(chan struct{})}
	}
	r, start := m.rounds.next, !m.rounds.running
	if m.store.cfg.bugs.sharesRound && m.rounds.late != nil {
		r, m.rounds.next = m.rounds.late, nil
	}
	m.rounds.running = true
	m.rounds.mu.Unlock()
	if start && !m.spawn(m.runRounds) {
		return &round{done: m.done, err: ErrClosed}
	}
	return r
}

func (m *member) runRounds() {
	for {
		m.rounds.mu.Lock()
		r := m.rounds.next
		m.rounds.next = nil
		m.rounds.running, m.rounds.late = r != nil, r
		m.rounds.mu.Unlock()
		if r == nil {
			return
		}
		began := m.store.metrics.began()
		r.applied, r.err = m.bound()
		m.store.metrics.round(began, r.err)
		close(r.done)
	}
}

// readable implements engine: a read may begin when this member has applied what the leader had committed at some
// moment after the read came, at which it still led.
func (m *member) readable(ctx context.Context) error {
	if m.leadsAlone() {
		return m.catchUp(ctx)
	}
	for {
		turn := m.turn.next()
		if err := m.failure(); err != nil {
			return err
		}
		r := m.join()
		select {
		case <-r.done:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.background.Done():
			return ErrClosed
		}
		switch {
		case errors.Is(r.err, errStranger):
			return r.err
		case r.err == nil:
			return m.await(ctx, func() bool { return m.store.current.Load().applied >= r.applied })
		}
		if err := m.pause(ctx, turn); err != nil {
			return err
		}
	}
}

// await waits until the state machine has moved so far that reached holds.
func (m *member) await(ctx context.Context, reached func() bool) error {
	for {
		if reached() {
			return m.failure()
		}
		moved := m.progress.next()
		if failed := m.failure(); failed != nil || reached() {
			return failed
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.background.Done():
			return ErrClosed
		}
	}
}

// bound asks the leader, which may be this member.
func (m *member) bound() (applied uint64, err error) {
	_, leader := m.raft.LeaderWithID()
	switch leader {
	case "":
		return 0, ErrNotLeader
	case m.self:
		ctx, cancel := context.WithTimeout(m.background, callTimeout)
		defer cancel()
		return m.readIndex(ctx, "", 0)
	}
	term := binary.BigEndian.AppendUint64(nil, m.currentTerm())
	answer, err := m.callLeader(leader, callReadIndex, term, callTimeout)
	if err != nil {
		return 0, err
	}
	if len(answer) != 8 {
		return 0, ErrNotLeader
	}
	return binary.BigEndian.Uint64(answer), nil
}

// readIndex is the leader's part. The voters are asked, after the read came, whether this member's term still stands. The
// member for which it is has said which term it knows when it asked, after its reads came; of three, that is a majority.
// If a majority says so, nobody else had been elected when the read came, and what this member then knew to be
// committed is all that anybody can have been told of. A leader learns first what is committed; so reads that wait
// for that see also what a follower's clients and watchers have seen. In a reign that has begun every entry is a
// command or a configuration, and so the state machine gets to where it must.
func (m *member) readIndex(ctx context.Context, asker raft.ServerID, known uint64) (applied uint64, err error) {
	term := m.term()
	if term == 0 {
		return 0, ErrNotLeader
	}
	committed := m.raft.CommitIndex()
	switch bugs := m.store.cfg.bugs; {
	case bugs.verifyLeader:
		err = m.raft.VerifyLeader().Error()
	case !bugs.noConfirm:
		err = m.confirm(ctx, term, asker, known)
	}
	if err != nil {
		return 0, err
	}
	if m.store.cfg.bugs.noCommitWait {
		committed = 0
	}
	if err := m.await(ctx, func() bool { return m.machine.index.Load() >= committed }); err != nil {
		return 0, err
	}
	return m.store.current.Load().applied, nil
}

// confirm asks the voters whether term stands, unless a majority has said so: this member, and the asker if that is the
// term it knows.
func (m *member) confirm(ctx context.Context, term uint64, asker raft.ServerID, known uint64) error {
	voters, stands := 0, 0
	var others []raft.ServerID
	for _, s := range m.configuration().Servers {
		if s.Suffrage == raft.Voter {
			voters++
		} else if !m.store.cfg.bugs.nonVoters {
			continue
		}
		if s.ID == m.self || s.ID == asker && known == term {
			stands++
		} else {
			others = append(others, s.ID)
		}
	}
	if stands*2 <= voters {
		if err := m.ask(ctx, term, others, voters/2+1-stands); err != nil {
			return err
		}
	}
	if m.term() != term {
		return ErrNotLeader
	}
	return nil
}

// ask asks members whether term stands, and returns nil when so many say so.
func (m *member) ask(ctx context.Context, term uint64, members []raft.ServerID, wanted int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan bool, len(members))
	question := binary.BigEndian.AppendUint64(nil, term)
	for _, id := range members {
		m.loops.Go(func() {
			answer, err := m.peers.to(string(id)).call(ctx, callConfirm, question)
			answers <- err == nil && len(answer) == 1 && answer[0] == 0
		})
	}
	for left := len(members); wanted > 0; left-- {
		if left == 0 {
			return fmt.Errorf("%w: %d more of the other voters should confirm term %d", ErrNotLeader, wanted, term)
		}
		select {
		case stands := <-answers:
			if stands {
				wanted--
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
