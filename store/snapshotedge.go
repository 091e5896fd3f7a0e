package store

import (
	"errors"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// edgeDisk knows the entry at the index of a snapshot also when the log has it no more: its term, which is all that is
// asked. A leader that sends what follows a snapshot names that entry as the one before, and Raft (v1.8.0) looks for it
// in the log alone, unless the snapshot is the newest it has. When there is more, and it is not what the leader has,
// Raft answers that it lacks what it has a snapshot of, is sent that snapshot, and answers the same, for ever and as
// fast as it can. The entry is missing after every snapshot that was sent by another member, and after one of its own
// during which more than the trailing entries came.
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
	if listErr != nil {
		return err // that there is no such entry is true
	}
	for _, snapshot := range list {
		if snapshot.Index == index {
			*entry = raft.Log{Index: index, Term: snapshot.Term, Type: raft.LogNoop}
			return nil
		}
	}
	return err
}

func (d *edgeDisk) snapshots(logger *zap.Logger) (snapshotStore, error) {
	kept, err := d.disk.snapshots(logger)
	d.kept = kept
	return kept, err
}
