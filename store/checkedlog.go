package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// checkedLog is the disk of a member with a directory: what the store adds to a log store. Behind an entry's data stand
// a byte that says whether they are encrypted, and a CRC-32C over index, term, type and all that. The first error is final: it is reported once, and from
// then on nothing is stored. Since Raft panics on some errors of its stores, those get an answer that keeps it quiet
// until it is shut down; nothing that it does then is believed.
type checkedLog struct {
	logs   LogStore
	dir    string
	marker presence
	home   uint64 // the directory's id
	onFail func(error)
	failed atomic.Pointer[error]
	seal   *sealer   // nil: nothing is encrypted
	spare  []byte    // for the entries that are stored next; only StoreLogs, which Raft calls once at a time, uses it
	writes *patience // nil: without end
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
	if err != nil {
		return err
	}
	term, err := s.GetUint64([]byte("CurrentTerm")) // Raft's
	if err != nil && !notFound(err) {
		return err
	}
	if snapshot > 0 && term == 0 {
		return fmt.Errorf("%w: %s: there is a snapshot, and the log that goes with it is lost, and so how the member voted", ErrCorrupt, s.dir)
	}
	if last == 0 {
		return nil
	}
	if first > snapshot+1 {
		return fmt.Errorf("%w: %s: the log begins with entry %d and the newest snapshot ends with %d", ErrCorrupt, s.dir, first, snapshot)
	}
	term = max(term, 1) // a new cluster begins with an entry of term 1
	var entry raft.Log
	for i := max(first, snapshot+1); i <= last; i++ {
		if err := s.load(i, &entry); err != nil {
			return unreadable(fmt.Errorf("%s: entry %d: %w", s.dir, i, err))
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

// unreadable gives an error in reading what was stored its kind. A missing key and an unknown format are no damage: the
// files are right, and who is told to replace them would lose them.
func unreadable(err error) error {
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrKey) || errors.Is(err, ErrVersion) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// covers implements disk.
func (s *checkedLog) covers(from, to uint64) error {
	last, err := s.LastIndex()
	if err != nil {
		return err
	}
	if last < to {
		return fmt.Errorf("%w: %s: the log ends with entry %d, and a snapshot went up to %d", ErrCorrupt, s.dir, last, to)
	}
	return s.verify(from)
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
	return s.unwrap(context.Background(), entry)
}

// logTrailer is how many bytes stand behind an entry's data.
const logTrailer = 1 + 4

// unwrap checks an entry as it is stored and makes it what it was.
func (s *checkedLog) unwrap(ctx context.Context, entry *raft.Log) error {
	data, form, err := checkEntry(entry)
	if err != nil {
		return err
	}
	switch form {
	case formPlain:
		entry.Data = data
	case formAES:
		entry.Data, err = s.seal.openEntry(ctx, entry, data)
	default:
		err = fmt.Errorf("%w: entry has form %d", ErrVersion, form)
	}
	return err
}

// checkEntry verifies the checksum of an entry as it is stored, and returns what stands before it.
func checkEntry(entry *raft.Log) (data []byte, form byte, err error) {
	n := len(entry.Data) - logTrailer
	if n < 0 {
		return nil, 0, fmt.Errorf("%w: entry has no checksum", ErrCorrupt)
	}
	want, got := binary.BigEndian.Uint32(entry.Data[n+1:]), entrySum(entry, entry.Data[:n+1])
	if want != got {
		return nil, 0, fmt.Errorf("%w: entry has checksum %08x, its content %08x", ErrCorrupt, want, got)
	}
	return entry.Data[:n:n], entry.Data[n], nil
}

// entrySum is the checksum of an entry with these data, and their form.
func entrySum(entry *raft.Log, data []byte) uint32 {
	var head [17]byte
	binary.BigEndian.PutUint64(head[:], entry.Index)
	binary.BigEndian.PutUint64(head[8:], entry.Term)
	head[16] = byte(entry.Type)
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, data)
}

// wrap appends the data of an entry as they are stored.
func (s *checkedLog) wrap(p []byte, entry *raft.Log) ([]byte, error) {
	key, err := s.seal.forEntry()
	if err != nil {
		return nil, err
	}
	start := len(p)
	if key == nil {
		p = append(append(p, entry.Data...), formPlain)
	} else {
		if p, err = s.seal.sealEntry(slices.Grow(p, len(entry.Data)+key.sealedSize()+logTrailer), key, entry); err != nil {
			return nil, err
		}
		p = append(p, formAES)
	}
	return binary.BigEndian.AppendUint32(p, entrySum(entry, p[start:])), nil
}

// StoreLog implements raft.LogStore.
func (s *checkedLog) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore: all entries with one call.
func (s *checkedLog) StoreLogs(entries []*raft.Log) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	size := 0
	for _, e := range entries {
		size += len(e.Data) + logTrailer
	}
	p := slices.Grow(s.spare[:0], size)
	s.spare = nil // should the disk hang, it is not known what is still read
	summed := make([]raft.Log, len(entries))
	pointers := make([]*raft.Log, len(entries))
	for i, e := range entries {
		start := len(p)
		var err error
		if p, err = s.wrap(p, e); err != nil {
			s.fail(err)
			return err
		}
		summed[i] = *e
		summed[i].Data = p[start:len(p):len(p)]
		pointers[i] = &summed[i]
	}
	err := s.store(func() error { return s.logs.StoreLogs(pointers) })
	if _, copied := s.logs.(interface{ CopiesEntries() }); copied && err == nil && cap(p) <= spareBytes {
		s.spare = p
	}
	return err
}

// spareBytes is the size up to which the memory for entries is kept for the next ones.
const spareBytes = 1 << 20

// store runs f, which writes, and which may outlive this call if the disk hangs.
func (s *checkedLog) store(f func() error) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	var err error
	if s.writes != nil {
		err = s.writes.do(f)
	} else {
		err = f()
	}
	if err != nil {
		if diskFull(err) {
			err = fmt.Errorf("%w: %w", ErrDiskFull, err)
		}
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
	key, value = bytes.Clone(key), bytes.Clone(value)
	return s.store(func() error { return s.logs.Set(key, value) })
}

// SetUint64 implements raft.StableStore. Raft panics if it can't store its term.
func (s *checkedLog) SetUint64(key []byte, value uint64) error {
	key = bytes.Clone(key)
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

func (s *checkedLog) snapshots(logger *zap.Logger) (snapshotStore, error) {
	return openSnapshotFiles(s.dir, s.home, s.seal, logger)
}

func (s *checkedLog) usage() (file, free int64) {
	if sizer, ok := s.logs.(LogSizer); ok {
		return sizer.LogSizes()
	}
	return 0, 0
}

func (s *checkedLog) close() error {
	if s.writes == nil {
		return s.logs.Close()
	}
	var failed error
	if err := s.failed.Load(); err != nil {
		failed = *err
	}
	return s.writes.close(s.logs.Close, failed)
}
