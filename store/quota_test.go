package store_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
)

// quotaCluster opens three members that take their free space from free.
func quotaCluster(t *testing.T, quota int64, free map[string]*atomic.Int64) map[string]*store.Store {
	net := newSimnet()
	members := map[string]*store.Store{}
	var peers []store.Peer
	for _, name := range simNames {
		peers = append(peers, store.Peer{Name: name, Addr: name})
	}
	for _, name := range simNames {
		free[name] = &atomic.Int64{}
		free[name].Store(1 << 40)
		cfg := store.Config{
			Name: name, Peers: peers, Listener: net.listen(name), Dial: net.dial(name), Dir: t.TempDir(), QuotaBytes: quota,
			OpenLog: (&faults{}).open, Retention: -1,
		}
		s, err := store.Open(t.Context(), store.WithFreeBytes(cfg, free[name].Load))
		require.NoError(t, err)
		members[name] = s
	}
	return members
}

func status(t *testing.T, s *store.Store) store.Status {
	t.Helper()
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	return status
}

// TestQuotaOfACluster fills a cluster from all members: it never holds more than its quota, to the byte, and room that
// one member makes is there for all at once.
func TestQuotaOfACluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		const quota = 50_000
		members := quotaCluster(t, quota, map[string]*atomic.Int64{})
		refused := 0
		for i := range 300 {
			s := members[simNames[i%3]]
			_, err := s.Put(ctx, store.PutRequest{Key: fmt.Appendf(nil, "%03d", i), Value: make([]byte, i%400)})
			if err != nil {
				require.ErrorIs(t, err, store.ErrQuota)
				require.NotErrorIs(t, err, store.ErrDiskFull)
				refused++
			}
			require.LessOrEqual(t, status(t, s).Bytes, int64(quota))
		}
		require.Greater(t, refused, 50)
		held := status(t, members["a"]).Bytes
		require.Greater(t, held, int64(quota-600))
		a := members["a"]
		// A transaction is refused as a whole, by what its branch would put.
		big := store.Op{Put: &store.PutRequest{Key: []byte("big"), Value: make([]byte, 600)}}
		small := store.Op{Delete: &store.DeleteRequest{Key: []byte("000")}}
		_, err := a.Txn(ctx, store.Txn{Then: []store.Op{small, {Txn: &store.Txn{Then: []store.Op{big}}}}})
		require.ErrorIs(t, err, store.ErrQuota)
		_, err = a.Txn(ctx, store.Txn{Then: []store.Op{small}, Else: []store.Op{big}})
		require.NoError(t, err, "the branch that was not taken")
		_, err = members["b"].Put(ctx, store.PutRequest{Key: []byte("big"), Value: make([]byte, 600)})
		require.ErrorIs(t, err, store.ErrQuota)
		<-time.After(3 * time.Second)
		for _, s := range members {
			require.Contains(t, status(t, s).Alarms, store.Alarm{Member: "b", MemberID: store.MemberID("b"), Kind: store.AlarmQuota})
		}
		for i := range 300 {
			_, err := a.Delete(ctx, store.DeleteRequest{Key: fmt.Appendf(nil, "%03d", i)})
			require.NoError(t, err, "deletes go on")
		}
		lease, err := a.Grant(ctx, 0, time.Hour)
		require.ErrorIs(t, err, store.ErrQuota, "%v", lease)
		revision, err := a.Revision(ctx)
		require.NoError(t, err)
		require.NoError(t, a.Compact(ctx, revision))
		for _, s := range members {
			_, err = s.Put(ctx, store.PutRequest{Key: []byte("big"), Value: make([]byte, 600)})
			require.NoError(t, err)
		}
		_, err = a.Grant(ctx, 0, time.Hour)
		require.NoError(t, err)
		<-time.After(3 * time.Second)
		for _, s := range members {
			require.Empty(t, status(t, s).Alarms)
			require.Equal(t, status(t, a).Hash, status(t, s).Hash)
		}
		for _, s := range members {
			require.NoError(t, s.Close())
		}
	})
}

// TestDiskNearlyFull has one member's disk fill up: all refuse to put, and nothing else, until there is room.
func TestDiskNearlyFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		free := map[string]*atomic.Int64{}
		members := quotaCluster(t, 0, free)
		for i, name := range simNames {
			_, err := members[name].Put(ctx, store.PutRequest{Key: fmt.Append(nil, i)})
			require.NoError(t, err)
		}
		const reserve = 64 << 20
		free["b"].Store(reserve - 1)
		<-time.After(3 * time.Second)
		for name, s := range members {
			_, err := s.Put(ctx, store.PutRequest{Key: []byte("k")})
			require.ErrorIs(t, err, store.ErrQuota, name)
			require.ErrorIs(t, err, store.ErrDiskFull, name)
			_, err = s.Grant(ctx, 0, time.Hour)
			require.ErrorIs(t, err, store.ErrDiskFull, name)
			_, err = s.Txn(ctx, store.Txn{Then: []store.Op{{Put: &store.PutRequest{Key: []byte("k")}}}})
			require.ErrorIs(t, err, store.ErrDiskFull, name)
			require.Equal(t, []store.Alarm{{Member: "b", MemberID: store.MemberID("b"), Kind: store.AlarmDisk}}, status(t, s).Alarms)
			s.Disarm()
			require.Len(t, everything(t, s).KVs, 3)
		}
		require.EqualValues(t, reserve-1, status(t, members["b"]).DiskFree)
		_, err := members["a"].Delete(ctx, store.DeleteRequest{Key: []byte("0")})
		require.NoError(t, err)
		revision, err := members["b"].Revision(ctx)
		require.NoError(t, err)
		require.NoError(t, members["b"].Compact(ctx, revision))
		free["b"].Store(reserve + 1)
		<-time.After(3 * time.Second)
		_, err = members["a"].Put(ctx, store.PutRequest{Key: []byte("k")})
		require.ErrorIs(t, err, store.ErrDiskFull, "a little is not enough to begin again")
		free["b"].Store(2 * reserve)
		<-time.After(3 * time.Second)
		for _, s := range members {
			require.Empty(t, status(t, s).Alarms)
			_, err := s.Put(ctx, store.PutRequest{Key: []byte("k")})
			require.NoError(t, err)
		}
		for _, s := range members {
			require.NoError(t, s.Close())
		}
	})
}

// TestFreeSpaceIsMeasured has a real disk asked.
func TestFreeSpaceIsMeasured(t *testing.T) {
	s := openDir(t, store.Config{Dir: t.TempDir()})
	defer s.Close()
	require.Eventually(t, func() bool { return status(t, s).DiskFree > 0 }, 10*time.Second, time.Millisecond)
	_, err := s.Put(t.Context(), store.PutRequest{Key: []byte("k")})
	require.NoError(t, err)
	full := openDir(t, store.Config{Dir: t.TempDir(), MinFreeBytes: 1 << 60})
	defer full.Close()
	require.Eventually(t, func() bool {
		_, err := full.Put(t.Context(), store.PutRequest{Key: []byte("k")})
		return err != nil
	}, 10*time.Second, time.Millisecond)
	_, err = full.Put(t.Context(), store.PutRequest{Key: []byte("k")})
	require.ErrorIs(t, err, store.ErrDiskFull)
	unlimited := openDir(t, store.Config{Dir: t.TempDir(), MinFreeBytes: -1})
	defer unlimited.Close()
	_, err = unlimited.Put(t.Context(), store.PutRequest{Key: []byte("k")})
	require.NoError(t, err)
}
