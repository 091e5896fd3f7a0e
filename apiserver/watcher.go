package apiserver

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/watch"
)

// bookmarkEvery is how often a quiet watch that allows bookmarks gets one; upstream promises one a minute.
const bookmarkEvery = 55 * time.Second

// maxTimeout is the longest time-out of a watch, in seconds: a year.
const maxTimeout = 365 * 24 * 60 * 60

// errClosed ends a watch that its reader closed.
var errClosed = errors.New("the watch was closed")

// watcher is a cursor over a kind's log and a filter. Next belongs to one reader, everything else to anybody.
type watcher struct {
	call   *call
	sel    *selector
	log    *watch.Log[change]
	cursor *watch.Cursor[change]
	ctx    context.Context // bounds the stream, as client.Client promises

	// the reader's
	initial    []*entry // still to be sent as ADDED
	endInitial bool     // then this bookmark
	start      int64    // the revision of initial
	batch      []watch.Event[change]
	next       client.Event // taken from batch, when peeked
	peeked     bool
	upTo       int64 // everything up to here is in batch or was sent
	owed       int64 // a bookmark of at least this revision is to be sent; 0 means none
	farewell   bool  // the bookmark before the time-out was sent

	progress atomic.Bool // RequestProgress was called
	tick     atomic.Bool // a bookmark is due
	timedOut atomic.Bool // the client's time-out is over
	closed   atomic.Bool

	bookmarks *time.Timer // nil: no bookmarks
	timeout   *time.Timer // nil: none
	detach    func() bool // from ctx
	closing   sync.Once
}

var (
	_ client.Progresser = (*watcher)(nil)
	_ client.Buffered   = (*watcher)(nil)
)

// watch opens the stream that the request asks for.
func (c *call) watch(ctx context.Context) (client.Watcher, error) {
	o := &c.req.List
	if err := checkListOptions(o, true); err != nil {
		return nil, err
	}
	sel, err := c.selector()
	if err != nil {
		return nil, err
	}
	revision, err := client.ParseRevision(o.ResourceVersion)
	if err != nil {
		return nil, badRequest("%v", err)
	}
	initial := revision == 0
	if o.SendInitialEvents != nil {
		initial = *o.SendInitialEvents
	}
	if revision != 0 && !initial {
		if err := c.reachRevision(ctx, revision); err != nil { // a later one would hide the changes up to it
			return nil, err
		}
		return c.follow(ctx, sel, c.cache.view(), revision)
	}
	if err := c.reach(ctx, o.ResourceVersion); err != nil {
		return nil, err
	}
	v := c.cache.view()
	if initial {
		if err := c.convertScope(ctx, v, ""); err != nil {
			return nil, err
		}
	}
	w, err := c.follow(ctx, sel, v, v.revision)
	if err != nil {
		return nil, err
	}
	if initial {
		w.initial = c.matching(v, sel)
		w.endInitial = o.SendInitialEvents != nil && o.AllowWatchBookmarks
	}
	return w, nil
}

// open gives a snapshot and the watcher that continues it.
func (c *call) open(ctx context.Context) (*client.View, error) {
	o := &c.req.List
	o.Limit, o.Continue, o.SendInitialEvents, o.ResourceVersionMatch = 0, "", nil, ""
	sel, err := c.selector()
	if err != nil {
		return nil, err
	}
	if err := c.reach(ctx, o.ResourceVersion); err != nil {
		return nil, err
	}
	v := c.cache.view()
	if err := c.convertScope(ctx, v, ""); err != nil {
		return nil, err
	}
	w, err := c.follow(ctx, sel, v, v.revision)
	if err != nil {
		return nil, err
	}
	return &client.View{Items: c.cached(v, sel, v.revision, "").Items, Revision: v.revision, Watcher: w}, nil
}

// follow opens a watcher for what happens after a revision.
func (c *call) follow(ctx context.Context, sel *selector, v view, revision int64) (*watcher, error) {
	cursor, err := v.log.Open(revision+1, sel.events(c))
	if err != nil {
		if errors.Is(err, watch.ErrCompacted) {
			return nil, expired("too old resource version: %d (%d)", revision, v.log.CompactRevision())
		}
		if errors.Is(err, errRetired) {
			return nil, errRetired
		}
		return nil, unavailable("the server is stopping")
	}
	w := &watcher{call: c, sel: sel, log: v.log, cursor: cursor, ctx: ctx, start: revision, upTo: revision}
	if c.req.List.AllowWatchBookmarks {
		w.bookmarks = time.AfterFunc(bookmarkEvery, func() { w.wake(&w.tick) })
	}
	if s := c.req.List.TimeoutSeconds; s != nil && *s > 0 {
		w.timeout = time.AfterFunc(time.Duration(min(*s, maxTimeout))*time.Second, func() { w.wake(&w.timedOut) })
	}
	w.detach = context.AfterFunc(ctx, w.release) // last, because it reads the fields above
	return w, nil
}

func (w *watcher) wake(why *atomic.Bool) {
	why.Store(true)
	w.cursor.Progress()
}

// Next waits for the next event.
func (w *watcher) Next(ctx context.Context) (client.Event, error) {
	if len(w.initial) > 0 {
		e := w.initial[0]
		w.initial[0] = nil
		w.initial = w.initial[1:]
		k := w.call.kind
		return client.Event{Type: client.Added, Object: e.as(k), Revision: e.rev, Forms: e.forms(k)}, nil
	}
	if w.endInitial {
		w.endInitial = false
		return client.Event{Type: client.Bookmark, Revision: w.start, InitialEventsEnd: true}, nil
	}
	for {
		ready := w.peeked
		if !ready {
			var err error
			if ready, err = w.fromBatch(ctx); err != nil {
				return client.Event{}, err
			}
		}
		if ready {
			out := w.next
			w.next, w.peeked = client.Event{}, false
			return out, nil
		}
		if e, done, err := w.due(ctx); done {
			return e, err
		}
		events, upTo, err := w.cursor.Next(ctx)
		if err != nil {
			return client.Event{}, w.ended(ctx, err)
		}
		w.batch, w.upTo = events, max(w.upTo, upTo)
	}
}

// due handles everything that is not a change: bookmarks that are owed, and the time-out. Done means that Next returns.
func (w *watcher) due(ctx context.Context) (e client.Event, done bool, err error) {
	feed := w.call.server.feed
	if w.progress.Swap(false) {
		now, err := feed.current(ctx)
		if err != nil {
			return e, true, err
		}
		w.owed = max(w.owed, now)
	}
	last := w.timedOut.Load() && w.bookmarks != nil && !w.farewell
	if w.tick.Swap(false) || last && w.owed == 0 {
		w.owed = max(w.owed, feed.position())
	}
	if w.owed > 0 {
		if err := w.log.Advance(w.owed); err != nil && !errors.Is(err, errStopped) && !errors.Is(err, errRetired) && !errors.Is(err, watch.ErrCompacted) {
			return e, true, err
		}
		if w.upTo < w.owed {
			w.cursor.Progress()
			return e, false, nil
		}
		w.owed = 0
		w.farewell = last
		if w.bookmarks != nil && !last {
			w.bookmarks.Reset(bookmarkEvery)
		}
		return client.Event{Type: client.Bookmark, Revision: w.upTo}, true, nil
	}
	if w.timedOut.Load() {
		return e, true, io.EOF
	}
	return e, false, nil
}

// event is what a change means to this watcher, in its version; false when nothing.
func (w *watcher) event(ctx context.Context, e watch.Event[change]) (out client.Event, ok bool, err error) {
	var now, old kind.Instance
	if e.Value.now != nil {
		if now, err = w.call.form(ctx, e.Value.now); err != nil {
			return out, false, err
		}
	}
	if e.Value.old != nil {
		if old, err = w.call.form(ctx, e.Value.old); err != nil {
			return out, false, err
		}
	}
	before := old != nil && w.sel.matches(old)
	after := now != nil && w.sel.matches(now)
	switch {
	case after && before:
		return client.Event{Type: client.Modified, Object: now, Revision: e.Revision, Forms: e.Value.now.forms(w.call.kind)}, true, nil
	case after:
		return client.Event{Type: client.Added, Object: now, Revision: e.Revision, Forms: e.Value.now.forms(w.call.kind)}, true, nil
	case before && w.call.kind.Hub != nil:
		return client.Event{Type: client.Deleted, Object: atRevision(old, e.Revision), Revision: e.Revision}, true, nil
	case before:
		gone := e.Value.gone()
		return client.Event{Type: client.Deleted, Object: gone.obj, Revision: e.Revision, Forms: &gone.enc}, true, nil
	}
	return out, false, nil
}

// ended says why the cursor failed.
func (w *watcher) ended(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, watch.ErrCompacted):
		return expired("the watch fell behind what is kept: list again")
	case errors.Is(err, errStopped), errors.Is(err, errRetired):
		return io.EOF
	case errors.Is(err, watch.ErrClosed):
		if err := w.ctx.Err(); err != nil && !w.closed.Load() {
			return err
		}
		return errClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// More reports whether Next has an event at hand. It is the reader's, as Next is. Events that have to be converted first are not at hand.
func (w *watcher) More() bool {
	if len(w.initial) > 0 || w.endInitial {
		return true
	}
	if w.call.kind.Hub != nil {
		return false
	}
	for !w.peeked {
		var err error
		if w.peeked, err = w.fromBatch(w.ctx); err != nil || w.peeked || !w.cursor.Ready() {
			break
		}
		events, upTo, err := w.cursor.TryNext()
		if err != nil {
			break // Next says it
		}
		w.batch, w.upTo = events, max(w.upTo, upTo)
	}
	return w.peeked
}

// fromBatch takes the next event of the batch that concerns this watcher.
func (w *watcher) fromBatch(ctx context.Context) (ok bool, err error) {
	for len(w.batch) > 0 && !ok && err == nil {
		e := w.batch[0]
		w.batch = w.batch[1:]
		w.next, ok, err = w.event(ctx, e)
	}
	return ok, err
}

// RequestProgress makes Next answer a bookmark of the server's present revision, after the events before it.
func (w *watcher) RequestProgress() { w.wake(&w.progress) }

// Close ends the watch.
func (w *watcher) Close() error {
	w.closed.Store(true)
	w.detach()
	w.release()
	return nil
}

func (w *watcher) release() {
	w.closing.Do(func() {
		_ = w.cursor.Close()
		for _, timer := range []*time.Timer{w.bookmarks, w.timeout} {
			if timer != nil {
				timer.Stop()
			}
		}
	})
}
