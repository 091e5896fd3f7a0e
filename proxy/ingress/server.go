package ingress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// ErrAlreadyRun is the sentinel for a second call of Run.
var ErrAlreadyRun = errors.New("ingress: Run was called before")

// Config adjusts a Server. The zero Config serves HTTP on a free port.
type Config struct {
	HTTPAddr  string // where to serve HTTP; empty means a free port of 127.0.0.1
	HTTPSAddr string // where to serve HTTPS; empty means nowhere

	// PublishAddress is the IP or host name written to the status of served Ingresses; empty leaves the status alone.
	PublishAddress string
	// WithoutClass serves Ingresses that name no class even if no class is marked as default.
	WithoutClass bool
	// Drain is how long running requests have when the server ends; 0 means 5 s.
	Drain time.Duration
	// MinBuildPeriod is the least time between two builds of the routes; 0 means 10 ms.
	MinBuildPeriod time.Duration
	// Transport carries requests to endpoints; nil means one with the standard library's defaults and no HTTP proxy.
	Transport http.RoundTripper

	Logger *zap.Logger // nil means none
}

func (c *Config) complete() error {
	if c.Drain < 0 || c.MinBuildPeriod < 0 {
		return fmt.Errorf("ingress.Config: Drain (%s) and MinBuildPeriod (%s) must not be negative", c.Drain, c.MinBuildPeriod)
	}
	if c.HTTPAddr == "" {
		c.HTTPAddr = "127.0.0.1:0"
	}
	for field, addr := range map[string]string{"HTTPAddr": c.HTTPAddr, "HTTPSAddr": c.HTTPSAddr} {
		if _, _, err := net.SplitHostPort(addr); addr != "" && err != nil {
			return fmt.Errorf("ingress.Config.%s: %q: want host:port: %w", field, addr, err)
		}
	}
	if c.Drain == 0 {
		c.Drain = 5 * time.Second
	}
	if c.MinBuildPeriod == 0 {
		c.MinBuildPeriod = 10 * time.Millisecond
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return nil
}

// Server routes requests. Create it with [New].
type Server struct {
	cfg       Config
	client    client.Client
	ingresses *controller.Informer[*networkingv1.Ingress]
	classes   *controller.Informer[*networkingv1.IngressClass]
	services  *controller.Informer[*corev1.Service]
	slices    *controller.Informer[*discoveryv1.EndpointSlice]
	secrets   *controller.Informer[*corev1.Secret]

	running atomic.Bool
	wake    chan struct{} // holds a token when something changed
	synced  chan struct{}
	state   atomic.Pointer[state]
	proxy   *httputil.ReverseProxy
	own     *http.Transport // made here; nil when it came with Config

	mu          sync.Mutex
	built       chan struct{} // closed, and replaced, when state changes
	bound       chan struct{} // closed when the addresses are known
	http, https netip.AddrPort
}

// state is what requests are answered from.
type state struct {
	routes *Routes
	certs  certificates
	pools  map[Backend]*pool
}

// New makes a server over a client. It listens when it runs.
func New(c client.Client, cfg Config) (*Server, error) {
	if c == nil {
		return nil, errors.New("ingress.New: the client is nil")
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	ic := controller.InformerConfig{Logger: cfg.Logger}
	s := &Server{
		cfg: cfg, client: c,
		ingresses: controller.NewInformer(c, kind.Ingress, ic),
		classes:   controller.NewInformer(c, kind.IngressClass, ic),
		services:  controller.NewInformer(c, kind.Service, ic),
		slices:    controller.NewInformer(c, kind.EndpointSlice, ic),
		secrets:   controller.NewInformer(c, kind.Secret, ic),
		wake:      make(chan struct{}, 1),
		synced:    make(chan struct{}),
		built:     make(chan struct{}),
		bound:     make(chan struct{}),
	}
	s.ingresses.OnChange(func(_, _ *networkingv1.Ingress) { s.touch() })
	s.classes.OnChange(func(_, _ *networkingv1.IngressClass) { s.touch() })
	s.services.OnChange(func(_, _ *corev1.Service) { s.touch() })
	s.slices.OnChange(func(_, _ *discoveryv1.EndpointSlice) { s.touch() })
	s.secrets.OnChange(func(before, after *corev1.Secret) {
		if before != nil && before.Type == corev1.SecretTypeTLS || after != nil && after.Type == corev1.SecretTypeTLS {
			s.touch()
		}
	})
	transport := cfg.Transport
	if transport == nil {
		s.own = http.DefaultTransport.(*http.Transport).Clone()
		s.own.Proxy = nil
		s.own.MaxIdleConnsPerHost = 32
		transport = s.own
	}
	s.proxy = &httputil.ReverseProxy{
		Transport: balancer{transport},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.Host = "http", r.In.Host
			r.SetXForwarded()
		},
		ErrorLog:     zap.NewStdLog(cfg.Logger),
		ErrorHandler: s.failed,
	}
	return s, nil
}

func (s *Server) touch() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// ServeHTTP routes one request. Before the first snapshot of the cluster has come it answers 503.
func (s *Server) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	st := s.state.Load()
	if st == nil {
		http.Error(w, "ingress: not synchronized yet", http.StatusServiceUnavailable)
		return
	}
	route, ok := st.routes.Match(req.Host, req.URL.Path)
	if !ok {
		http.Error(w, "ingress: no rule for "+hostname(req.Host), http.StatusNotFound)
		return
	}
	p := st.pools[route.Backend]
	if p == nil || len(p.addrs) == 0 {
		http.Error(w, "ingress: service "+route.Backend.String()+" has no endpoints", http.StatusServiceUnavailable)
		return
	}
	s.proxy.ServeHTTP(w, req.WithContext(withPool(req.Context(), p)))
}

func (s *Server) failed(w http.ResponseWriter, req *http.Request, err error) {
	if req.Context().Err() == nil {
		s.cfg.Logger.Warn("backend failed", zap.String("host", req.Host), zap.String("path", req.URL.Path), zap.Error(err))
	}
	w.WriteHeader(http.StatusBadGateway)
}

// Synced is closed when requests are routed for the first time.
func (s *Server) Synced() <-chan struct{} { return s.synced }

// Routes is where requests go now; nil before Synced.
func (s *Server) Routes() *Routes {
	if st := s.state.Load(); st != nil {
		return st.routes
	}
	return nil
}

// WaitFor waits until cond holds for the routes and for the number of endpoints behind a backend that it may ask for.
func (s *Server) WaitFor(ctx context.Context, cond func(r *Routes, endpoints func(Backend) int) bool) error {
	for {
		s.mu.Lock()
		built := s.built
		s.mu.Unlock()
		if st := s.state.Load(); st != nil && cond(st.routes, func(b Backend) int {
			if p := st.pools[b]; p != nil {
				return len(p.addrs)
			}
			return 0
		}) {
			return nil
		}
		select {
		case <-built:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Addrs waits until the server listens; https is the zero AddrPort when there is none.
func (s *Server) Addrs(ctx context.Context) (http, https netip.AddrPort, err error) {
	select {
	case <-s.bound:
		return s.http, s.https, nil
	case <-ctx.Done():
		return netip.AddrPort{}, netip.AddrPort{}, ctx.Err()
	}
}

// Run serves until ctx ends, and returns nil then. That an address can't be had is its error.
func (s *Server) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return ErrAlreadyRun
	}
	var listeners []net.Listener
	defer func() {
		for _, ln := range listeners {
			_ = ln.Close()
		}
	}()
	var lc net.ListenConfig
	for _, addr := range []string{s.cfg.HTTPAddr, s.cfg.HTTPSAddr} {
		if addr == "" {
			continue
		}
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return fmt.Errorf("ingress: %w", err)
		}
		listeners = append(listeners, ln)
	}
	s.http = listeners[0].Addr().(*net.TCPAddr).AddrPort()
	if len(listeners) > 1 {
		s.https = listeners[1].Addr().(*net.TCPAddr).AddrPort()
		listeners[1] = tls.NewListener(listeners[1], &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: s.certificate,
		})
	}
	close(s.bound)

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Requests live in a context of their own: they may go on for a while after ctx has ended.
	requests, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	var wg sync.WaitGroup
	var running handlers // the server does not wait for upgraded connections
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if running.enter() {
				defer running.leave()
				s.ServeHTTP(w, req)
			}
		}),
		BaseContext:       func(net.Listener) context.Context { return requests },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          zap.NewStdLog(s.cfg.Logger),
	}
	errs := make(chan error, 8)
	start := func(run func() error) {
		wg.Go(func() {
			if err := run(); err != nil && !errors.Is(err, http.ErrServerClosed) {
				errs <- err
				cancel()
			}
		})
	}
	for _, ln := range listeners {
		start(func() error { return srv.Serve(ln) })
	}
	for _, run := range []func(context.Context) error{s.ingresses.Run, s.classes.Run, s.services.Run, s.slices.Run, s.secrets.Run} {
		start(func() error { return run(ctx) })
	}
	start(func() error { s.follow(ctx); return nil })
	<-ctx.Done()
	grace, done := context.WithTimeout(requests, s.cfg.Drain)
	_ = srv.Shutdown(grace)
	done()
	abort()
	_ = srv.Close()
	running.end()
	wg.Wait()
	if s.own != nil {
		s.own.CloseIdleConnections()
	}
	close(errs)
	return <-errs
}

// handlers counts requests, and refuses new ones once it is to end.
type handlers struct {
	mu    sync.Mutex
	ended bool
	wg    sync.WaitGroup
}

func (h *handlers) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.wg.Add(1)
	}
	return !h.ended
}

func (h *handlers) leave() { h.wg.Done() }

// end waits for the requests that run.
func (h *handlers) end() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.wg.Wait()
}

func (s *Server) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	st := s.state.Load()
	if st == nil {
		return nil, errors.New("ingress: not synchronized yet")
	}
	return st.certs.find(hello.ServerName)
}

// follow keeps the state and the Ingresses' status current until ctx ends.
func (s *Server) follow(ctx context.Context) {
	for _, wait := range []func(context.Context) error{s.ingresses.Wait, s.classes.Wait, s.services.Wait, s.slices.Wait, s.secrets.Wait} {
		if wait(ctx) != nil {
			return
		}
	}
	pause, retry := time.NewTimer(0), time.NewTimer(0)
	defer pause.Stop()
	defer retry.Stop()
	delay := 100 * time.Millisecond
	for {
		s.build()
		if err := s.publish(ctx); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("writing the status of an Ingress failed, trying again", zap.Error(err))
			retry.Reset(delay)
			delay = min(2*delay, 30*time.Second)
		} else {
			retry.Stop()
			delay = 100 * time.Millisecond
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
		case <-retry.C:
		}
	}
}

func (s *Server) build() {
	st := &state{routes: BuildRoutes(s.ingresses.List(), s.classes.List(), s.cfg.WithoutClass)}
	var errs []error
	st.certs, errs = buildCertificates(st.routes, func(n types.NamespacedName) (*corev1.Secret, bool) {
		return s.secrets.Get(n.Namespace, n.Name)
	})
	for _, err := range errs {
		s.cfg.Logger.Warn("a certificate can't be used", zap.Error(err))
	}
	st.pools = buildPools(st.routes, s.services.List(), s.slices.List(), s.state.Load())
	s.mu.Lock()
	first := s.state.Swap(st) == nil
	close(s.built)
	s.built = make(chan struct{})
	s.mu.Unlock()
	if first {
		close(s.synced)
	}
}
