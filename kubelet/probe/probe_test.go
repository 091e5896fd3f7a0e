package probe_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/keelson-dev/keelson/kubelet/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ExampleCounter() {
	c := probe.Counter{Success: 1, Failure: 3}
	for _, ok := range []bool{true, false, false, true, false, false, false} {
		fmt.Print(ok, ":", c.Add(ok), " ")
	}
	fmt.Println()
	// Output: true:true false:false false:false true:true false:false false:false false:true
}

func ExampleHTTP() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", 503) }))
	defer server.Close()
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	fmt.Println(probe.HTTP(context.Background(), probe.Target{Host: at.Addr().String(), Port: int(at.Port())}, probe.Request{Path: "/ready"}))
	// Output: {false HTTP probe failed with statuscode: 503}
}

func target(t *testing.T, h http.Handler, withTLS bool) probe.Target {
	server := httptest.NewUnstartedServer(h)
	if withTLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	at := netip.MustParseAddrPort(server.Listener.Addr().String())
	return probe.Target{Host: at.Addr().String(), Port: int(at.Port())}
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Host, r.URL.RawQuery, r.Header.Get("X-Probe"), r.UserAgent())
	})
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/teapot", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/x", http.StatusFound)
	})
	mux.HandleFunc("/teapot", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusTeapot) })
	mux.HandleFunc("/hang", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	for _, withTLS := range []bool{false, true} {
		at := target(t, mux, withTLS)
		scheme := "HTTP"
		if withTLS {
			scheme = "HTTPS"
		}
		ask := func(path string, header http.Header) probe.Result {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return probe.HTTP(ctx, at, probe.Request{Scheme: scheme, Path: path, Header: header})
		}
		require.Equal(t, probe.Result{OK: true, Output: "a.examplex=1yeskube-probe/1.37"},
			ask("ok?x=1", http.Header{"Host": {"a.example"}, "x-probe": {"yes"}}))
		require.Equal(t, "HTTP probe failed with statuscode: 418", ask("/here", nil).Output)
		require.True(t, ask("/away", nil).OK, "a redirect to another host is not followed")
		require.False(t, ask("/%zz", nil).OK)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.False(t, probe.HTTP(ctx, at, probe.Request{Scheme: scheme, Path: "/hang"}).OK)
	}
}

func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := netip.MustParseAddrPort(l.Addr().String())
	to := probe.Target{Host: at.Addr().String(), Port: int(at.Port())}
	require.True(t, probe.TCP(t.Context(), to).OK)
	require.NoError(t, l.Close())
	require.Contains(t, probe.TCP(t.Context(), to).Output, "refused")
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, checks := grpc.NewServer(), health.NewServer()
	grpc_health_v1.RegisterHealthServer(server, checks)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	at := netip.MustParseAddrPort(l.Addr().String())
	to := probe.Target{Host: at.Addr().String(), Port: int(at.Port())}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	require.True(t, probe.GRPC(ctx, to, "").OK)
	checks.SetServingStatus("db", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	require.Contains(t, probe.GRPC(ctx, to, "db").Output, "NOT_SERVING")
	require.False(t, probe.GRPC(ctx, to, "other").OK)
	server.Stop()
	require.NoError(t, <-done)
}
