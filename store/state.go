package store

import (
	"bytes"
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

// expect makes room for what so many commands will change, since it is likely one event each.
func (st *state) expect(commands int) {
	st.events = slices.Grow(st.events, commands)
	st.buffer = slices.Grow(st.buffer, commands)
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

// put appends a version; the caller has begun a revision. It returns the version before, nil if the key did not exist.
func (st *state) put(key, value []byte, lease int64) *version {
	if st.bugs.misapplies {
		value = append(bytes.Clone(value), '!')
	}
	revision := st.revision + 1
	place := st.items.find(text(key))
	var prev *version // unless it is a tombstone
	next := &version{sub: st.sub}
	next.Value = bytes.Clone(value)
	next.ModRevision, next.CreateRevision, next.Version, next.Lease = revision, revision, 1, lease
	if place != nil {
		last := *place
		next.Key = last.Key
		if !last.tombstone() {
			prev = last
			next.CreateRevision, next.Version = prev.CreateRevision, prev.Version+1
		} else if st.bugs.keepsCreate {
			next.CreateRevision = last.oldest().ModRevision
		}
		next.follow(last)
	} else {
		next.Key = bytes.Clone(key)
	}
	name := next.name()
	if prev == nil || prev.Lease != lease {
		if prev != nil && !st.bugs.attachesBoth {
			st.detach(prev.Lease, name)
		}
		st.attach(lease, name)
	}
	if prev != nil {
		replace(place, next)
	} else {
		st.keys++
		st.items.set(next)
		st.dirty.items = true
	}
	st.record(next, Event{Type: EventPut, KV: &next.KV}, prev)
	return prev
}

// remove appends a tombstone; the caller has begun a revision. It returns nil if the key does not exist.
func (st *state) remove(key string) *version {
	prev := st.items.get(key)
	if prev == nil || prev.tombstone() {
		return nil
	}
	next := &version{sub: st.sub}
	next.Key, next.ModRevision = prev.Key, st.revision+1
	next.follow(prev)
	st.keys--
	st.detach(prev.Lease, key)
	st.items.set(next)
	st.dirty.items = true
	st.record(next, Event{Type: EventDelete, KV: &next.KV}, prev)
	return prev
}

// record takes note of a version that is in its place.
func (st *state) record(next *version, event Event, prev *version) {
	st.touched = append(st.touched, next)
	size := versionSize(next)
	st.bytes += size
	st.sub++
	if prev != nil {
		event.PrevKV = &prev.KV
	}
	st.buffer = append(st.buffer, watch.Event[Event]{Key: next.name(), Value: event, Size: int(size)})
}

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
	done := 0
	for _, v := range st.touched {
		if v.ModRevision > revision {
			break
		}
		if v.ModRevision < revision { // those at revision itself may be tombstones that the next compaction drops
			done++
		}
		st.trim(v.name(), revision)
	}
	kept := st.touched[done:]
	st.touched = slices.Clone(kept)
	for i, v := range kept {
		if v.moved != nil {
			st.touched[i], v.moved = v.moved, nil
		}
	}
	return result{}
}

// trim drops the versions of a key that a compaction ends: all before the one that holds at revision, and that one
// too if it is a tombstone from before, of which no watch can still tell. What is kept is copied: older views go on
// with all of it.
func (st *state) trim(key string, revision int64) {
	newest := st.items.get(key)
	if newest == nil {
		return
	}
	holds := newest.upTo(revision)
	if holds == nil {
		return
	}
	drop := holds.prev
	if (holds.tombstone() || st.bugs.overTrim) && holds.ModRevision < revision {
		drop = holds
	}
	if drop == nil {
		return
	}
	for v := drop; v != nil; v = v.prev {
		st.bytes -= versionSize(v)
	}
	st.dirty.items = true
	if drop == newest {
		st.items.remove(key)
		return
	}
	kept := newest.since(drop)[1:]
	for i, v := range kept {
		copied := *v
		if kept[i] = &copied; v.ModRevision >= revision { // it is among those that were touched
			v.moved = &copied
		}
	}
	st.items.set(chain(kept))
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
		if before := at.before(); before != nil {
			event.PrevKV = &before.KV
		}
		last := &changes[len(changes)-1]
		last.events = append(last.events, watch.Event[Event]{Key: at.name(), Value: event, Size: int(versionSize(at))})
	}
	return changes
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
