package client

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"golang.org/x/sync/errgroup"

	"github.com/keelson-dev/keelson/compat/member"
)

func testLease(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx := t.Context()
	lease, err := client.Grant(ctx, 2)
	require.NoError(t, err)
	require.EqualValues(t, 2, lease.TTL)
	_, err = client.Put(ctx, "lease/a", "", clientv3.WithLease(lease.ID))
	require.NoError(t, err)
	left, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("lease/a")}, left.Keys)
	require.EqualValues(t, 2, left.GrantedTTL)
	all, err := client.Leases(ctx)
	require.NoError(t, err)
	require.Contains(t, all.Leases, clientv3.LeaseStatus{ID: lease.ID})
	aliveCtx, stop := context.WithCancel(ctx)
	alive, err := client.KeepAlive(aliveCtx, lease.ID)
	require.NoError(t, err)
	gone := client.Watch(ctx, "lease/a", clientv3.WithRev(lease.Revision))
	for range 5 { // over three seconds: longer than it lives by itself
		require.NotNil(t, <-alive)
	}
	require.Equal(t, "PUT lease/a=", next(t, gone))
	stop()
	require.Equal(t, "DELETE lease/a=", next(t, gone), "nobody keeps it alive any more")
	left, err = client.TimeToLive(ctx, lease.ID)
	require.NoError(t, err)
	require.EqualValues(t, -1, left.TTL)
}

func session(t *testing.T, client *clientv3.Client) *concurrency.Session {
	t.Helper()
	s, err := concurrency.NewSession(client, concurrency.WithTTL(10))
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func testMutex(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx := t.Context()
	held, entered := 0, 0
	var group errgroup.Group
	for range 5 {
		m := concurrency.NewMutex(session(t, client), "mutex")
		group.Go(func() error {
			for range 3 {
				if err := m.Lock(ctx); err != nil {
					return err
				}
				held++
				if held != 1 {
					return errors.New("two hold the mutex")
				}
				entered++
				held--
				if err := m.Unlock(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Equal(t, 15, entered)
	a, b := concurrency.NewMutex(session(t, client), "try"), concurrency.NewMutex(session(t, client), "try")
	require.NoError(t, a.Lock(ctx))
	require.ErrorIs(t, b.TryLock(ctx), concurrency.ErrLocked)
	require.NoError(t, a.Unlock(ctx))
	require.NoError(t, b.TryLock(ctx))
}

func testElection(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := concurrency.NewElection(session(t, client), "election")
	dying := session(t, client)
	second := concurrency.NewElection(dying, "election")
	observed := first.Observe(ctx)
	require.NoError(t, first.Campaign(ctx, "one"))
	leads := func() string { return string((<-observed).Kvs[0].Value) }
	require.Equal(t, "one", leads())
	won := make(chan error, 1)
	go func() { won <- second.Campaign(ctx, "two") }()
	require.NoError(t, first.Proclaim(ctx, "one still"))
	require.Equal(t, "one still", leads())
	require.NoError(t, first.Resign(ctx))
	require.NoError(t, <-won)
	require.Equal(t, "two", leads())
	now, err := first.Leader(ctx)
	require.NoError(t, err)
	require.Equal(t, "two", string(now.Kvs[0].Value))
	require.NoError(t, dying.Close()) // its lease goes, and its leadership
	_, err = first.Leader(ctx)
	require.ErrorIs(t, err, concurrency.ErrElectionNoLeader)
}

func testSTM(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	for _, level := range []concurrency.Isolation{concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads} {
		_, err := client.Put(t.Context(), "stm", "")
		require.NoError(t, err)
		var group errgroup.Group
		for range 4 {
			group.Go(func() error {
				for range 5 {
					_, err := concurrency.NewSTM(client, func(s concurrency.STM) error {
						s.Put("stm", s.Get("stm")+"x")
						return nil
					}, concurrency.WithIsolation(level))
					if err != nil {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, group.Wait())
		got, err := client.Get(t.Context(), "stm")
		require.NoError(t, err)
		require.Len(t, string(got.Kvs[0].Value), 20, "%v", level)
	}
}
