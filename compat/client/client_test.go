// Package client runs etcd's Go client against members.
package client

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/compat/member"
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
