package watch

import (
	"sync"
	"sync/atomic"
)

// waiting are the cursors of a topic whose readers wait, in the order in which they began to. They are woken one
// after the other: the publisher wakes the first, and each, when it runs, wakes the next before it does anything
// else. So publishing costs the same for one reader as for a thousand, readers don't all want a processor at once,
// and who is woken later finds more.
type waiting[E any] struct {
	woken atomic.Pointer[Cursor[E]] // the one that has to wake the next; nil means that none is on its way

	mu          sync.Mutex
	first, last *Cursor[E]
}

// enter has a cursor wait at the end. It has read what was posted up to seen, and looks again afterwards.
func (w *waiting[E]) enter(c *Cursor[E], seen int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if c.waits {
		return
	}
	c.waits, c.seen, c.before, c.after = true, seen, w.last, nil
	if w.last != nil {
		w.last.after = c
	} else {
		w.first = c
	}
	w.last = c
}

// leave is for a cursor that waits no more, for whatever reason. If it was for it to wake the next, it does.
func (w *waiting[E]) leave(c *Cursor[E], newest *atomic.Int64) {
	w.mu.Lock()
	w.remove(c)
	var next *Cursor[E]
	if w.woken.Load() == c {
		next = w.take(newest)
	}
	w.mu.Unlock()
	if next != nil {
		next.notify()
	}
}

// begin is for the publisher, after newest has moved. While cursors are being woken there is nothing to do: the last
// one looks at newest again.
func (w *waiting[E]) begin(newest *atomic.Int64) {
	if w.woken.Load() != nil {
		return
	}
	w.mu.Lock()
	var next *Cursor[E]
	if w.woken.Load() == nil {
		next = w.take(newest)
	}
	w.mu.Unlock()
	if next != nil {
		next.notify()
	}
}

// take takes the next one to be woken off the list, if it may have something to read. The others have not been there
// for longer. The caller holds the lock.
func (w *waiting[E]) take(newest *atomic.Int64) *Cursor[E] {
	for {
		if c := w.first; c != nil && c.seen < newest.Load() {
			w.remove(c)
			w.woken.Store(c)
			return c
		}
		w.woken.Store(nil)
		if w.first == nil || w.first.seen >= newest.Load() { // after that, the publisher begins
			return nil
		}
	}
}

// all wakes everybody.
func (w *waiting[E]) all() {
	var cursors []*Cursor[E]
	w.mu.Lock()
	for w.first != nil {
		cursors = append(cursors, w.first)
		w.remove(w.first)
	}
	w.mu.Unlock()
	for _, c := range cursors {
		c.notify()
	}
}

func (w *waiting[E]) remove(c *Cursor[E]) {
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
