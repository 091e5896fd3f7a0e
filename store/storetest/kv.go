package storetest

import (
	"context"
	"strings"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

func testRevisions(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	revision, err := s.Revision(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, revision)
	require.Nil(t, get(t, s, "a"))
	require.EqualValues(t, 2, put(t, s, "a", "1"))
	require.EqualValues(t, 3, put(t, s, "b", "1"))
	require.EqualValues(t, 4, put(t, s, "a", "2"))
	require.Equal(t, &store.KV{Key: []byte("a"), Value: []byte("2"), CreateRevision: 2, ModRevision: 4, Version: 2}, get(t, s, "a"))
	res := del(t, s, "a", "")
	require.EqualValues(t, 1, res.Deleted)
	require.EqualValues(t, 5, res.Revision)
	require.Nil(t, get(t, s, "a"))
	res = del(t, s, "a", "")
	require.Zero(t, res.Deleted)
	require.EqualValues(t, 5, res.Revision, "deleting nothing makes no revision")
	require.EqualValues(t, 6, put(t, s, "a", ""))
	require.Equal(t, &store.KV{Key: []byte("a"), CreateRevision: 6, ModRevision: 6, Version: 1}, clean(get(t, s, "a")))

	status, err := s.Status(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 6, status.Revision)
	require.EqualValues(t, 2, status.Keys)
	require.NotZero(t, status.ClusterID)
	require.True(t, status.Leader || status.LeaderName != "", "somebody leads")
}

// clean makes no difference between an empty value and none.
func clean(kv *store.KV) *store.KV {
	if kv != nil && len(kv.Value) == 0 {
		kv.Value = nil
	}
	return kv
}

func testRange(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	for i, key := range []string{"a", "b/3", "b/1", "b/2", "c"} {
		put(t, s, key, strings.Repeat("v", 5-i)) // revisions 2 to 6
	}
	put(t, s, "b/1", "w")  // 7
	del(t, s, "c", "")     // 8
	put(t, s, "b/2", "ww") // 9
	for _, test := range []struct {
		name  string
		req   store.RangeRequest
		want  []string
		count int64
		more  bool
	}{
		{"one", store.RangeRequest{Key: []byte("a")}, []string{"a"}, 1, false},
		{"none", store.RangeRequest{Key: []byte("c")}, []string{}, 0, false},
		{"prefix", store.RangeRequest{Key: []byte("b/"), End: store.PrefixEnd([]byte("b/"))}, []string{"b/1", "b/2", "b/3"}, 3, false},
		{"from", store.RangeRequest{Key: []byte("b/2"), End: []byte{0}}, []string{"b/2", "b/3"}, 2, false},
		{"all", store.RangeRequest{Key: []byte{0}, End: []byte{0}}, []string{"a", "b/1", "b/2", "b/3"}, 4, false},
		{"end below key", store.RangeRequest{Key: []byte("b"), End: []byte("a")}, []string{}, 0, false},
		{"limit", store.RangeRequest{Key: []byte{0}, End: []byte{0}, Limit: 2}, []string{"a", "b/1"}, 4, true},
		{"limit that fits", store.RangeRequest{Key: []byte{0}, End: []byte{0}, Limit: 4}, []string{"a", "b/1", "b/2", "b/3"}, 4, false},
		{"count", store.RangeRequest{Key: []byte{0}, End: []byte{0}, CountOnly: true}, []string{}, 4, false},
		{"past", store.RangeRequest{Key: []byte{0}, End: []byte{0}, Revision: 4}, []string{"a", "b/1", "b/3"}, 3, false},
		{"past with c", store.RangeRequest{Key: []byte("c"), Revision: 7}, []string{"c"}, 1, false},
		{"before anything", store.RangeRequest{Key: []byte{0}, End: []byte{0}, Revision: 1}, []string{}, 0, false},
		{"serializable", store.RangeRequest{Key: []byte("a"), Serializable: true}, []string{"a"}, 1, false},
		{"descending", store.RangeRequest{Key: []byte{0}, End: []byte{0}, SortDescend: true, Limit: 2}, []string{"b/3", "b/2"}, 4, true},
		{"by mod", store.RangeRequest{Key: []byte{0}, End: []byte{0}, SortBy: store.SortByMod}, []string{"a", "b/3", "b/1", "b/2"}, 4, false},
		{"by create", store.RangeRequest{Key: []byte{0}, End: []byte{0}, SortBy: store.SortByCreate, SortDescend: true},
			[]string{"b/2", "b/1", "b/3", "a"}, 4, false},
		{"by version", store.RangeRequest{Key: []byte{0}, End: []byte{0}, SortBy: store.SortByVersion}, []string{"a", "b/3", "b/1", "b/2"}, 4, false},
		{"by value", store.RangeRequest{Key: []byte{0}, End: []byte{0}, SortBy: store.SortByValue, Limit: 3, KeysOnly: true},
			[]string{"b/3", "a", "b/1"}, 4, true},
		{"bounds on mod", store.RangeRequest{Key: []byte{0}, End: []byte{0}, MinModRevision: 3, MaxModRevision: 7}, []string{"b/1", "b/3"}, 4, false},
		{"bounds on create", store.RangeRequest{Key: []byte{0}, End: []byte{0}, MinCreateRevision: 4, MaxCreateRevision: 4}, []string{"b/1"}, 4, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "by version" {
				test.want = []string{"a", "b/3", "b/1", "b/2"}
			}
			res, err := s.Range(t.Context(), test.req)
			require.NoError(t, err)
			if test.req.SortBy == store.SortByVersion {
				require.ElementsMatch(t, test.want, keys(res.KVs))
			} else {
				require.Equal(t, test.want, keys(res.KVs))
			}
			require.Equal(t, test.count, res.Count)
			require.Equal(t, test.more, res.More)
			require.EqualValues(t, 9, res.Revision)
			for _, kv := range res.KVs {
				require.Equal(t, test.req.KeysOnly, len(kv.Value) == 0)
			}
		})
	}
	_, err := s.Range(t.Context(), store.RangeRequest{})
	require.ErrorIs(t, err, store.ErrEmptyKey)
	_, err = s.Range(t.Context(), store.RangeRequest{Key: []byte("a"), Revision: 10})
	require.ErrorIs(t, err, store.ErrFutureRevision)
	var failed *store.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "range", failed.Op)
	require.Equal(t, "a", failed.Key)
	require.EqualValues(t, 9, failed.Revision)
	_, err = s.Range(t.Context(), store.RangeRequest{Key: []byte("a"), Limit: -1})
	require.ErrorIs(t, err, store.ErrInvalid)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = s.Range(ended, store.RangeRequest{Key: []byte("a")})
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.Put(ended, store.PutRequest{Key: []byte("a")})
	require.ErrorIs(t, err, context.Canceled)
}

func testPutOptions(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	ctx := t.Context()
	lease, err := s.Grant(ctx, 0, store.MaxLeaseTTL)
	require.NoError(t, err)
	res, err := s.Put(ctx, store.PutRequest{Key: []byte("a"), Value: []byte("1"), Lease: lease.ID, PrevKV: true})
	require.NoError(t, err)
	require.Nil(t, res.PrevKV)
	res, err = s.Put(ctx, store.PutRequest{Key: []byte("a"), Value: []byte("2"), IgnoreLease: true, PrevKV: true})
	require.NoError(t, err)
	require.Equal(t, "1", string(res.PrevKV.Value))
	require.Equal(t, lease.ID, get(t, s, "a").Lease)
	_, err = s.Put(ctx, store.PutRequest{Key: []byte("a"), IgnoreValue: true})
	require.NoError(t, err)
	require.Equal(t, "2", string(get(t, s, "a").Value))
	require.Zero(t, get(t, s, "a").Lease)
	for _, test := range []struct {
		req  store.PutRequest
		want error
	}{
		{store.PutRequest{}, store.ErrEmptyKey},
		{store.PutRequest{Key: []byte("x"), IgnoreValue: true}, store.ErrKeyNotFound},
		{store.PutRequest{Key: []byte("x"), IgnoreLease: true}, store.ErrKeyNotFound},
		{store.PutRequest{Key: []byte("a"), Value: []byte("v"), IgnoreValue: true}, store.ErrInvalid},
		{store.PutRequest{Key: []byte("a"), Lease: 7, IgnoreLease: true}, store.ErrInvalid},
		{store.PutRequest{Key: []byte("a"), Lease: 7}, store.ErrLeaseNotFound},
	} {
		_, err := s.Put(ctx, test.req)
		require.ErrorIs(t, err, test.want, "%+v", test.req)
	}
	// What was passed in may be changed afterwards.
	key, value := []byte("own"), []byte("own")
	_, err = s.Put(ctx, store.PutRequest{Key: key, Value: value})
	require.NoError(t, err)
	key[0], value[0] = 'X', 'X'
	require.Equal(t, "own", string(get(t, s, "own").Value))
	deleted, err := s.Delete(ctx, store.DeleteRequest{Key: []byte{0}, End: []byte{0}, PrevKV: true})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "own"}, keys(deleted.PrevKVs))
}

func testLimits(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{MaxRequestBytes: 1000, MaxTxnOps: 3, QuotaBytes: 5000})
	ctx := t.Context()
	_, err := s.Put(ctx, store.PutRequest{Key: []byte("a"), Value: make([]byte, 1000)})
	require.ErrorIs(t, err, store.ErrTooLarge)
	ops := make([]store.Op, 4)
	for i := range ops {
		ops[i].Range = &store.RangeRequest{Key: []byte("a")}
	}
	_, err = s.Txn(ctx, store.Txn{Then: ops})
	require.ErrorIs(t, err, store.ErrTooManyOps)
	for range 100 {
		if _, err = s.Put(ctx, store.PutRequest{Key: []byte("a"), Value: make([]byte, 900)}); err != nil {
			break
		}
	}
	require.ErrorIs(t, err, store.ErrQuota)
	require.NotNil(t, get(t, s, "a"))
	del(t, s, "a", "")
	revision, err := s.Revision(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Compact(ctx, revision))
	put(t, s, "a", "there is room again")
}

func testCompact(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	ctx := t.Context()
	put(t, s, "a", "1") // 2
	put(t, s, "a", "2") // 3
	put(t, s, "b", "1") // 4
	del(t, s, "a", "")  // 5
	put(t, s, "c", "1") // 6
	del(t, s, "c", "")  // 7
	put(t, s, "a", "3") // 8
	before, err := s.Status(ctx)
	require.NoError(t, err)
	require.ErrorIs(t, s.Compact(ctx, 9), store.ErrFutureRevision)
	require.NoError(t, s.Compact(ctx, 6))
	for _, revision := range []int64{5, 6} {
		err := s.Compact(ctx, revision)
		require.ErrorIs(t, err, store.ErrCompacted)
	}
	at := func(revision int64) ([]string, error) {
		res, err := s.Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}, Revision: revision})
		return keys(res.KVs), err
	}
	_, err = at(5)
	var failed *store.Error
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, store.ErrCompacted)
	require.EqualValues(t, 6, failed.Revision)
	for revision, want := range map[int64][]string{6: {"b", "c"}, 7: {"b"}, 8: {"a", "b"}} {
		got, err := at(revision)
		require.NoError(t, err)
		require.Equal(t, want, got, "at %d", revision)
	}
	after, err := s.Status(ctx)
	require.NoError(t, err)
	require.Less(t, after.Bytes, before.Bytes)
	require.EqualValues(t, 6, after.CompactRevision)
	require.EqualValues(t, 8, after.Revision)
	require.Equal(t, &store.KV{Key: []byte("a"), Value: []byte("3"), CreateRevision: 8, ModRevision: 8, Version: 1}, get(t, s, "a"))
	require.NoError(t, s.Compact(ctx, 8))
	require.Equal(t, []string{"a", "b"}, func() []string { k, _ := at(8); return k }())
}
