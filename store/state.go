package store

import (
	"bytes"
	"cmp"
	"hash/crc32"
	"slices"
	"sort"
	"time"

	"github.com/google/btree"
	"github.com/keelson-dev/keelson/watch"
)

// firstRevision is the revision of a new store, as in etcd.
const firstRevision = 1

// degree of the copy-on-write trees: small enough that copying a path is cheap, since every batch copies one.
const degree = 16

// versionOverhead is what a version costs beside its key and value, roughly.
const versionOverhead = 160

// version is one version of a key. A tombstone has Version 0 and only Key and ModRevision.
type version struct {
	KV
	sub int32 // order among the changes of its revision
}

func (v *version) tombstone() bool { return v.Version == 0 }

// inOrder compares versions by when they were made.
func inOrder(a, b *version) int {
	if a.ModRevision != b.ModRevision {
		return cmp.Compare(a.ModRevision, b.ModRevision)
	}
	return cmp.Compare(a.sub, b.sub)
}

// item is what the tree holds of a key. It is immutable; a change replaces it. The backing array of older is shared
// with older items of the key, which see less of it, and only the newest appends.
type item struct {
	newest *version
	older  []*version // oldest first
}

// newItem returns an item of versions, oldest first, of which there is one at least.
func newItem(versions []*version) *item {
	last := len(versions) - 1
	return &item{newest: versions[last], older: versions[:last:last]}
}

func (it *item) key() string { return text(it.newest.Key) }

func (it *item) len() int { return len(it.older) + 1 }

// version returns one of the versions; 0 is the oldest.
func (it *item) version(i int) *version {
	if i == len(it.older) {
		return it.newest
	}
	return it.older[i]
}

// before returns the number of versions that are not after revision.
func (it *item) before(revision int64) int {
	if it.newest.ModRevision <= revision {
		return it.len()
	}
	return sort.Search(len(it.older), func(i int) bool { return it.older[i].ModRevision > revision })
}

// at returns the version that holds at revision, nil if the key does not exist then.
func (it *item) at(revision int64) *version {
	n := it.before(revision)
	if n == 0 {
		return nil
	}
	if v := it.version(n - 1); !v.tombstone() {
		return v
	}
	return nil
}

type leaseRecord struct {
	id       int64
	ttl      time.Duration
	renewals uint64
}

func leaseLess(a, b leaseRecord) bool { return a.id < b.id }

type attachment struct {
	lease int64
	key   string
}

func attachmentLess(a, b attachment) bool {
	if a.lease != b.lease {
		return a.lease < b.lease
	}
	return a.key < b.key
}

// view is the state at one moment: immutable, and read without a lock.
type view struct {
	items     tree
	leases    *btree.BTreeG[leaseRecord]
	attached  *btree.BTreeG[attachment]
	revision  int64
	compacted int64
	cluster   uint64
	applied   uint64       // commands
	hash      uint64       // over all commands
	bytes     int64        // keys, values and overhead of all versions
	keys      int64        // that exist
	version   uint64       // of the formats in use
	members   []attributes // by name; shared, and so never changed
	// touched are all versions whose revision is not compacted, in the order in which they were made; only the newest
	// view appends to the array.
	touched []*version
	log     *watch.Log[Event] // that has the state's events
}

// state is the state machine: apply is a pure function of the state, the command and its Raft term. One goroutine
// uses it.
type state struct {
	view
	sessions *btree.BTreeG[*session]
	proposer *session // the one used last; nil means none
	age      uint64   // how often the sessions have been shared
	events   []change
	buffer   []watch.Event[Event] // of all changes in events
	notes    []leaseNote
	sub      int32
	bugs     bugs
	last     *view // the newest snapshot, whose trees are shared as long as they don't change
	dirty    struct{ items, leases, attached bool }
}

// leaseNote tells the keeper of time that a lease was granted or renewed, or is gone.
type leaseNote struct {
	rec  leaseRecord
	gone bool
}

// change is a revision and its events, to be appended to the watch log.
type change struct {
	revision int64
	events   []watch.Event[Event]
	start    int // of events in the state's buffer, until drain
}

func newState() *state {
	return &state{sessions: newSessions(), view: view{
		leases:   btree.NewG(degree, leaseLess),
		attached: btree.NewG(degree, attachmentLess),
		revision: firstRevision,
		version:  1,
	}}
}

// snapshot returns the state as it is now.
func (st *state) snapshot() *view {
	v := st.view
	if st.last == nil || st.dirty.items {
		v.items = st.items.copied()
	} else {
		v.items = st.last.items
	}
	if st.last == nil || st.dirty.leases {
		v.leases = st.leases.Clone()
	} else {
		v.leases = st.last.leases
	}
	if st.last == nil || st.dirty.attached {
		v.attached = st.attached.Clone()
	} else {
		v.attached = st.last.attached
	}
	st.dirty.items, st.dirty.leases, st.dirty.attached = false, false, false
	st.last = &v
	return &v
}

// drain returns what has changed since the last call.
func (st *state) drain() ([]change, []leaseNote) {
	changes, notes, end := st.events, st.notes, len(st.buffer)
	for i := len(changes) - 1; i >= 0; i-- {
		start := changes[i].start
		changes[i].events, end = st.buffer[start:end], start // neighbours in memory, for the watch log
	}
	st.events, st.notes, st.buffer = nil, nil, nil
	return changes, notes
}

// apply runs one command. term is the Raft term of the entry that carried it.
func (st *state) apply(cmd *command, term uint64) result {
	st.applied++
	var r result
	if cmd.session != 0 && !st.admit(cmd) && !st.bugs.repeats {
		r.err = errRepeated
	} else {
		r = st.dispatch(cmd, term)
	}
	st.sweep()
	if r.revision == 0 {
		r.revision = st.revision
	}
	return r
}

func (st *state) dispatch(cmd *command, term uint64) result {
	if cmd.bound > 0 {
		if r := st.bounded(cmd); r.err != nil {
			return r
		}
	}
	switch cmd.kind {
	case commandTxn:
		if cmd.txn == nil {
			return st.applyPut(&cmd.put)
		}
		return st.applyTxn(cmd.txn)
	case commandGrant:
		if cmd.lease <= 0 || cmd.ttl <= 0 || cmd.ttl > MaxLeaseTTL {
			return result{err: ErrLeaseTTL}
		}
		if _, exists := st.leases.Get(leaseRecord{id: cmd.lease}); exists {
			return result{err: ErrLeaseExists}
		}
		st.setLease(leaseRecord{id: cmd.lease, ttl: cmd.ttl})
		return result{ttl: cmd.ttl}
	case commandRenew:
		rec, found := st.leases.Get(leaseRecord{id: cmd.lease})
		if !found {
			return result{err: ErrLeaseNotFound}
		}
		rec.renewals++
		st.setLease(rec)
		return result{ttl: rec.ttl}
	case commandRevoke:
		return st.revoke(cmd.lease)
	case commandExpire:
		rec, found := st.leases.Get(leaseRecord{id: cmd.lease})
		if !found || (rec.renewals != cmd.renewals || cmd.term != term) && !st.bugs.anyExpiry {
			return result{err: ErrLeaseNotFound}
		}
		return st.revoke(cmd.lease)
	case commandCompact:
		return st.compact(cmd.revision)
	case commandOpen:
		if st.cluster == 0 {
			st.cluster = cmd.cluster
		}
		return result{}
	case commandDescribe:
		return st.describe(*cmd.about)
	case commandForget:
		return st.forget(cmd.name)
	case commandRaise:
		st.version = max(st.version, cmd.version)
		return result{}
	case commandNext:
		st.begin()
		st.put([]byte(cmd.name), []byte("next"), 0)
		st.commit()
		return result{}
	default:
		return result{err: ErrVersion}
	}
}

func (st *state) setLease(rec leaseRecord) {
	st.leases.ReplaceOrInsert(rec)
	st.dirty.leases = true
	st.notes = append(st.notes, leaseNote{rec: rec})
}

func (st *state) attach(lease int64, key string) {
	if lease != 0 {
		st.attached.ReplaceOrInsert(attachment{lease, key})
		st.dirty.attached = true
	}
}

func (st *state) detach(lease int64, key string) {
	if lease != 0 {
		st.attached.Delete(attachment{lease, key})
		st.dirty.attached = true
	}
}

// mix folds an encoded command into the rolling hash.
func (st *state) mix(encoded []byte) {
	sum := crc32.Checksum(encoded, castagnoli)
	st.hash = (st.hash ^ uint64(sum)) * 0x100000001b3
}

// mixEffect folds in what a command did, so that members which understand it differently have different hashes. What
// is folded in belongs to the version in use.
func (st *state) mixEffect() {
	for _, n := range [...]int64{st.revision, st.bytes, st.keys} {
		st.hash = (st.hash ^ uint64(n)) * 0x100000001b3
	}
	if st.version >= nextFormat {
		st.hash = (st.hash ^ uint64(st.leases.Len())) * 0x100000001b3
	}
}

// begin and commit bracket the changes of one revision.
func (st *state) begin() {
	st.sub = 0
	st.events = append(st.events, change{revision: st.revision + 1, start: len(st.buffer)})
}

func (st *state) commit() {
	if st.sub == 0 {
		st.events = st.events[:len(st.events)-1]
		return
	}
	st.revision++
}

// put appends a version; the caller has begun a revision.
func (st *state) put(key, value []byte, lease int64) *version {
	if st.bugs.misapplies {
		value = append(bytes.Clone(value), '!')
	}
	revision := st.revision + 1
	place := st.items.place(text(key))
	var it *item
	if place != nil {
		it = *place
	}
	var prev *version
	next := &version{sub: st.sub}
	next.Value = bytes.Clone(value)
	next.ModRevision, next.CreateRevision, next.Version, next.Lease = revision, revision, 1, lease
	if it != nil {
		next.Key = it.newest.Key
		if !it.newest.tombstone() {
			prev = it.newest
			next.CreateRevision, next.Version = prev.CreateRevision, prev.Version+1
		} else if st.bugs.keepsCreate {
			next.CreateRevision = it.version(0).ModRevision
		}
	} else {
		next.Key = bytes.Clone(key)
	}
	name := text(next.Key)
	if prev == nil {
		st.keys++
	}
	if prev == nil || prev.Lease != lease {
		if prev != nil && !st.bugs.attachesBoth {
			st.detach(prev.Lease, name)
		}
		st.attach(lease, name)
	}
	st.record(place, next, Event{Type: EventPut, KV: &next.KV}, prev)
	return prev
}

// remove appends a tombstone; the caller has begun a revision. It returns nil if the key does not exist.
func (st *state) remove(key string) *version {
	place := st.items.place(key)
	if place == nil {
		return nil
	}
	prev := (*place).newest
	if prev.tombstone() {
		return nil
	}
	next := &version{sub: st.sub}
	next.Key, next.ModRevision = prev.Key, st.revision+1
	st.keys--
	st.detach(prev.Lease, key)
	st.record(place, next, Event{Type: EventDelete, KV: &next.KV}, prev)
	return prev
}

// record enters a version in the place of its key's item; nil means that there is none.
func (st *state) record(place **item, next *version, event Event, prev *version) {
	if place == nil {
		st.items.set(&item{newest: next})
	} else {
		st.items.replace(place, &item{newest: next, older: append((*place).older, (*place).newest)})
	}
	st.dirty.items = true
	st.touched = append(st.touched, next)
	size := versionSize(next)
	st.bytes += size
	st.sub++
	if prev != nil {
		event.PrevKV = &prev.KV
	}
	st.buffer = append(st.buffer, watch.Event[Event]{Key: text(next.Key), Value: event, Size: int(size)})
}

func versionSize(v *version) int64 { return int64(len(v.Key)+len(v.Value)) + versionOverhead }

func (st *state) revoke(id int64) result {
	if _, found := st.leases.Delete(leaseRecord{id: id}); !found {
		return result{err: ErrLeaseNotFound}
	}
	st.dirty.leases = true
	st.notes = append(st.notes, leaseNote{rec: leaseRecord{id: id}, gone: true})
	var keys []string
	st.attached.AscendGreaterOrEqual(attachment{lease: id}, func(a attachment) bool {
		if a.lease != id {
			return false
		}
		keys = append(keys, a.key)
		return true
	})
	st.begin()
	for _, key := range keys {
		st.remove(key)
	}
	st.commit()
	return result{}
}

// compact forgets what only revisions below revision can see.
func (st *state) compact(revision int64) result {
	switch {
	case revision <= st.compacted:
		return result{err: ErrCompacted, revision: st.compacted}
	case revision > st.revision:
		return result{err: ErrFutureRevision}
	}
	st.compacted = revision
	st.dirty.items = true
	done := 0
	for _, v := range st.touched {
		if v.ModRevision > revision {
			break
		}
		if v.ModRevision < revision { // those at revision itself may be tombstones that the next compaction drops
			done++
		}
		st.trim(text(v.Key), revision)
	}
	st.touched = slices.Clone(st.touched[done:])
	return result{}
}

// trim drops the versions of a key that a compaction ends: all before the one that holds at revision, and that one
// too if it is a tombstone from before, of which no watch can still tell.
func (st *state) trim(key string, revision int64) {
	it := st.items.get(key)
	if it == nil {
		return
	}
	keep := it.before(revision) - 1
	if keep < 0 {
		return
	}
	if v := it.version(keep); (v.tombstone() || st.bugs.overTrim) && v.ModRevision < revision {
		keep++
	}
	if keep == 0 {
		return
	}
	for i := range keep {
		st.bytes -= versionSize(it.version(i))
	}
	if keep == it.len() {
		st.items.remove(key)
		return
	}
	st.items.set(&item{newest: it.newest, older: slices.Clone(it.older[keep:])})
}

// history returns the changes of the revisions from from to to, all of which are known and not compacted: not more
// than limit revisions, unless that is 0.
func (v *view) history(from, to int64, limit int) (changes []change) {
	i := sort.Search(len(v.touched), func(i int) bool { return v.touched[i].ModRevision >= from })
	for _, at := range v.touched[i:] {
		if at.ModRevision > to {
			break
		}
		if n := len(changes); n == 0 || changes[n-1].revision != at.ModRevision {
			if n > 0 && n == limit {
				break
			}
			changes = append(changes, change{revision: at.ModRevision})
		}
		event := Event{Type: EventPut, KV: &at.KV}
		if at.tombstone() {
			event.Type = EventDelete
		}
		key := text(at.Key)
		if it := v.items.get(key); it != nil {
			if n := it.before(at.ModRevision); n > 1 && !it.version(n-2).tombstone() {
				event.PrevKV = &it.version(n - 2).KV
			}
		}
		last := &changes[len(changes)-1]
		last.events = append(last.events, watch.Event[Event]{Key: key, Value: event, Size: int(versionSize(at))})
	}
	return changes
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
