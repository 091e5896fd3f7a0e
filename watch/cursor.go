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
	// while its reader waits, and then also guarded by log.mu
	waits         bool
	seen          int64 // the log's revision when it began to wait
	before, after *Cursor[E]
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
		events, revision, waits, err := c.step(true)
		if err != nil || !waits {
			return events, revision, err
		}
		select {
		case <-c.signal:
		case <-ctx.Done():
			c.leave()
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

// leave says that the reader waits no more. If others are woken by it, they still are.
func (c *Cursor[E]) leave() {
	c.log.mu.Lock()
	c.topic.waiting.leave(c)
	next := c.topic.waiting.passed(c, c.topic.newest)
	c.log.mu.Unlock()
	if next != nil {
		next.notify()
	}
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
			c.topic.postings, c.topic.joined = ring[[]Event[E]]{}, joined[E]{}
		}
	}
	l.mu.Unlock()
	c.leave()
	c.notify()
	return nil
}

func (c *Cursor[E]) notify() {
	select {
	case c.signal <- struct{}{}:
	default:
	}
}

// taken is what there is for a cursor: events; or transactions to be filtered; or that it has to ask for the past up
// to a revision.
type taken[E any] struct {
	events []Event[E]
	scan   [][]Event[E]
	past   int64
}

func (t *taken[E]) nothing() bool { return len(t.events) == 0 && len(t.scan) == 0 && t.past == 0 }

// step delivers what there is. If there is nothing, and it is to wait, the cursor will be woken.
func (c *Cursor[E]) step(wait bool) (events []Event[E], revision int64, waits bool, err error) {
	l := c.log
	for {
		l.mu.Lock()
		c.topic.waiting.leave(c)
		next := c.topic.waiting.passed(c, c.topic.newest)
		got, err := c.take()
		revision = min(c.next-1, l.revision)
		done := err != nil || got.nothing()
		if err == nil && done {
			switch {
			case c.progress:
				c.progress = false
			case l.closed != nil:
				c.failed = l.closed
				err = l.closed
			case wait:
				c.topic.waiting.enter(c, l.revision)
				waits = true
			}
		}
		l.mu.Unlock()
		if next != nil {
			next.notify()
		}
		switch {
		case done:
			return nil, revision, waits, err
		case got.past > 0:
			if events, revision, err = c.past(got.past); err != nil {
				return nil, 0, false, err
			}
		case len(got.scan) > 0:
			events = join(c.filter(got.scan))
		default:
			events = got.events
		}
		if len(events) > 0 {
			return events, revision, false, nil
		}
	}
}

// take takes what there is and moves on behind it. The caller holds the lock.
func (c *Cursor[E]) take() (taken[E], error) {
	l, t := c.log, c.topic
	switch {
	case c.closed:
		return taken[E]{}, ErrClosed
	case c.failed != nil:
		return taken[E]{}, c.failed
	case t != l.all && c.next >= t.since && c.next > t.lost:
		return taken[E]{events: c.readPostings()}, nil
	case c.next > l.all.lost:
		return c.readHistory(), nil
	case l.cfg.Past != nil && c.next > l.compacted:
		return taken[E]{past: l.all.lost}, nil
	}
	c.failed = &CompactedError{Requested: c.next, CompactRevision: l.compacted}
	return taken[E]{}, c.failed
}

// readHistory takes some transactions from the log itself. The caller holds the lock.
func (c *Cursor[E]) readHistory() (got taken[E]) {
	l := c.log
	i := l.history.search(c.next)
	left := l.history.len() - i
	all := c.topic == l.all
	if all && left > 0 && c.share(&l.all.joined, l.history.at(i).revision, left) {
		return taken[E]{events: l.all.joined.events}
	}
	var raw [][]Event[E]
	first, events := int64(0), 0
	for ; i < l.history.len() && events < batchEvents && len(raw) < batchTransactions; i++ {
		s := l.history.at(i)
		if len(raw) == 0 {
			first = s.revision
		}
		raw = append(raw, s.value.events)
		events += len(s.value.events)
		c.next = s.revision + 1
	}
	if i == l.history.len() {
		c.next = max(c.next, l.revision+1)
	}
	if !all {
		return taken[E]{scan: raw}
	}
	return taken[E]{events: l.all.joined.set(first, c.next-1, raw)}
}

// readPostings takes some transactions from the topic. The caller holds the lock.
func (c *Cursor[E]) readPostings() []Event[E] {
	l, t := c.log, c.topic
	i := t.postings.search(c.next)
	left := t.postings.len() - i
	if left > 0 && c.share(&t.joined, t.postings.at(i).revision, left) {
		return t.joined.events
	}
	var raw [][]Event[E]
	first, events := int64(0), 0
	for ; i < t.postings.len() && events < batchEvents && len(raw) < batchTransactions; i++ {
		s := t.postings.at(i)
		if len(raw) == 0 {
			first = s.revision
		}
		raw = append(raw, s.value)
		events += len(s.value)
		c.next = s.revision + 1
	}
	if i == t.postings.len() {
		c.next = max(c.next, l.revision+1)
	}
	return t.joined.set(first, c.next-1, raw)
}

// past reads what the log has dropped.
func (c *Cursor[E]) past(to int64) ([]Event[E], int64, error) {
	l := c.log
	transactions, through, ok := l.cfg.Past(c.next, to)
	l.mu.Lock()
	if !ok {
		if c.failed = l.closed; c.failed == nil {
			c.failed = &CompactedError{Requested: c.next, CompactRevision: l.compacted}
		}
		l.mu.Unlock()
		return nil, 0, c.failed
	}
	c.next = through + 1
	l.mu.Unlock()
	raw := make([][]Event[E], len(transactions))
	for i, txn := range transactions {
		for j := range txn.Events {
			txn.Events[j].Revision = txn.Revision
		}
		raw[i] = txn.Events
	}
	if c.topic != l.all {
		raw = c.filter(raw)
	}
	return join(raw), through, nil
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

// joined is what was put together of neighbouring transactions, for the other cursors that come to the same place.
type joined[E any] struct {
	first, through int64 // the revision of the first transaction, and up to which these are all
	transactions   int
	events         []Event[E]
}

// set puts transactions together.
func (j *joined[E]) set(first, through int64, raw [][]Event[E]) []Event[E] {
	if len(raw) == 0 {
		return nil
	}
	*j = joined[E]{first, through, len(raw), join(raw)}
	return j.events
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

// share moves on behind what another cursor has taken, if that begins at the same transaction and is not much less
// than there is.
func (c *Cursor[E]) share(j *joined[E], first int64, left int) bool {
	if j.first != first || j.transactions == 0 || left > 2*j.transactions && j.transactions < batchTransactions && len(j.events) < batchEvents {
		return false
	}
	c.next = j.through + 1
	return true
}
