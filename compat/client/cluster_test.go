package client

import (
	"context"
	"fmt"
	"io"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keelson-dev/keelson/compat/member"
	"github.com/keelson-dev/keelson/store"
)

func testCluster(t *testing.T, c *member.Cluster, client *clientv3.Client) {
	waitAttributes(t, c)
	list, err := client.MemberList(t.Context())
	require.NoError(t, err)
	require.Len(t, list.Members, len(c.Stores))
	var urls []string
	for _, m := range list.Members {
		urls = append(urls, m.ClientURLs...)
		require.False(t, m.IsLearner)
	}
	want := append([]string(nil), c.Endpoints...)
	sort.Strings(want)
	sort.Strings(urls)
	require.Equal(t, want, urls)
	other := dial(t, c, 0)
	require.NoError(t, other.Sync(t.Context()))
	synced := append([]string(nil), other.Endpoints()...)
	sort.Strings(synced)
	require.Equal(t, want, synced)
}

// waitAttributes waits until every member knows where all serve clients.
func waitAttributes(t *testing.T, c *member.Cluster) {
	t.Helper()
	for _, s := range c.Stores {
		require.Eventually(t, func() bool {
			st, err := s.Status(t.Context())
			for _, m := range st.Members {
				if len(m.ClientURLs) == 0 {
					return false
				}
			}
			return err == nil && len(st.Members) == len(c.Stores)
		}, 20*time.Second, 10*time.Millisecond)
	}
}

func testMaintenance(t *testing.T, c *member.Cluster, client *clientv3.Client) {
	ctx := t.Context()
	put, err := client.Put(ctx, "maintenance", "1")
	require.NoError(t, err)
	leaders, hashes := map[uint64]bool{}, map[uint32]bool{}
	for _, end := range c.Endpoints {
		one := dial(t, c)
		one.SetEndpoints(end)
		_, err := one.Get(ctx, "maintenance") // so that the member has it
		require.NoError(t, err)
		st, err := client.Status(ctx, end)
		require.NoError(t, err)
		require.Empty(t, st.Errors)
		require.Equal(t, "3.7.0", st.Version)
		require.NotZero(t, st.RaftIndex)
		leaders[st.Leader] = true
		hash, err := client.HashKV(ctx, end, put.Header.Revision)
		require.NoError(t, err)
		hashes[hash.Hash] = true
		_, err = client.Defragment(ctx, end)
		require.NoError(t, err)
	}
	require.Len(t, leaders, 1)
	require.Len(t, hashes, 1)
	alarms, err := client.AlarmList(ctx)
	require.NoError(t, err)
	require.Empty(t, alarms.Alarms)
	_, err = client.AlarmDisarm(ctx, &clientv3.AlarmMember{})
	require.NoError(t, err)
}

func testSnapshot(t *testing.T, c *member.Cluster, client *clientv3.Client) {
	ctx := t.Context()
	_, err := client.Put(ctx, "snapshot", "kept")
	require.NoError(t, err)
	path := t.TempDir() + "/snapshot.db"
	version, err := snapshot.SaveWithVersion(ctx, zap.NewNop(), clientv3.Config{
		Endpoints: c.Endpoints[:1], TLS: c.ClientTLS, Logger: zap.NewNop(),
	}, path)
	require.NoError(t, err, "it checks the checksum")
	require.Equal(t, "3.7.0", version)
	reader, err := client.Snapshot(ctx)
	require.NoError(t, err)
	restored, err := store.Open(ctx, store.Config{Restore: reader})
	require.NoError(t, err)
	defer restored.Close()
	_, err = io.Copy(io.Discard, reader)
	require.NoError(t, err)
	require.NoError(t, reader.Close())
	kv, found, err := restored.Get(ctx, []byte("snapshot"))
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "kept", string(kv.Value))
}

func testAuth(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	st, err := client.AuthStatus(t.Context())
	require.NoError(t, err)
	require.False(t, st.Enabled)
}

// TestFailover closes one member of three while clients that know all go on.
func TestFailover(t *testing.T) {
	c := member.Start(t, member.Config{Members: 3})
	client := dial(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s, err := concurrency.NewSession(client, concurrency.WithTTL(30))
	require.NoError(t, err)
	_, err = client.Put(ctx, "alive", "", clientv3.WithLease(s.Lease()))
	require.NoError(t, err)
	events := client.Watch(ctx, "f/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	var lock sync.Mutex
	acknowledged := map[string]bool{}
	half := make(chan struct{})
	const writers, each = 4, 60
	var group errgroup.Group
	for w := range writers {
		group.Go(func() error {
			for i := range each {
				key := fmt.Sprintf("f/%d/%d", w, i)
				for { // what fails is tried again, as a client would that knows that it may have been done
					attempt, stop := context.WithTimeout(ctx, 2*time.Second)
					_, err := client.Put(attempt, key, "v")
					stop()
					if err == nil {
						break
					}
					if ctx.Err() != nil {
						return err
					}
				}
				lock.Lock()
				acknowledged[key] = true
				if len(acknowledged) == writers*each/3 {
					close(half)
				}
				lock.Unlock()
			}
			return nil
		})
	}
	<-half
	leader := 0
	for i, s := range c.Stores {
		if st, err := s.Status(ctx); err == nil && st.Leader {
			leader = i
		}
	}
	c.Stop(leader)
	require.NoError(t, group.Wait())
	require.Len(t, acknowledged, writers*each)
	seen, last := map[string]bool{}, int64(0)
	for len(seen) < writers*each {
		res, open := <-events
		require.True(t, open)
		require.NoError(t, res.Err(), "the watch moves to another member by itself")
		for _, e := range res.Events {
			require.Equal(t, mvccpb.PUT, e.Type)
			require.Greater(t, e.Kv.ModRevision, last, "no repeat")
			last = e.Kv.ModRevision
			seen[string(e.Kv.Key)] = true
		}
	}
	got, err := client.Get(ctx, "alive")
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1, "the lease is kept alive at another member")
	require.NoError(t, s.Close())
}
