package store

import "context"

// View is a store as it is at one revision, and stays so: what is read from it holds at the same moment. A read costs a
// search and waits for nothing. A View is never closed, but while it is held, so are the versions that it has. It may be
// used by many goroutines. The zero View has no keys.
type View struct{ at *view }

// View returns the store with every write that was acknowledged before the call, as linearizable reads have it.
func (s *Store) View(ctx context.Context) (View, error) {
	v, err := s.read(ctx, "view")
	return View{v}, err
}

// SerializableView returns what this member has, which may be behind what others have acknowledged. It asks nobody, and
// fails when the store is closed or has failed.
func (s *Store) SerializableView() (View, error) {
	if err := s.engine.local(); err != nil {
		return View{}, &Error{Op: "view", Err: err}
	}
	return View{s.current.Load()}, nil
}

// Revision returns the view's revision.
func (v View) Revision() int64 {
	if v.at == nil {
		return 0
	}
	return v.at.revision
}

// Get reads a key.
func (v View) Get(key []byte) (kv KV, found bool) {
	if v.at == nil {
		return KV{}, false
	}
	if current := v.at.current(key); current != nil {
		return *current, true
	}
	return KV{}, false
}

// Range reads keys. It fails with ErrCompacted if RangeRequest.Revision was compacted before the view was made, and with
// ErrFutureRevision if it is later than the view's. RangeRequest.Serializable changes nothing.
func (v View) Range(req RangeRequest) (RangeResult, error) {
	const op = "range"
	if err := req.validate(); err != nil {
		return RangeResult{}, &Error{Op: op, Key: string(req.Key), Err: err}
	}
	if v.at == nil {
		return RangeResult{}, nil
	}
	if err := v.at.readable(req.Revision); err != nil {
		err.Op, err.Key = op, string(req.Key)
		return RangeResult{}, err
	}
	return v.at.rangeAt(&req), nil
}
