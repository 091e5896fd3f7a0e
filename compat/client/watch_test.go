package client

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/keelson-dev/keelson/compat/member"
)

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

func testWatchCompacted(t *testing.T, c *member.Cluster, client *clientv3.Client) {
	put, err := client.Put(t.Context(), "wc", "1")
	require.NoError(t, err)
	_, err = client.Put(t.Context(), "wc", "2")
	require.NoError(t, err)
	_, err = client.Compact(t.Context(), put.Header.Revision+1)
	require.NoError(t, err)
	for _, s := range c.Stores { // a member that has not compacted yet still has the events
		_, _, err := s.Get(t.Context(), []byte("wc"))
		require.NoError(t, err)
	}
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
