package store

// KV is one version of a key.
type KV struct {
	Key, Value []byte
	// CreateRevision is the revision that created the key, since it was last deleted.
	CreateRevision int64
	// ModRevision is the revision of this version.
	ModRevision int64
	// Version counts the changes since the key was created, from 1.
	Version int64
	// Lease is the lease the key lives by, 0 for none.
	Lease int64
}

// RangeRequest asks for keys. Which ones is said by Key and End, here and in every other request that has both:
//
//	End empty              the one Key
//	End "\x00"             all keys from Key on; with Key "\x00" too, all keys
//	otherwise              Key <= k < End; PrefixEnd(Key) is the End for all keys that start with Key
type RangeRequest struct {
	Key, End []byte
	// Limit bounds the number of keys returned; 0 means no bound.
	Limit int64
	// Revision is the revision to read at; 0 means the newest.
	Revision int64
	// KeysOnly leaves out values.
	KeysOnly bool
	// CountOnly returns only the count.
	CountOnly bool
	// Serializable permits an answer from this member's own state without asking whether it still leads.
	Serializable bool
	// SortBy and SortDescend order the result; Limit applies after. By default it is by key, ascending.
	SortBy      SortTarget
	SortDescend bool
	// MinModRevision and MaxModRevision leave out keys last changed outside these bounds; 0 means no bound.
	MinModRevision, MaxModRevision int64
	// MinCreateRevision and MaxCreateRevision leave out keys created outside these bounds; 0 means no bound.
	MinCreateRevision, MaxCreateRevision int64
}

// SortTarget is what a range is ordered by.
type SortTarget uint8

const (
	// SortByKey orders by the bytes of the key.
	SortByKey SortTarget = iota
	// SortByVersion orders by how often the key was changed since it was created.
	SortByVersion
	// SortByCreate orders by the revision that created the key.
	SortByCreate
	// SortByMod orders by the revision that changed the key last.
	SortByMod
	// SortByValue orders by the bytes of the value.
	SortByValue
)

// RangeResult is the answer to a RangeRequest.
type RangeResult struct {
	KVs []KV
	// More says that Limit left something out.
	More bool
	// Count is the number of keys in the range, whatever the limit and the bounds on revisions.
	Count int64
	// Revision is the store's revision when the range was served, not the one asked for.
	Revision int64
}

// PutRequest sets a key.
type PutRequest struct {
	Key, Value []byte
	// Lease attaches the key to a lease; 0 detaches it from the one it had.
	Lease int64
	// PrevKV returns the version before.
	PrevKV bool
	// IgnoreValue keeps the value, IgnoreLease the lease that the key has; it must exist.
	IgnoreValue, IgnoreLease bool
}

// PutResult is the answer to a PutRequest.
type PutResult struct {
	// PrevKV is nil if it was not asked for or the key did not exist.
	PrevKV *KV
	// Revision is the store's revision after the put.
	Revision int64
}

// DeleteRequest deletes a key or a range of keys, as RangeRequest says.
type DeleteRequest struct {
	Key, End []byte
	// PrevKV returns what was deleted.
	PrevKV bool
}

// DeleteResult is the answer to a DeleteRequest.
type DeleteResult struct {
	Deleted  int64
	PrevKVs  []KV
	Revision int64
}

// PrefixEnd returns the End of the range of all keys that start with prefix.
func PrefixEnd(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] < 0xff {
			end := append([]byte(nil), prefix[:i+1]...)
			end[i]++
			return end
		}
	}
	return []byte{0}
}
