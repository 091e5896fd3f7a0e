package store

import (
	"context"
	"fmt"
)

const (
	// maxVisits bounds how many versions of keys the ranges, the compares over ranges and the range deletes of one
	// transaction visit together: so many take the state machine, which does nothing else meanwhile, about a second. In a
	// store with more keys it is fullPasses visits to each.
	//
	// It is part of version 1 of the formats: members that don't agree on it don't have the same state.
	maxVisits  = 10_000_000
	fullPasses = 4
	// bytesPerVisit is how many bytes of a value are compared in the time of a visit, roughly.
	bytesPerVisit = 256
	// visitsPerLook is after how many visits a transaction that only reads looks at its context.
	visitsPerLook = 4096
)

// errVisits refuses a transaction, of which nothing was run.
var errVisits = fmt.Errorf("%w: the transaction would visit more than %d versions of keys", ErrTooLarge, maxVisits)

// visits is what a transaction may still visit. It depends on the transaction and the state before it only, and so all
// members refuse the same ones.
type visits struct {
	left    int64
	deleted bool // a range is deleted before what comes now
	// ctx ends a transaction that only reads. It is nil in the state machine: there every member must come to the same end.
	ctx  context.Context
	seen int
}

// allowed is what a transaction may visit.
func (v *view) allowed() visits {
	return visits{left: max(maxVisits, fullPasses*int64(v.items.n))}
}

// take counts a visit, and reports false when there may be no further one.
func (a *visits) take(cost int64) bool {
	a.left -= cost
	if a.seen++; a.seen%visitsPerLook == 0 && a.ended() {
		return false
	}
	return a.left >= 0
}

// ended reports whether nobody waits for the result any more.
func (a *visits) ended() bool { return a.ctx != nil && a.ctx.Err() != nil }

// perVisit is the price of one visit of a compare.
func (c *Compare) perVisit() int64 { return 1 + int64(len(c.Value))/bytesPerVisit }

// countRange takes off what a range will visit, before anything of the transaction is run.
func (a *visits) countRange(v *view, req *RangeRequest) {
	switch newest := req.Revision == 0; {
	case len(req.End) == 0, newest && req.CountOnly:
		a.left--
	case newest && !a.deleted && req.Limit > 0 && req.ordered() && !req.bounded():
		a.count(v, req.Key, req.End, req.Limit)
	default:
		a.count(v, req.Key, req.End, 0)
	}
}

// countDelete is countRange for a delete. What it leaves behind is in the way of later ranges, like other deleted keys.
func (a *visits) countDelete(v *view, req *DeleteRequest) {
	if len(req.End) == 0 {
		a.left--
		return
	}
	a.deleted = true
	a.count(v, req.Key, req.End, 0)
}

// count takes off the keys of a range, those too that are deleted and not compacted yet; with a limit, those up to the
// first existing one that is too many.
func (a *visits) count(v *view, start, end []byte, limited int64) {
	if a.left < 0 || v.items.root == nil {
		return
	}
	w := passage{from: text(start), to: limit(end), limit: limited, most: a.left}
	v.items.root.pass(&w)
	a.left -= w.items + 1
}

// passage is an ascent that looks at leaves, and not at the items in them. What it counts does not depend on how the
// items are spread over leaves, which is another way in a member that was restored; but for what is more than most.
type passage struct {
	from, to string
	limit    int64 // of existing keys; 0 means none
	most     int64 // items
	items    int64
	live     int64
}

// pass reports whether the ascent goes on behind the node.
func (nd *node) pass(w *passage) bool {
	if nd.inner == nil {
		first, _ := nd.find(w.from)
		last := nd.n
		if w.to != "" {
			last, _ = nd.find(w.to)
		}
		if first >= last {
			return last == nd.n
		}
		if live := int64(nd.before(last) - nd.before(first)); w.limit == 0 || w.live+live <= w.limit {
			w.items += int64(last - first)
			w.live += live
			return last == nd.n && w.items <= w.most
		}
		for i := first; w.live <= w.limit; i++ {
			w.items++
			w.live += int64(nd.weight(i))
		}
		return false
	}
	for i := nd.child(w.from); i < nd.n; i++ {
		if w.to != "" && nd.inner.keys[i] >= w.to || !nd.inner.kids[i].pass(w) {
			return false
		}
	}
	return true
}
