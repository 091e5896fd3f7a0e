package apiserver

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/nodeproxy"
	"github.com/keelson-dev/keelson/apiserver/wire"
	"github.com/keelson-dev/keelson/store"
)

// Config is what a Server serves and whom it lets in. Kinds is required.
type Config struct {
	Kinds []*kind.Kind // what is served; no two with one group and resource

	// Definitions are the objects among Kinds that stand for further kinds, such as those of package crd. Nil means that the kinds
	// are fixed.
	Definitions *Definitions

	// Admission runs on every write, after what AdmissionFrom returns.
	Admission []admission.Plugin
	// AdmissionFrom makes plugins that read from the server itself. New calls it once, with a client that may do anything
	// and works as soon as Run does. Nil means none.
	AdmissionFrom func(client.Client) []admission.Plugin

	Authenticator authn.Authenticator // of HTTP requests; nil means that everybody is anonymous
	// AllowAnonymous lets HTTP requests without credentials reach the API as system:anonymous; false answers them 401.
	AllowAnonymous bool

	Authorizer authz.Authorizer // nil, and no AuthorizerFrom, means that everything is allowed
	// AuthorizerFrom makes an authorizer that reads from the server itself, as AdmissionFrom does:
	// func(c client.Client) authz.Authorizer { return authz.RBAC(authz.FromClient(c)) }. It is used when Authorizer is nil.
	AuthorizerFrom func(client.Client) authz.Authorizer

	EventTTL time.Duration // how long Events are kept; 0 means an hour, negative means for ever

	Nodes   *nodeproxy.Config // how node agents are reached for logs and exec; nil means that they are not
	Checks  []wire.Check      // parts of /readyz beside the server's own
	Version string            // the Kubernetes version to claim; empty means wire.DefaultVersion

	// DetectMutation is for tests: the server remembers what each object in its caches looked like, looks again when it
	// serves or replaces one, and reports those that a reader has changed through MutationDetected. It is slow.
	DetectMutation bool
	// MutationDetected is told what was changed. Nil means a log entry at level DPanic, which panics in development loggers.
	MutationDetected func(description string)

	Logger *zap.Logger // nil means none
}

// Server serves kinds over a store. Make one with New, then Run it.
type Server struct {
	cfg        Config
	store      *store.Store
	served     atomic.Pointer[served]
	log        *zap.Logger
	admission  admission.Chain
	authorizer authz.Authorizer // nil: everything is allowed
	feed       *feed
	nodes      *nodeproxy.Proxy // nil: none
	handler    *wire.Handler
	seed       maphash.Seed
	expiry     expiry

	running atomic.Bool
	ready   chan struct{} // closed when the caches have been filled for the first time
	stopped chan struct{} // closed when Run ends
}

// New checks the configuration and makes a server. It starts nothing.
func New(st *store.Store, cfg Config) (*Server, error) {
	if st == nil {
		return nil, errors.New("apiserver: a store is required")
	}
	if len(cfg.Kinds) == 0 {
		return nil, errors.New("apiserver: Config.Kinds: at least one kind is required, such as those of package builtin")
	}
	kinds, err := kind.NewSet(cfg.Kinds...)
	if err != nil {
		return nil, fmt.Errorf("apiserver: Config.Kinds: %w", err)
	}
	if d := cfg.Definitions; d != nil {
		if d.Kind == nil || d.Kinds == nil || d.Same == nil {
			return nil, errors.New("apiserver: Config.Definitions: Kind, Kinds and Same are required")
		}
		if _, ok := kinds.Find(d.Kind); !ok {
			return nil, fmt.Errorf("apiserver: Config.Definitions: %s must be among Config.Kinds", d.Kind)
		}
	}
	s := &Server{
		cfg: cfg, store: st, log: cfg.Logger, authorizer: cfg.Authorizer,
		ready: make(chan struct{}), stopped: make(chan struct{}),
		seed: maphash.MakeSeed(),
	}
	if s.log == nil {
		s.log = zap.NewNop()
	}
	if s.feed, err = newFeed(s, kinds); err != nil {
		return nil, fmt.Errorf("apiserver: Config.Kinds: %w", err)
	}
	self := s.Client(authn.System("apiserver"))
	if s.authorizer == nil && cfg.AuthorizerFrom != nil {
		s.authorizer = cfg.AuthorizerFrom(self)
	}
	if cfg.AdmissionFrom != nil {
		s.admission = append(s.admission, cfg.AdmissionFrom(self)...)
	}
	s.admission = append(s.admission, cfg.Admission...)
	if cfg.Nodes != nil {
		if s.nodes, err = nodeproxy.New(self, *cfg.Nodes); err != nil {
			return nil, fmt.Errorf("apiserver: Config.Nodes: %w", err)
		}
	}
	s.handler, err = wire.New(wire.Config{
		Kinds: kinds, Client: s.Client, Authenticator: cfg.Authenticator, Authorizer: s.authorizer, AllowAnonymous: cfg.AllowAnonymous,
		Nodes: s.nodes, Checks: s.checks(), Version: cfg.Version, Logger: s.log,
	})
	if err != nil {
		return nil, fmt.Errorf("apiserver: %w", err)
	}
	return s, nil
}

// Kinds are the kinds that are served at present, with their behaviour. Definitions may change them: then it is another set.
func (s *Server) Kinds() *kind.Set { return s.served.Load().kinds }

// Run fills the caches and keeps them current until ctx ends. It returns nil then, and an error when the store fails. A
// server runs once.
func (s *Server) Run(ctx context.Context) error {
	if !s.running.CompareAndSwap(false, true) {
		return errors.New("apiserver: Run was called before")
	}
	defer s.stop()
	for {
		err := s.feed.run(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, store.ErrCompacted):
			s.log.Warn("the caches fell behind what the store keeps and are read again", zap.Error(err))
		default:
			return fmt.Errorf("apiserver: follow the store: %w", err)
		}
	}
}

func (s *Server) stop() {
	close(s.stopped)
	s.verifyAll()
	for _, c := range s.served.Load().caches {
		c.close(errStopped)
	}
}

// Ready waits until the server answers requests. It fails with ctx's error, or with a 503 status after Run has ended.
func (s *Server) Ready(ctx context.Context) error {
	select {
	case <-s.stopped:
		return unavailable("the server has been stopped")
	default:
	}
	select {
	case <-s.ready:
		return nil
	case <-s.stopped:
		return unavailable("the server has been stopped")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ServeHTTP serves the API; requests before Run has read the store wait.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Store is the store that the server was made with.
func (s *Server) Store() *store.Store { return s.store }

func (s *Server) checks() []wire.Check {
	return append([]wire.Check{{Name: "caches", ReadyOnly: true, Run: func(ctx context.Context) error {
		select {
		case <-s.ready:
			_, err := s.store.Revision(ctx)
			return err
		default:
			return errors.New("the caches are being filled")
		}
	}}}, s.cfg.Checks...)
}
