package store

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"
)

// TestExpiryNamesRenewalAndTerm shows that a leader of old, or one that has not heard of a renewal, can't end a lease.
func TestExpiryNamesRenewalAndTerm(t *testing.T) {
	st := newState()
	apply := func(c command, term uint64) error { return st.apply(&c, term).err }
	require.NoError(t, apply(command{kind: commandGrant, lease: 1, ttl: time.Second}, 4))
	require.NoError(t, apply(command{kind: commandRenew, lease: 1}, 4))
	expire := command{kind: commandExpire, lease: 1, renewals: 0, term: 4}
	require.ErrorIs(t, apply(expire, 4), ErrLeaseNotFound)
	expire.renewals = 1
	require.ErrorIs(t, apply(expire, 5), ErrLeaseNotFound)
	require.Equal(t, 1, st.leases.Len())
	require.NoError(t, apply(expire, 4))
	require.Zero(t, st.leases.Len())
}

// TestCompactionAtDeletion shows that a deletion at the compact revision itself can still be told, and is forgotten
// by the next one.
func TestCompactionAtDeletion(t *testing.T) {
	st := newState()
	run := func(ops ...Op) {
		c := command{kind: commandTxn, txn: &Txn{Then: ops}}
		require.NoError(t, st.apply(&c, 1).err)
	}
	compact := func(revision int64) {
		c := command{kind: commandCompact, revision: revision}
		require.NoError(t, st.apply(&c, 1).err)
	}
	run(Op{Put: &PutRequest{Key: []byte("a")}})       // 2
	run(Op{Put: &PutRequest{Key: []byte("b")}})       // 3
	run(Op{Delete: &DeleteRequest{Key: []byte("a")}}) // 4
	run(Op{Put: &PutRequest{Key: []byte("b")}})       // 5
	compact(4)
	require.Equal(t, 2, st.items.n)
	changes := st.history(st.compacted, st.revision, 0)
	require.Len(t, changes, 2)
	require.EqualValues(t, 4, changes[0].revision)
	require.Equal(t, EventDelete, changes[0].events[0].Value.Type)
	require.NotNil(t, changes[1].events[0].Value.PrevKV)
	compact(5)
	require.Equal(t, 1, st.items.n)
	only := st.items.get("b")
	require.Nil(t, only.prev)
	require.Equal(t, versionSize(only), st.bytes)
	require.Equal(t, []*version{only}, st.touched)
}

// TestFailedMachineSavesNothing shows that a state which lacks an entry is not saved as a snapshot.
func TestFailedMachineSavesNothing(t *testing.T) {
	failed := 0
	m := &machine{store: &Store{}, state: newState(), onFail: func(error) { failed++ }}
	before, err := m.Snapshot()
	require.NoError(t, err)
	m.fail(ErrVersion)
	m.fail(ErrCorrupt)
	require.Equal(t, 1, failed)
	_, err = m.Snapshot()
	require.ErrorIs(t, err, ErrVersion)
	require.ErrorIs(t, before.Persist(&raft.DiscardSnapshotSink{}), ErrVersion)
}

// TestViewsAreImmutable reads a view while the state it was taken from goes on.
func TestViewsAreImmutable(t *testing.T) {
	st := newState()
	put := func(value string) {
		c := command{kind: commandTxn, txn: &Txn{Then: []Op{{Put: &PutRequest{Key: []byte("a"), Value: []byte(value)}}}}}
		require.NoError(t, st.apply(&c, 1).err)
	}
	put("1")
	put("2")
	v := st.snapshot()
	put("3")
	c := command{kind: commandCompact, revision: st.revision}
	require.NoError(t, st.apply(&c, 1).err)
	require.Equal(t, "2", string(v.current([]byte("a")).Value))
	old := v.rangeAt(&RangeRequest{Key: []byte("a"), Revision: 2})
	require.Equal(t, "1", string(old.KVs[0].Value))
	require.Equal(t, "3", string(st.snapshot().current([]byte("a")).Value))
}

// TestUnknownEntryStops shows that a member stops when it meets an entry it can't read, instead of going on without it.
func TestUnknownEntryStops(t *testing.T) {
	raise := command{kind: commandRaise, version: formatVersion + 1}
	for name, entry := range map[string][]byte{
		"a kind of command": {1, 1, 1, 200},
		"a higher version":  encodeEntry([][]byte{raise.encode(nil)}),
	} {
		s, err := Open(t.Context(), Config{Dir: t.TempDir()})
		require.NoError(t, err)
		defer s.Close()
		d := s.engine.(*durable)
		future := d.raft.Apply(entry, 0)
		require.NoError(t, future.Error())
		require.ErrorIs(t, future.Response().(error), ErrVersion, name)
		_, err = s.Put(t.Context(), PutRequest{Key: []byte("a")})
		require.ErrorIs(t, err, ErrFailed)
		require.ErrorIs(t, err, ErrVersion)
		_, _, err = s.Get(t.Context(), []byte("a"))
		require.ErrorIs(t, err, ErrFailed)
	}
}

// TestEarlyEntryIsRefused shows that releases that know a version, and those that don't, refuse alike what comes before
// the cluster uses it.
func TestEarlyEntryIsRefused(t *testing.T) {
	for _, release := range []uint64{formatVersion, nextFormat} {
		s, err := Open(t.Context(), Config{Dir: t.TempDir(), release: release, HoldVersion: 1})
		require.NoError(t, err)
		defer s.Close()
		next := command{kind: commandNext, name: "a"}
		entry := encodeEntry([][]byte{next.encode(nil)})
		require.EqualValues(t, nextFormat, entry[0])
		future := s.engine.(*durable).raft.Apply(entry, 0)
		require.NoError(t, future.Error())
		require.Empty(t, future.Response())
		_, err = s.Put(t.Context(), PutRequest{Key: []byte("b")})
		require.NoError(t, err)
		_, found, err := s.Get(t.Context(), []byte("a"))
		require.NoError(t, err)
		require.False(t, found)
	}
}

// TestFailedDiskIsFinal fails one write and shows that the store takes nothing more, and that what it acknowledged is
// there later.
func TestFailedDiskIsFinal(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(t.Context(), Config{Dir: dir})
	require.NoError(t, err)
	_, err = s.Put(t.Context(), PutRequest{Key: []byte("a")})
	require.NoError(t, err)
	broken := errors.New("input/output error")
	s.engine.(*durable).logs.(*checkedLog).fail(broken)
	_, err = s.Put(t.Context(), PutRequest{Key: []byte("b")})
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, err, broken)
	_, err = s.Range(t.Context(), RangeRequest{Key: []byte("a")})
	require.ErrorIs(t, err, ErrFailed)
	require.NoError(t, s.Close())
	s, err = Open(t.Context(), Config{Dir: dir})
	require.NoError(t, err)
	defer s.Close()
	_, found, err := s.Get(t.Context(), []byte("a"))
	require.NoError(t, err)
	require.True(t, found)
}

// TestLogStoreFailsOnce shows what Raft gets to see of a store that has failed.
func TestLogStoreFailsOnce(t *testing.T) {
	failures := 0
	s, err := openLog(t.TempDir(), OpenBoltLog, func(error) { failures++ })
	require.NoError(t, err)
	defer s.close()
	require.NoError(t, s.SetUint64([]byte("CurrentTerm"), 1))
	require.NoError(t, s.StoreLog(&raft.Log{Index: 1, Data: []byte("x")}))
	var entry raft.Log
	require.NoError(t, s.GetLog(1, &entry))
	require.Equal(t, "x", string(entry.Data))
	require.ErrorIs(t, s.GetLog(2, &entry), raft.ErrLogNotFound)
	require.Zero(t, failures)
	var stored raft.Log
	require.NoError(t, s.logs.GetLog(1, &stored))
	for _, damaged := range []raft.Log{
		{Index: 1, Data: stored.Data, Type: raft.LogNoop}, {Index: 1, Data: stored.Data, Term: 1}, {Index: 1, Data: stored.Data[1:]},
	} {
		require.NoError(t, s.logs.StoreLog(&damaged))
		require.ErrorIs(t, s.verify(0), ErrCorrupt)
	}
	require.NoError(t, s.logs.StoreLog(&stored))
	require.NoError(t, s.verify(0))
	require.NoError(t, s.logs.StoreLog(&raft.Log{Index: 2, Data: []byte("no checksum")}))
	require.ErrorIs(t, s.verify(0), ErrCorrupt)
	require.NoError(t, s.verify(2), "what a snapshot covers is not looked at")
	require.NoError(t, s.GetLog(2, &entry))
	require.Equal(t, raft.LogNoop, entry.Type)
	require.Error(t, s.StoreLog(&raft.Log{Index: 3}))
	require.Error(t, s.Set([]byte("k"), nil))
	require.NoError(t, s.SetUint64([]byte("k"), 1), "raft would panic")
	require.Equal(t, 1, failures)
}
