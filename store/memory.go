package store

import (
	"context"
	"sync"
	"sync/atomic"
)

// memory drives the state machine directly: the lock is held while a command is applied, never while anything waits.
type memory struct {
	store  *Store
	closed atomic.Bool

	mu    sync.Mutex
	state *state
}

// memoryTerm is the Raft term of a store without Raft.
const memoryTerm = 1

func openMemory(s *Store) (*memory, error) {
	st := newState()
	if s.cfg.Restore != nil {
		var err error
		if st, err = restore(s.cfg.Restore, s.cfg.supported()); err != nil {
			return nil, err
		}
	}
	st.version = max(st.version, s.willing())
	if st.cluster == 0 {
		st.cluster = newClusterID()
	}
	if err := s.install(st); err != nil {
		return nil, err
	}
	return &memory{store: s, state: st}, nil
}

func (m *memory) submit(cmd command) proposal {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed.Load() {
		return proposal{err: ErrClosed}
	}
	r := m.state.apply(&cmd, memoryTerm)
	m.store.publish(m.state)
	return proposal{result: r}
}

func (m *memory) readable(context.Context) error { return m.local() }

func (m *memory) local() error {
	if m.closed.Load() {
		return ErrClosed
	}
	return nil
}

func (m *memory) term() uint64 { return memoryTerm }

func (m *memory) status(status *Status) {
	status.Leader, status.Term, status.Index = true, memoryTerm, status.Applied
}

func (m *memory) close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed.Store(true)
	return nil
}
