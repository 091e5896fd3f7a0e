package watch

import (
	"fmt"
	"sync"
	"sync/atomic"
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
	// ErrCompacted, or only Past knows it. Zero means that the history is known from its beginning.
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
	// Past returns what the log has dropped to keep within its bounds, from somewhere else: the transactions of the
	// revisions from from on, oldest first, and the revision up to which these are all. That is to or less; but at
	// least from, so that the rest can be asked for. It reports false if that history is gone there too. It is
	// called without a lock held. With it only Compact compacts: readers may go as far back. Nil means that what is
	// dropped is gone.
	Past func(from, to int64) (transactions []Transaction[E], through int64, ok bool)
}

// Transaction is what happened at a revision.
type Transaction[E any] struct {
	Revision int64
	Events   []Event[E]
}

// transaction is what the log keeps of one revision.
type transaction[E any] struct {
	events []Event[E]
	topics *[]*topic[E]  // that have a posting of it; nil means none
	at     time.Duration // since the log was made
}

func (t *transaction[E]) size() (size int64) {
	for i := range t.events {
		size += int64(t.events[i].Size) + eventOverhead
	}
	return size
}

// Log is the event log. Make one with New.
type Log[E any] struct {
	cfg   Config[E]
	start time.Time

	mu        sync.Mutex
	history   deque[transaction[E]]
	index     index[E]
	gone      *node[E] // what the link to a node that was dropped leads to
	revision  int64
	lost      int64 // newest revision that was dropped from history
	compacted int64
	bytes     int64
	events    int
	closed    error

	over atomic.Bool // closed is set
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
	l := &Log[E]{
		cfg:      cfg,
		start:    time.Now(),
		index:    newIndex[E](),
		gone:     &node[E]{},
		revision: cfg.Start,
	}
	if cfg.Past == nil {
		l.compacted = cfg.Start
	} else {
		l.lost = cfg.Start
	}
	return l, nil
}

// Append publishes the transaction of a revision, which must be above all before it, and takes over the slice.
// Without events it is the same as Advance. It fails with ErrOrder, or with what Close was given.
func (l *Log[E]) Append(revision int64, events []Event[E]) error {
	return l.AppendAll([]Transaction[E]{{revision, events}})
}

// AppendAll is Append of several transactions, one after the other, up to the first that fails. Readers are told once.
func (l *Log[E]) AppendAll(transactions []Transaction[E]) error {
	var terms [][]string // of all events
	for _, txn := range transactions {
		for i := range txn.Events {
			txn.Events[i].Revision = txn.Revision
			if l.cfg.Index != nil {
				terms = append(terms, l.cfg.Index(txn.Events[i]))
			}
		}
	}
	var now time.Duration
	if l.cfg.MaxAge > 0 {
		now = time.Since(l.start)
	}
	var posted []*topic[E]
	var err error
	l.mu.Lock()
	for _, txn := range transactions {
		if err = l.check(txn.Revision); err != nil {
			break
		}
		l.revision = txn.Revision
		if len(txn.Events) == 0 {
			continue
		}
		var of [][]string
		if terms != nil {
			of, terms = terms[:len(txn.Events)], terms[len(txn.Events):]
		}
		kept := transaction[E]{events: txn.Events, at: now}
		if len(l.index.byID) > 0 {
			var topics []*topic[E]
			if topics, posted = l.post(txn, of, posted); len(topics) > 0 {
				kept.topics = &topics
			}
		}
		l.history.push(txn.Revision, kept)
		l.bytes += kept.size()
		l.events += len(txn.Events)
	}
	for _, t := range posted {
		t.link(l.revision)
	}
	for l.tooMuch(now) {
		l.dropOldest()
	}
	l.mu.Unlock()
	for _, t := range posted {
		t.waiting.begin(&t.newest)
	}
	return err
}

// post enters a transaction in the topics that it concerns, and returns those, and adds those that nothing was posted
// in before to posted. The caller holds the lock.
func (l *Log[E]) post(txn Transaction[E], terms [][]string, posted []*topic[E]) (topics, all []*topic[E]) {
	for i := range txn.Events {
		var of []string
		if terms != nil {
			of = terms[i]
		}
		l.index.find(txn.Events[i].Key, of, func(t *topic[E]) {
			if len(t.making) == 0 {
				posted = append(posted, t)
			}
			if t.post(txn.Events, i) {
				topics = append(topics, t)
			}
		})
	}
	return topics, posted
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
	var topics []*topic[E]
	l.mu.Lock()
	if l.closed == nil {
		l.closed = err
		l.over.Store(true)
		for _, t := range l.index.byID {
			topics = append(topics, t)
		}
	}
	l.mu.Unlock()
	for _, t := range topics {
		t.waiting.all()
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
	t := l.index.byID[id]
	if t == nil {
		t = newTopic[E](sel, id, l.revision+1)
		l.index.add(t)
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

// tooMuch reports whether the oldest transaction has to go.
func (l *Log[E]) tooMuch(now time.Duration) bool {
	if l.history.len() == 0 {
		return false
	}
	return l.cfg.MaxBytes > 0 && l.bytes > l.cfg.MaxBytes ||
		l.cfg.MaxEvents > 0 && l.events > l.cfg.MaxEvents ||
		l.cfg.MaxAge > 0 && now-l.history.at(0).value.at > l.cfg.MaxAge
}

func (l *Log[E]) dropOldest() {
	oldest := l.history.at(0)
	if topics := oldest.value.topics; topics != nil {
		for _, t := range *topics {
			t.drop(oldest.revision, l.gone)
		}
	}
	l.lost = oldest.revision
	if l.cfg.Past == nil {
		l.compacted = max(l.compacted, oldest.revision)
	}
	l.bytes -= oldest.value.size()
	l.events -= len(oldest.value.events)
	l.history.pop()
}
