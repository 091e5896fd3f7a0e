package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// checkedLog is the disk of a member with a directory: what the store adds to a log store. Entries carry a CRC-32C
// behind their data, over their index, term, type and data. The first error is final: it is reported once, and from
// then on nothing is stored. Since Raft panics on some errors of its stores, those get an answer that keeps it quiet
// until it is shut down; nothing that it does then is believed.
type checkedLog struct {
	logs   LogStore
	dir    string
	onFail func(error)
	failed atomic.Pointer[error]
}

var _ disk = (*checkedLog)(nil)

// verify reads every entry after the newest snapshot's, so that damage is found before Raft starts: it could not be
// told to stop then. Before that there may be gaps, which a restore leaves. A disk that has lost what it said that it
// had is noticed where something else is newer: the snapshot, or the term of the log.
func (s *checkedLog) verify(snapshot uint64) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	if first > snapshot+1 {
		return fmt.Errorf("%w: %s: the log begins with entry %d and the newest snapshot ends with %d", ErrCorrupt, s.dir, first, snapshot)
	}
	term, err := s.GetUint64([]byte("CurrentTerm")) // Raft's
	if err != nil && !notFound(err) {
		return err
	}
	term = max(term, 1) // a new cluster begins with an entry of term 1
	var entry raft.Log
	for i := max(first, snapshot+1); i <= last; i++ {
		if err := s.load(i, &entry); err != nil {
			return fmt.Errorf("%w: %s: entry %d: %w", ErrCorrupt, s.dir, i, err)
		}
		if entry.Index != i {
			return fmt.Errorf("%w: %s: entry %d says it is %d", ErrCorrupt, s.dir, i, entry.Index)
		}
		if entry.Term > term {
			return fmt.Errorf("%w: %s: entry %d is of term %d, and the member's newest term is %d", ErrCorrupt, s.dir, i, entry.Term, term)
		}
	}
	return nil
}

func (s *checkedLog) fail(err error) {
	if s.failed.CompareAndSwap(nil, &err) {
		s.onFail(err)
	}
}

// FirstIndex implements raft.LogStore.
func (s *checkedLog) FirstIndex() (uint64, error) { return s.logs.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *checkedLog) LastIndex() (uint64, error) { return s.logs.LastIndex() }

// GetLog implements raft.LogStore.
func (s *checkedLog) GetLog(index uint64, entry *raft.Log) error {
	err := s.load(index, entry)
	if err == nil {
		return nil
	}
	if errors.Is(err, raft.ErrLogNotFound) {
		return raft.ErrLogNotFound // Raft compares
	}
	s.fail(fmt.Errorf("entry %d: %w", index, err))
	*entry = raft.Log{Index: index, Type: raft.LogNoop}
	return nil
}

func (s *checkedLog) load(index uint64, entry *raft.Log) error {
	*entry = raft.Log{}
	if err := s.logs.GetLog(index, entry); err != nil {
		return err
	}
	n := len(entry.Data) - 4
	if n < 0 {
		return fmt.Errorf("%w: entry has no checksum", ErrCorrupt)
	}
	want, got := binary.BigEndian.Uint32(entry.Data[n:]), entrySum(entry, entry.Data[:n])
	if want != got {
		return fmt.Errorf("%w: entry has checksum %08x, its content %08x", ErrCorrupt, want, got)
	}
	entry.Data = entry.Data[:n:n]
	return nil
}

// entrySum is the checksum of an entry with these data.
func entrySum(entry *raft.Log, data []byte) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], entry.Index)
	binary.BigEndian.PutUint64(head[8:], entry.Term)
	head[16] = byte(entry.Type)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, data)
}

// StoreLog implements raft.LogStore.
func (s *checkedLog) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore: all entries with one call.
func (s *checkedLog) StoreLogs(entries []*raft.Log) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	summed := make([]raft.Log, len(entries))
	pointers := make([]*raft.Log, len(entries))
	for i, e := range entries {
		summed[i] = *e
		data := make([]byte, 0, len(e.Data)+4)
		data = append(data, e.Data...)
		summed[i].Data = binary.BigEndian.AppendUint32(data, entrySum(e, e.Data))
		pointers[i] = &summed[i]
	}
	return s.store(func() error { return s.logs.StoreLogs(pointers) })
}

func (s *checkedLog) store(f func() error) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	err := f()
	if err != nil {
		s.fail(err)
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (s *checkedLog) DeleteRange(first, last uint64) error {
	return s.store(func() error { return s.logs.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (s *checkedLog) Set(key, value []byte) error {
	return s.store(func() error { return s.logs.Set(key, value) })
}

// SetUint64 implements raft.StableStore. Raft panics if it can't store its term.
func (s *checkedLog) SetUint64(key []byte, value uint64) error {
	_ = s.store(func() error { return s.logs.SetUint64(key, value) })
	return nil
}

// Get implements raft.StableStore.
func (s *checkedLog) Get(key []byte) ([]byte, error) { return s.logs.Get(key) }

// GetUint64 implements raft.StableStore.
func (s *checkedLog) GetUint64(key []byte) (uint64, error) { return s.logs.GetUint64(key) }

// IsMonotonic implements raft.MonotonicLogStore: whether the log store can't have gaps.
func (s *checkedLog) IsMonotonic() bool {
	m, ok := s.logs.(raft.MonotonicLogStore)
	return ok && m.IsMonotonic()
}

func (s *checkedLog) snapshots(logger *raftLogger) (raft.SnapshotStore, error) {
	return raft.NewFileSnapshotStoreWithLogger(s.dir, 2, logger)
}

func (s *checkedLog) usage() (file, free int64) {
	if sizer, ok := s.logs.(LogSizer); ok {
		return sizer.LogSizes()
	}
	return 0, 0
}

func (s *checkedLog) close() error { return s.logs.Close() }
