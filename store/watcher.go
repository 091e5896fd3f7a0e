package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/keelson-dev/keelson/watch"
)

// EventType says what happened to a key.
type EventType uint8

const (
	// EventPut is a key that was created or changed.
	EventPut EventType = iota
	// EventDelete is a key that was deleted, by a request or because its lease ended.
	EventDelete
)

func (t EventType) String() string {
	switch t {
	case EventPut:
		return "PUT"
	case EventDelete:
		return "DELETE"
	default:
		return fmt.Sprintf("EventType(%d)", uint8(t))
	}
}

// Event is one change of one key. It is shared by all watchers and must not be changed.
type Event struct {
	Type EventType
	// KV is the new version. Of a deletion it has Key and ModRevision only.
	KV *KV
	// PrevKV is the version before; nil if the key did not exist, the version is compacted, or it was not asked for.
	// Of the events of the compact revision itself it may be missing, since only they can still be read and not what
	// was before.
	PrevKV *KV
}

// WatchRequest asks for the events of a key or a range, as RangeRequest says.
type WatchRequest struct {
	Key, End []byte
	// Revision is the first revision wanted; 0 means after the newest.
	Revision int64
	// PrevKV gives events their PrevKV.
	PrevKV bool
	// NoPut and NoDelete leave out events of that type.
	NoPut, NoDelete bool
}

// WatchBatch is what Next returns.
type WatchBatch struct {
	// Events in order of their revisions; transactions are whole. Empty after Progress. Watchers share the slice: it
	// must not be changed.
	Events []Event
	// Revision is the revision up to which the watcher has now seen everything.
	Revision int64
}

// Watcher delivers the events of one Watch. It has one reader; Progress and Close may be called from anywhere.
type Watcher struct {
	store  *Store
	req    WatchRequest
	start  int64
	cursor *watch.Cursor[Event]
	closed atomic.Bool
	seen   int64   // the revision up to which everything was delivered
	rest   []Event // kept back, for a fault that tests put back
}

// Watch opens a watcher. Key "\x00" with End "\x00" watches everything. It fails with ErrCompacted if the history
// from Revision on is gone; Error.Revision is then the oldest that can be watched from. Close the watcher when done.
func (s *Store) Watch(ctx context.Context, req WatchRequest) (*Watcher, error) {
	if len(req.Key) == 0 || req.Revision < 0 {
		err := ErrEmptyKey
		if req.Revision < 0 {
			err = fmt.Errorf("%w: Revision is %d", ErrInvalid, req.Revision)
		}
		return nil, &Error{Op: "watch", Key: string(req.Key), Err: err}
	}
	// From a revision that is given, what this member has or will have is all that is needed.
	v, err := s.view(ctx, "watch", req.Revision > 0)
	if err != nil {
		return nil, err
	}
	from := req.Revision
	if from == 0 {
		from = v.revision + 1
	}
	var sel watch.Selector
	switch {
	case len(req.End) == 0:
		sel.Key = string(req.Key)
	case len(req.End) == 1 && req.End[0] == 0:
		if len(req.Key) != 1 || req.Key[0] != 0 {
			sel.From = string(req.Key)
		}
	default:
		sel.From, sel.To = string(req.Key), string(req.End)
	}
	w := &Watcher{store: s, req: req, start: from}
	if s.cfg.bugs.skipsFirst && req.Revision > 0 {
		from++
	}
	if w.cursor, err = s.events().Open(from, sel); err != nil {
		return nil, w.fail(err)
	}
	s.metrics.watching(1)
	return w, nil
}

// Start returns the first revision that the watcher delivers.
func (w *Watcher) Start() int64 { return w.start }

// Next waits for events. It fails with ctx's error, after which the watcher can still be used; with ErrCompacted when
// the watcher fell behind what is kept; with ErrClosed when it or the store was closed, or this member was sent a
// snapshot in place of history: watching again from the next revision loses nothing.
func (w *Watcher) Next(ctx context.Context) (WatchBatch, error) {
	for {
		if len(w.rest) > 0 {
			return w.split(WatchBatch{}), nil
		}
		events, revision, err := w.cursor.Next(ctx)
		if err != nil {
			return WatchBatch{}, w.end(err)
		}
		if batch := w.batch(events, revision); len(batch.Events) > 0 || len(events) == 0 {
			return batch, nil
		}
	}
}

// TryNext is Next that does not wait; without events the batch has none.
func (w *Watcher) TryNext() (WatchBatch, error) {
	for {
		events, revision, err := w.cursor.TryNext()
		if err != nil {
			return WatchBatch{}, w.end(err)
		}
		if batch := w.batch(events, revision); len(batch.Events) > 0 || len(events) == 0 {
			return batch, nil
		}
	}
}

// Progress makes the current Next, or else the coming one, return at once, if need be without events, and with the
// revision up to which everything has been delivered.
func (w *Watcher) Progress() { w.cursor.Progress() }

// Close ends the watcher.
func (w *Watcher) Close() error {
	if w.closed.CompareAndSwap(false, true) {
		w.store.metrics.watching(-1)
	}
	return w.cursor.Close()
}

// end is fail of a watcher that was open.
func (w *Watcher) end(err error) error {
	err = w.fail(err)
	w.store.metrics.fellBehind(err)
	return err
}

func (w *Watcher) batch(events []watch.Event[Event], revision int64) WatchBatch {
	batch := WatchBatch{Revision: revision}
	w.seen = max(w.seen, revision)
	switch {
	case len(events) == 0:
	case !w.req.NoPut && !w.req.NoDelete:
		batch.Events = w.store.deliver(events, w.req.PrevKV)
	default:
		batch.Events = make([]Event, 0, len(events))
		for i := range events {
			e := events[i].Value
			if e.Type == EventPut && w.req.NoPut || e.Type == EventDelete && w.req.NoDelete {
				continue
			}
			if !w.req.PrevKV {
				e.PrevKV = nil
			}
			batch.Events = append(batch.Events, e)
		}
	}
	w.store.metrics.gave(len(batch.Events))
	if bugs := &w.store.cfg.bugs; bugs.aheadBookmark {
		batch.Revision++
	} else if bugs.splitsTxn && len(batch.Events)+len(w.rest) > 0 {
		batch = w.split(batch)
	}
	return batch
}

func (w *Watcher) fail(err error) error {
	failed := &Error{Op: "watch", Key: string(w.req.Key), Err: err}
	var compacted *watch.CompactedError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &compacted) && compacted.CompactRevision < max(w.start, w.seen+1):
		failed.Err = ErrClosed // a snapshot took the history's place, and what this one wants is still to come
	case errors.As(err, &compacted):
		failed.Err, failed.Revision = ErrCompacted, compacted.CompactRevision+1
	case errors.Is(err, watch.ErrClosed):
		failed.Err = ErrClosed
	case errors.Is(err, watch.ErrSelector): // From is not below To: a range without keys
		failed.Err = fmt.Errorf("%w: End %q is not above Key", ErrInvalid, w.req.End)
	}
	return failed
}
