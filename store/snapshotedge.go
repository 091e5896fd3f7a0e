package store

import (
	"errors"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// edgeDisk knows the entry at the index of the newest snapshot also when the log has it no more: its term, which is all
// that is asked. A leader that sends what follows a snapshot names that entry as the one before, and Raft (v1.8.0) looks
// for it in the log alone, unless the snapshot is the newest it has. When there is more, and it is not what the leader
// has, Raft answers that it lacks what it has a snapshot of, is sent that snapshot, and answers the same, for ever and
// as fast as it can. The entry is missing after a snapshot that was sent by another member, and after one of its own
// during which more than the trailing entries came.
//
// A leader must not take it for an entry that it can send. It does not: it looks for the entry before first. Where the
// log has that one, as it has after a restore, which puts a snapshot in an entry's place, the edge is not told.
type edgeDisk struct {
	disk
	kept snapshotStore // set before Raft starts
}

// GetLog implements raft.LogStore.
func (d *edgeDisk) GetLog(index uint64, entry *raft.Log) error {
	err := d.disk.GetLog(index, entry)
	if !errors.Is(err, raft.ErrLogNotFound) || d.kept == nil {
		return err
	}
	list, listErr := d.kept.List()
	if listErr != nil || len(list) == 0 || list[0].Index != index {
		return err
	}
	var before raft.Log
	if index > 1 && !errors.Is(d.disk.GetLog(index-1, &before), raft.ErrLogNotFound) {
		return err
	}
	*entry = raft.Log{Index: index, Term: list[0].Term, Type: raft.LogNoop}
	return nil
}

func (d *edgeDisk) snapshots(logger *zap.Logger) (snapshotStore, error) {
	kept, err := d.disk.snapshots(logger)
	d.kept = kept
	return kept, err
}
