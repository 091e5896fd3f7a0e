package ingress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// errNoEndpoints is the sentinel for a Service that has nobody to answer.
var errNoEndpoints = errors.New("the service has no endpoints")

// pool is the endpoints of one backend, used in turn.
type pool struct {
	addrs []netip.AddrPort
	mu    sync.Mutex
	next  int
}

// order is each endpoint once, beginning with the one whose turn it is.
func (p *pool) order() []netip.AddrPort {
	n := len(p.addrs)
	if n == 0 {
		return nil
	}
	p.mu.Lock()
	start := p.next % n
	p.next = (start + 1) % n
	p.mu.Unlock()
	out := make([]netip.AddrPort, 0, n)
	return append(append(out, p.addrs[start:]...), p.addrs[:start]...)
}

type poolKey struct{}

// balancer sends a request to an endpoint of the pool in its context, and to the next when one can't be dialed.
type balancer struct{ to http.RoundTripper }

func (b balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	p, _ := req.Context().Value(poolKey{}).(*pool)
	if p == nil {
		return nil, errNoEndpoints
	}
	err := errNoEndpoints
	for _, addr := range p.order() {
		try := req.Clone(req.Context())
		try.URL.Host = addr.String()
		if req.Body != nil {
			try.Body = io.NopCloser(req.Body) // a failed dial closes the body, which the next try needs
		}
		var resp *http.Response
		if resp, err = b.to.RoundTrip(try); err == nil {
			return resp, nil
		}
		var op *net.OpError
		if !errors.As(err, &op) || op.Op != "dial" || req.Context().Err() != nil {
			return nil, err
		}
	}
	return nil, err
}

func withPool(ctx context.Context, p *pool) context.Context {
	return context.WithValue(ctx, poolKey{}, p)
}
