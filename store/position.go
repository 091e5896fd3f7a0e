package store

// Position is where a store stands: what every answer of a network API tells beside its result.
type Position struct {
	// ClusterID, Revision and CompactRevision are as in Status.
	ClusterID                 uint64
	Revision, CompactRevision int64
	// Term is Raft's.
	Term uint64
}

// Position tells where this member stands. It asks nobody and waits for nothing, so that Revision may be behind that
// of other members, and it costs next to nothing, unlike Status.
func (s *Store) Position() Position {
	v := s.current.Load()
	p := Position{ClusterID: v.cluster, Revision: v.revision, CompactRevision: v.compacted, Term: memoryTerm}
	switch e := s.engine.(type) {
	case *member:
		p.Term = e.currentTerm()
	case *durable:
		p.Term = e.currentTerm()
	}
	return p
}

// HasLeader reports whether, as far as this member knows, some member leads. A store without peers leads itself.
func (s *Store) HasLeader() bool {
	m, ok := s.engine.(*member)
	if !ok {
		return true
	}
	_, leader := m.raft.LeaderWithID()
	return leader != ""
}

// Name returns Config.Name.
func (s *Store) Name() string { return s.cfg.Name }

// Prompt reports whether a linearizable read would be served without waiting for anybody else.
func (s *Store) Prompt() bool {
	m, ok := s.engine.(*member)
	return !ok || m.leadsAlone()
}
