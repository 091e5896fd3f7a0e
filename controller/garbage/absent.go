package garbage

import "sync"

// identity is everything by which a reference finds an owner.
type identity struct{ apiVersion, kind, namespace, name, uid string }

// absentees remembers owners that do not exist, the latest of them.
type absentees struct {
	mu    sync.Mutex
	known map[identity]struct{}
	order []identity // a ring, once it is full
	next  int
}

func newAbsentees(size int) *absentees {
	return &absentees{known: make(map[identity]struct{}), order: make([]identity, 0, size)}
}

func (a *absentees) has(id identity) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.known[id]
	return ok
}

func (a *absentees) add(id identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.known[id]; ok {
		return
	}
	a.known[id] = struct{}{}
	if len(a.order) < cap(a.order) {
		a.order = append(a.order, id)
		return
	}
	delete(a.known, a.order[a.next])
	a.order[a.next] = id
	a.next = (a.next + 1) % len(a.order)
}
