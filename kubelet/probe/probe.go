package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Result is one answer.
type Result struct {
	OK     bool
	Output string // what to tell the user, above all why it isn't OK
}

// DialFunc opens connections, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Target is where to ask.
type Target struct {
	Host string
	Port int
	Dial DialFunc // nil means the network
}

func (t Target) address() string { return net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) }

func (t Target) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if t.Dial != nil {
		return t.Dial(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

// TCP is OK when a connection can be opened.
func TCP(ctx context.Context, t Target) Result {
	conn, err := t.dial(ctx, "tcp", t.address())
	if err != nil {
		return Result{Output: "dial: " + err.Error()}
	}
	_ = conn.Close()
	return Result{OK: true}
}

// Request is what HTTP asks for.
type Request struct {
	Scheme string // http or https, in any case; empty means http
	Path   string // may hold a query; empty means /
	Header http.Header
}

// maxBody is how much of an answer is read; more says nothing more.
const maxBody = 10 << 10

// HTTP is OK when the answer's code is from 200 to 399.
func HTTP(ctx context.Context, t Target, r Request) Result {
	scheme := strings.ToLower(r.Scheme)
	if scheme == "" {
		scheme = "http"
	}
	u, err := url.Parse("/" + strings.TrimPrefix(r.Path, "/"))
	if err != nil {
		return Result{Output: "path: " + err.Error()}
	}
	u.Scheme, u.Host = scheme, t.address()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Result{Output: err.Error()}
	}
	req.Header.Set("User-Agent", "kube-probe/1.37")
	req.Header.Set("Accept", "*/*")
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	transport := &http.Transport{
		DialContext:       t.dial,
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the pod's own certificate; nothing secret is sent
	}
	defer transport.CloseIdleConnections()
	c := http.Client{Transport: transport, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Hostname() != via[0].URL.Hostname() {
			return http.ErrUseLastResponse
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}}
	resp, err := c.Do(req)
	if err != nil {
		return Result{Output: err.Error()}
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if resp.StatusCode >= 200 && resp.StatusCode < 400 {
		return Result{OK: true, Output: string(body)}
	}
	return Result{Output: fmt.Sprintf("HTTP probe failed with statuscode: %d", resp.StatusCode)}
}

// GRPC is OK when the service (empty: the server) reports SERVING in gRPC's health protocol.
func GRPC(ctx context.Context, t Target, service string) Result {
	conn, err := grpc.NewClient("passthrough:///"+t.address(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUserAgent("kube-probe/1.37"), grpc.WithNoProxy(),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return t.dial(ctx, "tcp", address) }))
	if err != nil {
		return Result{Output: err.Error()}
	}
	defer conn.Close()
	resp, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	if err != nil {
		return Result{Output: err.Error()}
	}
	if resp.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		return Result{Output: fmt.Sprintf("service unhealthy (responded with %q)", resp.Status)}
	}
	return Result{OK: true}
}

// Counter turns answers into a verdict. The zero value reaches a verdict with one answer.
type Counter struct {
	Success, Failure int // how many in a row it takes; below 1 means 1

	row  int
	last bool
}

// Add counts an answer. When it is at least the threshold's worth in a row, reached is true and the verdict is ok.
func (c *Counter) Add(ok bool) (reached bool) {
	if c.row == 0 || ok != c.last {
		c.row = 0
	}
	c.last = ok
	c.row++
	need := c.Failure
	if ok {
		need = c.Success
	}
	return c.row >= max(need, 1)
}
