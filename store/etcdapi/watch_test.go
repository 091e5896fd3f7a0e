package etcdapi_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

func createWatch(r *pb.WatchCreateRequest) *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
}

func askProgress() *pb.WatchRequest {
	return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
}

func openWatch(t *testing.T, conn *grpc.ClientConn) grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse] {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	stream, err := pb.NewWatchClient(conn).Watch(ctx, grpc.MaxCallRecvMsgSize(64<<20))
	require.NoError(t, err)
	return stream
}

// TestWatchRefused has the reasons that clients are told.
func TestWatchRefused(t *testing.T) {
	_, conn := start(t, store.Config{}, etcdapi.Config{MaxWatches: 2})
	stream := openWatch(t, conn)
	for _, test := range []struct {
		send   *pb.WatchCreateRequest
		reason string
	}{
		{&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 5}, ""},
		{&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 5}, "mvcc: duplicate watch ID provided on the WatchStream"},
		{&pb.WatchCreateRequest{Key: []byte("a"), WatchId: -1}, "etcdserver: watch ID is negative"},
		{&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: -1}, rpctypes.ErrCompacted.Error()},
		{&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("b")}, "mvcc: watcher range is empty"},
		{&pb.WatchCreateRequest{Key: []byte("b"), RangeEnd: []byte("a")}, "mvcc: watcher range is empty"},
		{&pb.WatchCreateRequest{RangeEnd: []byte{0}, StartRevision: 1000}, ""}, // an empty key is the first one
		{&pb.WatchCreateRequest{Key: []byte("a")}, rpctypes.ErrTooManyRequests.Error()},
	} {
		require.NoError(t, stream.Send(createWatch(test.send)))
		r, err := stream.Recv()
		require.NoError(t, err)
		require.True(t, r.Created)
		require.Equal(t, test.reason != "", r.Canceled, "%v", test.send)
		require.Equal(t, test.reason, r.CancelReason)
		require.Equal(t, r.Canceled, r.WatchId == -1)
	}
	require.NoError(t, stream.Send(&pb.WatchRequest{})) // what is not known is skipped
	require.NoError(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 99}}}))
	require.NoError(t, stream.Send(askProgress()))
	r, err := stream.Recv()
	require.NoError(t, err)
	require.EqualValues(t, -1, r.WatchId)
	require.False(t, r.Canceled || r.Created)
}

// TestFragments watches one transaction and a long history, both larger than a message may be.
func TestFragments(t *testing.T) {
	s, conn := start(t, store.Config{MaxRequestBytes: 16 << 20}, etcdapi.Config{MaxRequestBytes: 1})
	limit := 1 + 512<<10
	large := bytes.Repeat([]byte("v"), 100<<10)
	txn := store.Txn{}
	for i := range 20 {
		txn.Then = append(txn.Then, store.Op{Put: &store.PutRequest{Key: fmt.Appendf(nil, "one/%02d", i), Value: large}})
	}
	_, err := s.Txn(t.Context(), txn) // revision 2
	require.NoError(t, err)
	for i := range 40 {
		_, err := s.Put(t.Context(), store.PutRequest{Key: fmt.Appendf(nil, "many/%02d", i), Value: large})
		require.NoError(t, err)
	}
	for _, test := range []struct {
		name     string
		create   *pb.WatchCreateRequest
		fragment bool
		want     int
	}{
		{"transaction whole", &pb.WatchCreateRequest{Key: []byte("one/"), RangeEnd: []byte("one0"), StartRevision: 2}, false, 20},
		{"transaction in fragments", &pb.WatchCreateRequest{Key: []byte("one/"), RangeEnd: []byte("one0"), StartRevision: 2, Fragment: true}, true, 20},
		{"history", &pb.WatchCreateRequest{Key: []byte("many/"), RangeEnd: []byte("many0"), StartRevision: 2}, false, 40},
	} {
		t.Run(test.name, func(t *testing.T) {
			stream := openWatch(t, conn)
			require.NoError(t, stream.Send(createWatch(test.create)))
			r, err := stream.Recv()
			require.NoError(t, err)
			require.True(t, r.Created)
			require.NoError(t, stream.Send(createWatch(&pb.WatchCreateRequest{Key: []byte("other"), WatchId: 7})))
			var keys []string
			messages, fragments, last := 0, 0, int64(0)
			for open := false; len(keys) < test.want; {
				r, err := stream.Recv()
				require.NoError(t, err)
				if r.WatchId == 7 {
					require.False(t, open, "nothing comes between fragments")
					continue
				}
				messages++
				if open = r.Fragment; open {
					fragments++
				}
				if test.fragment {
					size := 0
					for _, e := range r.Events {
						size += len(e.Kv.Value)
					}
					require.Less(t, size, limit)
				}
				for _, e := range r.Events {
					keys = append(keys, string(e.Kv.Key))
					require.GreaterOrEqual(t, e.Kv.ModRevision, last)
					last = e.Kv.ModRevision
				}
				require.GreaterOrEqual(t, r.Header.Revision, last)
				if !r.Fragment && len(keys) < test.want {
					require.Equal(t, last, r.Header.Revision, "the header is not ahead of what follows")
				}
			}
			require.IsIncreasing(t, keys)
			require.Equal(t, test.fragment, fragments > 0)
			require.Equal(t, test.name == "transaction whole", messages == 1)
		})
	}
}

// TestProgressIsNeverAhead asks for progress while watches are made that have history to catch up with: the answer goes
// to all watches of the client, and so may not be of a revision that one of them has not reached.
func TestProgressIsNeverAhead(t *testing.T) {
	s, conn := start(t, store.Config{}, etcdapi.Config{})
	const history, watches = 3000, 30
	for i := range history {
		_, err := s.Put(t.Context(), store.PutRequest{Key: fmt.Appendf(nil, "k/%d", i%7)})
		require.NoError(t, err)
	}
	joined := false
	for attempt := 0; !joined; attempt++ {
		require.Less(t, attempt, 20, "no watch was ever made before the answer to a request from before it")
		joined = neverAhead(t, openWatch(t, conn), history, watches)
	}
}

// neverAhead reports whether a watch was made between a request for progress and its answer.
func neverAhead(t *testing.T, stream grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse], history int64, watches int) (joined bool) {
	go func() {
		for range watches {
			_ = stream.Send(createWatch(&pb.WatchCreateRequest{Key: []byte("k/"), RangeEnd: []byte("k0"), StartRevision: 2}))
			_ = stream.Send(askProgress())
		}
	}()
	seen, answers := map[int64]int64{}, 0
	for finished := 0; finished < watches || answers == 0; {
		r, err := stream.Recv()
		require.NoError(t, err)
		switch {
		case r.Created:
			seen[r.WatchId] = 1
		case r.WatchId == -1:
			answers++
			joined = joined || len(seen) > answers
			for id, at := range seen {
				require.GreaterOrEqual(t, at, r.Header.Revision, "watch %d", id)
			}
		default:
			for _, e := range r.Events {
				require.Equal(t, seen[r.WatchId]+1, e.Kv.ModRevision, "no gap, no repeat")
				seen[r.WatchId] = e.Kv.ModRevision
			}
			if seen[r.WatchId] == history+1 {
				finished++
			}
		}
	}
	return joined
}

// TestSlowWatcher stops reading a stream: others and writers don't notice, and the slow one is told that it missed
// what was compacted.
func TestSlowWatcher(t *testing.T) {
	s, conn := start(t, store.Config{}, etcdapi.Config{})
	slow, quick := openWatch(t, conn), openWatch(t, conn)
	for _, stream := range []grpc.BidiStreamingClient[pb.WatchRequest, pb.WatchResponse]{slow, quick} {
		require.NoError(t, stream.Send(createWatch(&pb.WatchCreateRequest{Key: []byte("k")})))
		_, err := stream.Recv()
		require.NoError(t, err)
	}
	value := make([]byte, 64<<10)
	last := int64(0)
	for range 100 {
		put, err := s.Put(t.Context(), store.PutRequest{Key: []byte("k"), Value: value})
		require.NoError(t, err)
		last = put.Revision
		for at := int64(0); at < last; {
			r, err := quick.Recv()
			require.NoError(t, err)
			at = r.Events[len(r.Events)-1].Kv.ModRevision
		}
	}
	require.NoError(t, s.Compact(t.Context(), last))
	received := 0
	for {
		r, err := slow.Recv()
		require.NoError(t, err)
		if r.Canceled {
			require.Equal(t, last, r.CompactRevision)
			break
		}
		received += len(r.Events)
	}
	require.Less(t, received, 100)
}

// TestCompactedPrevious watches from the compact revision on: of its events the previous values are not told.
func TestCompactedPrevious(t *testing.T) {
	s, conn := start(t, store.Config{}, etcdapi.Config{})
	for i := range 4 {
		_, err := s.Put(t.Context(), store.PutRequest{Key: []byte("k"), Value: fmt.Append(nil, i)})
		require.NoError(t, err)
	}
	require.NoError(t, s.Compact(t.Context(), 4))
	stream := openWatch(t, conn)
	require.NoError(t, stream.Send(createWatch(&pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 4, PrevKv: true})))
	for _, want := range []string{"0@5 created", "0@5 +k@4 +k@5(2)"} {
		r, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, want, transcript(r))
	}
}

// TestManyWatches has thousands of watches on one stream, each of which gets its events.
func TestManyWatches(t *testing.T) {
	const n = 3000
	s, conn := start(t, store.Config{}, etcdapi.Config{})
	stream := openWatch(t, conn)
	go func() {
		for i := range n {
			_ = stream.Send(createWatch(&pb.WatchCreateRequest{Key: fmt.Appendf(nil, "k/%d", i), WatchId: int64(i + 1)}))
		}
	}()
	for range n {
		r, err := stream.Recv()
		require.NoError(t, err)
		require.True(t, r.Created && !r.Canceled)
	}
	txn := store.Txn{}
	for i := range n {
		txn.Then = append(txn.Then, store.Op{Put: &store.PutRequest{Key: fmt.Appendf(nil, "k/%d", i)}})
	}
	_, err := s.Txn(t.Context(), txn)
	require.NoError(t, err)
	got := map[int64]string{}
	for range n {
		r, err := stream.Recv()
		require.NoError(t, err)
		require.Len(t, r.Events, 1)
		got[r.WatchId] = string(r.Events[0].Kv.Key)
	}
	require.Len(t, got, n)
	require.Equal(t, "k/41", got[42])
}

// TestWatchEndsWithServer closes the API under an open watch: the client is told to go elsewhere.
func TestWatchEndsWithServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn := start(t, store.Config{}, etcdapi.Config{})
		stream := openWatch(t, conn)
		require.NoError(t, stream.Send(createWatch(&pb.WatchCreateRequest{Key: []byte("k")})))
		_, err := stream.Recv()
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = stream.Recv()
		require.Equal(t, rpctypes.ErrGRPCStopped.Error(), err.Error())
		kv := pb.NewKVClient(conn)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = kv.Put(ctx, &pb.PutRequest{Key: []byte("k")})
		require.Equal(t, rpctypes.ErrGRPCStopped.Error(), err.Error())
	})
}
