package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// disk is where a member keeps Raft's log, its vote and its snapshots.
type disk interface {
	raft.LogStore
	raft.StableStore
	raft.MonotonicLogStore
	snapshots(logger *zap.Logger) (snapshotStore, error)
	// verify reads all that comes after a snapshot of this index.
	verify(snapshot uint64) error
	// covers is verify, and fails too if the log does not reach up to to.
	covers(from, to uint64) error
	usage() (file, free int64)
	close() error
}

// snapshotStore is a raft.SnapshotStore that is told when a member starts from it.
type snapshotStore interface {
	raft.SnapshotStore
	// startWith says that a member starts. Of snapshots that are older than a damaged one only such are given of which
	// covers says that the log has all entries after from, and up to to at least.
	startWith(covers func(from, to uint64) error)
	// started ends that. It returns what is wrong with snapshots, as far as was noticed.
	started() error
}

// MemoryDisk is a disk in memory, for members in tests: it keeps what a member would keep on disk, so that a member
// that was closed can be opened again, and works in a testing/synctest bubble. What it holds ends with the process,
// so that a member in production needs a directory instead. The zero value is an empty disk.
type MemoryDisk struct {
	mu     sync.Mutex
	logs   *raft.InmemStore
	held   bool
	newest *memorySnapshot
}

// open takes the disk for one member.
func (d *MemoryDisk) open() (disk, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held {
		return nil, fmt.Errorf("%w: the memory disk has a member already", ErrLocked)
	}
	if d.logs == nil {
		d.logs = raft.NewInmemStore()
	}
	d.held = true
	return &memoryLog{InmemStore: d.logs, disk: d}, nil
}

type memoryLog struct {
	*raft.InmemStore
	disk *MemoryDisk
}

var (
	_ disk          = (*memoryLog)(nil)
	_ snapshotStore = (*MemoryDisk)(nil)
)

func (l *memoryLog) snapshots(*zap.Logger) (snapshotStore, error) { return l.disk, nil }
func (l *memoryLog) IsMonotonic() bool                            { return false }
func (l *memoryLog) verify(uint64) error                          { return nil }
func (l *memoryLog) covers(uint64, uint64) error                  { return nil }
func (l *memoryLog) usage() (int64, int64)                        { return 0, 0 }

func (l *memoryLog) close() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	l.disk.held = false
	return nil
}

func (d *MemoryDisk) startWith(func(from, to uint64) error) {}
func (d *MemoryDisk) started() error                        { return nil }

// memorySnapshot is complete when its sink has been closed; only then it replaces the one before.
type memorySnapshot struct {
	meta raft.SnapshotMeta
	data bytes.Buffer
	disk *MemoryDisk
}

// Create implements raft.SnapshotStore.
func (d *MemoryDisk) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &memorySnapshot{disk: d, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

// List implements raft.SnapshotStore.
func (d *MemoryDisk) List() ([]*raft.SnapshotMeta, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.newest == nil {
		return nil, nil
	}
	meta := d.newest.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open implements raft.SnapshotStore.
func (d *MemoryDisk) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.newest == nil || d.newest.meta.ID != id {
		return nil, nil, errors.New("no snapshot " + id)
	}
	meta := d.newest.meta
	return &meta, io.NopCloser(bytes.NewReader(d.newest.data.Bytes())), nil
}

func (s *memorySnapshot) Write(p []byte) (int, error) { return s.data.Write(p) }
func (s *memorySnapshot) ID() string                  { return s.meta.ID }
func (s *memorySnapshot) Cancel() error               { return nil }

func (s *memorySnapshot) Close() error {
	s.meta.Size = int64(s.data.Len())
	s.disk.mu.Lock()
	defer s.disk.mu.Unlock()
	s.disk.newest = s
	return nil
}
