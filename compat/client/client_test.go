// Package client runs etcd's Go client against members.
package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.etcd.io/etcd/client/v3/leasing"
	"go.etcd.io/etcd/client/v3/mirror"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.etcd.io/etcd/client/v3/naming/endpoints"
	"go.etcd.io/etcd/client/v3/ordering"
	"go.etcd.io/etcd/client/v3/snapshot"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keelson-dev/keelson/compat/member"
	"github.com/keelson-dev/keelson/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// etcd's client starts it for watches whose caller has gone, and it ends by itself after 250 ms.
		goleak.IgnoreAnyFunction("go.etcd.io/etcd/client/v3.(*watchGRPCStream).sendCloseSubstream"),
	)
}

// dial makes a client of all members, or of those named by their numbers.
func dial(t *testing.T, c *member.Cluster, members ...int) *clientv3.Client {
	t.Helper()
	ends := c.Endpoints
	if len(members) > 0 {
		ends = nil
		for _, i := range members {
			ends = append(ends, c.Endpoints[i])
		}
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: ends, TLS: c.ClientTLS, DialTimeout: 10 * time.Second, Logger: zap.NewNop(), Context: t.Context(),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
	})
	return client
}

func TestClient(t *testing.T) {
	tests := []struct {
		name string
		run  func(t *testing.T, c *member.Cluster, client *clientv3.Client)
	}{
		{"KV", testKV}, {"Txn", testTxn}, {"Errors", testErrors}, {"GetStream", testGetStream}, {"Watch", testWatch},
		{"WatchCompacted", testWatchCompacted}, {"WatchProgress", testWatchProgress}, {"WatchFragment", testWatchFragment},
		{"Lease", testLease}, {"Mutex", testMutex}, {"Election", testElection}, {"STM", testSTM}, {"Mirror", testMirror},
		{"Namespace", testNamespace}, {"Ordering", testOrdering}, {"Leasing", testLeasing}, {"Naming", testNaming},
		{"Cluster", testCluster}, {"Maintenance", testMaintenance}, {"Snapshot", testSnapshot}, {"Auth", testAuth},
	}
	member.Each(t, member.Config{}, func(t *testing.T, c *member.Cluster) {
		client := dial(t, c)
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) { test.run(t, c, client) })
		}
	})
}

func testKV(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx := t.Context()
	for i := range 10 {
		put, err := client.Put(ctx, fmt.Sprintf("kv/%d", 9-i), fmt.Sprint(i%3))
		require.NoError(t, err)
		require.NotZero(t, put.Header.ClusterId)
		require.NotZero(t, put.Header.MemberId)
		require.NotZero(t, put.Header.RaftTerm)
	}
	_, err := client.Put(ctx, "kv/3", "again")
	require.NoError(t, err)
	all, err := client.Get(ctx, "kv/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, all.Kvs, 10)
	first := all.Kvs[9].ModRevision // kv/9 was put first
	keys := func(ops ...clientv3.OpOption) string {
		res, err := client.Get(ctx, "kv/", append([]clientv3.OpOption{clientv3.WithPrefix()}, ops...)...)
		require.NoError(t, err)
		var out []string
		for _, kv := range res.Kvs {
			out = append(out, strings.TrimPrefix(string(kv.Key), "kv/"))
		}
		return strings.Join(out, "") + fmt.Sprintf(" %d %t", res.Count, res.More)
	}
	for _, test := range []struct {
		want string
		ops  []clientv3.OpOption
	}{
		{"0123456789 10 false", nil},
		{"012 10 true", []clientv3.OpOption{clientv3.WithLimit(3)}},
		{"9876543210 10 false", []clientv3.OpOption{clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)}},
		{"98 10 true", []clientv3.OpOption{clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortNone), clientv3.WithLimit(2)}},
		{"30 10 true", []clientv3.OpOption{clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(2)}},
		{"3 10 true", []clientv3.OpOption{clientv3.WithSort(clientv3.SortByVersion, clientv3.SortDescend), clientv3.WithLimit(1)}},
		{"3 10 true", []clientv3.OpOption{clientv3.WithSort(clientv3.SortByValue, clientv3.SortDescend), clientv3.WithLimit(1)}},
		{" 10 false", []clientv3.OpOption{clientv3.WithCountOnly()}},
		{"0123456789 10 false", []clientv3.OpOption{clientv3.WithKeysOnly(), clientv3.WithSerializable()}},
		{"789 10 false", []clientv3.OpOption{clientv3.WithMaxModRev(first + 2)}},
		{"03 10 false", []clientv3.OpOption{clientv3.WithMinModRev(first + 9)}},
		{"012345 10 false", []clientv3.OpOption{clientv3.WithMinCreateRev(first + 4)}},
		{"56789 10 false", []clientv3.OpOption{clientv3.WithMaxCreateRev(first + 4)}},
		{"89 2 false", []clientv3.OpOption{clientv3.WithRev(first + 1)}},
	} {
		require.Equal(t, test.want, keys(test.ops...))
	}
	from, err := client.Get(ctx, "kv/8", clientv3.WithFromKey(), clientv3.WithLimit(2), clientv3.WithKeysOnly())
	require.NoError(t, err)
	require.Len(t, from.Kvs, 2)
	require.Empty(t, from.Kvs[0].Value)
	deleted, err := client.Delete(ctx, "kv/2", clientv3.WithRange("kv/5"), clientv3.WithPrevKV())
	require.NoError(t, err)
	require.EqualValues(t, 3, deleted.Deleted)
	require.Equal(t, "again", string(deleted.PrevKvs[1].Value))
	_, err = client.Delete(ctx, "kv/", clientv3.WithPrefix())
	require.NoError(t, err)
	ignored, err := client.Put(ctx, "kv/x", "1")
	require.NoError(t, err)
	kept, err := client.Put(ctx, "kv/x", "", clientv3.WithIgnoreValue(), clientv3.WithPrevKV())
	require.NoError(t, err)
	require.Equal(t, ignored.Header.Revision+1, kept.Header.Revision)
	require.Equal(t, "1", string(kept.PrevKv.Value))
	compacted, err := client.Compact(ctx, kept.Header.Revision, clientv3.WithCompactPhysical())
	require.NoError(t, err)
	require.GreaterOrEqual(t, compacted.Header.Revision, kept.Header.Revision)
}

func testTxn(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx := t.Context()
	_, err := client.Put(ctx, "txn/a", "1")
	require.NoError(t, err)
	res, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.Value("txn/a"), "=", "1"), clientv3.Compare(clientv3.Version("txn/none"), "=", 0),
			clientv3.Compare(clientv3.ModRevision("txn/").WithPrefix(), ">", 0)).
		Then(clientv3.OpPut("txn/b", "2"), clientv3.OpGet("txn/a"), clientv3.OpTxn(
			[]clientv3.Cmp{clientv3.Compare(clientv3.Version("txn/b"), "=", 0)},
			[]clientv3.Op{clientv3.OpDelete("txn/a", clientv3.WithPrevKV())}, []clientv3.Op{clientv3.OpGet("never")})).
		Else(clientv3.OpPut("txn/c", "3")).Commit()
	require.NoError(t, err)
	require.True(t, res.Succeeded)
	require.Len(t, res.Responses, 3)
	require.Equal(t, "1", string(res.Responses[1].GetResponseRange().Kvs[0].Value))
	nested := res.Responses[2].GetResponseTxn()
	require.True(t, nested.Succeeded, "compares, those of nested transactions too, see what was before all operations")
	require.Equal(t, "1", string(nested.Responses[0].GetResponseDeleteRange().PrevKvs[0].Value))
	res, err = client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("txn/b"), "=", 0)).Else(clientv3.OpGet("txn/b")).Commit()
	require.NoError(t, err)
	require.False(t, res.Succeeded)
	require.Equal(t, "2", string(res.Responses[0].GetResponseRange().Kvs[0].Value))
}

// testErrors has every error that the client can meet at a healthy member, as its own value.
func testErrors(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx := t.Context()
	put, err := client.Put(ctx, "err/a", "1")
	require.NoError(t, err)
	_, err = client.Put(ctx, "err/a", "2")
	require.NoError(t, err)
	_, err = client.Compact(ctx, put.Header.Revision+1)
	require.NoError(t, err)
	lease, err := client.Grant(ctx, 100)
	require.NoError(t, err)
	many := make([]clientv3.Op, 129)
	for i := range many {
		many[i] = clientv3.OpPut(fmt.Sprint("err/", i), "")
	}
	second := func(_ any, err error) error { return err }
	for i, test := range []struct{ got, want error }{
		{second(client.Put(ctx, "", "")), rpctypes.ErrEmptyKey},
		{second(client.Get(ctx, "")), rpctypes.ErrEmptyKey},
		{second(client.Put(ctx, "err/none", "", clientv3.WithIgnoreValue())), rpctypes.ErrKeyNotFound},
		{second(client.Put(ctx, "err/a", "x", clientv3.WithIgnoreValue())), rpctypes.ErrValueProvided},
		{second(client.Put(ctx, "err/a", "x", clientv3.WithIgnoreLease(), clientv3.WithLease(lease.ID))), rpctypes.ErrLeaseProvided},
		{second(client.Txn(ctx).Then(many...).Commit()), rpctypes.ErrTooManyOps},
		{second(client.Txn(ctx).Then(clientv3.OpPut("x", ""), clientv3.OpPut("x", "")).Commit()), rpctypes.ErrDuplicateKey},
		{second(client.Txn(ctx).Then(clientv3.OpPut("x", ""), clientv3.OpDelete("w", clientv3.WithRange("z"))).Commit()), rpctypes.ErrDuplicateKey},
		{second(client.Get(ctx, "x", clientv3.WithSort(clientv3.SortTarget(77), clientv3.SortDescend))), rpctypes.ErrInvalidSortOption},
		{second(client.Get(ctx, "err/a", clientv3.WithRev(put.Header.Revision))), rpctypes.ErrCompacted},
		{second(client.Compact(ctx, put.Header.Revision)), rpctypes.ErrCompacted},
		{second(client.Get(ctx, "err/a", clientv3.WithRev(1<<40))), rpctypes.ErrFutureRev},
		{second(client.Compact(ctx, 1<<40)), rpctypes.ErrFutureRev},
		{second(client.Put(ctx, "x", "", clientv3.WithLease(12345))), rpctypes.ErrLeaseNotFound},
		{second(client.Revoke(ctx, 12345)), rpctypes.ErrLeaseNotFound},
		{second(client.KeepAliveOnce(ctx, 12345)), rpctypes.ErrLeaseNotFound},
		{second(client.Grant(ctx, 9_000_000_001)), rpctypes.ErrLeaseTTLTooLarge},
		{second(client.Put(ctx, "x", strings.Repeat("x", 3<<19+1))), rpctypes.ErrRequestTooLarge},
		{second(client.MemberAdd(ctx, []string{"unix://x:1"})), rpctypes.ErrMemberBadURLs},
		{second(client.MemberRemove(ctx, 1)), rpctypes.ErrMemberNotFound},
		{second(client.MemberPromote(ctx, 1)), rpctypes.ErrMemberNotFound},
		{second(client.Downgrade(ctx, clientv3.DowngradeEnable, "3.6.0")), rpctypes.ErrInvalidDowngradeTargetVersion},
		{second(client.Downgrade(ctx, clientv3.DowngradeValidate, "three")), rpctypes.ErrWrongDowngradeVersionFormat},
		{second(client.Downgrade(ctx, clientv3.DowngradeCancel, "")), rpctypes.ErrNoInflightDowngrade},
		{second(client.Authenticate(ctx, "root", "x")), rpctypes.ErrAuthNotEnabled},
		{second(client.AuthEnable(ctx)), rpctypes.ErrNotCapable},
	} {
		require.Equal(t, test.want, test.got, "%d", i)
	}
	_, err = client.Put(ctx, "x", strings.Repeat("x", 3<<20))
	require.ErrorContains(t, err, "larger than max", "gRPC itself refuses it")
}

func testGetStream(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx := t.Context()
	for i := range 1200 {
		_, err := client.Put(ctx, fmt.Sprintf("stream/%04d", i), "v")
		require.NoError(t, err)
	}
	chunks, err := client.GetStream(ctx, "stream/", clientv3.WithPrefix())
	require.NoError(t, err)
	n, messages := 0, 0
	for chunk := range chunks {
		require.NoError(t, chunk.Err())
		n, messages = n+len(chunk.RangeResponse.Kvs), messages+1
	}
	require.Equal(t, 1200, n)
	require.Equal(t, 3, messages)
}

// next returns the next events of a watch, as text.
func next(t *testing.T, events clientv3.WatchChan) string {
	t.Helper()
	select {
	case res, open := <-events:
		require.True(t, open)
		require.NoError(t, res.Err())
		var out []string
		for _, e := range res.Events {
			text := fmt.Sprintf("%s %s=%s", e.Type, e.Kv.Key, e.Kv.Value)
			if e.PrevKv != nil {
				text += fmt.Sprintf(" was %s", e.PrevKv.Value)
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	case <-t.Context().Done():
		return "nothing"
	}
}

func testWatch(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	all := client.Watch(ctx, "w/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	created := <-all
	require.True(t, created.Created)
	deletes := client.Watch(ctx, "w/a", clientv3.WithFilterPut(), clientv3.WithCreatedNotify())
	<-deletes
	put, err := client.Put(ctx, "w/a", "1")
	require.NoError(t, err)
	require.Equal(t, "PUT w/a=1", next(t, all))
	_, err = client.Put(ctx, "w/a", "2")
	require.NoError(t, err)
	require.Equal(t, "PUT w/a=2 was 1", next(t, all))
	_, err = client.Txn(ctx).Then(clientv3.OpDelete("w/a"), clientv3.OpPut("w/b", "3")).Commit()
	require.NoError(t, err)
	require.Equal(t, "DELETE w/a= was 2, PUT w/b=3", next(t, all))
	require.Equal(t, "DELETE w/a=", next(t, deletes))
	history := client.Watch(ctx, "w/a", clientv3.WithRev(put.Header.Revision))
	require.Equal(t, "PUT w/a=1, PUT w/a=2, DELETE w/a=", next(t, history))
	future := client.Watch(ctx, "w/f", clientv3.WithRev(put.Header.Revision+4))
	_, err = client.Put(ctx, "w/f", "early")
	require.NoError(t, err)
	_, err = client.Put(ctx, "w/f", "due")
	require.NoError(t, err)
	require.Equal(t, "PUT w/f=due", next(t, future))
	empty := client.Watch(ctx, "w/b", clientv3.WithRange("w/a"))
	res := <-empty
	require.ErrorContains(t, res.Err(), "mvcc: watcher range is empty")
}

func testWatchCompacted(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	put, err := client.Put(t.Context(), "wc", "1")
	require.NoError(t, err)
	_, err = client.Put(t.Context(), "wc", "2")
	require.NoError(t, err)
	_, err = client.Compact(t.Context(), put.Header.Revision+1)
	require.NoError(t, err)
	res := <-client.Watch(t.Context(), "wc", clientv3.WithRev(put.Header.Revision))
	require.Equal(t, rpctypes.ErrCompacted, res.Err())
	require.Equal(t, put.Header.Revision+1, res.CompactRevision)
}

func testWatchProgress(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	one := client.Watch(ctx, "wp/1", clientv3.WithCreatedNotify())
	<-one
	two := client.Watch(ctx, "wp/2", clientv3.WithCreatedNotify())
	<-two
	put, err := client.Put(ctx, "elsewhere", "")
	require.NoError(t, err)
	for reached := 0; reached < 2; {
		require.NoError(t, client.RequestProgress(ctx))
		for _, events := range []clientv3.WatchChan{one, two} {
			res := <-events
			require.True(t, res.IsProgressNotify())
			if res.Header.Revision >= put.Header.Revision {
				reached++
			}
		}
	}
}

func testWatchFragment(t *testing.T, _ *member.Cluster, client *clientv3.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	value := strings.Repeat("v", 1<<20)
	first := int64(0)
	for i := range 5 {
		put, err := client.Put(ctx, fmt.Sprint("wf/", i), value)
		require.NoError(t, err)
		if i == 0 {
			first = put.Header.Revision
		}
	}
	n := 0
	events := client.Watch(ctx, "wf/", clientv3.WithPrefix(), clientv3.WithRev(first), clientv3.WithFragment())
	for n < 5 {
		res := <-events
		require.NoError(t, res.Err())
		n += len(res.Events)
	}
	_, err := client.Delete(ctx, "wf/", clientv3.WithPrefix())
	require.NoError(t, err)
}

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
	events := client.Watch(clientv3.WithRequireLeader(ctx), "f/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
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
