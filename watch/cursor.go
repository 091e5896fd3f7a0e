package watch

import (
	"context"
	"sync/atomic"
)

// Bounds on what one Next returns; the transaction that reaches them is still whole.
const (
	batchEvents       = 1024
	batchTransactions = 256
)

// Cursor is one reader's place in a Log. Close it when done.
type Cursor[E any] struct {
	log    *Log[E]
	topic  *topic[E]
	signal chan struct{} // Progress, Close and who wakes it send on it
	asked  atomic.Bool   // Progress or Close was called

	// The reader's own.
	next int64    // the first revision not delivered yet
	at   *node[E] // the newest node that was delivered or begins before next; nil means that it has to be looked up

	// guarded by log.mu
	progress bool
	closed   bool
	failed   error

	// guarded by topic.waiting.mu
	waits         bool
	seen          int64 // the newest revision that was posted before it began to wait, or an older one
	before, after *Cursor[E]
}

// Next waits until there are events for this cursor and returns them, oldest first, together with the revision up to
// which the cursor has now seen everything. After Progress it may return no events. It fails with ctx's error, and
// the cursor stays usable; with a *CompactedError when the cursor fell off the tail; with what the log was closed
// with; with ErrClosed after Close. All but the first are final.
func (c *Cursor[E]) Next(ctx context.Context) ([]Event[E], int64, error) {
	t := c.topic
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		seen := t.newest.Load()
		events, revision, some, err := c.step()
		if err != nil || some {
			return events, revision, err
		}
		t.waiting.enter(c, seen)
		if c.at == nil || c.at.next.Load() != nil || c.asked.Load() || c.log.over.Load() {
			t.waiting.leave(c, &t.newest)
			continue
		}
		select {
		case <-c.signal:
			t.waiting.leave(c, &t.newest)
		case <-ctx.Done():
			t.waiting.leave(c, &t.newest)
			return nil, 0, ctx.Err()
		}
	}
}

// TryNext is Next that does not wait: without events it returns none, and the revision up to which the cursor has
// seen everything.
func (c *Cursor[E]) TryNext() ([]Event[E], int64, error) {
	events, revision, some, err := c.step()
	if err == nil && !some {
		c.log.mu.Lock()
		if c.at != nil && c.at.next.Load() == nil { // nothing can be posted now
			c.next = max(c.next, c.log.revision+1)
		}
		revision = min(c.next-1, c.log.revision)
		c.log.mu.Unlock()
	}
	return events, revision, err
}

// Ready reports whether something has been posted that this cursor has not looked at yet, as far as it can tell at no cost: it may
// be false when there is something, and what there is may be nothing for this cursor. It is the reader's.
func (c *Cursor[E]) Ready() bool { return c.at != nil && c.at.next.Load() != nil }

// Progress makes the current Next, or else the coming one, return at once, if need be without events: its revision is
// then the log's, as it was when that call had delivered everything.
func (c *Cursor[E]) Progress() {
	c.log.mu.Lock()
	c.progress = true
	c.log.mu.Unlock()
	c.asked.Store(true)
	c.notify()
}

// Close ends the cursor; its reader gets ErrClosed.
func (c *Cursor[E]) Close() error {
	l, t := c.log, c.topic
	l.mu.Lock()
	if !c.closed {
		c.closed = true
		if t.refs--; t.refs == 0 {
			l.index.remove(t)
			t.postings = ring[*node[E]]{}
		}
	}
	l.mu.Unlock()
	c.asked.Store(true)
	t.waiting.leave(c, &t.newest)
	c.notify()
	return nil
}

func (c *Cursor[E]) notify() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// step delivers what there is, if there is some.
func (c *Cursor[E]) step() (events []Event[E], revision int64, some bool, err error) {
	for {
		if c.asked.Load() || c.log.over.Load() {
			events, revision, some, err = c.attend()
			if err != nil || some {
				return events, revision, true, err
			}
		}
		if c.at == nil {
			events, revision, err = c.lookUp()
		} else {
			n := c.at.next.Load()
			switch n {
			case nil:
				return nil, 0, false, nil
			case c.log.gone:
				c.at = nil
				continue
			}
			j := c.topic.take(n, c.log.gone)
			c.at = j.last
			events, revision = c.deliver(j)
		}
		if err != nil || len(events) > 0 {
			return events, revision, true, err
		}
	}
}

// deliver moves on behind some nodes and returns what they have for the cursor.
func (c *Cursor[E]) deliver(j *joined[E]) ([]Event[E], int64) {
	events := j.events
	for len(events) > 0 && events[0].Revision < c.next {
		events = events[1:]
	}
	c.next = max(c.next, j.last.through+1)
	return events, j.last.through
}

// attend looks at what Progress, Close and the log's end have left. What was published before comes before these, but
// before Close.
func (c *Cursor[E]) attend() (events []Event[E], revision int64, some bool, err error) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c.closed:
		return nil, 0, true, ErrClosed
	case c.failed != nil:
		return nil, 0, true, c.failed
	case c.at == nil || c.at.next.Load() != nil:
		return nil, 0, false, nil
	}
	// There is nothing more, and nothing can be posted now.
	if c.asked.Store(false); c.progress {
		c.progress = false
		c.next = max(c.next, l.revision+1)
		return nil, min(c.next-1, l.revision), true, nil
	}
	if l.closed != nil {
		c.failed = l.closed
		return nil, 0, true, c.failed
	}
	return nil, 0, false, nil
}

// lookUp finds the cursor's place: its node, or, as long as it is further back, the history or what is kept elsewhere.
func (c *Cursor[E]) lookUp() (events []Event[E], revision int64, err error) {
	l, t := c.log, c.topic
	l.mu.Lock()
	switch {
	case c.closed:
		err = ErrClosed
	case c.failed != nil:
		err = c.failed
	case c.next >= t.since && c.next > t.lost:
		c.at = t.dropped
		if i := t.postings.search(c.next); i > 0 { // the last one that is before next
			c.at = t.postings.at(i - 1).value
		}
	case c.next > l.lost:
		raw := c.readHistory()
		revision = c.next - 1
		l.mu.Unlock()
		return join(c.filter(raw)), revision, nil
	case l.cfg.Past != nil && c.next > l.compacted:
		to := l.lost
		l.mu.Unlock()
		return c.past(to)
	default:
		c.failed = &CompactedError{Requested: c.next, CompactRevision: l.compacted}
		err = c.failed
	}
	l.mu.Unlock()
	return nil, 0, err
}

// readHistory takes some transactions from the log itself. The caller holds the lock.
func (c *Cursor[E]) readHistory() (raw [][]Event[E]) {
	l := c.log
	events, i := 0, l.history.search(c.next)
	for ; i < l.history.len() && events < batchEvents && len(raw) < batchTransactions; i++ {
		s := l.history.at(i)
		raw = append(raw, s.value.events)
		events += len(s.value.events)
		c.next = s.revision + 1
	}
	if i == l.history.len() {
		c.next = max(c.next, l.revision+1)
	}
	return raw
}

// past reads what the log has dropped.
func (c *Cursor[E]) past(to int64) ([]Event[E], int64, error) {
	l := c.log
	transactions, through, ok := l.cfg.Past(c.next, to)
	if !ok {
		l.mu.Lock()
		defer l.mu.Unlock()
		if c.failed = l.closed; c.failed == nil {
			c.failed = &CompactedError{Requested: c.next, CompactRevision: l.compacted}
		}
		return nil, 0, c.failed
	}
	c.next = through + 1
	raw := make([][]Event[E], len(transactions))
	for i, txn := range transactions {
		for j := range txn.Events {
			txn.Events[j].Revision = txn.Revision
		}
		raw[i] = txn.Events
	}
	return join(c.filter(raw)), through, nil
}

// filter keeps what the cursor selects of transactions read from history.
func (c *Cursor[E]) filter(raw [][]Event[E]) [][]Event[E] {
	sel, index := c.topic.sel, c.log.cfg.Index
	if sel.everything() {
		return raw
	}
	kept := raw[:0]
	for _, events := range raw {
		var selected []Event[E]
		for _, e := range events {
			if !sel.matchKey(e.Key) {
				continue
			}
			if len(sel.Terms) > 0 && (index == nil || !sel.matchTerms(index(e))) {
				continue
			}
			selected = append(selected, e)
		}
		if len(selected) > 0 {
			kept = append(kept, selected)
		}
	}
	return kept
}

func join[E any](raw [][]Event[E]) []Event[E] {
	switch len(raw) {
	case 0:
		return nil
	case 1:
		return raw[0]
	}
	n := 0
	for _, events := range raw {
		n += len(events)
	}
	events := make([]Event[E], 0, n)
	for _, e := range raw {
		events = append(events, e...)
	}
	return events
}
