package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Config says how a Server serves. The zero Config works.
type Config struct {
	// TLS serves TLS 1.2 or later with ALPN h2. Nil means no TLS.
	TLS *tls.Config
	// MaxMessageBytes bounds a request message; a larger one is answered with ResourceExhausted. Zero means 4 MiB.
	MaxMessageBytes int
	// MaxStreams bounds the calls that run at the same time on one connection. Zero means 10,000.
	MaxStreams int
	// Logger is told of connections that end with an error of the client's. Nil means none.
	Logger *zap.Logger
}

// Quick is a form of a unary method that works on bytes. request is the encoded request message, valid until it
// returns; the answer's encoding is appended to answer and returned. While Call.Wait is false it must not wait for anything: it
// returns done false if it would have to, or would take long, and is called again on a goroutine of the call's own, where
// Wait is true.
type Quick func(c *Call, request, answer []byte) (_ []byte, done bool, err error)

// method is what a path leads to.
type method struct {
	path    string
	service any
	unary   *grpc.MethodDesc
	stream  *grpc.StreamDesc
	quick   Quick
	later   Later
}

// ErrServed means that services were registered, or a second Serve called, in the wrong order.
var ErrServed = errors.New("transport: the server serves or is closed already")

// Server is a gRPC server. Register everything before Serve.
type Server struct {
	cfg     Config
	methods map[string]*method
	work    chan *stream
	closed  chan struct{}
	all     sync.WaitGroup
	buffers sync.Pool

	mu        sync.Mutex
	over      bool
	draining  bool
	listeners map[net.Listener]bool
	conns     map[*conn]bool
}

// New returns a server without services.
func New(cfg Config) (*Server, error) {
	if cfg.MaxMessageBytes < 0 || cfg.MaxStreams < 0 {
		return nil, fmt.Errorf("transport: MaxMessageBytes is %d and MaxStreams %d, neither may be negative", cfg.MaxMessageBytes, cfg.MaxStreams)
	}
	if cfg.MaxMessageBytes == 0 {
		cfg.MaxMessageBytes = 4 << 20
	}
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = 10_000
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.TLS != nil {
		cfg.TLS = cfg.TLS.Clone()
		cfg.TLS.NextProtos = []string{"h2"}
	}
	return &Server{
		cfg: cfg, methods: map[string]*method{}, work: make(chan *stream), closed: make(chan struct{}),
		listeners: map[net.Listener]bool{}, conns: map[*conn]bool{},
	}, nil
}

// RegisterService implements grpc.ServiceRegistrar.
func (s *Server) RegisterService(desc *grpc.ServiceDesc, service any) {
	for i := range desc.Methods {
		m := &method{path: "/" + desc.ServiceName + "/" + desc.Methods[i].MethodName, service: service, unary: &desc.Methods[i]}
		s.methods[m.path] = m
	}
	for i := range desc.Streams {
		m := &method{path: "/" + desc.ServiceName + "/" + desc.Streams[i].StreamName, service: service, stream: &desc.Streams[i]}
		s.methods[m.path] = m
	}
}

// unknown says what of a path is not known, in the words of google.golang.org/grpc.
func (s *Server) unknown(path string) *status.Status {
	service, name := path, ""
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		service, name = path[:i], path[i+1:]
	}
	service = strings.TrimPrefix(service, "/")
	for known := range s.methods {
		if strings.HasPrefix(known, "/"+service+"/") {
			return status.Newf(codes.Unimplemented, "unknown method %s for service %s", name, service)
		}
	}
	return status.New(codes.Unimplemented, "unknown service "+service)
}

// RegisterQuick gives a unary method that is registered, named by its path as in "/package.Service/Method", a quick form.
func (s *Server) RegisterQuick(path string, quick Quick) error {
	m, err := s.unary(path)
	if err == nil {
		m.quick = quick
	}
	return err
}

func (s *Server) unary(path string) (*method, error) {
	m := s.methods[path]
	if m == nil || m.unary == nil {
		return nil, fmt.Errorf("transport: no unary method %q is registered", path)
	}
	return m, nil
}

// Serve accepts connections until Close, and then returns nil. It closes l.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.over || s.draining {
		s.mu.Unlock()
		return ErrServed
	}
	s.listeners[l] = true
	s.all.Add(1)
	s.mu.Unlock()
	defer s.all.Done()
	for pause := time.Duration(0); ; {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			s.accept(nc)
			continue
		}
		select {
		case <-s.closed:
			return nil
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.draining {
				return nil
			}
			return err
		}
		// As with too many open files: later there may be fewer.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.cfg.Logger.Warn("accept failed", zap.Error(err), zap.Duration("again in", pause))
		select {
		case <-time.After(pause):
		case <-s.closed:
			return nil
		}
	}
}

func (s *Server) accept(nc net.Conn) {
	if s.cfg.TLS != nil {
		nc = tls.Server(nc, s.cfg.TLS)
	}
	c := newConn(s, nc)
	s.mu.Lock()
	over := s.over || s.draining
	if !over {
		s.conns[c] = true
		s.all.Add(1)
	}
	s.mu.Unlock()
	if over {
		_ = nc.Close()
		return
	}
	go func() {
		defer s.all.Done()
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// Shutdown tells clients to go elsewhere, lets the calls that run end, and closes connections once their clients have
// read all and hung up, or do not for a second. When ctx ends it closes them at once, which is an error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for l := range s.listeners {
		_ = l.Close()
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
		s.all.Go(c.leave) // the connection is counted
	}
	s.mu.Unlock()
	for _, c := range conns {
		select {
		case <-c.gone:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), s.Close())
		}
	}
	return s.Close()
}

// Close ends all connections and calls, and returns when their handlers have.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.over {
		s.over = true
		close(s.closed)
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		abort(c.nc)
	}
	s.all.Wait()
	return nil
}

// start runs a call on a goroutine that waits for work, or on a new one.
func (s *Server) start(call *stream) {
	select {
	case s.work <- call:
	default:
		s.all.Add(1) // the connection that the call came by is counted, so that this can't race with the wait for none
		go s.worker(call)
	}
}

func (s *Server) worker(call *stream) {
	defer s.all.Done()
	var scratch []byte
	idle := time.NewTimer(idleWorker)
	defer idle.Stop()
	for {
		scratch = call.run(scratch)
		if cap(scratch) > maxScratch {
			scratch = nil
		}
		idle.Reset(idleWorker)
		select {
		case call = <-s.work:
		case <-idle.C:
			return
		case <-s.closed:
			return
		}
	}
}

const (
	// idleWorker is how long a goroutine without calls is kept.
	idleWorker = 5 * time.Second
	// maxScratch is the largest buffer that is kept for the next answer.
	maxScratch = 64 << 10
)
