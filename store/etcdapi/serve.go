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
)

const (
	// greetTime bounds what a client may take for its TLS handshake and its first bytes, and a request's head.
	greetTime = 10 * time.Second
	// drainTime is how long calls that are under way may take when Serve ends.
	drainTime = 5 * time.Second
	// maxHeadBytes bounds the head of an HTTP request.
	maxHeadBytes = 16 << 10
)

// Serve serves the gRPC services, and beside them over HTTP what ServeHTTP says, on one listener, as etcd does. It
// closes the listener, and returns nil when ctx has ended and all calls with it: they get a few seconds. A Server
// serves once.
//
// tlsConfig has the certificate and, for certificates of clients, ClientAuth and ClientCAs. Nil means no TLS. opts are
// added to what Serve gives to the gRPC server: ServerOptions, bounds on messages, and the keep-alives that etcd
// tolerates.
func (s *Server) Serve(ctx context.Context, l net.Listener, tlsConfig *tls.Config, opts ...grpc.ServerOption) error {
	base := ServerOptions()
	base = append(base,
		grpc.MaxRecvMsgSize(s.maxMessage()), grpc.MaxSendMsgSize(math.MaxInt32),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Hour, Timeout: 20 * time.Second}),
		grpc.Creds(greeted{insecure.NewCredentials()}),
	)
	server := grpc.NewServer(append(base, opts...)...)
	s.Register(server)
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
	running.Go(func() { _ = server.Serve(d.grpc) }) // they end when they are stopped
	running.Go(func() { _ = web.Serve(d.web) })
	<-ctx.Done()
	err := s.Close()
	late := time.AfterFunc(drainTime, server.Stop)
	server.GracefulStop()
	late.Stop()
	draining, done := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer done()
	if web.Shutdown(draining) != nil {
		err = errors.Join(err, web.Close())
	}
	d.close()
	running.Wait()
	return errors.Join(err, failed)
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
