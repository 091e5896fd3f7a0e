package etcdapi

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

const (
	// greetTime bounds what a client may take for its TLS handshake and its first bytes, and a request's head.
	greetTime = 10 * time.Second
	// drainTime is how long calls that are under way may take when Serve ends.
	drainTime = 5 * time.Second
	// maxHeadBytes bounds the head of an HTTP request.
	maxHeadBytes = 16 << 10
)

// ErrServed says that a Server serves or has served already, or was closed.
var ErrServed = errors.New("etcdapi: a Server serves once")

// Serve serves the gRPC services, and beside them over HTTP what ServeHTTP says, on one listener, as etcd does. It
// closes the listener, and returns nil when ctx has ended and all calls with it: they get a few seconds. A Server
// serves once; after that, or after Close, it fails with ErrServed.
//
// tlsConfig has the certificate and, for certificates of clients, ClientAuth and ClientCAs. Nil means no TLS. The calls go
// through the package's own transport, see Transport, unless there are opts: then through google.golang.org/grpc's
// server, which gets bounds on messages, the keep-alives that etcd tolerates, and opts.
func (s *Server) Serve(ctx context.Context, l net.Listener, tlsConfig *tls.Config, opts ...grpc.ServerOption) error {
	serve, stop, err := s.calls(opts)
	if s.ended() || s.served.Swap(true) {
		err = ErrServed
	}
	if err != nil {
		return errors.Join(err, l.Close())
	}
	web := &http.Server{
		Handler: s, ReadHeaderTimeout: greetTime, IdleTimeout: time.Minute, MaxHeaderBytes: maxHeadBytes, Protocols: new(http.Protocols),
	}
	web.Protocols.SetHTTP1(true)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := newDoor(ctx, l, tlsConfig)
	var running sync.WaitGroup
	var failed error
	running.Go(func() {
		failed = d.accept()
		cancel()
	})
	running.Go(func() { _ = serve(d.grpc) }) // they end when they are stopped
	running.Go(func() { _ = web.Serve(d.web) })
	<-ctx.Done()
	err = s.Close()
	stop()
	draining, done := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer done()
	if web.Shutdown(draining) != nil {
		err = errors.Join(err, web.Close())
	}
	d.close()
	running.Wait()
	return errors.Join(err, failed)
}

// calls makes the server of the gRPC services: the package's own transport, or with options google.golang.org/grpc's.
func (s *Server) calls(opts []grpc.ServerOption) (serve func(net.Listener) error, stop func(), err error) {
	if len(opts) == 0 {
		server, err := s.Transport(transport.Config{})
		if err != nil {
			return nil, nil, err
		}
		return server.Serve, func() {
			ctx, cancel := context.WithTimeout(context.Background(), drainTime)
			defer cancel()
			_ = server.Shutdown(ctx) // the only error is that there was not enough time
		}, nil
	}
	server := grpc.NewServer(append([]grpc.ServerOption{
		grpc.MaxRecvMsgSize(s.maxMessage()), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second}),
		grpc.Creds(greeted{insecure.NewCredentials()}),
	}, opts...)...)
	s.Register(server)
	return server.Serve, func() {
		late := time.AfterFunc(drainTime, server.Stop)
		defer late.Stop()
		server.GracefulStop()
	}, nil
}

// greeted lets gRPC take connections whose TLS handshake is done, and others without TLS.
type greeted struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (g greeted) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return g.TransportCredentials.ServerHandshake(conn)
	}
	return conn, credentials.TLSInfo{
		State:          secured.ConnectionState(),
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}, nil
}

// Clone implements credentials.TransportCredentials.
func (g greeted) Clone() credentials.TransportCredentials {
	return greeted{g.TransportCredentials.Clone()}
}
