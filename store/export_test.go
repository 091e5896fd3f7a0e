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

// Bug is a fault that a test puts back.
type Bug string

const (
	BugVerifyLeader Bug = "VerifyLeader for reads"
	BugNoConfirm    Bug = "reads without a round"
	BugRepeats      Bug = "apply twice"
	BugAnyExpiry    Bug = "lease revoked by an old leader"
)

// WithBug returns cfg with a fault in it.
func WithBug(cfg Config, bug Bug) Config {
	switch bug {
	case BugVerifyLeader:
		cfg.bugs.verifyLeader = true
	case BugNoConfirm:
		cfg.bugs.noConfirm = true
	case BugRepeats:
		cfg.bugs.repeats = true
	case BugAnyExpiry:
		cfg.bugs.anyExpiry = true
	}
	return cfg
}

// Compacting has Raft replace its log by a snapshot, and keep nothing for others that are behind.
func (s *Store) Compacting() error {
	m := s.engine.(*member)
	reload := raft.ReloadableConfig{TrailingLogs: 1, SnapshotInterval: snapshotInterval, SnapshotThreshold: 8192, HeartbeatTimeout: raft.DefaultConfig().HeartbeatTimeout, ElectionTimeout: raft.DefaultConfig().ElectionTimeout}
	if err := m.raft.ReloadConfig(reload); err != nil {
		return err
	}
	return m.raft.Snapshot().Error()
}

// Described returns the names of the members whose attributes the state has.
func (s *Store) Described() (names []string) {
	for _, a := range s.current.Load().members {
		names = append(names, a.name)
	}
	return names
}
