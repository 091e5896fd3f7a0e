package store

import "github.com/keelson-dev/keelson/watch"

const (
	// readyEvents is how many events the watch log holds ready. Older ones are made from the versions, which are kept
	// as long: so they take no memory.
	readyEvents = 8192
	// pastRevisions is how many revisions are made ready at a time.
	pastRevisions = 256
)

// newLog returns a watch log for what comes after a revision, which finds what is before in the newest view.
func (s *Store) newLog(revision int64) (*watch.Log[Event], error) {
	var log *watch.Log[Event]
	var err error
	log, err = watch.New(watch.Config[Event]{Start: revision, MaxEvents: readyEvents, Past: func(from, to int64) ([]watch.Transaction[Event], int64, bool) {
		v := s.current.Load()
		if v.log != log || from < v.compacted || to > v.revision {
			return nil, 0, false
		}
		changes := v.history(from, to, pastRevisions)
		if len(changes) == pastRevisions {
			to = changes[len(changes)-1].revision
		}
		return transactions(changes), to, true
	}})
	return log, err
}

func transactions(changes []change) []watch.Transaction[Event] {
	all := make([]watch.Transaction[Event], len(changes))
	for i, c := range changes {
		all[i] = watch.Transaction[Event]{Revision: c.revision, Events: c.events}
	}
	return all
}

// delivered are the events of a batch in the form in which watchers get them. Those that follow the same keys get the
// same batches, one shortly after the other.
type delivered struct {
	from   *watch.Event[Event]
	n      int
	events []Event
}

// deliver returns events as a watcher without filters gets them, possibly shared with others.
func (s *Store) deliver(events []watch.Event[Event], prev bool) []Event {
	last := &s.delivered[0]
	if prev {
		last = &s.delivered[1]
	}
	if d := last.Load(); d != nil && d.from == &events[0] && d.n == len(events) {
		return d.events
	}
	made := make([]Event, len(events))
	for i := range events {
		made[i] = events[i].Value
		if !prev {
			made[i].PrevKV = nil
		}
	}
	last.Store(&delivered{&events[0], len(events), made})
	return made
}
