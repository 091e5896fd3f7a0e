package store

import "github.com/hashicorp/raft"

// SaveSnapshot has Raft replace its log by a snapshot now, instead of when it next looks whether it should. It
// reports the newest one.
func (s *Store) SaveSnapshot() (index uint64, err error) {
	d := s.engine.(*durable)
	if err := d.raft.Snapshot().Error(); err != nil {
		return 0, err
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(s.cfg.Dir, 2, newRaftLogger(s.cfg.Logger))
	if err != nil {
		return 0, err
	}
	list, err := snapshots.List()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].Index, nil
}
