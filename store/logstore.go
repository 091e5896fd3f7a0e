package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// lockTimeout is how long another holder of the directory is waited for, such as a process that is just ending.
const lockTimeout = time.Second

// logStore is Raft's log and stable store in a bolt file. Entries carry a CRC-32C behind their data, over their
// index, term, type and data. The first error is final: it is reported once, and from then on nothing is stored.
// Since Raft panics on some errors of its stores, those get an answer that keeps it quiet until it is shut down;
// nothing that it does then is believed.
type logStore struct {
	bolt   *raftboltdb.BoltStore
	path   string
	onFail func(error)
	failed atomic.Pointer[error]
}

var (
	_ raft.LogStore    = (*logStore)(nil)
	_ raft.StableStore = (*logStore)(nil)
)

// openLogStore opens or makes the file in dir.
func openLogStore(dir string, onFail func(error)) (*logStore, error) {
	s := &logStore{path: filepath.Join(dir, "raft.db"), onFail: onFail}
	if err := checkBoltFile(s.path); err != nil {
		return nil, err
	}
	err := guard(func() (err error) {
		s.bolt, err = raftboltdb.New(raftboltdb.Options{
			Path:                    s.path,
			MsgpackUseNewTimeFormat: true,
			BoltOptions:             &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
		})
		return err
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s is locked", ErrLocked, s.path)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, s.path, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return s, nil
}

// verify reads every entry after the newest snapshot's, so that damage is found before Raft starts: it could not be
// told to stop then. Before that there may be gaps, which a restore leaves.
func (s *logStore) verify(snapshot uint64) error {
	first, err := s.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.LastIndex()
	if err != nil || last == 0 {
		return err
	}
	var entry raft.Log
	for i := max(first, snapshot+1); i <= last; i++ {
		if err := s.load(i, &entry); err != nil {
			return fmt.Errorf("%w: %s: entry %d: %w", ErrCorrupt, s.path, i, err)
		}
		if entry.Index != i {
			return fmt.Errorf("%w: %s: entry %d says it is %d", ErrCorrupt, s.path, i, entry.Index)
		}
	}
	return nil
}

func (s *logStore) fail(err error) {
	if s.failed.CompareAndSwap(nil, &err) {
		s.onFail(err)
	}
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (n uint64, err error) {
	err = guard(func() (err error) { n, err = s.bolt.FirstIndex(); return err })
	return n, err
}

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (n uint64, err error) {
	err = guard(func() (err error) { n, err = s.bolt.LastIndex(); return err })
	return n, err
}

// GetLog implements raft.LogStore.
func (s *logStore) GetLog(index uint64, entry *raft.Log) error {
	err := s.load(index, entry)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	s.fail(fmt.Errorf("%s: entry %d: %w", s.path, index, err))
	*entry = raft.Log{Index: index, Type: raft.LogNoop}
	return nil
}

func (s *logStore) load(index uint64, entry *raft.Log) error {
	*entry = raft.Log{}
	if err := guard(func() error { return s.bolt.GetLog(index, entry) }); err != nil {
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
func (s *logStore) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore: all entries with one sync.
func (s *logStore) StoreLogs(entries []*raft.Log) error {
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
	return s.store(func() error { return s.bolt.StoreLogs(pointers) })
}

func (s *logStore) store(f func() error) error {
	if err := s.failed.Load(); err != nil {
		return *err
	}
	err := guard(f)
	if err != nil {
		err = fmt.Errorf("%s: %w", s.path, err)
		s.fail(err)
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (s *logStore) DeleteRange(first, last uint64) error {
	return s.store(func() error { return s.bolt.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (s *logStore) Set(key, value []byte) error {
	return s.store(func() error { return s.bolt.Set(key, value) })
}

// SetUint64 implements raft.StableStore. Raft panics if it can't store its term.
func (s *logStore) SetUint64(key []byte, value uint64) error {
	_ = s.store(func() error { return s.bolt.SetUint64(key, value) })
	return nil
}

// Get implements raft.StableStore.
func (s *logStore) Get(key []byte) (value []byte, err error) {
	err = guard(func() (err error) { value, err = s.bolt.Get(key); return err })
	return value, err
}

// GetUint64 implements raft.StableStore.
func (s *logStore) GetUint64(key []byte) (n uint64, err error) {
	err = guard(func() (err error) { n, err = s.bolt.GetUint64(key); return err })
	return n, err
}

func (s *logStore) snapshots(logger *raftLogger) (raft.SnapshotStore, error) {
	return raft.NewFileSnapshotStoreWithLogger(filepath.Dir(s.path), 2, logger)
}

func (s *logStore) usage() (file, free int64) {
	if info, err := os.Stat(s.path); err == nil {
		file = info.Size()
	}
	return file, int64(s.bolt.Stats().FreeAlloc)
}

func (s *logStore) close() error {
	return guard(s.bolt.Close)
}
