package store

import (
	"context"
	"errors"
	"fmt"
)

// Health is what an operator, or a probe, acts on. Err sums it up.
type Health struct {
	// Stopped says why the store serves nothing: ErrFailed after a disk error, with ErrDiverged, or with ErrVersion;
	// ErrClosed. It does not recover by itself. Nil while it serves.
	Stopped error
	// Uncommitted says why a linearizable read could not be served before the context ended: nobody leads, or there is
	// no majority. It recovers when they are back. Nil if one could.
	Uncommitted error
	// Alarms are what does not keep the store from serving now, but needs somebody to look: a quota that is used up,
	// members that have stopped, differ, or were not heard. A sentence each.
	Alarms []string
}

// Err returns why the store can't be used, nil if it can: alarms are no reason.
func (h Health) Err() error { return errors.Join(h.Stopped, h.Uncommitted) }

// Health finds out whether this member can serve, by what a linearizable read needs: it waits for that until ctx ends,
// so give it a time-out.
func (s *Store) Health(ctx context.Context) Health {
	var h Health
	if h.Stopped = s.engine.local(); h.Stopped == nil {
		h.Uncommitted = s.engine.readable(ctx)
	}
	status := s.status()
	if h.Uncommitted != nil && status.LeaderName == "" && !status.Leader {
		h.Uncommitted = fmt.Errorf("%w: no member leads: %w", ErrNotLeader, h.Uncommitted)
	}
	for _, a := range s.allAlarms() {
		h.Alarms = append(h.Alarms, fmt.Sprintf("member %q: %v", a.Member, a.Kind))
	}
	for _, m := range status.Members {
		switch {
		case m.Name == status.Name:
		case m.Failure != "":
			h.Alarms = append(h.Alarms, fmt.Sprintf("member %q has stopped: %s", m.Name, m.Failure))
		case m.Diverged:
			h.Alarms = append(h.Alarms, fmt.Sprintf("member %q has other data than the leader", m.Name))
		case !m.Known:
			h.Alarms = append(h.Alarms, fmt.Sprintf("member %q was not heard lately", m.Name))
		}
	}
	return h
}
