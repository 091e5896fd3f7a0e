package watch

// topic is what the cursors of one selector share: the posting list of their events, and what is needed to wake them.
// The log's mutex guards it.
type topic[E any] struct {
	sel   Selector
	id    string
	refs  int   // cursors that are open on it
	since int64 // postings are complete from this revision on
	lost  int64 // newest revision that was dropped from postings

	newest  int64 // newest revision that was posted
	waiting waiting[E]

	joined joined[E] // what was put together last for a cursor: others want the same

	postings ring[[]Event[E]]
	first    int // position in its transaction of the newest posting's first event; -1 when they are no run
	last     int // position of its last event
}

// post adds event i of the transaction. Runs of neighbouring events share the transaction's memory.
func (t *topic[E]) post(revision int64, events []Event[E], i int) (isNew bool) {
	t.newest = revision
	if n := t.postings.len(); n > 0 && t.postings.at(n-1).revision == revision {
		newest := t.postings.at(n - 1)
		switch {
		case t.last == i: // already there, by another index term
		case t.first >= 0 && t.last+1 == i:
			newest.value = events[t.first : i+1 : i+1]
		case t.first >= 0:
			newest.value = append(newest.value[:len(newest.value):len(newest.value)], events[i])
			t.first = -1
		default:
			newest.value = append(newest.value, events[i])
		}
		t.last = i
		return false
	}
	t.postings.push(revision, events[i:i+1:i+1])
	t.first, t.last = i, i
	return true
}

// drop forgets the postings up to revision.
func (t *topic[E]) drop(revision int64) {
	for t.postings.len() > 0 && t.postings.at(0).revision <= revision {
		t.lost = t.postings.at(0).revision
		t.postings.pop()
	}
}

// index finds the topics that an event concerns.
type index[E any] struct {
	byID     map[string]*topic[E]
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
