package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

func (m *member) submit(cmd command) *proposal {
	t := &tagged{proposal: proposal{cmd: cmd, done: make(chan struct{})}, encoded: cmd.encode(nil)}
	refused := m.failure()
	m.waiting.Lock()
	if refused == nil && m.waiting.all == nil {
		refused = ErrClosed
	}
	if refused == nil {
		m.waiting.number++
		t.number = m.waiting.number
		m.waiting.all[t.number] = t
		m.waiting.queue = append(m.waiting.queue, t)
	}
	m.waiting.Unlock()
	if refused != nil {
		t.finish(result{}, refused)
		return &t.proposal
	}
	m.nudge()
	return &t.proposal
}

// onApplied is called by the state machine.
func (m *member) onApplied(outcomes []outcome) {
	var mine []*tagged
	var results []result
	m.waiting.Lock()
	for _, o := range outcomes {
		if o.session != m.session || errors.Is(o.result.err, errRepeated) {
			continue
		}
		if t := m.waiting.all[o.seq]; t != nil {
			delete(m.waiting.all, o.seq)
			mine, results = append(mine, t), append(results, o.result)
		}
	}
	m.waiting.Unlock()
	for i, t := range mine {
		t.finish(results[i], nil)
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
	var lost []*tagged
	m.waiting.Lock()
	for number, t := range m.waiting.all {
		if t.sent && st.ran(m.session, number) {
			delete(m.waiting.all, number)
			lost = append(lost, t)
		}
	}
	m.waiting.Unlock()
	for _, t := range lost {
		t.finish(result{}, fmt.Errorf("%w: this member fell behind and was sent a snapshot", ErrUnknownOutcome))
	}
	m.progress.fire()
}

// propose is the loop that carries proposals to the leader, one batch at a time: what queues up meanwhile is the next.
func (m *member) propose() {
	defer close(m.done)
	defer m.stop()
	defer m.entering.Wait()
	for {
		turn := m.turn.next()
		batch, entry := m.batch()
		if refused := m.failure(); refused != nil {
			m.refuse(refused)
			return
		}
		if len(batch) == 0 {
			<-m.work
			continue
		}
		err := m.carry(entry)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errStranger):
			m.drop(batch, err)
			continue
		}
		m.again(batch)
		_ = m.pause(m.background, turn) // its end is found at the top
	}
}

// batch takes what waits, and tags and packs it.
func (m *member) batch() (batch []*tagged, entry []byte) {
	m.waiting.Lock()
	defer m.waiting.Unlock()
	size, taken := 0, 0
	for _, t := range m.waiting.queue {
		if m.waiting.all[t.number] != t {
			taken++ // it has an outcome by now
			continue
		}
		if t.abandoned.Load() {
			taken++
			delete(m.waiting.all, t.number)
			continue
		}
		if len(batch) > 0 && size+len(t.encoded) > m.store.cfg.MaxBatchBytes {
			break
		}
		size += len(t.encoded)
		t.sent = true
		batch = append(batch, t)
		taken++
	}
	if m.waiting.queue = m.waiting.queue[taken:]; len(m.waiting.queue) == 0 {
		m.waiting.queue = nil
	}
	if len(batch) == 0 {
		return nil, nil
	}
	ack := m.waiting.number
	for number := range m.waiting.all {
		ack = min(ack, number)
	}
	encoded := make([][]byte, len(batch))
	for i, t := range batch {
		p := make([]byte, 0, len(t.encoded)+1+8+2*binary.MaxVarintLen64)
		p = append(p, byte(commandTagged))
		p = binary.BigEndian.AppendUint64(p, m.session)
		p = binary.AppendUvarint(p, t.number)
		p = binary.AppendUvarint(p, ack)
		encoded[i] = append(p, t.encoded...)
	}
	return batch, encodeEntry(encoded)
}

// again puts back what has no outcome.
func (m *member) again(batch []*tagged) {
	m.waiting.Lock()
	defer m.waiting.Unlock()
	m.waiting.queue = append(batch, m.waiting.queue...)
}

// drop ends proposals that no leader will take from this member any more.
func (m *member) drop(batch []*tagged, err error) {
	m.waiting.Lock()
	batch = slices.DeleteFunc(batch, func(t *tagged) bool { return m.waiting.all[t.number] != t })
	for _, t := range batch {
		delete(m.waiting.all, t.number)
	}
	m.waiting.Unlock()
	for _, t := range batch {
		t.finish(result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
	}
}

// refuse ends all proposals when the member closes or has failed.
func (m *member) refuse(err error) {
	m.waiting.Lock()
	all := m.waiting.all
	m.waiting.all, m.waiting.queue = nil, nil
	m.waiting.Unlock()
	for _, t := range all {
		if t.sent {
			t.finish(result{}, fmt.Errorf("%w: %w", ErrUnknownOutcome, err))
		} else {
			t.finish(result{}, err)
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
	over := make(chan struct{})
	defer close(over)
	m.loops.Go(func() {
		select {
		case <-turn:
			cancel()
		case <-over:
		}
	})
	return m.peers.to(string(leader)).call(ctx, kind, content)
}
