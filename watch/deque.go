package watch

import "sort"

// chunk is how many transactions a deque keeps in one piece of memory.
const chunk = 64

// deque is a ring for many: it keeps little more memory than it needs, and never moves what it has.
type deque[T any] struct {
	chunks []*[chunk]slot[T]
	head   int // index of the oldest in the first chunk
	n      int
}

func (d *deque[T]) len() int { return d.n }

func (d *deque[T]) at(i int) *slot[T] {
	i += d.head
	return &d.chunks[i/chunk][i%chunk]
}

func (d *deque[T]) push(revision int64, value T) {
	if d.head+d.n == chunk*len(d.chunks) {
		d.chunks = append(d.chunks, new([chunk]slot[T]))
	}
	d.n++
	*d.at(d.n - 1) = slot[T]{revision, value}
}

// pop drops the oldest. The deque must not be empty.
func (d *deque[T]) pop() {
	*d.at(0) = slot[T]{}
	d.n--
	if d.head++; d.head == chunk {
		d.chunks[0] = nil
		d.chunks, d.head = d.chunks[1:], 0
	}
}

// search returns the index of the first with a revision of at least the given one.
func (d *deque[T]) search(revision int64) int {
	return sort.Search(d.n, func(i int) bool { return d.at(i).revision >= revision })
}
