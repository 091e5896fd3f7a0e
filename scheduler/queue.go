package scheduler

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"github.com/keelson-dev/keelson/controller"
)

// queue holds the units that wait: ready ones in a heap, parked ones until an event could help them, and those that
// back off until their time has come. A unit is in at most one of the three. The mutex is never held while waiting.
type queue struct {
	mu       sync.Mutex
	entries  map[controller.Key]*entry
	ready    readyHeap
	wake     chan struct{} // a token: there may be something ready
	events   uint64        // counts events, so that one that comes during a cycle is not missed
	initial  time.Duration
	longest  time.Duration
	closed   bool
	requeues func(rejectedBy []string, u *Unit, e Event) bool
}

type entry struct {
	unit       *Unit
	since      time.Time // first seen: age decides between equal priorities
	attempts   int
	rejectedBy []string
	state      entryState
	index      int         // in the heap
	until      time.Time   // end of the back-off
	timer      *time.Timer // while backing off
	seenEvents uint64      // at the start of its cycle
}

type entryState int

const (
	ready entryState = iota
	deciding
	parked
	backingOff
)

func newQueue(initial, longest time.Duration, requeues func([]string, *Unit, Event) bool) *queue {
	return &queue{
		entries: make(map[controller.Key]*entry), wake: make(chan struct{}, 1),
		initial: initial, longest: longest, requeues: requeues,
	}
}

// put adds a unit, or takes its new state. A parked unit whose object changed is ready again when its change could
// matter (spec or labels, told by changed).
func (q *queue) put(u *Unit, changed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries[u.key]
	if ok && e.unit.Object.GetUID() != u.Object.GetUID() {
		q.drop(e)
		ok = false
	}
	if !ok {
		e = &entry{unit: u, since: u.Object.GetCreationTimestamp().Time, index: -1}
		q.entries[u.key] = e
		q.makeReady(e)
		return
	}
	e.unit = u
	switch {
	case e.state == ready:
		heap.Fix(&q.ready, e.index)
	case changed && e.state == parked:
		q.release(e, time.Now())
	case changed && e.state == deciding:
		e.seenEvents-- // whatever is being decided, decide again
	}
}

// remove forgets a unit that is gone or bound.
func (q *queue) remove(key controller.Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.entries[key]; ok {
		q.drop(e)
	}
}

func (q *queue) drop(e *entry) {
	if e.state == ready && e.index >= 0 {
		heap.Remove(&q.ready, e.index)
	}
	if e.timer != nil {
		e.timer.Stop()
	}
	delete(q.entries, e.unit.key)
}

// pop waits for the next unit. Its entry stays until done, retry or park.
func (q *queue) pop(ctx context.Context) (*entry, *Unit, error) {
	for {
		if e, u := q.tryPop(); e != nil {
			return e, u, nil
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-q.wake:
		}
	}
}

func (q *queue) tryPop() (*entry, *Unit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) == 0 {
		return nil, nil
	}
	e := heap.Pop(&q.ready).(*entry)
	e.state, e.seenEvents = deciding, q.events
	e.attempts++
	return e, e.unit
}

// park puts a unit aside that fits nowhere. If something happened since its cycle began, it is tried again instead.
func (q *queue) park(e *entry, rejectedBy []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[e.unit.key] != e {
		return // gone meanwhile
	}
	e.rejectedBy = rejectedBy
	e.state = parked
	e.until = time.Now().Add(q.backoff(e.attempts))
	if e.seenEvents != q.events {
		q.release(e, time.Now())
	}
}

// retry tries a unit again after its back-off.
func (q *queue) retry(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[e.unit.key] != e {
		return
	}
	now := time.Now()
	e.until = now.Add(q.backoff(e.attempts))
	q.release(e, now)
}

// happened moves the parked units that an event could help.
func (q *queue) happened(ev Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events++
	now := time.Now()
	for _, e := range q.entries {
		if e.state == parked && q.requeues(e.rejectedBy, e.unit, ev) {
			q.release(e, now)
		}
	}
}

func (q *queue) release(e *entry, now time.Time) {
	wait := e.until.Sub(now)
	if wait <= 0 {
		q.makeReady(e)
		return
	}
	if q.closed {
		return
	}
	e.state = backingOff
	e.timer = time.AfterFunc(wait, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if q.entries[e.unit.key] == e && e.state == backingOff {
			q.makeReady(e)
		}
	})
}

func (q *queue) makeReady(e *entry) {
	e.state = ready
	heap.Push(&q.ready, e)
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) backoff(attempts int) time.Duration {
	d := q.initial
	for range attempts - 1 {
		if d *= 2; d >= q.longest {
			return q.longest
		}
	}
	return d
}

// waiting lists the units that are not bound, for metrics and tests.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.entries)
}

// close ends the timers.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, e := range q.entries {
		if e.timer != nil {
			e.timer.Stop()
		}
	}
}

type readyHeap []*entry

func (h readyHeap) Len() int { return len(h) }
func (h readyHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if pa, pb := a.unit.priority(), b.unit.priority(); pa != pb {
		return pa > pb
	}
	if !a.since.Equal(b.since) {
		return a.since.Before(b.since)
	}
	return a.unit.key.String() < b.unit.key.String()
}

func (h readyHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *readyHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *readyHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
