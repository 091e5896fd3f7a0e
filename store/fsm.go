package store

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// machine is the state machine as Raft drives it: one goroutine of Raft's calls all methods but failure. When it
// meets what it can't read it stops for good, since going on would make a different state.
type machine struct {
	store  *Store
	state  *state
	onFail func(error)
	failed atomic.Pointer[error]
}

var (
	_ raft.FSM         = (*machine)(nil)
	_ raft.BatchingFSM = (*machine)(nil)
)

func (m *machine) fail(err error) {
	if m.failed.CompareAndSwap(nil, &err) {
		m.onFail(err)
	}
}

func (m *machine) failure() error {
	if err := m.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Apply implements raft.FSM.
func (m *machine) Apply(entry *raft.Log) any { return m.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch implements raft.BatchingFSM. The answer to an entry is the []result of its commands, or an error.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	answers := make([]any, len(entries))
	for i, entry := range entries {
		if entry.Type != raft.LogCommand {
			continue
		}
		results, err := m.entry(entry)
		if err != nil {
			m.fail(fmt.Errorf("raft entry %d: %w", entry.Index, err))
			answers[i] = m.failure()
			continue
		}
		answers[i] = results
	}
	m.store.publish(m.state)
	return answers
}

func (m *machine) entry(entry *raft.Log) ([]result, error) {
	if err := m.failure(); err != nil {
		return nil, err
	}
	encoded, err := decodeEntry(entry.Data)
	if err != nil {
		return nil, err
	}
	// All of an entry is understood before any of it is applied.
	commands := make([]command, len(encoded))
	for i, p := range encoded {
		if commands[i], err = decodeCommand(p); err != nil {
			return nil, err
		}
	}
	results := make([]result, len(commands))
	for i := range commands {
		m.state.mix(encoded[i])
		results[i] = m.state.apply(&commands[i], entry.Term)
	}
	return results, nil
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.failure(); err != nil {
		return nil, err
	}
	return &machineSnapshot{m.state.snapshot(), m.failure}, nil
}

// Restore implements raft.FSM: the new state is complete and verified before it takes the old one's place.
func (m *machine) Restore(in io.ReadCloser) (err error) {
	defer func() { err = errors.Join(err, in.Close()) }()
	st, err := decodeSnapshot(in)
	if err != nil {
		return err
	}
	if err := m.store.install(st); err != nil {
		return err
	}
	m.state = st
	return nil
}

type machineSnapshot struct {
	view    *view
	failure func() error
}

// Persist implements raft.FSMSnapshot.
func (s *machineSnapshot) Persist(sink raft.SnapshotSink) error {
	err := s.failure()
	if err == nil {
		err = s.view.encode(sink)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *machineSnapshot) Release() {}
