package store

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

// edgeDisk knows the entry at the index of the newest snapshot also when the log has it no more: its term, which is all
// that is asked. A leader that sends what follows a snapshot names that entry as the one before, and Raft (v1.8.0) looks
// for it in the log alone, unless the snapshot is the newest it has. When there is more, and it is not what the leader
// has, Raft answers that it lacks what it has a snapshot of, is sent that snapshot, and answers the same, for ever and
// as fast as it can. The entry is missing after every snapshot that was sent by another member, and after one of its own
// during which more than the trailing entries came.
type edgeDisk struct {
	disk

	mu          sync.Mutex
	index, term uint64
}

func newEdgeDisk(behind disk) *edgeDisk { return &edgeDisk{disk: behind} }

func (d *edgeDisk) set(index, term uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if index > d.index {
		d.index, d.term = index, term
	}
}

// GetLog implements raft.LogStore.
func (d *edgeDisk) GetLog(index uint64, entry *raft.Log) error {
	err := d.disk.GetLog(index, entry)
	if !errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if index == 0 || index != d.index {
		return err
	}
	*entry = raft.Log{Index: index, Term: d.term, Type: raft.LogNoop}
	return nil
}

func (d *edgeDisk) snapshots(logger *raftLogger) (raft.SnapshotStore, error) {
	snapshots, err := d.disk.snapshots(logger)
	if err != nil {
		return nil, err
	}
	list, err := snapshots.List()
	if err != nil {
		return nil, err
	}
	if len(list) > 0 {
		d.set(list[0].Index, list[0].Term)
	}
	return &edgeSnapshots{snapshots, d}, nil
}

// edgeSnapshots tells an edgeDisk of each snapshot that is complete.
type edgeSnapshots struct {
	raft.SnapshotStore
	edge *edgeDisk
}

// Create implements raft.SnapshotStore.
func (s *edgeSnapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, transport raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.SnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
	if err != nil {
		return nil, err
	}
	return &edgeSink{sink, func() { s.edge.set(index, term) }}, nil
}

type edgeSink struct {
	raft.SnapshotSink
	done func()
}

// Close implements raft.SnapshotSink.
func (s *edgeSink) Close() error {
	err := s.SnapshotSink.Close()
	if err == nil {
		s.done()
	}
	return err
}
