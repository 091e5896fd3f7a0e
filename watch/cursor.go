package watch

import "context"

// Bounds on what one Next returns; the transaction that reaches them is still whole.
const (
	batchEvents       = 1024
	batchTransactions = 256
)

// Cursor is one reader's place in a Log. Close it when done.
type Cursor[E any] struct {
	log    *Log[E]
	topic  *topic[E]
	signal chan struct{} // Progress and Close wake the reader with it

	// guarded by log.mu
	next     int64 // the first revision not delivered yet
	progress bool
	closed   bool
	failed   error
}

// Next waits until there are events for this cursor and returns them, oldest first, together with the revision up to
// which the cursor has now seen everything. After Progress it may return no events. It fails with ctx's error, and
// the cursor stays usable; with a
// *CompactedError when the cursor fell off the tail; with what the log was closed with; with ErrClosed after Close. All but the first
// are final.
func (c *Cursor[E]) Next(ctx context.Context) ([]Event[E], int64, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		events, revision, wake, err := c.step(true)
		if err != nil || wake == nil {
			return events, revision, err
		}
		select {
		case <-wake:
		case <-c.signal:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// TryNext is Next that does not wait: without events it returns none, and the revision up to which the cursor has
// seen everything.
func (c *Cursor[E]) TryNext() ([]Event[E], int64, error) {
	events, revision, _, err := c.step(false)
	return events, revision, err
}

// Progress makes the current Next, or else the coming one, return at once, if need be without events: its revision is
// then the log's, as it was when that call had delivered everything.
func (c *Cursor[E]) Progress() {
	c.log.mu.Lock()
	c.progress = true
	c.log.mu.Unlock()
	c.notify()
}

// Close ends the cursor; its reader gets ErrClosed.
func (c *Cursor[E]) Close() error {
	l := c.log
	l.mu.Lock()
	if !c.closed {
		c.closed = true
		if c.topic.refs--; c.topic.refs == 0 && c.topic != l.all {
			l.index.remove(c.topic)
			c.topic.postings = ring[[]Event[E]]{}
		}
	}
	l.mu.Unlock()
	c.notify()
	return nil
}

func (c *Cursor[E]) notify() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// step delivers what there is. A channel to wait on means that there was nothing.
func (c *Cursor[E]) step(wait bool) (events []Event[E], revision int64, wake chan struct{}, err error) {
	l := c.log
	for {
		l.mu.Lock()
		if c.closed || c.failed != nil {
			err = c.failed
			if c.closed {
				err = ErrClosed
			}
			l.mu.Unlock()
			return nil, 0, nil, err
		}
		var done, scanned bool
		var raw [][]Event[E]
		switch {
		case c.topic == l.all || c.next < c.topic.since:
			raw, err = c.readHistory()
			scanned = c.topic != l.all && len(raw) > 0
		default:
			raw, err = c.readPostings()
		}
		if err != nil {
			c.failed = err
			l.mu.Unlock()
			return nil, 0, nil, err
		}
		revision = min(c.next-1, l.revision)
		if len(raw) == 0 {
			switch {
			case c.progress:
				c.progress = false
				done = true
			case l.closed != nil:
				c.failed = l.closed
				err = l.closed
				done = true
			case wait:
				if c.topic.wake == nil {
					c.topic.wake = make(chan struct{})
				}
				wake = c.topic.wake
				done = true
			default:
				done = true
			}
		}
		l.mu.Unlock()
		if done {
			return nil, revision, wake, err
		}
		if scanned {
			raw = c.filter(raw)
		}
		if len(raw) > 0 {
			return join(raw), revision, nil, nil
		}
	}
}

// readHistory takes some transactions from the log itself and moves on behind them. The caller holds the lock.
func (c *Cursor[E]) readHistory() ([][]Event[E], error) {
	l := c.log
	if c.next <= l.all.lost {
		return nil, &CompactedError{Requested: c.next, CompactRevision: l.compacted}
	}
	var taken [][]Event[E]
	events, i := 0, l.history.search(c.next)
	for ; i < l.history.len() && events < batchEvents && len(taken) < batchTransactions; i++ {
		s := l.history.at(i)
		taken = append(taken, s.value.events)
		events += len(s.value.events)
		c.next = s.revision + 1
	}
	if i == l.history.len() {
		c.next = max(c.next, l.revision+1)
	}
	return taken, nil
}

// readPostings takes some transactions from the topic and moves on behind them. The caller holds the lock.
func (c *Cursor[E]) readPostings() ([][]Event[E], error) {
	l, t := c.log, c.topic
	if c.next <= t.lost {
		return nil, &CompactedError{Requested: c.next, CompactRevision: l.compacted}
	}
	var taken [][]Event[E]
	events, i := 0, t.postings.search(c.next)
	for ; i < t.postings.len() && events < batchEvents && len(taken) < batchTransactions; i++ {
		s := t.postings.at(i)
		taken = append(taken, s.value)
		events += len(s.value)
		c.next = s.revision + 1
	}
	if i == t.postings.len() {
		c.next = max(c.next, l.revision+1)
	}
	return taken, nil
}

// filter keeps what the cursor selects of transactions read from history.
func (c *Cursor[E]) filter(raw [][]Event[E]) [][]Event[E] {
	sel, index := c.topic.sel, c.log.cfg.Index
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
	if len(raw) == 1 {
		return raw[0]
	}
	n := 0
	for _, events := range raw {
		n += len(events)
	}
	joined := make([]Event[E], 0, n)
	for _, events := range raw {
		joined = append(joined, events...)
	}
	return joined
}
