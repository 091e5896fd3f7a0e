package watch

import "sort"

// ring is a queue of transactions in rising revision order: appended at the back, dropped at the front, searched in
// between. Dropped slots are cleared, so that it keeps nothing alive.
type ring[T any] struct {
	slots []slot[T]
	head  int // index of the oldest
	n     int
}

type slot[T any] struct {
	revision int64
	value    T
}

func (r *ring[T]) len() int { return r.n }

func (r *ring[T]) at(i int) *slot[T] { return &r.slots[(r.head+i)&(len(r.slots)-1)] }

func (r *ring[T]) push(revision int64, value T) {
	if r.n == len(r.slots) {
		grown := make([]slot[T], max(8, 2*len(r.slots)))
		for i := range r.n {
			grown[i] = *r.at(i)
		}
		r.slots, r.head = grown, 0
	}
	r.n++
	*r.at(r.n - 1) = slot[T]{revision, value}
}

// pop drops the oldest. The ring must not be empty.
func (r *ring[T]) pop() {
	*r.at(0) = slot[T]{}
	r.head = (r.head + 1) & (len(r.slots) - 1)
	r.n--
	if len(r.slots) > 64 && r.n < len(r.slots)/8 {
		shrunk := make([]slot[T], len(r.slots)/4)
		for i := range r.n {
			shrunk[i] = *r.at(i)
		}
		r.slots, r.head = shrunk, 0
	}
}

// search returns the index of the first with a revision of at least the given one.
func (r *ring[T]) search(revision int64) int {
	return sort.Search(r.n, func(i int) bool { return r.at(i).revision >= revision })
}
