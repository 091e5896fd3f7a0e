package storetest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

func putLeased(t *testing.T, s Store, key string, lease int64) {
	t.Helper()
	_, err := s.Put(t.Context(), store.PutRequest{Key: []byte(key), Value: []byte("v"), Lease: lease})
	require.NoError(t, err)
}

func testLease(t *testing.T, opener Opener) {
	s := Open(t, opener, store.Config{})
	ctx := t.Context()
	lease, err := s.Grant(ctx, 7, time.Hour)
	require.NoError(t, err)
	require.Equal(t, store.Lease{ID: 7, TTL: time.Hour}, lease)
	_, err = s.Grant(ctx, 7, time.Hour)
	require.ErrorIs(t, err, store.ErrLeaseExists)
	for _, ttl := range []time.Duration{0, -1, store.MaxLeaseTTL + 1} {
		_, err = s.Grant(ctx, 0, ttl)
		require.ErrorIs(t, err, store.ErrLeaseTTL)
	}
	other, err := s.Grant(ctx, 0, time.Hour)
	require.NoError(t, err)
	require.Greater(t, other.ID, int64(0))
	ids, err := s.Leases(ctx)
	require.NoError(t, err)
	require.Equal(t, []int64{7, other.ID}, ids)

	for _, key := range []string{"b", "a", "c", "d"} {
		putLeased(t, s, key, 7)
	}
	putLeased(t, s, "c", other.ID)
	put(t, s, "d", "no lease")
	status, err := s.TimeToLive(ctx, 7)
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("a"), []byte("b")}, status.Keys)
	require.Equal(t, time.Hour, status.TTL)
	require.Positive(t, status.Remaining)
	kept, err := s.KeepAlive(ctx, 7)
	require.NoError(t, err)
	require.Equal(t, lease, kept)

	before, err := s.Revision(ctx)
	require.NoError(t, err)
	w := watchFrom(t, s, store.WatchRequest{Key: []byte{0}, End: []byte{0}})
	revision, err := s.Revoke(ctx, 7)
	require.NoError(t, err)
	require.Equal(t, before+1, revision)
	require.Nil(t, get(t, s, "a"))
	require.NotNil(t, get(t, s, "c"))
	require.NotNil(t, get(t, s, "d"))
	got, _ := seen(t, w)
	require.Equal(t, "8-a 8-b", got)
	_, err = s.Revoke(ctx, 7)
	require.ErrorIs(t, err, store.ErrLeaseNotFound)
	_, err = s.KeepAlive(ctx, 7)
	require.ErrorIs(t, err, store.ErrLeaseNotFound)
	_, err = s.TimeToLive(ctx, 7)
	require.ErrorIs(t, err, store.ErrLeaseNotFound)
}

func testLeaseExpiry(t *testing.T, opener Opener) {
	synctest.Test(t, func(t *testing.T) {
		s := Open(t, opener, store.Config{})
		ctx := t.Context()
		start := time.Now()
		for id, ttl := range map[int64]time.Duration{1: 10 * time.Second, 2: 10 * time.Second, 3: time.Minute} {
			_, err := s.Grant(ctx, id, ttl)
			require.NoError(t, err)
			putLeased(t, s, string(rune('a'-1+id)), id)
		}
		w := watchFrom(t, s, store.WatchRequest{Key: []byte{0}, End: []byte{0}})
		<-time.After(6 * time.Second)
		_, err := s.KeepAlive(ctx, 2)
		require.NoError(t, err)
		status, err := s.TimeToLive(ctx, 1)
		require.NoError(t, err)
		require.Equal(t, 4*time.Second, status.Remaining)
		for _, want := range []struct {
			event string
			after time.Duration
		}{{"5-a", 10 * time.Second}, {"6-b", 16 * time.Second}, {"7-c", time.Minute}} {
			batch, err := w.Next(ctx)
			require.NoError(t, err)
			require.Equal(t, want.event, history(batch.Events))
			require.Equal(t, want.after, time.Since(start))
		}
		ids, err := s.Leases(ctx)
		require.NoError(t, err)
		require.Empty(t, ids)
	})
}

func testRetention(t *testing.T, opener Opener) {
	synctest.Test(t, func(t *testing.T) {
		s := Open(t, opener, store.Config{Retention: time.Minute, RetainRevisions: 5})
		for range 20 {
			put(t, s, "a", "v") // 2 to 21
		}
		<-time.After(2 * time.Minute)
		status, err := s.Status(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 16, status.CompactRevision, "five revisions stay however old")
		for range 20 {
			put(t, s, "a", "v")
		}
		<-time.After(30 * time.Second)
		status, err = s.Status(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, status.CompactRevision, int64(21), "what is younger than the retention stays")
		<-time.After(time.Hour)
		status, err = s.Status(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 36, status.CompactRevision)
	})
}
