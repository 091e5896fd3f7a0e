package store

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/google/btree"
	"github.com/hashicorp/raft"
)

// machine is the state machine as Raft drives it: one goroutine of Raft's calls all methods but failure. When it
// meets what it can't read it stops for good, since going on would make a different state.
type machine struct {
	store     *Store
	state     *state
	onFail    func(error)
	failed    atomic.Pointer[error]
	index     atomic.Uint64 // of the newest entry, of commands and configurations, that was applied
	halted    func() error  // not nil when the member has stopped or is closing; may not be set
	restoring error         // of the newest Restore
	// applied, if set, is called when what commands did is visible, with the outcomes of those of session.
	applied func([]outcome)
	session uint64
	// commands and encoded are the memory that every entry is decoded into.
	commands []command
	encoded  [][]byte
	// restored, if set, is called when a snapshot took the state's place; it must not keep the state.
	restored func(*state)

	// versioned, if set, is called when the version of the formats in use is another.
	versioned func(uint64)
	unloaded  error // why a snapshot was not restored

	mu    sync.Mutex
	rings [2]checkpointRing // the newest hashes, close together and further apart
}

// outcome is what became of an entry's commands, which have a session and the numbers from first on.
type outcome struct {
	session, first uint64
	results        []result
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
	began := m.store.metrics.began()
	dawdle(m.store.cfg.bugs.noCommitWait)
	answers := make([]any, len(entries))
	var outcomes []outcome
	for i, entry := range entries {
		if entry.Type != raft.LogCommand {
			continue
		}
		results, err := m.entry(entry, &outcomes)
		if err != nil {
			m.fail(fmt.Errorf("raft entry %d: %w", entry.Index, err))
			answers[i] = m.failure()
			continue
		}
		answers[i] = results
	}
	last := entries[len(entries)-1].Index
	if bugs := &m.store.cfg.bugs; bugs.latePublish {
		m.index.Store(last)
		linger(true)
	} else if bugs.earlyAck && m.applied != nil {
		m.applied(outcomes)
		linger(len(outcomes) > 0)
	}
	m.store.publish(m.state)
	m.index.Store(last)
	m.store.metrics.applied(began)
	if m.applied != nil {
		m.applied(outcomes)
	}
	return answers
}

func (m *machine) entry(entry *raft.Log, outcomes *[]outcome) ([]result, error) {
	if err := m.failure(); err != nil {
		return nil, err
	}
	if m.halted != nil {
		if err := m.halted(); hasFailed(err) { // the entry, or one before it, may be another than was stored
			return nil, err
		}
	}
	if err := m.understand(entry.Data); err != nil {
		return nil, err
	}
	encoded, commands := m.encoded, m.commands
	defer func() {
		clear(encoded)
		clear(commands)
	}()
	m.store.metrics.entry(len(commands), len(entry.Data))
	version := m.state.version
	// Of another member's commands nobody here wants to know the results.
	wanted := len(commands) > 0 && (m.session == 0 || commands[0].session == 0 || commands[0].session == m.session)
	m.state.expect(len(commands))
	var results []result
	if wanted {
		results = make([]result, len(commands))
	}
	for i := range commands {
		m.state.mix(encoded[i])
		r := m.state.apply(&commands[i], entry.Term)
		if wanted {
			results[i] = r
		}
		m.state.mixEffect()
		m.mark()
	}
	if wanted && commands[0].session != 0 && m.applied != nil {
		*outcomes = append(*outcomes, outcome{commands[0].session, commands[0].seq, results})
	}
	if m.versioned != nil && m.state.version != version {
		m.versioned(m.state.version)
	}
	return results, nil
}

// Snapshot implements raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.failure(); err != nil {
		return nil, err
	}
	return &machineSnapshot{m.state.snapshot(), m.state.sharedSessions(), m.halt, m.store.metrics, m.distort()}, nil
}

// Restore implements raft.FSM: the new state is complete and verified before it takes the old one's place.
func (m *machine) Restore(in io.ReadCloser) (err error) {
	defer func() {
		err = errors.Join(err, in.Close())
		m.store.metrics.snapshot("restored", err)
		m.restoring = err
	}()
	st, err := decodeSnapshot(in, m.store.cfg.supported())
	if err != nil {
		m.unloaded = err
		return err
	}
	if m.state.cluster != 0 && st.cluster == m.state.cluster && st.applied < m.state.applied {
		// Raft (v1.8.0) installs what a leader sends it, also when it is older. What was observed is not taken back.
		return fmt.Errorf("a snapshot after %d commands was sent, and this member has run %d", st.applied, m.state.applied)
	}
	st.bugs = m.store.cfg.bugs
	if err := m.store.install(st); err != nil {
		return err
	}
	m.state = st
	m.mu.Lock() // hashes from before may be of other data
	for i := range m.rings {
		m.rings[i] = checkpointRing{every: m.rings[i].every}
	}
	m.mu.Unlock()
	if m.versioned != nil {
		m.versioned(st.version)
	}
	if m.restored != nil {
		m.restored(st)
	}
	return nil
}

type machineSnapshot struct {
	view     *view
	sessions *btree.BTreeG[*session]
	failure  func() error
	metrics  *metrics
	distort  func(*machineSnapshot) // a fault that tests put back; nil means none
}

// Persist implements raft.FSMSnapshot.
func (s *machineSnapshot) Persist(sink raft.SnapshotSink) (err error) {
	defer func() { s.metrics.snapshot("saved", err) }()
	err = s.failure()
	if s.distort != nil {
		s.distort(s)
	}
	if err == nil {
		err = s.view.encodeWith(haltingWriter{sink, s.failure}, s.sessions)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// haltingWriter ends a snapshot that is being written when nobody needs it any more.
type haltingWriter struct {
	io.Writer
	failure func() error
}

func (w haltingWriter) Write(p []byte) (int, error) {
	if err := w.failure(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

// halt returns why the machine need not go on.
func (m *machine) halt() error {
	if err := m.failure(); err != nil || m.halted == nil {
		return err
	}
	return m.halted()
}

// Release implements raft.FSMSnapshot.
func (s *machineSnapshot) Release() {}
