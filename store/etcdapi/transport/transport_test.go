package transport_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	message = wrapperspb.BytesValue
	echo    struct{ waiting, ended chan struct{} }
)

// call is the unary method: what it does is said by the first word of the message.
func (e *echo) call(ctx context.Context, in *message) (*message, error) {
	switch word, _, _ := strings.Cut(string(in.Value[:min(len(in.Value), 64)]), " "); word {
	case "fail":
		st, err := status.New(codes.FailedPrecondition, "100% wrong\n\u00e4").WithDetails(durationpb.New(time.Minute))
		if err != nil {
			return nil, err
		}
		return nil, st.Err()
	case "plain":
		return nil, errors.New("plain")
	case "metadata":
		md, _ := metadata.FromIncomingContext(ctx)
		p, _ := peer.FromContext(ctx)
		method, _ := grpc.Method(ctx)
		if err := grpc.SetHeader(ctx, metadata.Pairs("head", "1", "head-bin", "\x00\xff")); err != nil {
			return nil, err
		}
		if err := grpc.SetTrailer(ctx, metadata.Pairs("tail", "2")); err != nil {
			return nil, err
		}
		return &message{Value: fmt.Append(nil, md["mine"], " ", []byte(strings.Join(md["mine-bin"], "")), " ", p.Addr.Network(), " ", method)}, nil
	case "wait":
		e.waiting <- struct{}{}
		<-ctx.Done()
		e.ended <- struct{}{}
		return nil, ctx.Err()
	}
	return in, nil
}

// talk sends each message back as often as its first byte says.
func (e *echo) talk(stream grpc.ServerStream) error {
	stream.SetTrailer(metadata.Pairs("tail", "3"))
	for {
		var in message
		err := stream.RecvMsg(&in)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch string(in.Value) {
		case "fail":
			return status.Error(codes.Aborted, "as told")
		case "count":
			if err := stream.SendHeader(metadata.Pairs("head", "4")); err != nil {
				return err
			}
			for i := range 2000 {
				if err := stream.SendMsg(&message{Value: bytes.Repeat([]byte{byte(i)}, 1000)}); err != nil {
					return err
				}
			}
			return status.Error(codes.OutOfRange, "that was all")
		}
		for range in.Value[0] {
			if err := stream.SendMsg(&in); err != nil {
				return err
			}
		}
	}
}

func description() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Call", Handler: func(srv any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in := new(message)
				if err := dec(in); err != nil {
					return nil, err
				}
				return srv.(*echo).call(ctx, in)
			}},
			{MethodName: "Quick", Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
				return nil, errors.New("the quick form was not used")
			}},
		},
		Streams: []grpc.StreamDesc{{StreamName: "Talk", ServerStreams: true, ClientStreams: true, Handler: func(srv any, stream grpc.ServerStream) error {
			return srv.(*echo).talk(stream)
		}}},
	}
}

// serve starts a server and a client of it.
func serve(t testing.TB, cfg transport.Config, options ...grpc.DialOption) (*transport.Server, *grpc.ClientConn, *echo) {
	t.Helper()
	server, err := transport.New(cfg)
	require.NoError(t, err)
	e := &echo{waiting: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
	server.RegisterService(description(), e)
	require.NoError(t, server.RegisterQuick("/test.Echo/Quick", func(c *transport.Call, request, answer []byte) ([]byte, bool, error) {
		switch mode := c.Header("mode"); {
		case mode == "wait" && !c.Wait():
			return answer, false, nil
		case mode == "wait" && c.Context().Done() == nil:
			return answer, true, errors.New("no context")
		case mode == "fail":
			return append(answer, "rest"...), true, status.Error(codes.NotFound, "quick")
		}
		return append(answer, request...), true, nil
	}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	if len(options) == 0 {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	client, err := grpc.NewClient(l.Addr().String(), append(options, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)))...)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		require.NoError(t, server.Close())
		require.NoError(t, <-served)
	})
	return server, client, e
}

func invoke(ctx context.Context, c *grpc.ClientConn, method string, value []byte, options ...grpc.CallOption) ([]byte, error) {
	var out message
	err := c.Invoke(ctx, "/test.Echo/"+method, &message{Value: value}, &out, options...)
	return out.Value, err
}

func TestUnary(t *testing.T) {
	_, client, _ := serve(t, transport.Config{MaxMessageBytes: 20 << 20})
	for _, method := range []string{"Call", "Quick"} {
		for _, mode := range []string{"", "wait"} {
			for _, size := range []int{0, 1, 100, 16 << 10, 100_000, 3 << 20, 18 << 20} {
				in := bytes.Repeat([]byte{7}, size)
				out, err := invoke(metadata.AppendToOutgoingContext(t.Context(), "mode", mode), client, method, in)
				require.NoError(t, err, "%s %s %d", method, mode, size)
				require.True(t, bytes.Equal(in, out), "%s %s %d", method, mode, size)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	_, client, _ := serve(t, transport.Config{MaxMessageBytes: 1000})
	ctx := t.Context()
	for range 2 { // the second time the connection has its table
		_, err := invoke(ctx, client, "Call", []byte("fail"))
		st := status.Convert(err)
		require.Equal(t, codes.FailedPrecondition, st.Code())
		require.Equal(t, "100% wrong\n\u00e4", st.Message())
		require.Len(t, st.Details(), 1)
		_, err = invoke(ctx, client, "Call", []byte("plain"))
		require.Equal(t, codes.Unknown, status.Code(err))
		_, err = invoke(metadata.AppendToOutgoingContext(ctx, "mode", "fail"), client, "Quick", nil)
		require.Equal(t, "quick", status.Convert(err).Message())
		_, err = invoke(ctx, client, "None", nil)
		require.Equal(t, codes.Unimplemented, status.Code(err))
		_, err = invoke(ctx, client, "Call", make([]byte, 2000))
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		_, err = invoke(ctx, client, "Call", make([]byte, 5<<20))
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		_, err = invoke(ctx, client, "Call", nil, grpc.UseCompressor(gzip.Name))
		require.Equal(t, codes.Unimplemented, status.Code(err))
		_, err = invoke(ctx, client, "Call", nil)
		require.NoError(t, err)
	}
}

func TestMetadata(t *testing.T) {
	_, client, _ := serve(t, transport.Config{})
	var head, tail metadata.MD
	ctx := metadata.AppendToOutgoingContext(t.Context(), "mine", "a", "mine", strings.Repeat("b", 20_000), "mine-bin", "\x00c")
	out, err := invoke(ctx, client, "Call", []byte("metadata"), grpc.Header(&head), grpc.Trailer(&tail))
	require.NoError(t, err)
	require.Equal(t, "[a "+strings.Repeat("b", 20_000)+"] [0 99] tcp /test.Echo/Call", string(out))
	require.Equal(t, []string{"1"}, head["head"])
	require.Equal(t, []string{"\x00\xff"}, head["head-bin"])
	require.Equal(t, []string{"2"}, tail["tail"])
}

func TestCancelAndDeadline(t *testing.T) {
	_, client, e := serve(t, transport.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-e.waiting
		cancel()
	}()
	_, err := invoke(ctx, client, "Call", []byte("wait"))
	require.Equal(t, codes.Canceled, status.Code(err))
	<-e.ended
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = invoke(ctx, client, "Call", []byte("wait"))
	require.Equal(t, codes.DeadlineExceeded, status.Code(err))
	<-e.waiting
	<-e.ended
}

func TestMany(t *testing.T) {
	_, client, _ := serve(t, transport.Config{})
	var all sync.WaitGroup
	failed := make([]error, 500)
	for i := range failed {
		all.Go(func() {
			for n := range 20 {
				in := bytes.Repeat([]byte{byte(i + 1)}, 1+i*n*3)
				method, mode := [2]string{"Call", "Quick"}[n%2], [2]string{"", "wait"}[n/2%2]
				out, err := invoke(metadata.AppendToOutgoingContext(context.Background(), "mode", mode), client, method, in)
				if err == nil && !bytes.Equal(in, out) {
					err = errors.New("another answer")
				}
				failed[i] = errors.Join(failed[i], err)
			}
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(failed...))
}

func talk(t *testing.T, c *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	stream, err := c.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Talk")
	require.NoError(t, err)
	return stream
}

func TestStream(t *testing.T) {
	_, client, _ := serve(t, transport.Config{MaxMessageBytes: 8 << 20})
	stream := talk(t, client)
	for _, size := range []int{1, 1000, 100_000, 5 << 20} {
		in := append([]byte{3}, make([]byte, size)...)
		require.NoError(t, stream.SendMsg(&message{Value: in}))
		require.NoError(t, stream.SendMsg(&message{Value: in}))
		for range 6 {
			var out message
			require.NoError(t, stream.RecvMsg(&out))
			require.True(t, bytes.Equal(in, out.Value))
		}
	}
	require.NoError(t, stream.CloseSend())
	require.Equal(t, io.EOF, stream.RecvMsg(&message{}))
	require.Equal(t, []string{"3"}, stream.Trailer()["tail"])
	stream = talk(t, client)
	require.NoError(t, stream.SendMsg(&message{Value: []byte("fail")}))
	require.Equal(t, codes.Aborted, status.Code(stream.RecvMsg(&message{})))
	stream = talk(t, client)
	require.NoError(t, stream.SendMsg(&message{Value: make([]byte, 9<<20)}))
	require.Equal(t, codes.ResourceExhausted, status.Code(stream.RecvMsg(&message{})))
}

// TestCount has a stream send more than a window at once, and fail at its end.
func TestCount(t *testing.T) {
	_, client, _ := serve(t, transport.Config{})
	stream := talk(t, client)
	require.NoError(t, stream.SendMsg(&message{Value: []byte("count")}))
	head, err := stream.Header()
	require.NoError(t, err)
	require.Equal(t, []string{"4"}, head["head"])
	var out message
	for i := range 2000 {
		require.NoError(t, stream.RecvMsg(&out))
		require.Equal(t, bytes.Repeat([]byte{byte(i)}, 1000), out.Value)
	}
	err = stream.RecvMsg(&out)
	require.Equal(t, codes.OutOfRange, status.Code(err), "%v", err)
	require.Equal(t, []string{"3"}, stream.Trailer()["tail"])
}

// TestSlowReader has a stream whose client does not read: other calls on the connection go on, and it gets all in the end.
func TestSlowReader(t *testing.T) {
	_, client, _ := serve(t, transport.Config{})
	slow := talk(t, client)
	in := append([]byte{200}, bytes.Repeat([]byte{9}, 50_000)...)
	require.NoError(t, slow.SendMsg(&message{Value: in}))
	for range 50 {
		out, err := invoke(t.Context(), client, "Call", []byte("x"))
		require.NoError(t, err)
		require.Equal(t, "x", string(out))
	}
	for range 200 {
		var out message
		require.NoError(t, slow.RecvMsg(&out))
		require.True(t, bytes.Equal(in, out.Value))
	}
}

func TestShutdown(t *testing.T) {
	server, client, e := serve(t, transport.Config{})
	stream := talk(t, client)
	require.NoError(t, stream.SendMsg(&message{Value: []byte{1}}))
	require.NoError(t, stream.RecvMsg(&message{}))
	over := make(chan error, 1)
	go func() { over <- server.Shutdown(context.Background()) }()
	require.Eventually(t, func() bool { return client.GetState().String() != "READY" }, 10*time.Second, time.Millisecond)
	require.NoError(t, stream.SendMsg(&message{Value: []byte{1}}), "what runs may end")
	require.NoError(t, stream.RecvMsg(&message{}))
	select {
	case <-over:
		t.Fatal("a call was still running")
	default:
	}
	require.NoError(t, stream.CloseSend())
	require.Equal(t, io.EOF, stream.RecvMsg(&message{}))
	require.NoError(t, <-over)

	server, client, e = serve(t, transport.Config{})
	go func() {
		<-e.waiting
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		over <- server.Shutdown(ctx)
	}()
	_, err := invoke(t.Context(), client, "Call", []byte("wait"))
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorIs(t, <-over, context.Canceled)
	<-e.ended
}

func TestMaxStreams(t *testing.T) {
	_, client, e := serve(t, transport.Config{MaxStreams: 1})
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := invoke(ctx, client, "Call", []byte("wait"))
		first <- err
	}()
	<-e.waiting
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	_, err := invoke(short, client, "Call", []byte("x"))
	require.Equal(t, codes.DeadlineExceeded, status.Code(err), "the client waits for a place")
	cancel()
	require.Error(t, <-first)
	<-e.ended
	_, err = invoke(t.Context(), client, "Call", []byte("x"), grpc.WaitForReady(true))
	require.NoError(t, err)
}

func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"echo"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots.AddCert(certificate)
	_, client, _ := serve(t, transport.Config{TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}},
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: roots, ServerName: "echo"})))
	out, err := invoke(t.Context(), client, "Call", make([]byte, 100_000))
	require.NoError(t, err)
	require.Len(t, out, 100_000)
}

func TestConfig(t *testing.T) {
	_, err := transport.New(transport.Config{MaxStreams: -1})
	require.ErrorContains(t, err, "MaxStreams")
	server, err := transport.New(transport.Config{})
	require.NoError(t, err)
	require.ErrorContains(t, server.RegisterQuick("/a/b", nil), "/a/b")
	require.NoError(t, server.Close())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, server.Serve(l), transport.ErrServed)
}
