package store

import (
	"context"

	"github.com/hashicorp/raft"
)

// SaveSnapshot has Raft replace its log by a snapshot now, instead of when it next looks whether it should. It
// reports the newest one.
func (s *Store) SaveSnapshot() (index uint64, err error) {
	d := s.engine.(*durable)
	if err := d.raft.Snapshot().Error(); err != nil {
		return 0, err
	}
	list, err := d.snapshots.List()
	if err != nil || len(list) == 0 {
		return 0, err
	}
	return list[0].Index, nil
}

// Bug is a fault that a test puts back.
type Bug string

const (
	BugVerifyLeader  Bug = "VerifyLeader for reads"
	BugNoConfirm     Bug = "reads without a round"
	BugNonVoters     Bug = "a member without a vote counts in the round"
	BugSharesRound   Bug = "a read joins the round under way"
	BugEarlyReign    Bug = "reads before the term's first commit"
	BugNoCommitWait  Bug = "a leader's reads don't wait for its commits"
	BugLatePublish   Bug = "stale read from a view published late"
	BugEarlyAck      Bug = "acknowledged before it is visible"
	BugRepeats       Bug = "apply twice"
	BugShortSessions Bug = "session forgotten too early"
	BugLostSessions  Bug = "sessions not in the snapshot"
	BugLiveSnapshot  Bug = "snapshot newer than its index"
	BugNoTombstones  Bug = "snapshot without tombstones"
	BugKeepsWatchers Bug = "restore keeps old watchers"
	BugAnyExpiry     Bug = "lease revoked by an old leader"
	BugNoFullTime    Bug = "lease time not reset on a new leader"
	BugAttachesBoth  Bug = "key dies with the lease it had before"
	BugSkipsFirst    Bug = "off by one in watch resume"
	BugAheadBookmark Bug = "bookmark ahead of events"
	BugSplitsTxn     Bug = "watch splits a transaction"
	BugOverTrim      Bug = "compaction drops a visible version"
	BugCountsLimit   Bug = "count stops at the limit"
	BugKeepsCreate   Bug = "create revision survives a deletion"
	BugSkipsSync     Bug = "a sync is dropped"
	BugForgetsVote   Bug = "vote not persisted"
)

// WithBug returns cfg with a fault in it. The faults of disks are the disk's to have.
func WithBug(cfg Config, bug Bug) Config {
	b := &cfg.bugs
	if flag := map[Bug]*bool{
		BugVerifyLeader: &b.verifyLeader, BugNoConfirm: &b.noConfirm, BugNonVoters: &b.nonVoters, BugSharesRound: &b.sharesRound,
		BugEarlyReign: &b.earlyReign, BugNoCommitWait: &b.noCommitWait, BugLatePublish: &b.latePublish, BugEarlyAck: &b.earlyAck,
		BugRepeats: &b.repeats, BugShortSessions: &b.shortSessions, BugLostSessions: &b.lostSessions,
		BugLiveSnapshot: &b.liveSnapshot, BugNoTombstones: &b.noTombstones, BugKeepsWatchers: &b.keepsWatchers,
		BugAnyExpiry: &b.anyExpiry, BugNoFullTime: &b.noFullTime, BugAttachesBoth: &b.attachesBoth,
		BugSkipsFirst: &b.skipsFirst, BugAheadBookmark: &b.aheadBookmark, BugSplitsTxn: &b.splitsTxn,
		BugOverTrim: &b.overTrim, BugCountsLimit: &b.countsLimit, BugKeepsCreate: &b.keepsCreate,
	}[bug]; flag != nil {
		*flag = true
	}
	return cfg
}

// WithoutPromotion returns cfg for members that never make others voters.
func WithoutPromotion(cfg Config) Config {
	cfg.bugs.keepNonVoters = true
	return cfg
}

// LeadsAlone reports whether the member serves reads without asking others.
func (s *Store) LeadsAlone() bool { return s.engine.(*member).leadsAlone() }

// Trailing is what Compacting keeps of the log: more than one message of Raft's has (64), which is what a follower may
// have of which the leader does not know. Below a snapshot Raft accepts nothing that its log does not have.
const Trailing = 70

// Compacting has Raft replace its log by a snapshot, and keep little for others that are behind.
func (s *Store) Compacting() error {
	m := s.engine.(*member)
	reload := raft.ReloadableConfig{TrailingLogs: Trailing, SnapshotInterval: snapshotInterval, SnapshotThreshold: 8192, HeartbeatTimeout: raft.DefaultConfig().HeartbeatTimeout, ElectionTimeout: raft.DefaultConfig().ElectionTimeout}
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

// WithFreeBytes returns cfg with a disk that says to have so much free.
func WithFreeBytes(cfg Config, free func() int64) Config {
	cfg.free = func(string) (int64, error) { return free(), nil }
	return cfg
}

// Hear gives Raft a message as if it had come from another member, and returns its answer. A heartbeat goes the way of
// heartbeats.
func (s *Store) Hear(ctx context.Context, message any, heartbeat bool) (any, error) {
	t := s.engine.(*member).transport
	answer := make(chan raft.RPCResponse, 1)
	rpc := raft.RPC{Command: message, RespChan: answer}
	if heartbeat {
		t.heartbeat(rpc)
	} else {
		select {
		case t.rpcs <- rpc:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case a := <-answer:
		return a.Response, a.Error
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ReadIndex is what the leader does for a read of a member that says which term it knows.
func ReadIndex(ctx context.Context, s *Store, asker string, term uint64) error {
	_, err := s.engine.(*member).readIndex(ctx, raft.ServerID(asker), term)
	return err
}
