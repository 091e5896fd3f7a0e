package client

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"

	"github.com/keelson-dev/keelson/compat/member"
)

func testMirror(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 1500 { // more than one page of the syncer
		_, err := client.Put(ctx, fmt.Sprintf("mirror/%04d", i), "v")
		require.NoError(t, err)
	}
	s := mirror.NewSyncer(client, "mirror/", 0)
	pages, failed := s.SyncBase(ctx)
	copied := map[string]string{}
	for page := range pages {
		for _, kv := range page.Kvs {
			copied[string(kv.Key)] = string(kv.Value)
		}
	}
	require.NoError(t, <-failed)
	require.Len(t, copied, 1500)
	updates := s.SyncUpdates(ctx)
	_, err := client.Txn(ctx).Then(clientv3.OpDelete("mirror/0001"), clientv3.OpPut("mirror/new", "w")).Commit()
	require.NoError(t, err)
	require.Equal(t, "DELETE mirror/0001=, PUT mirror/new=w", next(t, updates))
}

func testNamespace(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kv := namespace.NewKV(client.KV, "ns/")
	watcher := namespace.NewWatcher(client.Watcher, "ns/")
	events := watcher.Watch(ctx, "", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
	<-events
	_, err := kv.Put(ctx, "a", "1")
	require.NoError(t, err)
	require.Equal(t, "PUT a=1", next(t, events))
	got, err := client.Get(ctx, "ns/a")
	require.NoError(t, err)
	require.Len(t, got.Kvs, 1)
	all, err := kv.Get(ctx, "", clientv3.WithFromKey())
	require.NoError(t, err)
	require.Equal(t, "a", string(all.Kvs[0].Key))
}

func testOrdering(t *testing.T, c *member.Cluster, client *clientv3.Client) {
	kv := ordering.NewKV(client.KV, func(clientv3.Op, clientv3.OpResponse, int64) error { return errors.New("the revision fell") })
	for i := range 50 {
		_, err := kv.Put(t.Context(), "ordering", fmt.Sprint(i))
		require.NoError(t, err)
		got, err := kv.Get(t.Context(), "ordering")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), string(got.Kvs[0].Value), "whichever of %d members answers", len(c.Stores))
	}
}

func testLeasing(t *testing.T, c *member.Cluster, client *clientv3.Client) {
	one, closeOne, err := leasing.NewKV(client, "leasing/")
	require.NoError(t, err)
	defer closeOne()
	two, closeTwo, err := leasing.NewKV(dial(t, c), "leasing/")
	require.NoError(t, err)
	defer closeTwo()
	for i := range 10 {
		_, err := one.Put(t.Context(), "cached", fmt.Sprint(i))
		require.NoError(t, err)
		for _, kv := range []clientv3.KV{one, two, one} {
			got, err := kv.Get(t.Context(), "cached")
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(i), string(got.Kvs[0].Value))
		}
	}
	res, err := two.Txn(t.Context()).If(clientv3.Compare(clientv3.Value("cached"), "=", "9")).Then(clientv3.OpPut("cached", "10")).Commit()
	require.NoError(t, err)
	require.True(t, res.Succeeded)
}

func testNaming(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	m, err := endpoints.NewManager(client, "naming")
	require.NoError(t, err)
	updates, err := m.NewWatchChannel(ctx)
	require.NoError(t, err)
	require.NoError(t, m.AddEndpoint(ctx, "naming/a", endpoints.Endpoint{Addr: "10.0.0.1:1"}))
	require.Equal(t, "10.0.0.1:1", (<-updates)[0].Endpoint.Addr)
	list := map[string]endpoints.Endpoint{}
	for len(list) == 0 { // the manager asks for what some member has
		list, err = m.List(ctx)
		require.NoError(t, err)
	}
	require.Equal(t, "10.0.0.1:1", list["naming/a"].Addr)
}
