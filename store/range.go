package store

import (
	"bytes"
	"cmp"
	"slices"
)

// readable reports whether revision can be read; 0 always can.
func (v *view) readable(revision int64) *Error {
	switch {
	case revision == 0:
		return nil
	case revision > v.revision:
		return &Error{Err: ErrFutureRevision, Revision: v.revision}
	case revision < v.compacted:
		return &Error{Err: ErrCompacted, Revision: v.compacted}
	}
	return nil
}

// limit returns the end of a range that has one, "" for that of all keys.
func limit(end []byte) string {
	if to := text(end); to != "\x00" {
		return to
	}
	return ""
}

// ascend calls visit for each key of the range that exists at revision, in order, until it returns false.
func (v *view) ascend(start, end []byte, revision int64, visit func(*version) bool) {
	if len(end) == 0 {
		if at := v.items.get(text(start)).at(revision); at != nil {
			visit(at)
		}
		return
	}
	to := limit(end)
	v.items.ascend(text(start), func(newest *version) bool {
		if to != "" && newest.name() >= to {
			return false
		}
		at := newest.at(revision)
		return at == nil || visit(at)
	})
}

// rangeAt serves a range whose revision is readable.
func (v *view) rangeAt(req *RangeRequest) RangeResult {
	revision := req.Revision
	if revision == 0 {
		revision = v.revision
	}
	res := RangeResult{Revision: v.revision}
	ordered := req.ordered()
	// At the newest revision the tree knows how many keys there are.
	known := len(req.End) > 0 && revision == v.revision
	if known {
		res.Count = int64(v.items.count(text(req.Key), limit(req.End)))
		if req.CountOnly || res.Count == 0 {
			return res
		}
		if !req.bounded() {
			n := res.Count
			if ordered && req.Limit > 0 {
				n = min(n, req.Limit)
			}
			res.KVs = make([]KV, 0, n)
		}
	}
	matched := int64(0)
	v.ascend(req.Key, req.End, revision, func(at *version) bool {
		if !known {
			res.Count++
		}
		if req.CountOnly || !req.within(at) {
			return true
		}
		matched++
		if ordered && req.Limit > 0 && matched > req.Limit {
			return !known
		}
		kv := at.KV
		if req.KeysOnly && req.SortBy != SortByValue {
			kv.Value = nil
		}
		res.KVs = append(res.KVs, kv)
		return true
	})
	if !ordered {
		slices.SortStableFunc(res.KVs, func(a, b KV) int {
			order := req.SortBy.compare(&a, &b)
			if req.SortDescend {
				return -order
			}
			return order
		})
	}
	if req.Limit > 0 && matched > req.Limit {
		res.KVs, res.More = res.KVs[:req.Limit:req.Limit], true
	}
	if req.KeysOnly && req.SortBy == SortByValue {
		for i := range res.KVs {
			res.KVs[i].Value = nil
		}
	}
	return res
}

// ordered reports whether the result is in the tree's order.
func (r *RangeRequest) ordered() bool { return r.SortBy == SortByKey && !r.SortDescend }

// bounded reports whether there are bounds on revisions.
func (r *RangeRequest) bounded() bool {
	return r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0
}

// within applies the bounds on revisions.
func (r *RangeRequest) within(v *version) bool {
	return (r.MinModRevision == 0 || v.ModRevision >= r.MinModRevision) &&
		(r.MaxModRevision == 0 || v.ModRevision <= r.MaxModRevision) &&
		(r.MinCreateRevision == 0 || v.CreateRevision >= r.MinCreateRevision) &&
		(r.MaxCreateRevision == 0 || v.CreateRevision <= r.MaxCreateRevision)
}

func (t SortTarget) compare(a, b *KV) int {
	switch t {
	case SortByVersion:
		return cmp.Compare(a.Version, b.Version)
	case SortByCreate:
		return cmp.Compare(a.CreateRevision, b.CreateRevision)
	case SortByMod:
		return cmp.Compare(a.ModRevision, b.ModRevision)
	case SortByValue:
		return bytes.Compare(a.Value, b.Value)
	default:
		return bytes.Compare(a.Key, b.Key)
	}
}
