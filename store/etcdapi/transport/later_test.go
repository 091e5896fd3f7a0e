package transport_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

// task is the work for a call that is answered later.
type task struct {
	call    *transport.Call
	request []byte
	given   chan bool // late
}

// GiveUp implements transport.Work.
func (k *task) GiveUp(late bool) error {
	k.given <- late
	return status.Error(codes.DeadlineExceeded, fmt.Sprint("late ", late))
}

func (k *task) answer() {
	k.call.Answer(func(answer []byte) []byte { return append(answer, k.request...) }, nil)
}

// serveLater starts a server whose quick calls are answered later, and gives the tasks that come. Those with mode: now are
// answered before the form returns, those with mode: not are not taken.
func serveLater(t *testing.T, limit time.Duration) (*transport.Server, *grpc.ClientConn, <-chan *task) {
	server, err := transport.New(transport.Config{})
	require.NoError(t, err)
	server.RegisterService(description(), &echo{})
	tasks := make(chan *task, 2000)
	require.Error(t, server.RegisterLater("/test.Echo/Talk", nil))
	require.NoError(t, server.RegisterLater("/test.Echo/Quick", func(c *transport.Call, request []byte) bool {
		k := &task{call: c, request: append([]byte(nil), request...), given: make(chan bool, 1)}
		switch c.Header("mode") {
		case "not":
			return false
		case "now":
			k.answer()
		case "fail":
			c.Answer(nil, status.Error(codes.NotFound, "later"))
		default:
			c.Until(limit, k)
			tasks <- k
			return true
		}
		c.Until(limit, k)
		return true
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	})
	return server, client, tasks
}

func TestLater(t *testing.T) {
	_, client, tasks := serveLater(t, time.Hour)
	for mode, code := range map[string]codes.Code{"now": codes.OK, "fail": codes.NotFound, "not": codes.Unknown} {
		got, err := invoke(metadata.AppendToOutgoingContext(t.Context(), "mode", mode), client, "Quick", []byte("some"))
		require.Equal(t, code, status.Code(err), "%s: %v", mode, err)
		if err == nil {
			require.Equal(t, "some", string(got))
		}
	}
	const calls = 1000
	var all sync.WaitGroup
	errs := make(chan error, calls)
	for i := range calls {
		all.Go(func() {
			want := fmt.Sprint("value ", i)
			got, err := invoke(t.Context(), client, "Quick", []byte(want))
			if err == nil && string(got) != want {
				err = fmt.Errorf("%q was sent and %q came", want, got)
			}
			errs <- err
		})
	}
	var waiting []*task // they all wait at the same time, and no goroutine does
	for range calls {
		waiting = append(waiting, <-tasks)
	}
	for i := range waiting {
		waiting[(i+calls/2)%calls].answer()
	}
	all.Wait()
	for range calls {
		require.NoError(t, <-errs)
	}
	for _, k := range waiting {
		k.answer() // a second time counts for nothing
		require.Empty(t, k.given)
	}
	got, err := invoke(metadata.AppendToOutgoingContext(t.Context(), "mode", "now"), client, "Quick", []byte("more"))
	require.NoError(t, err)
	require.Equal(t, "more", string(got))
}

func TestLaterGivesUp(t *testing.T) {
	t.Run("client's deadline", func(t *testing.T) {
		_, client, tasks := serveLater(t, time.Hour)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := invoke(ctx, client, "Quick", nil)
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
		k := <-tasks
		require.False(t, <-k.given)
		k.answer()
	})
	t.Run("limit", func(t *testing.T) {
		_, client, tasks := serveLater(t, 20*time.Millisecond)
		for range 3 {
			_, err := invoke(t.Context(), client, "Quick", nil)
			require.Equal(t, "late true", status.Convert(err).Message())
			k := <-tasks
			require.True(t, <-k.given)
			k.answer()
		}
	})
	t.Run("earlier after later", func(t *testing.T) {
		_, client, tasks := serveLater(t, time.Hour)
		done := make(chan error, 1)
		go func() {
			_, err := invoke(t.Context(), client, "Quick", []byte("patient"))
			done <- err
		}()
		patient := <-tasks
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := invoke(ctx, client, "Quick", nil)
		require.Equal(t, codes.DeadlineExceeded, status.Code(err))
		require.False(t, <-(<-tasks).given)
		require.Empty(t, patient.given)
		patient.answer()
		require.NoError(t, <-done)
	})
	t.Run("reset", func(t *testing.T) {
		server, client, tasks := serveLater(t, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := invoke(ctx, client, "Quick", nil)
			done <- err
		}()
		k := <-tasks
		cancel()
		require.Equal(t, codes.Canceled, status.Code(<-done))
		require.False(t, <-k.given)
		k.answer()
		require.NoError(t, server.Shutdown(t.Context())) // the call is not counted any more
	})
	t.Run("connection", func(t *testing.T) {
		server, client, tasks := serveLater(t, time.Hour)
		done := make(chan error, 1)
		go func() {
			_, err := invoke(t.Context(), client, "Quick", nil)
			done <- err
		}()
		k := <-tasks
		require.NoError(t, server.Close())
		require.Equal(t, codes.Unavailable, status.Code(<-done))
		require.False(t, <-k.given)
		k.answer()
	})
	t.Run("shutdown waits", func(t *testing.T) {
		server, client, tasks := serveLater(t, time.Hour)
		done := make(chan error, 1)
		go func() {
			_, err := invoke(t.Context(), client, "Quick", nil)
			done <- err
		}()
		k := <-tasks
		over := make(chan error, 1)
		go func() { over <- server.Shutdown(t.Context()) }()
		require.Empty(t, over)
		k.answer()
		require.NoError(t, <-done)
		require.NoError(t, <-over)
	})
}

// TestLaterBlocksNobody answers more than the client's windows take: whoever answers does not wait for the client.
func TestLaterBlocksNobody(t *testing.T) {
	_, client, tasks := serveLater(t, time.Hour)
	const calls, size = 50, 1 << 20
	errs := make(chan error, calls)
	for range calls {
		go func() {
			got, err := invoke(t.Context(), client, "Quick", []byte("large"))
			if err == nil && len(got) != size {
				err = fmt.Errorf("%d bytes came", len(got))
			}
			errs <- err
		}()
	}
	large, err := proto.Marshal(&message{Value: make([]byte, size)})
	require.NoError(t, err)
	for range calls {
		k := <-tasks
		k.request = large
		k.answer()
	}
	for range calls {
		require.NoError(t, <-errs)
	}
}
