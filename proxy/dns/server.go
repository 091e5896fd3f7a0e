package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// ErrAlreadyRun is the sentinel for a second call of Run.
var ErrAlreadyRun = errors.New("dns: Run was called before")

// Config adjusts a Server. The zero Config works.
type Config struct {
	Domain    string   // the cluster's domain; empty means cluster.local
	Addr      string   // where to listen, UDP and TCP on one port; empty means a free port of 127.0.0.1
	Upstreams []string // servers for other names, host:port, tried in order; none means such names are REFUSED
	TTL       uint32   // seconds that answers may be remembered; 0 means 5

	// UpstreamTimeout bounds the exchange with one upstream; 0 means 2 s.
	UpstreamTimeout time.Duration
	// MinBuildPeriod is the least time between two builds of the records; 0 means 10 ms.
	MinBuildPeriod time.Duration
	// MaxForwarded bounds the queries that wait for upstreams at one time; more are SERVFAIL. 0 means 512.
	MaxForwarded int

	Logger *zap.Logger // nil means none
}

func (c *Config) complete() error {
	if c.Domain == "" {
		c.Domain = "cluster.local"
	}
	if _, ok := dns.IsDomainName(c.Domain); !ok {
		return fmt.Errorf("dns.Config.Domain: %q is no domain name", c.Domain)
	}
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	if _, err := netip.ParseAddrPort(c.Addr); err != nil {
		return fmt.Errorf("dns.Config.Addr: %q: want an IP address and a port, such as 127.0.0.1:53: %w", c.Addr, err)
	}
	for _, u := range c.Upstreams {
		if _, _, err := net.SplitHostPort(u); err != nil {
			return fmt.Errorf("dns.Config.Upstreams: %q: want host:port, such as 192.0.2.1:53: %w", u, err)
		}
	}
	if c.UpstreamTimeout < 0 || c.MinBuildPeriod < 0 || c.MaxForwarded < 0 {
		return fmt.Errorf("dns.Config: UpstreamTimeout (%s), MinBuildPeriod (%s) and MaxForwarded (%d) must not be negative", c.UpstreamTimeout, c.MinBuildPeriod, c.MaxForwarded)
	}
	if c.UpstreamTimeout == 0 {
		c.UpstreamTimeout = 2 * time.Second
	}
	if c.MinBuildPeriod == 0 {
		c.MinBuildPeriod = 10 * time.Millisecond
	}
	if c.MaxForwarded == 0 {
		c.MaxForwarded = 512
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return nil
}

// Server answers names of a cluster's Services. Create it with [New].
type Server struct {
	cfg      Config
	services *controller.Informer[*corev1.Service]
	slices   *controller.Informer[*discoveryv1.EndpointSlice]
	running  atomic.Bool
	wake     chan struct{} // holds a token when something changed
	synced   chan struct{}
	records  atomic.Pointer[Records]
	forwards chan struct{} // a token for each query that waits for an upstream

	mu    sync.Mutex
	built chan struct{} // closed, and replaced, when records change
	addr  netip.AddrPort
	bound chan struct{} // closed when addr is known
}

// New makes a server over a client. It listens when it runs.
func New(c client.Client, cfg Config) (*Server, error) {
	if c == nil {
		return nil, errors.New("dns.New: the client is nil")
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		services: controller.NewInformer(c, kind.Service, controller.InformerConfig{Logger: cfg.Logger}),
		slices:   controller.NewInformer(c, kind.EndpointSlice, controller.InformerConfig{Logger: cfg.Logger}),
		wake:     make(chan struct{}, 1),
		synced:   make(chan struct{}),
		forwards: make(chan struct{}, cfg.MaxForwarded),
		built:    make(chan struct{}),
		bound:    make(chan struct{}),
	}
	s.services.OnChange(func(_, _ *corev1.Service) { s.touch() })
	s.slices.OnChange(func(_, _ *discoveryv1.EndpointSlice) { s.touch() })
	return s, nil
}

func (s *Server) touch() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Synced is closed when the first complete records are answered from.
func (s *Server) Synced() <-chan struct{} { return s.synced }

// Records is what names are answered from; nil before Synced.
func (s *Server) Records() *Records { return s.records.Load() }

// WaitFor waits until the records fulfil cond.
func (s *Server) WaitFor(ctx context.Context, cond func(*Records) bool) error {
	for {
		s.mu.Lock()
		built := s.built
		s.mu.Unlock()
		if r := s.records.Load(); r != nil && cond(r) {
			return nil
		}
		select {
		case <-built:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Addr waits until the server listens and returns its address.
func (s *Server) Addr(ctx context.Context) (netip.AddrPort, error) {
	select {
	case <-s.bound:
		return s.addr, nil
	case <-ctx.Done():
		return netip.AddrPort{}, ctx.Err()
	}
}

// Run listens and answers until ctx ends, and returns nil then. That the address can't be had is its error.
func (s *Server) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return ErrAlreadyRun
	}
	pc, ln, err := listen(ctx, s.cfg.Addr)
	if err != nil {
		return fmt.Errorf("dns: listen on %s: %w", s.cfg.Addr, err)
	}
	defer func() { // a server that never started holds its socket all the same
		_ = pc.Close()
		_ = ln.Close()
	}()
	s.addr = pc.LocalAddr().(*net.UDPAddr).AddrPort()
	close(s.bound)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		udp := w.RemoteAddr().Network() == "udp"
		if resp := s.Respond(ctx, req, udp); resp != nil {
			_ = w.WriteMsg(resp)
		}
	})
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	start := func(run func() error) {
		wg.Go(func() {
			if err := run(); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	for _, srv := range []*dns.Server{
		{PacketConn: pc, Handler: handler, UDPSize: dns.MaxMsgSize},
		{Listener: ln, Handler: handler, MaxTCPQueries: 128, ReadTimeout: 5 * time.Second},
	} {
		up, ended := make(chan struct{}), make(chan struct{})
		srv.NotifyStartedFunc = func() { close(up) }
		start(func() error {
			defer close(ended)
			return srv.ActivateAndServe()
		})
		start(func() error {
			<-ctx.Done()
			select {
			case <-up:
				return srv.ShutdownContext(context.Background()) // waits for its handlers, which end with ctx
			case <-ended:
				return nil
			}
		})
	}
	start(func() error { return s.services.Run(ctx) })
	start(func() error { return s.slices.Run(ctx) })
	if s.services.Wait(ctx) == nil && s.slices.Wait(ctx) == nil {
		s.build(ctx)
	}
	cancel()
	wg.Wait()
	close(errs)
	return <-errs
}

// listen binds one port for UDP and TCP. A free port of one may be taken of the other: then another is tried.
func listen(ctx context.Context, addr string) (net.PacketConn, net.Listener, error) {
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, nil, err
	}
	var lc net.ListenConfig
	for try := 0; ; try++ {
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, nil, err
		}
		pc, err := lc.ListenPacket(ctx, "udp", ln.Addr().String())
		if err == nil {
			return pc, ln, nil
		}
		_ = ln.Close()
		if at.Port() != 0 || try == 20 {
			return nil, nil, err
		}
	}
}

// build keeps the records current until ctx ends.
func (s *Server) build(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for serial := uint32(1); ; serial++ {
		r := Build(Zone{Domain: s.cfg.Domain, TTL: s.cfg.TTL, Serial: serial}, s.services.List(), s.slices.List())
		s.mu.Lock()
		s.records.Store(r)
		close(s.built)
		s.built = make(chan struct{})
		s.mu.Unlock()
		if serial == 1 {
			close(s.synced)
		}
		pause.Reset(s.cfg.MinBuildPeriod)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		}
	}
}
