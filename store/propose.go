package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

func (m *member) submit(cmd command) proposal {
	if refused := m.failure(); refused != nil {
		return proposal{err: refused}
	}
	w := &m.waiting
	w.Lock()
	if w.closed {
		w.Unlock()
		return proposal{err: ErrClosed}
	}
	w.number++
	cmd.session, cmd.seq, cmd.ack = m.session, w.number, w.number
	if len(w.all) > 0 {
		cmd.ack = w.all[0].first
	}
	p := w.queue.add(&cmd, m.store.cfg.MaxBatchBytes, room(w.size), func(b *batch) {
		b.first = cmd.seq
		w.all = append(w.all, b)
	})
	w.Unlock()
	if p.at == 0 { // otherwise who came first has done it
		m.nudge()
	}
	return p
}

// find returns the place in all of the batch that begins with a number, or where it would be. The caller holds the
// lock.
func (m *member) find(first uint64) (at int, found bool) {
	return slices.BinarySearchFunc(m.waiting.all, first, func(b *batch, first uint64) int { return cmp.Compare(b.first, first) })
}

// remove takes a batch out of all, and reports whether it was there: then it is for the caller to finish it. The
// caller holds the lock.
func (m *member) remove(b *batch) bool {
	at, found := m.find(b.first)
	if found = found && m.waiting.all[at] == b; found {
		m.waiting.all = slices.Delete(m.waiting.all, at, at+1)
	}
	return found
}

// onApplied is called by the state machine.
func (m *member) onApplied(outcomes []outcome) {
	for _, o := range outcomes {
		if o.session != m.session || errors.Is(o.results[0].err, errRepeated) {
			continue
		}
		var mine *batch
		m.waiting.Lock()
		if at, found := m.find(o.first); found {
			mine = m.waiting.all[at]
			m.remove(mine)
		}
		m.waiting.Unlock()
		switch {
		case mine == nil:
		case len(o.results) != mine.count:
			mine.finish(nil, fmt.Errorf("%w: %d results for %d commands", ErrUnknownOutcome, len(o.results), mine.count))
		default:
			mine.finish(o.results, nil)
		}
	}
	m.progress.fire()
	select {
	case m.hurry <- struct{}{}:
	default:
	}
}

// onRestored is called by the state machine. What the snapshot has run of this member's commands has an outcome that
// nobody can tell any more.
func (m *member) onRestored(st *state) {
	var lost []*batch
	m.waiting.Lock()
	m.waiting.all = slices.DeleteFunc(m.waiting.all, func(b *batch) bool {
		ran := b.sealed && st.ran(m.session, b.first)
		if ran {
			lost = append(lost, b)
		}
		return ran
	})
	m.waiting.Unlock()
	for _, b := range lost {
		b.finish(nil, fmt.Errorf("%w: this member fell behind and was sent a snapshot", ErrUnknownOutcome))
	}
	m.progress.fire()
}

// propose is the loop that carries proposals to the leader, one batch at a time: what queues up meanwhile is the next.
func (m *member) propose() {
	defer close(m.done)
	defer m.stop()
	defer m.entering.Wait()
	for {
		runtime.Gosched() // who is about to propose comes along: an entry costs the same for one as for many
		turn := m.turn.next()
		b := m.batch()
		if refused := m.failure(); refused != nil {
			m.refuse(refused)
			return
		}
		if b == nil {
			<-m.work
			continue
		}
		err := m.carry(b.entry)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errStranger):
			m.drop(b, err)
			continue
		}
		m.again(b)
		_ = m.pause(m.background, turn) // its end is found at the top
	}
}

// batch takes what waits, and completes it.
func (m *member) batch() *batch {
	m.waiting.Lock()
	defer m.waiting.Unlock()
	for {
		b := m.waiting.queue.next()
		if b == nil {
			return nil
		}
		if at, found := m.find(b.first); !found || m.waiting.all[at] != b {
			continue // it has an outcome by now
		}
		if int(b.abandoned.Load()) == b.count { // nobody waits for it
			m.remove(b)
			continue
		}
		b.seal()
		m.waiting.size = len(b.entry)
		return b
	}
}

// again puts back what has no outcome, as it is: its numbers tell the state machine when it comes twice.
func (m *member) again(b *batch) {
	m.waiting.Lock()
	defer m.waiting.Unlock()
	m.waiting.queue = slices.Insert(m.waiting.queue, 0, b)
}

// drop ends proposals that no leader will take from this member any more.
func (m *member) drop(b *batch, err error) {
	m.waiting.Lock()
	mine := m.remove(b)
	m.waiting.Unlock()
	if mine {
		b.finish(nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
	}
}

// refuse ends all proposals when the member closes or has failed.
func (m *member) refuse(err error) {
	m.waiting.Lock()
	all := m.waiting.all
	m.waiting.all, m.waiting.queue, m.waiting.closed = nil, nil, true
	m.waiting.Unlock()
	for _, b := range all {
		if b.sealed {
			b.finish(nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
		} else {
			b.finish(nil, err)
		}
	}
}

// carry brings an entry to the leader. Nil means that it is committed.
func (m *member) carry(entry []byte) error {
	_, leader := m.raft.LeaderWithID()
	switch leader {
	case "":
		return ErrNotLeader
	case m.self:
		return m.apply(entry)
	}
	applied := m.store.current.Load().applied
	content := append(binary.BigEndian.AppendUint64(nil, applied), entry...)
	answer, err := m.callLeader(leader, callPropose, content, callTimeout)
	if err != nil {
		return err
	}
	if len(answer) != 1 || answer[0] != 0 {
		return ErrNotLeader
	}
	return nil
}

// callLeader is a call that ends early when somebody else leads.
func (m *member) callLeader(leader raft.ServerID, kind byte, content []byte, timeout time.Duration) ([]byte, error) {
	turn := m.turn.next()
	if _, now := m.raft.LeaderWithID(); now != leader {
		return nil, ErrNotLeader
	}
	ctx, cancel := context.WithTimeout(m.background, timeout)
	defer cancel()
	l := m.peers.to(string(leader))
	if !l.connected() { // to connect takes longer than an answer: that ends early too
		over := make(chan struct{})
		defer close(over)
		m.loops.Go(func() {
			select {
			case <-turn:
				cancel()
			case <-over:
			}
		})
	}
	return l.callUntil(ctx, turn, kind, content)
}
