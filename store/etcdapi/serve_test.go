package etcdapi_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// certificate makes a server's certificate and the pool that trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, pool
}

// serve runs Serve on loopback and returns the address.
func serve(t *testing.T, s *store.Store, cfg etcdapi.Config, tlsConfig *tls.Config) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- etcdapi.New(s, cfg).Serve(ctx, l, tlsConfig) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-served)
	})
	return l.Addr().String()
}

// TestServe has gRPC and HTTP on one port, with TLS and without.
func TestServe(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(t.Context(), store.Config{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			var serverTLS *tls.Config
			client, scheme, creds := &http.Transport{}, "http", insecure.NewCredentials()
			if secure {
				var pool *x509.CertPool
				serverTLS, pool = certificate(t)
				client.TLSClientConfig, scheme = &tls.Config{RootCAs: pool}, "https"
				creds = credentials.NewTLS(&tls.Config{RootCAs: pool})
			}
			addr := serve(t, s, etcdapi.Config{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, "some metrics")
			})}, serverTLS)
			conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
			require.NoError(t, err)
			defer conn.Close()
			_, err = pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("a")})
			require.NoError(t, err)
			health, err := grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			require.NoError(t, err)
			require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, health.Status)
			_, err = grpc_health_v1.NewHealthClient(conn).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "other"})
			require.Equal(t, codes.NotFound, status.Code(err))
			defer client.CloseIdleConnections()
			for _, test := range []struct {
				method, path string
				code         int
				want         string
			}{
				{"GET", "/version", 200, `{"etcdcluster":"3.7.0","etcdserver":"3.7.0","storage":"3.7.0"}`},
				{"GET", "/health", 200, `{"health":"true","reason":""}`},
				{"GET", "/health?serializable=true", 200, `{"health":"true","reason":""}`},
				{"GET", "/livez", 200, "ok\n"},
				{"GET", "/livez?verbose", 200, "[+]serializable_read ok\nok\n"},
				{"GET", "/readyz?verbose&exclude=non_learner", 200, "[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\nok\n"},
				{"GET", "/readyz/linearizable_read", 200, "ok\n"},
				{"GET", "/readyz/other", 404, "404 page not found\n"},
				{"GET", "/other", 404, "404 page not found\n"},
				{"POST", "/health", 405, "Method Not Allowed\n"},
				{"GET", "/metrics", 200, "some metrics"},
			} {
				r, err := http.NewRequestWithContext(t.Context(), test.method, scheme+"://"+addr+test.path, nil)
				require.NoError(t, err)
				res, err := client.RoundTrip(r)
				require.NoError(t, err, test.path)
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, test.code, res.StatusCode, test.path)
				require.Equal(t, test.want, string(body), test.path)
			}
			require.NoError(t, s.Close()) // what is left of the member says so
			for path, want := range map[string]string{
				"/livez":  "[-]serializable_read failed: rpc error: code = Unavailable desc = etcdserver: server stopped\n",
				"/health": `{"health":"false","reason":"RANGE ERROR:rpc error: code = Unavailable desc = etcdserver: server stopped"}`,
			} {
				r, err := http.NewRequestWithContext(t.Context(), "GET", scheme+"://"+addr+path, nil)
				require.NoError(t, err)
				res, err := client.RoundTrip(r)
				require.NoError(t, err)
				body, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, 503, res.StatusCode)
				require.Equal(t, want, string(body))
			}
		})
	}
}

// TestServeOnce serves with a Server that serves, that has served, and that was closed: the listener is closed, and
// nobody waits.
func TestServeOnce(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	closed := etcdapi.New(s, etcdapi.Config{})
	require.NoError(t, closed.Close())
	api := etcdapi.New(s, etcdapi.Config{})
	listen := func() net.Listener {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l
	}
	refused := func(api *etcdapi.Server) {
		t.Helper()
		l := listen()
		require.ErrorIs(t, api.Serve(t.Context(), l, nil), etcdapi.ErrServed)
		require.ErrorIs(t, l.Close(), net.ErrClosed)
	}
	refused(closed)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	l := listen()
	go func() { served <- api.Serve(ctx, l, nil) }()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	_, err = pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("a")})
	require.NoError(t, err)
	refused(api)
	_, err = pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("a")})
	require.NoError(t, err, "the first one goes on")
	cancel()
	require.NoError(t, <-served)
	refused(api)
}

// TestConfigBelowZero is told of what is taken for zero, and works.
func TestConfigBelowZero(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	_, conn := start(t, store.Config{}, etcdapi.Config{MaxTxnOps: -1, RequestTimeout: -time.Second, Logger: zap.New(core)})
	_, err := pb.NewKVClient(conn).Put(t.Context(), &pb.PutRequest{Key: []byte("a")})
	require.NoError(t, err)
	var fields []any
	for _, entry := range logs.All() {
		fields = append(fields, entry.ContextMap()["field"])
	}
	require.Equal(t, []any{"RequestTimeout", "MaxTxnOps"}, fields)
}

// TestDeep nests transactions deeper than the store allows.
func TestDeep(t *testing.T) {
	_, conn := start(t, store.Config{}, etcdapi.Config{})
	kv := pb.NewKVClient(conn)
	for depth := range 40 {
		txn := &pb.TxnRequest{}
		for range depth {
			txn = &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: txn}}}}
		}
		_, err := kv.Txn(t.Context(), txn)
		if depth <= 16 {
			require.NoError(t, err)
			continue
		}
		require.Error(t, err)
		require.Equal(t, rpctypes.ErrGRPCTooManyOps.Error(), err.Error(), "%d", depth)
	}
}

// TestServeHostile has clients that say nothing, or nonsense, beside one that is served all the same.
func TestServeHostile(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	serverTLS, pool := certificate(t)
	for name, cfg := range map[string]*tls.Config{"plain": nil, "tls": serverTLS} {
		t.Run(name, func(t *testing.T) {
			addr := serve(t, s, etcdapi.Config{MaxRequestBytes: 1000}, cfg)
			var open []net.Conn
			for _, first := range []string{"", "x", "PRI ", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20), "\x16\x03\x01"} {
				conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
				require.NoError(t, err)
				defer conn.Close()
				_, _ = io.WriteString(conn, first) // it may be sent away meanwhile
				open = append(open, conn)
			}
			require.Len(t, open, 6)
			creds := insecure.NewCredentials()
			if cfg != nil {
				creds = credentials.NewTLS(&tls.Config{RootCAs: pool})
			}
			conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(creds))
			require.NoError(t, err)
			defer conn.Close()
			kv := pb.NewKVClient(conn)
			_, err = kv.Put(t.Context(), &pb.PutRequest{Key: []byte("a"), Value: make([]byte, 2000)})
			require.Equal(t, rpctypes.ErrGRPCRequestTooLarge.Error(), err.Error())
			_, err = kv.Put(t.Context(), &pb.PutRequest{Key: []byte("a"), Value: make([]byte, 1<<20)})
			require.Equal(t, codes.ResourceExhausted, status.Code(err), "it is not even read")
			_, err = kv.Put(t.Context(), &pb.PutRequest{Key: []byte("a"), Value: make([]byte, 900)})
			require.NoError(t, err)
		})
	}
}

func requireLeader(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, rpctypes.MetadataRequireLeaderKey, rpctypes.MetadataHasLeader)
}
