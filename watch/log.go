package watch

import (
	"fmt"
	"sync"
	"time"
)

// Event is something that happened to a key at a revision.
type Event[E any] struct {
	// Revision is the transaction's; Append sets it.
	Revision int64
	// Key is what the event happened to.
	Key string
	// Value is the publisher's own.
	Value E
	// Size is what the event holds in memory, in bytes, as the publisher estimates it; the log adds its own overhead.
	Size int
}

// eventOverhead is what the log itself spends on an event, roughly.
const eventOverhead = 96

// Config says what a Log keeps. The zero Config keeps everything until Compact is called.
type Config[E any] struct {
	// Start is the revision the log starts after: history up to it is unknown, so that opening at or before it is
	// ErrCompacted. Zero means that the history is known from its beginning.
	Start int64
	// MaxBytes bounds the sizes of the events kept. Zero means no bound.
	MaxBytes int64
	// MaxEvents bounds the number of events kept. Zero means no bound.
	MaxEvents int
	// MaxAge bounds the age of the events kept. It is looked at when something is appended. Zero means no bound.
	MaxAge time.Duration
	// Index returns further terms under which an event is found by Selector.Terms. It is called without a lock held,
	// once per event when it is appended and again by cursors that read history; it must be pure. Nil means none.
	Index func(Event[E]) []string
}

// transaction is what the log keeps of one revision.
type transaction[E any] struct {
	events []Event[E]
	topics []*topic[E] // that have a posting of it
	size   int64
	at     time.Time
}

// Log is the event log. Make one with New.
type Log[E any] struct {
	cfg Config[E]

	mu        sync.Mutex
	history   ring[transaction[E]]
	index     index[E]
	all       *topic[E] // of cursors that select everything; its postings stay empty, history serves
	revision  int64
	compacted int64
	bytes     int64
	events    int
	closed    error
}

// New returns an empty log.
func New[E any](cfg Config[E]) (*Log[E], error) {
	switch {
	case cfg.Start < 0:
		return nil, fmt.Errorf("%w: Start is %d, must not be negative", ErrConfig, cfg.Start)
	case cfg.MaxBytes < 0:
		return nil, fmt.Errorf("%w: MaxBytes is %d, must not be negative", ErrConfig, cfg.MaxBytes)
	case cfg.MaxEvents < 0:
		return nil, fmt.Errorf("%w: MaxEvents is %d, must not be negative", ErrConfig, cfg.MaxEvents)
	case cfg.MaxAge < 0:
		return nil, fmt.Errorf("%w: MaxAge is %v, must not be negative", ErrConfig, cfg.MaxAge)
	}
	return &Log[E]{
		cfg:       cfg,
		index:     newIndex[E](),
		all:       &topic[E]{},
		revision:  cfg.Start,
		compacted: cfg.Start,
	}, nil
}

// Append publishes the transaction of a revision, which must be above all before it, and takes over the slice.
// Without events it is the same as Advance. It fails with ErrOrder, or with what Close was given.
func (l *Log[E]) Append(revision int64, events []Event[E]) error {
	var terms [][]string
	if l.cfg.Index != nil {
		terms = make([][]string, len(events))
	}
	txn := transaction[E]{events: events}
	for i := range events {
		events[i].Revision = revision
		txn.size += int64(events[i].Size) + eventOverhead
		if terms != nil {
			terms[i] = l.cfg.Index(events[i])
		}
	}
	var now time.Time
	if l.cfg.MaxAge > 0 {
		now = time.Now()
		txn.at = now
	}

	l.mu.Lock()
	if err := l.check(revision); err != nil {
		l.mu.Unlock()
		return err
	}
	l.revision = revision
	if len(events) == 0 {
		l.mu.Unlock()
		return nil
	}
	var wakes []chan struct{}
	wake := func(t *topic[E]) {
		if t.wake != nil {
			wakes = append(wakes, t.wake)
			t.wake = nil
		}
	}
	if len(l.index.byID) > 0 {
		for i := range events {
			var of []string
			if terms != nil {
				of = terms[i]
			}
			l.index.find(events[i].Key, of, func(t *topic[E]) {
				if t.post(revision, events, i) {
					txn.topics = append(txn.topics, t)
					wake(t)
				}
			})
		}
	}
	l.history.push(revision, txn)
	l.bytes += txn.size
	l.events += len(events)
	wake(l.all)
	for l.over(now) {
		l.dropOldest()
	}
	l.mu.Unlock()

	for _, c := range wakes {
		close(c)
	}
	return nil
}

// Advance says that everything up to revision has been appended, though the last of it concerned nobody here. A
// revision at or below the log's own changes nothing.
func (l *Log[E]) Advance(revision int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		return l.closed
	}
	l.revision = max(l.revision, revision)
	return nil
}

// Skip says that what happened after the newest revision, up to and including revision, will never be appended. Readers
// that have not seen it get a *CompactedError; those who want only what comes behind go on. A revision at or below the
// log's own changes nothing.
func (l *Log[E]) Skip(revision int64) {
	var wakes []chan struct{}
	l.mu.Lock()
	if l.closed == nil && revision > l.revision {
		for l.history.len() > 0 {
			l.dropOldest()
		}
		l.revision, l.compacted = revision, revision
		wakes = append(wakes, l.all.wake)
		l.all.lost, l.all.wake = revision, nil
		for _, t := range l.index.byID {
			wakes = append(wakes, t.wake)
			t.lost, t.wake = revision, nil
		}
	}
	l.mu.Unlock()
	for _, c := range wakes {
		if c != nil {
			close(c)
		}
	}
}

// Compact drops the history up to and including revision, but nothing that is still to come.
func (l *Log[E]) Compact(revision int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	revision = min(revision, l.revision)
	for l.history.len() > 0 && l.history.at(0).revision <= revision {
		l.dropOldest()
	}
	l.compacted = max(l.compacted, revision)
}

// Revision returns the newest revision appended or advanced to.
func (l *Log[E]) Revision() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.revision
}

// CompactRevision returns the newest revision that has been dropped: a cursor can be opened after it.
func (l *Log[E]) CompactRevision() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.compacted
}

// Len returns the number of events kept, and their size in bytes.
func (l *Log[E]) Len() (events int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events, l.bytes
}

// Close ends the log: every cursor delivers what was appended before, then fails with err, or with ErrClosed if err
// is nil. Later calls change nothing.
func (l *Log[E]) Close(err error) {
	if err == nil {
		err = ErrClosed
	}
	var wakes []chan struct{}
	l.mu.Lock()
	if l.closed == nil {
		l.closed = err
		for _, t := range l.index.byID {
			wakes = append(wakes, t.wake)
			t.wake = nil
		}
		wakes = append(wakes, l.all.wake)
		l.all.wake = nil
	}
	l.mu.Unlock()
	for _, c := range wakes {
		if c != nil {
			close(c)
		}
	}
}

// Open returns a cursor whose first event has revision from or above. A revision yet to come waits for it; zero means
// after the newest. It fails with a *CompactedError when the history from there on is incomplete.
func (l *Log[E]) Open(from int64, sel Selector) (*Cursor[E], error) {
	if err := sel.validate(); err != nil {
		return nil, err
	}
	sel = sel.canonical()
	id := sel.id()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed != nil {
		return nil, l.closed
	}
	if from == 0 {
		from = l.revision + 1
	}
	if from <= l.compacted {
		return nil, &CompactedError{Requested: from, CompactRevision: l.compacted}
	}
	t := l.all
	if !sel.everything() {
		if t = l.index.byID[id]; t == nil {
			t = &topic[E]{sel: sel, id: id, since: l.revision + 1}
			l.index.add(t)
		}
	}
	t.refs++
	return &Cursor[E]{log: l, topic: t, next: from, signal: make(chan struct{}, 1)}, nil
}

func (l *Log[E]) check(revision int64) error {
	if l.closed != nil {
		return l.closed
	}
	if revision <= l.revision {
		return fmt.Errorf("%w: %d was appended after %d", ErrOrder, revision, l.revision)
	}
	return nil
}

// over reports whether the oldest transaction has to go.
func (l *Log[E]) over(now time.Time) bool {
	if l.history.len() == 0 {
		return false
	}
	return l.cfg.MaxBytes > 0 && l.bytes > l.cfg.MaxBytes ||
		l.cfg.MaxEvents > 0 && l.events > l.cfg.MaxEvents ||
		l.cfg.MaxAge > 0 && now.Sub(l.history.at(0).value.at) > l.cfg.MaxAge
}

func (l *Log[E]) dropOldest() {
	oldest := l.history.at(0)
	for _, t := range oldest.value.topics {
		t.drop(oldest.revision)
	}
	l.all.lost = oldest.revision
	l.compacted = max(l.compacted, oldest.revision)
	l.bytes -= oldest.value.size
	l.events -= len(oldest.value.events)
	l.history.pop()
}
