package controller

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// QueueConfig adjusts a Queue.
type QueueConfig struct {
	BaseDelay time.Duration // of the first AddRateLimited of a key; it doubles each time. 0 means 5 ms
	MaxDelay  time.Duration // the longest back-off; 0 means 5 minutes
}

// Queue holds keys that wait to be worked on. A key is in it at most once, however often it is added; a key that is
// being worked on is not handed out again before Done, and once more afterwards if it was added meanwhile. Keys come
// out in the order in which they became ready.
//
// A Queue has no goroutine: one timer waits for the earliest delayed key. It is safe for concurrent use. Make it with
// [NewQueue].
type Queue[K comparable] struct {
	base, max time.Duration
	closing   chan struct{}
	wake      chan struct{} // holds a token while keys may be ready

	mu         sync.Mutex
	ready      []K
	head       int // ready[:head] has been handed out
	waiting    map[K]struct{}
	processing map[K]bool // true: added again meanwhile
	delayed    delayHeap[K]
	delayedBy  map[K]*delayedKey[K]
	failures   map[K]int
	delays     uint64
	retries    int // delayed keys whose retry is so near that the queue does not count as idle
	timer      *time.Timer
	closed     bool
	adds       uint64          // how often a key became ready or has been added while worked on
	quiet      []chan struct{} // closed when the queue becomes idle
}

// nearRetry is how long a back-off may be for [Manager.Idle] to wait for it: the first few retries, such as after a
// conflict with a cache that lags, are part of the work; a key that keeps failing is not waited for.
const nearRetry = 200 * time.Millisecond

// NewQueue makes an empty queue.
func NewQueue[K comparable](cfg QueueConfig) *Queue[K] {
	if cfg.BaseDelay <= 0 {
		cfg.BaseDelay = 5 * time.Millisecond
	}
	if cfg.MaxDelay <= 0 {
		cfg.MaxDelay = 5 * time.Minute
	}
	return &Queue[K]{
		base: cfg.BaseDelay, max: max(cfg.BaseDelay, cfg.MaxDelay),
		closing: make(chan struct{}), wake: make(chan struct{}, 1),
		waiting: map[K]struct{}{}, processing: map[K]bool{},
		delayedBy: map[K]*delayedKey[K]{}, failures: map[K]int{},
	}
}

// Add makes a key ready now. A delay that is pending for it stays pending. After Close it does nothing.
func (q *Queue[K]) Add(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(key)
}

func (q *Queue[K]) addLocked(key K) {
	if q.closed {
		return
	}
	if again, ok := q.processing[key]; ok {
		if !again {
			q.processing[key] = true
			q.adds++
		}
		return
	}
	if _, ok := q.waiting[key]; ok {
		return
	}
	q.adds++
	q.waiting[key] = struct{}{}
	q.ready = append(q.ready, key)
	q.signal()
}

func (q *Queue[K]) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// AddAfter makes a key ready after a delay; of several delays for one key the one that ends first counts. A delay of 0
// or less is Add.
func (q *Queue[K]) AddAfter(key K, delay time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.delayLocked(key, delay, false)
}

func (q *Queue[K]) delayLocked(key K, delay time.Duration, retry bool) {
	if q.closed {
		return
	}
	if delay <= 0 {
		q.addLocked(key)
		return
	}
	at, near := time.Now().Add(delay), retry && delay <= nearRetry
	q.delays++
	d, ok := q.delayedBy[key]
	switch {
	case !ok:
		d = &delayedKey[K]{key: key, at: at, near: near, seq: q.delays}
		q.delayedBy[key] = d
		heap.Push(&q.delayed, d)
		if near {
			q.retries++
		}
	case at.Before(d.at):
		if near && !d.near {
			q.retries++
			d.near = true
		}
		d.at, d.seq = at, q.delays
		heap.Fix(&q.delayed, d.index)
	default:
		return
	}
	if q.delayed[0] == d {
		q.armLocked()
	}
}

// AddRateLimited makes a key ready after its back-off, which doubles with every call until Forget. It returns the
// delay.
func (q *Queue[K]) AddRateLimited(key K) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.failures[key]
	q.failures[key] = n + 1
	delay := q.max
	if n < 62 && q.base <= q.max>>n {
		delay = q.base << n
	}
	q.delayLocked(key, delay, true)
	return delay
}

// Forget resets the back-off of a key; a delay that is pending stays pending.
func (q *Queue[K]) Forget(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.failures, key)
}

// Failures is how often AddRateLimited was called for a key since its last Forget.
func (q *Queue[K]) Failures(key K) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failures[key]
}

// Get waits for a ready key and hands it out; the caller calls Done with it when it has been worked on. The error is
// ErrClosed or ctx's.
func (q *Queue[K]) Get(ctx context.Context) (K, error) {
	var zero K
	for {
		if err := ctx.Err(); err != nil {
			return zero, err
		}
		key, ok, err := q.take()
		if ok || err != nil {
			return key, err
		}
		select {
		case <-q.wake:
		case <-q.closing:
		case <-ctx.Done():
		}
	}
}

func (q *Queue[K]) take() (K, bool, error) {
	var zero K
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return zero, false, ErrClosed
	}
	if q.head == len(q.ready) {
		return zero, false, nil
	}
	key := q.ready[q.head]
	q.ready[q.head] = zero
	q.head++
	switch {
	case q.head == len(q.ready):
		q.ready, q.head = q.ready[:0], 0
	case q.head > 64 && q.head*2 > len(q.ready):
		n := copy(q.ready, q.ready[q.head:])
		clear(q.ready[n:])
		q.ready, q.head = q.ready[:n], 0
	}
	delete(q.waiting, key)
	q.processing[key] = false
	if q.head < len(q.ready) {
		q.signal() // pass the token on: one token may stand for many keys
	}
	return key, true, nil
}

// Done says that a key from Get has been worked on. For a key that was not handed out it does nothing.
func (q *Queue[K]) Done(key K) {
	q.mu.Lock()
	defer q.mu.Unlock()
	again, ok := q.processing[key]
	if !ok {
		return
	}
	delete(q.processing, key)
	if again && !q.closed {
		q.waiting[key] = struct{}{}
		q.ready = append(q.ready, key)
		q.signal()
	}
	q.settleLocked()
}

// Len is how many keys are ready; those delayed or being worked on are not counted.
func (q *Queue[K]) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready) - q.head
}

// Close drops all keys, ends every Get with ErrClosed and stops the timer. Adding afterwards does nothing. It may be
// called more than once.
func (q *Queue[K]) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	close(q.closing)
	if q.timer != nil {
		q.timer.Stop()
	}
	q.ready, q.head, q.delayed, q.retries = nil, 0, nil, 0
	clear(q.waiting)
	clear(q.delayedBy)
	clear(q.failures)
	q.settleLocked()
	return nil
}

// armLocked sets the timer to the earliest delayed key.
func (q *Queue[K]) armLocked() {
	if len(q.delayed) == 0 {
		return
	}
	wait := max(0, time.Until(q.delayed[0].at))
	if q.timer == nil {
		q.timer = time.AfterFunc(wait, q.due)
		return
	}
	q.timer.Reset(wait)
}

// due runs when the timer fires; it may run more than once for one key without harm.
func (q *Queue[K]) due() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.promoteLocked(time.Now())
	q.armLocked()
	q.settleLocked()
}

func (q *Queue[K]) promoteLocked(now time.Time) {
	for len(q.delayed) > 0 && !q.delayed[0].at.After(now) {
		d := heap.Pop(&q.delayed).(*delayedKey[K])
		delete(q.delayedBy, d.key)
		if d.near {
			q.retries--
		}
		q.addLocked(d.key)
	}
}

// idle reports whether nothing is ready, being worked on, due or about to be retried; the channel, when it is not,
// closes when it is.
func (q *Queue[K]) idle() (adds uint64, busy <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.promoteLocked(time.Now())
	}
	if q.idleLocked() {
		return q.adds, nil
	}
	c := make(chan struct{})
	q.quiet = append(q.quiet, c)
	return q.adds, c
}

func (q *Queue[K]) idleLocked() bool {
	return q.head == len(q.ready) && len(q.processing) == 0 && q.retries == 0
}

func (q *Queue[K]) settleLocked() {
	if len(q.quiet) == 0 || !q.idleLocked() {
		return
	}
	for _, c := range q.quiet {
		close(c)
	}
	q.quiet = nil
}

// counts are what a person wants to know of a queue that does not become idle.
func (q *Queue[K]) counts() (ready, processing, retries int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.ready) - q.head, len(q.processing), q.retries
}

type delayedKey[K comparable] struct {
	key   K
	at    time.Time
	near  bool   // a retry with a short back-off
	seq   uint64 // of two that are due together, the one delayed first comes first
	index int
}

type delayHeap[K comparable] []*delayedKey[K]

func (h delayHeap[K]) Len() int { return len(h) }
func (h delayHeap[K]) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h delayHeap[K]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push and Pop are heap.Interface's.
func (h *delayHeap[K]) Push(x any) {
	d := x.(*delayedKey[K])
	d.index = len(*h)
	*h = append(*h, d)
}

func (h *delayHeap[K]) Pop() any {
	old := *h
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return d
}
