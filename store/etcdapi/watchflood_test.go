package etcdapi_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// watchService takes the Watch service out of what a Server registers.
type watchService struct{ pb.WatchServer }

func (w *watchService) RegisterService(_ *grpc.ServiceDesc, impl any) {
	if server, ok := impl.(pb.WatchServer); ok {
		w.WatchServer = server
	}
}

// stalledStream is a stream whose client sends and does not read: each Send waits until there is room.
type stalledStream struct {
	grpc.ServerStream
	ctx      context.Context
	requests chan *pb.WatchRequest
	room     chan struct{}
	sent     chan *pb.WatchResponse
}

func (s *stalledStream) Context() context.Context { return s.ctx }

func (s *stalledStream) Recv() (*pb.WatchRequest, error) {
	select {
	case r := <-s.requests:
		return r, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *stalledStream) Send(r *pb.WatchResponse) error {
	select {
	case <-s.room:
		s.sent <- r
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// TestProgressFlood asks for progress many times while no answer can be sent: all but the first have one answer, so that
// a client which does not read can't have answers pile up.
func TestProgressFlood(t *testing.T) {
	for name, watches := range map[string]int{"no watch": 0, "one watch": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := store.Open(t.Context(), store.Config{})
				require.NoError(t, err)
				defer func() { require.NoError(t, s.Close()) }()
				var service watchService
				etcdapi.New(s, etcdapi.Config{}).Register(&service)
				ctx, cancel := context.WithCancel(t.Context())
				stream := &stalledStream{
					ctx: ctx, requests: make(chan *pb.WatchRequest), room: make(chan struct{}), sent: make(chan *pb.WatchResponse, 1000),
				}
				ended := make(chan error, 1)
				go func() { ended <- service.Watch(stream) }()
				for range watches {
					stream.requests <- createWatch(&pb.WatchCreateRequest{Key: []byte("k")})
					stream.room <- struct{}{}
					require.True(t, (<-stream.sent).Created)
				}
				for range 500 {
					stream.requests <- askProgress()
					synctest.Wait()
				}
				put, err := s.Put(t.Context(), store.PutRequest{Key: []byte("other")})
				require.NoError(t, err)
				close(stream.room)
				synctest.Wait()
				require.Len(t, stream.sent, 2)
				require.EqualValues(t, -1, (<-stream.sent).WatchId)
				second := <-stream.sent
				require.EqualValues(t, -1, second.WatchId)
				require.Equal(t, put.Revision, second.Header.Revision, "it is of what there is when it is sent, not when it was asked for")
				stream.requests <- askProgress()
				synctest.Wait()
				require.Len(t, stream.sent, 1, "and the next request is answered again")
				cancel()
				require.Error(t, <-ended)
			})
		})
	}
}
