package storetest

import (
	"fmt"
	"testing"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

func putOp(key, value string) store.Op {
	return store.Op{Put: &store.PutRequest{Key: []byte(key), Value: []byte(value)}}
}

func delOp(key, end string) store.Op {
	return store.Op{Delete: &store.DeleteRequest{Key: []byte(key), End: []byte(end)}}
}

func getOp(key string) store.Op { return store.Op{Range: &store.RangeRequest{Key: []byte(key)}} }

func testCompares(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	put(t, s, "a", "m") // 2
	put(t, s, "b", "m") // 3
	put(t, s, "b", "n") // 4
	a, b, none, all := []byte("a"), []byte("b"), []byte("none"), []byte{0}
	for i, test := range []struct {
		compare store.Compare
		want    bool
	}{
		{store.Compare{Key: a, Target: store.CompareVersion, Number: 1}, true},
		{store.Compare{Key: b, Target: store.CompareVersion, Number: 1}, false},
		{store.Compare{Key: b, Target: store.CompareVersion, Op: store.Greater, Number: 1}, true},
		{store.Compare{Key: none, Target: store.CompareVersion}, true},
		{store.Compare{Key: none, Target: store.CompareVersion, Op: store.NotEqual}, false},
		{store.Compare{Key: a, Target: store.CompareCreate, Number: 2}, true},
		{store.Compare{Key: b, Target: store.CompareCreate, Op: store.Less, Number: 4}, true},
		{store.Compare{Key: b, Target: store.CompareMod, Number: 4}, true},
		{store.Compare{Key: none, Target: store.CompareMod, Number: 0}, true},
		{store.Compare{Key: b, Target: store.CompareMod, Op: store.Less, Number: 4}, false},
		{store.Compare{Key: b, Target: store.CompareLease}, true},
		{store.Compare{Key: a, Target: store.CompareValue, Value: []byte("m")}, true},
		{store.Compare{Key: b, Target: store.CompareValue, Op: store.Greater, Value: []byte("m")}, true},
		{store.Compare{Key: b, Target: store.CompareValue, Op: store.NotEqual, Value: []byte("n")}, false},
		{store.Compare{Key: none, Target: store.CompareValue}, false},
		{store.Compare{Key: none, Target: store.CompareValue, Op: store.NotEqual, Value: []byte("x")}, false},
		{store.Compare{Key: all, End: all, Target: store.CompareMod, Op: store.Greater, Number: 1}, true},
		{store.Compare{Key: all, End: all, Target: store.CompareMod, Op: store.Greater, Number: 2}, false},
		{store.Compare{Key: []byte("x"), End: []byte("y"), Target: store.CompareVersion}, true},
		{store.Compare{Key: []byte("x"), End: []byte("y"), Target: store.CompareValue}, false},
	} {
		// The same in a transaction that reads and in one that could write.
		for _, other := range [][]store.Op{nil, {delOp("none", "")}} {
			res, err := s.Txn(t.Context(), store.Txn{Compares: []store.Compare{test.compare}, Then: other})
			require.NoError(t, err)
			require.Equal(t, test.want, res.Succeeded, "%d: %+v", i, test.compare)
			require.EqualValues(t, 4, res.Revision)
		}
	}
}

func testTxn(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	ctx := t.Context()
	put(t, s, "a", "1") // 2
	exists := store.Compare{Key: []byte("a"), Target: store.CompareVersion, Op: store.Greater}
	missing := store.Compare{Key: []byte("b"), Target: store.CompareVersion}
	res, err := s.Txn(ctx, store.Txn{
		Compares: []store.Compare{exists, missing},
		Then: []store.Op{
			getOp("b"),
			putOp("b", "1"),
			getOp("b"),
			{Txn: &store.Txn{
				Compares: []store.Compare{missing}, // looks at the state before
				Then:     []store.Op{delOp("a", ""), putOp("c", "1")},
				Else:     []store.Op{putOp("wrong", "")},
			}},
			getOp("a"),
			{Range: &store.RangeRequest{Key: []byte("a"), Revision: 2}},
		},
		Else: []store.Op{putOp("wrong", "")},
	})
	require.NoError(t, err)
	require.True(t, res.Succeeded)
	require.EqualValues(t, 3, res.Revision)
	require.Len(t, res.Responses, 6)
	require.Empty(t, res.Responses[0].Range.KVs)
	require.EqualValues(t, 3, res.Responses[1].Put.Revision)
	require.EqualValues(t, 3, res.Responses[2].Range.KVs[0].ModRevision, "a transaction sees its own changes")
	require.True(t, res.Responses[3].Txn.Succeeded)
	require.EqualValues(t, 1, res.Responses[3].Txn.Responses[0].Delete.Deleted)
	require.Empty(t, res.Responses[4].Range.KVs)
	require.Len(t, res.Responses[5].Range.KVs, 1)
	all, err := s.Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}})
	require.NoError(t, err)
	require.Equal(t, []string{"b", "c"}, keys(all.KVs))
	for _, kv := range all.KVs {
		require.EqualValues(t, 3, kv.ModRevision)
	}
	res, err = s.Txn(ctx, store.Txn{Compares: []store.Compare{missing}, Then: []store.Op{putOp("wrong", "")}, Else: []store.Op{getOp("b")}})
	require.NoError(t, err)
	require.False(t, res.Succeeded)
	require.EqualValues(t, 3, res.Revision)
	require.Len(t, res.Responses[0].Range.KVs, 1)
}

func testTxnRefused(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	put(t, s, "a", "1")
	nested := func(ops ...store.Op) store.Op { return store.Op{Txn: &store.Txn{Then: ops}} }
	deep := store.Txn{}
	for range 100 {
		inner := deep
		deep = store.Txn{Then: []store.Op{{Txn: &inner}}}
	}
	for i, test := range []struct {
		txn  store.Txn
		want error
	}{
		{store.Txn{Then: []store.Op{putOp("x", ""), putOp("x", "")}}, store.ErrDuplicateKey},
		{store.Txn{Then: []store.Op{putOp("x", ""), delOp("x", "")}}, store.ErrDuplicateKey},
		{store.Txn{Then: []store.Op{delOp("a", "z"), putOp("x", "")}}, store.ErrDuplicateKey},
		{store.Txn{Then: []store.Op{putOp("x", ""), delOp("a", "z")}}, store.ErrDuplicateKey},
		{store.Txn{Else: []store.Op{putOp("x", ""), nested(putOp("x", ""))}}, store.ErrDuplicateKey},
		{store.Txn{Else: []store.Op{nested(delOp("x", "")), nested(putOp("x", ""))}}, store.ErrDuplicateKey},
		{store.Txn{Then: []store.Op{putOp("x", ""), {}}}, store.ErrInvalid},
		{store.Txn{Then: []store.Op{putOp("x", ""), {Put: &store.PutRequest{Key: []byte("y")}, Range: &store.RangeRequest{Key: []byte("y")}}}}, store.ErrInvalid},
		{store.Txn{Then: []store.Op{putOp("x", ""), delOp("", "")}}, store.ErrEmptyKey},
		{store.Txn{Compares: []store.Compare{{}}, Then: []store.Op{putOp("x", "")}}, store.ErrEmptyKey},
		{store.Txn{Compares: []store.Compare{{Key: []byte("a"), Target: 9}}}, store.ErrInvalid},
		{store.Txn{Compares: []store.Compare{{Key: []byte("a"), Op: 9}}}, store.ErrInvalid},
		{deep, store.ErrInvalid},
		{store.Txn{Then: []store.Op{putOp("x", ""), {Put: &store.PutRequest{Key: []byte("y"), Lease: 5}}}}, store.ErrLeaseNotFound},
		{store.Txn{Then: []store.Op{putOp("x", ""), nested(store.Op{Range: &store.RangeRequest{Key: []byte("y"), Revision: 99}})}}, store.ErrFutureRevision},
	} {
		_, err := s.Txn(t.Context(), test.txn)
		require.ErrorIs(t, err, test.want, "%d", i)
	}
	require.Nil(t, get(t, s, "x"), "a refused transaction changes nothing")
	revision, err := s.Revision(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 2, revision)
	// The branches exclude each other, and deleting twice is no change twice.
	res, err := s.Txn(t.Context(), store.Txn{
		Then: []store.Op{{Txn: &store.Txn{Then: []store.Op{putOp("x", "")}, Else: []store.Op{putOp("x", "")}}}, delOp("a", ""), delOp("a", "b")},
		Else: []store.Op{putOp("x", "")},
	})
	require.NoError(t, err)
	require.EqualValues(t, 1, res.Responses[1].Delete.Deleted)
	require.Zero(t, res.Responses[2].Delete.Deleted)
	// Many keys are one revision.
	var ops []store.Op
	for i := range 1000 {
		ops = append(ops, putOp(fmt.Sprintf("many/%d", i), "v"))
	}
	many, err := s.Txn(t.Context(), store.Txn{Then: ops})
	require.NoError(t, err)
	require.Equal(t, res.Revision+1, many.Revision)
}

// testTxnVisits has transactions of thousands of ranges over all keys, which would keep everybody waiting.
func testTxnVisits(t *testing.T, opener Opener) {
	const n = 2000
	s := Open(t, opener, store.Config{MaxTxnOps: 2 * n})
	var fill store.Txn
	for i := range n {
		fill.Then = append(fill.Then, putOp(fmt.Sprintf("k/%04d", i), ""))
	}
	res, err := s.Txn(t.Context(), fill)
	require.NoError(t, err)
	all := func(req store.RangeRequest, times int) (txn store.Txn) {
		req.Key, req.End = []byte{0}, []byte{0}
		half := store.Txn{}
		for range times / 2 {
			half.Then = append(half.Then, store.Op{Range: &req})
		}
		return store.Txn{Then: []store.Op{{Txn: &half}, {Txn: &half}}}
	}
	for name, test := range map[string]struct {
		req   store.RangeRequest
		times int
		want  error
	}{
		"everything":      {store.RangeRequest{KeysOnly: true}, 40, nil},
		"counts":          {store.RangeRequest{CountOnly: true}, 3 * n, nil},
		"first":           {store.RangeRequest{Limit: 1}, 3 * n, nil},
		"last":            {store.RangeRequest{Limit: 1, SortDescend: true}, 3 * n, store.ErrTooLarge},
		"past counts":     {store.RangeRequest{CountOnly: true, Revision: res.Revision}, 3 * n, store.ErrTooLarge},
		"too much":        {store.RangeRequest{KeysOnly: true}, 3 * n, store.ErrTooLarge},
		"bounds on those": {store.RangeRequest{Limit: 1, MinModRevision: 1}, 3 * n, store.ErrTooLarge},
	} {
		txn := all(test.req, test.times)
		_, err := s.Txn(t.Context(), txn)
		require.ErrorIs(t, err, test.want, name)
		before := get(t, s, "written")
		txn.Then = append(txn.Then, putOp("written", name))
		_, err = s.Txn(t.Context(), txn)
		require.ErrorIs(t, err, test.want, name)
		if after := get(t, s, "written"); test.want != nil {
			require.Equal(t, before, after, "a refused transaction changes nothing")
		} else {
			require.Equal(t, name, string(after.Value))
		}
	}
}
