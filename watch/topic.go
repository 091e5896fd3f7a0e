package watch

import "sync/atomic"

// node is what one call of AppendAll published for a topic, or a part of that. Nodes are linked in order, so that who
// has read one finds the next without a lock. Nothing but the link changes.
type node[E any] struct {
	first, through int64 // the revision of its first event, and up to which the topic is complete with it
	events         []Event[E]
	next           atomic.Pointer[node[E]] // the log's gone if the next one was dropped
}

// topic is what the cursors of one selector share: the posting list of their events, and what is needed to wake them.
// The log's mutex guards it, but for what is atomic and waiting.
type topic[E any] struct {
	sel   Selector
	id    string
	refs  int   // cursors that are open on it
	since int64 // postings are complete from this revision on
	lost  int64 // newest revision that was dropped from postings

	postings ring[*node[E]] // by through
	tail     *node[E]       // the newest, or one without events
	dropped  *node[E]       // the one before the oldest
	making   []Event[E]     // the events of the next node
	made     int64          // the revision of the newest of them, and its place in its transaction
	place    int
	newest   atomic.Int64 // the newest revision that was posted

	waiting waiting[E]
	joined  atomic.Pointer[joined[E]] // what was put together last for a cursor: others come to the same place
}

// joined are the events of neighbouring nodes.
type joined[E any] struct {
	first, last *node[E]
	nodes       int
	events      []Event[E]
}

// take returns the nodes from first on, as many as one Next may return, with what they have.
func (t *topic[E]) take(first *node[E], gone *node[E]) *joined[E] {
	j := &joined[E]{first: first, last: first, nodes: 1}
	n := len(first.events)
	for j.nodes < batchTransactions && n < batchEvents {
		next := j.last.next.Load()
		if next == nil || next == gone {
			break
		}
		j.last = next
		j.nodes++
		n += len(next.events)
	}
	if j.nodes == 1 {
		j.events = first.events
		return j
	}
	if old := t.joined.Load(); old != nil && old.first == first && j.nodes <= 2*old.nodes {
		return old
	}
	j.events = make([]Event[E], 0, n)
	for next := first; ; next = next.next.Load() {
		if next == gone { // the last of them, and what comes after it, have been dropped meanwhile
			return &joined[E]{first: first, last: first, nodes: 1, events: first.events}
		}
		j.events = append(j.events, next.events...)
		if next == j.last {
			break
		}
	}
	t.joined.Store(j)
	return j
}

func newTopic[E any](sel Selector, id string, since int64) *topic[E] {
	root := &node[E]{}
	return &topic[E]{sel: sel, id: id, since: since, tail: root, dropped: root}
}

// post adds event i of a transaction to what is being made. Neighbours in memory stay where they are. It reports
// whether this is the transaction's first event here.
func (t *topic[E]) post(events []Event[E], i int) (isNew bool) {
	e := &events[i]
	n := len(t.making)
	if n > 0 {
		if t.made == e.Revision && t.place == i {
			return false // already there, by another index term
		}
		if isNew = t.made != e.Revision; isNew && n >= batchEvents {
			t.link(t.made)
			n = 0
		}
	} else {
		isNew = true
	}
	t.made, t.place = e.Revision, i
	switch {
	case n == 0:
		t.making = events[i : i+1]
	case cap(t.making) > n && &t.making[:n+1][n] == e:
		t.making = t.making[:n+1]
	default:
		t.making = append(t.making[:n:n], *e)
	}
	return isNew
}

// link makes a node of what has been posted. Everything up to and including through has been.
func (t *topic[E]) link(through int64) {
	n := &node[E]{first: t.making[0].Revision, through: through, events: t.making[:len(t.making):len(t.making)]}
	t.making = nil
	t.postings.push(through, n)
	t.tail.next.Store(n)
	t.tail = n
	t.newest.Store(through)
}

// drop forgets the nodes that begin at or before a revision. Who has not read one doesn't find it any more, and so
// holds in memory only where it is.
func (t *topic[E]) drop(revision int64, gone *node[E]) {
	for t.postings.len() > 0 && t.postings.at(0).value.first <= revision {
		n := t.postings.at(0).value
		t.lost = n.through
		t.dropped.next.Store(gone)
		t.dropped = n
		t.postings.pop()
	}
}

// index finds the topics that an event concerns.
type index[E any] struct {
	byID     map[string]*topic[E]
	all      []*topic[E] // that select everything
	keys     map[string][]*topic[E]
	prefixes map[string][]*topic[E]
	lengths  map[int]int // how many topics have a prefix of this length
	terms    map[string][]*topic[E]
	ranges   []*topic[E]
}

func newIndex[E any]() index[E] {
	return index[E]{
		byID:     map[string]*topic[E]{},
		keys:     map[string][]*topic[E]{},
		prefixes: map[string][]*topic[E]{},
		lengths:  map[int]int{},
		terms:    map[string][]*topic[E]{},
	}
}

func (x *index[E]) add(t *topic[E]) {
	x.byID[t.id] = t
	switch {
	case t.sel.everything():
		x.all = append(x.all, t)
	case len(t.sel.Terms) > 0:
		for _, term := range t.sel.Terms {
			x.terms[term] = append(x.terms[term], t)
		}
	case t.sel.Key != "":
		x.keys[t.sel.Key] = append(x.keys[t.sel.Key], t)
	case t.sel.Prefix != "":
		x.prefixes[t.sel.Prefix] = append(x.prefixes[t.sel.Prefix], t)
		x.lengths[len(t.sel.Prefix)]++
	default:
		x.ranges = append(x.ranges, t)
	}
}

func (x *index[E]) remove(t *topic[E]) {
	delete(x.byID, t.id)
	switch {
	case t.sel.everything():
		x.all = without(x.all, t)
	case len(t.sel.Terms) > 0:
		for _, term := range t.sel.Terms {
			removeFrom(x.terms, term, t)
		}
	case t.sel.Key != "":
		removeFrom(x.keys, t.sel.Key, t)
	case t.sel.Prefix != "":
		removeFrom(x.prefixes, t.sel.Prefix, t)
		if x.lengths[len(t.sel.Prefix)]--; x.lengths[len(t.sel.Prefix)] == 0 {
			delete(x.lengths, len(t.sel.Prefix))
		}
	default:
		x.ranges = without(x.ranges, t)
	}
}

// find calls visit for each topic that selects an event with this key and these terms, possibly twice for one that
// has several terms.
func (x *index[E]) find(key string, terms []string, visit func(*topic[E])) {
	for _, t := range x.all {
		visit(t)
	}
	for _, t := range x.keys[key] {
		visit(t)
	}
	for length := range x.lengths {
		if length <= len(key) {
			for _, t := range x.prefixes[key[:length]] {
				visit(t)
			}
		}
	}
	for _, t := range x.ranges {
		if t.sel.matchKey(key) {
			visit(t)
		}
	}
	if len(x.terms) == 0 {
		return
	}
	for _, term := range terms {
		for _, t := range x.terms[term] {
			if t.sel.matchKey(key) {
				visit(t)
			}
		}
	}
}

func removeFrom[E any](m map[string][]*topic[E], key string, t *topic[E]) {
	if rest := without(m[key], t); len(rest) > 0 {
		m[key] = rest
	} else {
		delete(m, key)
	}
}

func without[E any](topics []*topic[E], t *topic[E]) []*topic[E] {
	for i, other := range topics {
		if other == t {
			last := len(topics) - 1
			topics[i], topics[last] = topics[last], nil
			return topics[:last]
		}
	}
	return topics
}
