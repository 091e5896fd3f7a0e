package ingress_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/proxy/ingress"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server until the test ends; the function returned ends it earlier.
func start(t testing.TB, c client.Client, cfg ingress.Config) (*ingress.Server, func()) {
	t.Helper()
	cfg.WithoutClass = true
	s, err := ingress.New(c, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(t, <-done)
		}
	}
	t.Cleanup(stop)
	<-s.Synced()
	return s, stop
}

// slice is an EndpointSlice of one port with one endpoint at addr.
func slice(service, suffix string, addr netip.AddrPort) *discoveryv1.EndpointSlice {
	return proxytest.Slice(service, suffix, []string{fmt.Sprintf("http:%d", addr.Port())}, []string{addr.Addr().String()})
}

func web(t testing.TB, c *proxytest.Cluster, service string, handler http.HandlerFunc) {
	t.Helper()
	srv := httptest.NewServer(handler)
	t.Cleanup(srv.Close)
	proxytest.Set(c, kind.Service, proxytest.Service(service, "10.96.0.1", []string{"http:80"}))
	proxytest.Set(c, kind.EndpointSlice, slice(service, "a", srv.Listener.Addr().(*net.TCPAddr).AddrPort()))
}

func classless(i *networkingv1.Ingress) { i.Spec.IngressClassName = nil }

func get(t testing.TB, s *ingress.Server, host, path string, header ...string) (int, string) {
	t.Helper()
	addr, _, err := s.Addrs(t.Context())
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr.String()+path, nil)
	require.NoError(t, err)
	req.Host, req.Close = host, true
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestRequests(t *testing.T) {
	c := proxytest.NewCluster()
	web(t, c, "shop", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s for %s over %s as %s", r.Host, r.URL, r.Header.Get("X-Forwarded-For"), r.Header.Get("X-Forwarded-Proto"), r.Header.Get("X-Forwarded-Host"))
	})
	proxytest.Set(c, kind.Service, proxytest.Service("empty", "10.96.0.2", []string{"http:80"}))
	proxytest.Set(c, kind.Ingress, object("web", 1, classless,
		[4]string{"shop.example", "Prefix", "/", "shop"}, [4]string{"shop.example", "Prefix", "/empty", "empty"}, [4]string{"shop.example", "Prefix", "/gone", "gone"}))
	s, _ := start(t, c, ingress.Config{})
	code, body := get(t, s, "shop.example", "/cart?id=1", "X-Forwarded-For", "6.6.6.6")
	require.Equal(t, http.StatusOK, code)
	require.Equal(t, "shop.example /cart?id=1 for 127.0.0.1 over http as shop.example", body)
	code, _ = get(t, s, "other.example", "/")
	require.Equal(t, http.StatusNotFound, code)
	for _, path := range []string{"/empty", "/gone"} {
		code, _ = get(t, s, "shop.example", path)
		require.Equal(t, http.StatusServiceUnavailable, code)
	}
}

func TestDeadEndpointIsPassedOver(t *testing.T) {
	c := proxytest.NewCluster()
	web(t, c, "shop", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	proxytest.Set(c, kind.EndpointSlice, slice("shop", "b", proxytest.FreePort(t, netip.MustParseAddr("127.0.0.1"))))
	proxytest.Set(c, kind.Ingress, object("web", 1, classless, [4]string{"shop.example", "Prefix", "/", "shop"}))
	s, _ := start(t, c, ingress.Config{})
	addr, _, err := s.Addrs(t.Context())
	require.NoError(t, err)
	for i := range 10 {
		req, err := http.NewRequest(http.MethodPost, "http://"+addr.String(), strings.NewReader(fmt.Sprint("body ", i)))
		require.NoError(t, err)
		req.Host, req.Close = "shop.example", true
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, fmt.Sprint("body ", i), string(body))
	}
}

// upgrader answers the upgrade and returns what it reads.
func upgrader(w http.ResponseWriter, _ *http.Request) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_, _ = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"))
	_, _ = io.Copy(conn, rw)
}

func TestUpgradePassesAndEndsWithTheServer(t *testing.T) {
	c := proxytest.NewCluster()
	web(t, c, "chat", upgrader)
	proxytest.Set(c, kind.Ingress, object("web", 1, classless, [4]string{"chat.example", "Prefix", "/", "chat"}))
	s, stop := start(t, c, ingress.Config{Drain: time.Millisecond})
	addr, _, err := s.Addrs(t.Context())
	require.NoError(t, err)
	conn, err := net.Dial("tcp", addr.String())
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: chat.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	require.NoError(t, err)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	_, err = io.WriteString(conn, "hello\n")
	require.NoError(t, err)
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "hello\n", line)
	stop()
	_, err = r.ReadByte()
	require.Error(t, err)
}

func certificate(t testing.TB, name string, hosts ...string) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: hosts, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{
			corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
			corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
		},
	}
}

func TestTLS(t *testing.T) {
	c := proxytest.NewCluster()
	web(t, c, "shop", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Proto"))
	})
	proxytest.Set(c, kind.Secret, certificate(t, "one", "shop.example"))
	proxytest.Set(c, kind.Secret, certificate(t, "wild", "*.wild.example"))
	broken := certificate(t, "broken", "broken.example")
	broken.Data[corev1.TLSCertKey] = []byte("nonsense")
	proxytest.Set(c, kind.Secret, broken)
	proxytest.Set(c, kind.Ingress, object("web", 1, func(i *networkingv1.Ingress) {
		classless(i)
		i.Spec.TLS = []networkingv1.IngressTLS{
			{SecretName: "one"}, {Hosts: []string{"*.wild.example"}, SecretName: "wild"},
			{Hosts: []string{"broken.example"}, SecretName: "broken"}, {Hosts: []string{"missing.example"}, SecretName: "missing"},
		}
	}, [4]string{"shop.example", "Prefix", "/", "shop"}, [4]string{"*.wild.example", "Prefix", "/", "shop"}))
	s, _ := start(t, c, ingress.Config{HTTPSAddr: "127.0.0.1:0"})
	_, addr, err := s.Addrs(t.Context())
	require.NoError(t, err)
	for name, want := range map[string]string{"shop.example": "shop.example", "a.wild.example": "*.wild.example", "a.b.wild.example": "", "broken.example": "", "missing.example": "", "x": ""} {
		conn, err := tls.Dial("tcp", addr.String(), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if want == "" {
			require.Error(t, err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, []string{want}, conn.ConnectionState().PeerCertificates[0].DNSNames)
		_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nConnection: close\r\nHost: "+name+"\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "https", string(body))
		require.NoError(t, conn.Close())
	}
}

func TestStatusAndChanges(t *testing.T) {
	c := proxytest.NewCluster()
	c.FailWith(func(r *client.Request) error {
		if r.Verb == client.Update {
			c := errors.New("try later")
			return c
		}
		return nil
	})
	web(t, c, "shop", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "shop") })
	proxytest.Set(c, kind.Ingress, object("web", 1, classless, [4]string{"shop.example", "Prefix", "/", "shop"}))
	s, _ := start(t, c, ingress.Config{PublishAddress: "192.0.2.1"})
	code, _ := get(t, s, "shop.example", "/")
	require.Equal(t, http.StatusOK, code, "that the status can't be written stops nothing")
	c.FailWith(nil)
	view, err := c.View(t.Context(), &client.Request{Verb: client.List, Kind: kind.Ingress.Kind()})
	require.NoError(t, err)
	ing := view.Items[0].(*networkingv1.Ingress)
	for len(ing.Status.LoadBalancer.Ingress) == 0 {
		e, err := view.Watcher.Next(t.Context())
		require.NoError(t, err)
		ing = e.Object.(*networkingv1.Ingress)
	}
	require.NoError(t, view.Watcher.Close())
	require.Equal(t, "192.0.2.1", ing.Status.LoadBalancer.Ingress[0].IP)

	proxytest.Remove(c, kind.Ingress, "default", "web")
	require.NoError(t, s.WaitFor(t.Context(), func(r *ingress.Routes, _ func(ingress.Backend) int) bool {
		_, ok := r.Match("shop.example", "/")
		return !ok
	}))
	code, _ = get(t, s, "shop.example", "/")
	require.Equal(t, http.StatusNotFound, code)
}

func TestConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]ingress.Config{"Drain": {Drain: -1}, "HTTPAddr": {HTTPAddr: "x"}, "HTTPSAddr": {HTTPSAddr: "x"}} {
		_, err := ingress.New(proxytest.NewCluster(), cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := ingress.New(nil, ingress.Config{})
	require.Error(t, err)
	s, _ := start(t, proxytest.NewCluster(), ingress.Config{})
	require.ErrorIs(t, s.Run(t.Context()), ingress.ErrAlreadyRun)
	addr, _, err := s.Addrs(t.Context())
	require.NoError(t, err)
	taken, err := ingress.New(proxytest.NewCluster(), ingress.Config{HTTPAddr: addr.String()})
	require.NoError(t, err)
	require.ErrorContains(t, taken.Run(t.Context()), addr.String())
}

func ExampleServer() {
	shop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") }))
	defer shop.Close()
	c := proxytest.NewCluster()
	proxytest.Set(c, kind.Service, proxytest.Service("shop", "10.96.0.1", []string{"http:80"}))
	proxytest.Set(c, kind.EndpointSlice, slice("shop", "a", shop.Listener.Addr().(*net.TCPAddr).AddrPort()))
	proxytest.Set(c, kind.Ingress, object("web", 1, classless, [4]string{"shop.example", "Prefix", "/", "shop"}))
	s, err := ingress.New(c, ingress.Config{WithoutClass: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	<-s.Synced()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://shop.example/", nil))
	fmt.Println(w.Code, w.Body)
	cancel()
	fmt.Println(<-done)
	// Output:
	// 200 welcome
	// <nil>
}
