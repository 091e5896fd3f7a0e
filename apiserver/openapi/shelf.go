package openapi

import "sync"

// shelf keeps what was built, up to a number of bytes: what was not used for longest goes first. It is safe for concurrent use.
type shelf struct {
	mu    sync.Mutex
	limit int
	bytes int
	clock uint64 // counts uses
	slots map[shelfKey]*slot
}

type shelfKey struct {
	doc  *Document
	form Form
}

type slot struct {
	get  func() ([]byte, error)
	size int // 0 while it is being built
	used uint64
}

func newShelf(limit int) *shelf { return &shelf{limit: limit, slots: map[shelfKey]*slot{}} }

// get answers what is kept, or builds it. Whoever asks while it is being built waits for that; nobody else does. What could not be
// built is not kept.
func (s *shelf) get(key shelfKey, build func() ([]byte, error)) ([]byte, error) {
	s.mu.Lock()
	s.clock++
	sl, ok := s.slots[key]
	if !ok {
		sl = &slot{get: sync.OnceValues(build)}
		s.slots[key] = sl
	}
	sl.used = s.clock
	s.mu.Unlock()
	data, err := sl.get()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.slots[key] != sl: // dropped meanwhile
	case err != nil:
		delete(s.slots, key)
	case sl.size == 0:
		sl.size = len(data)
		s.bytes += sl.size
		s.shrink()
	}
	return data, err
}

// shrink drops what is too much. The last one used stays even when it alone is.
func (s *shelf) shrink() {
	for s.bytes > s.limit {
		var oldest shelfKey
		var found *slot
		for key, sl := range s.slots {
			if sl.size > 0 && sl.used != s.clock && (found == nil || sl.used < found.used) {
				oldest, found = key, sl
			}
		}
		if found == nil {
			return
		}
		s.bytes -= found.size
		delete(s.slots, oldest)
	}
}

// keep drops all but the forms of some documents.
func (s *shelf) keep(wanted func(*Document) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, sl := range s.slots {
		if !wanted(key.doc) {
			s.bytes -= sl.size
			delete(s.slots, key)
		}
	}
}
