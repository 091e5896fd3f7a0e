package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

func testSnapshot(t *testing.T, opener Opener) {
	ctx := t.Context()
	s := Open(t, opener, store.Config{})
	_, err := s.Grant(ctx, 7, time.Hour)
	require.NoError(t, err)
	for i := range 100 {
		put(t, s, fmt.Sprintf("k%02d", i), "old")
		put(t, s, fmt.Sprintf("k%02d", i), fmt.Sprint(i))
	}
	put(t, s, "large", string(make([]byte, 200<<10)))
	del(t, s, "k05", "k10")
	putLeased(t, s, "leased", 7)
	before, err := s.Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}})
	require.NoError(t, err)
	status, err := s.Status(ctx)
	require.NoError(t, err)
	var snapshot bytes.Buffer
	require.NoError(t, s.Snapshot(ctx, &snapshot))
	put(t, s, "later", "not in the snapshot")

	restored := Open(t, opener, store.Config{Restore: bytes.NewReader(snapshot.Bytes())})
	after, err := restored.Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}})
	require.NoError(t, err)
	require.Equal(t, before.KVs, after.KVs)
	restoredStatus, err := restored.Status(ctx)
	require.NoError(t, err)
	require.Equal(t, before.Revision+store.RestoreBump, restoredStatus.Revision)
	require.Equal(t, restoredStatus.Revision, restoredStatus.CompactRevision)
	require.NotEqual(t, status.ClusterID, restoredStatus.ClusterID)
	require.Equal(t, status.Keys, restoredStatus.Keys)
	_, err = restored.Watch(ctx, store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: before.Revision})
	require.ErrorIs(t, err, store.ErrCompacted)
	w := watchFrom(t, restored, store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: after.Revision + 1, PrevKV: true})
	require.Equal(t, after.Revision+1, put(t, restored, "k01", "new"))
	got, _ := seen(t, w)
	require.Equal(t, fmt.Sprintf("%d+k01=new(1)", after.Revision+1), got)
	_, err = restored.Revoke(ctx, 7)
	require.NoError(t, err)
	require.Nil(t, get(t, restored, "leased"))

	// Whatever is wrong with a snapshot is told; flipping any one byte is.
	whole := snapshot.Bytes()
	refused := func(what string, p []byte) {
		_, err := opener(t, store.Config{Restore: bytes.NewReader(p)})
		if err == nil {
			t.Fatalf("%s: accepted", what)
		}
		var failed *store.Error
		require.ErrorAs(t, err, &failed, what)
		require.Condition(t, func() bool {
			return errorIsAny(err, store.ErrCorrupt, store.ErrVersion)
		}, "%s: %v", what, err)
	}
	for _, n := range []int{0, 5, 9, 100, len(whole) / 2, len(whole) - 1} {
		refused(fmt.Sprintf("%d bytes", n), whole[:n])
	}
	for _, i := range []int{0, 8, 9, 50, len(whole) / 2, len(whole) - 1} {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		refused(fmt.Sprintf("byte %d changed", i), damaged)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, s.Snapshot(ended, io.Discard), context.Canceled)
}

func testClosed(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	ctx := t.Context()
	w := watchFrom(t, s, store.WatchRequest{Key: []byte("a")})
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	_, err := s.Put(ctx, store.PutRequest{Key: []byte("a")})
	require.ErrorIs(t, err, store.ErrClosed)
	_, _, err = s.Get(ctx, []byte("a"))
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Watch(ctx, store.WatchRequest{Key: []byte("a")})
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = s.Grant(ctx, 0, time.Hour)
	require.ErrorIs(t, err, store.ErrClosed)
	_, err = w.Next(ctx)
	require.ErrorIs(t, err, store.ErrClosed)
	require.ErrorIs(t, s.Snapshot(ctx, io.Discard), store.ErrClosed)
	_, err = opener(t, store.Config{MaxTxnOps: -1})
	require.ErrorIs(t, err, store.ErrConfig)
	require.ErrorContains(t, err, "MaxTxnOps")
}
