package watch

// waiting are the cursors of a topic whose readers wait, in the order in which they began to. They are woken one
// after the other: the publisher wakes the first, and each, when it runs, wakes the next before it does anything
// else. So publishing costs the same for one reader as for a thousand, readers don't all want a processor at once,
// and who is woken later finds more. The log's mutex guards it.
type waiting[E any] struct {
	first, last *Cursor[E]
	woken       *Cursor[E] // the one that has to wake the next; nil means that none is on its way
}

// enter has a cursor wait at the end.
func (w *waiting[E]) enter(c *Cursor[E], revision int64) {
	if c.waits {
		return
	}
	c.waits, c.seen, c.before, c.after = true, revision, w.last, nil
	if w.last != nil {
		w.last.after = c
	} else {
		w.first = c
	}
	w.last = c
}

func (w *waiting[E]) leave(c *Cursor[E]) {
	if !c.waits {
		return
	}
	if c.before != nil {
		c.before.after = c.after
	} else {
		w.first = c.after
	}
	if c.after != nil {
		c.after.before = c.before
	} else {
		w.last = c.before
	}
	c.waits, c.before, c.after = false, nil, nil
}

// begin returns the cursor to wake when something has been published at a revision; nil if there is none, or those
// who wait are being woken already.
func (w *waiting[E]) begin(revision int64) *Cursor[E] {
	if w.woken != nil {
		return nil
	}
	return w.next(revision)
}

// passed returns the next one to wake, if it was for c to do that. Who began to wait after the newest revision has
// nothing to read, and nor have those behind.
func (w *waiting[E]) passed(c *Cursor[E], newest int64) *Cursor[E] {
	if w.woken != c {
		return nil
	}
	w.woken = nil
	return w.next(newest)
}

func (w *waiting[E]) next(newest int64) *Cursor[E] {
	c := w.first
	if c == nil || c.seen >= newest {
		return nil
	}
	w.leave(c)
	w.woken = c
	return c
}

// all empties the list and returns whom to wake.
func (w *waiting[E]) all() (cursors []*Cursor[E]) {
	for w.first != nil {
		cursors = append(cursors, w.first)
		w.leave(w.first)
	}
	return cursors
}
