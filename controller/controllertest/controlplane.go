package controllertest

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/crd"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/store"
)

// ControlPlane is a control plane that lives as long as a test. Make it with [New].
type ControlPlane struct {
	Client  client.Client       // the test's own client, an administrator; faults don't touch it
	Manager *controller.Manager // add controllers, then Start; its client goes through Faults
	Faults  *Faults
	Server  *apiserver.Server
	Kinds   *kind.Set

	t       testing.TB
	cfg     config
	ctx     context.Context
	started bool
	running []*running // in the order in which they were started
}

type running struct {
	name   string
	part   controller.Runnable
	cancel context.CancelFunc
	done   chan error
}

type config struct {
	kinds     []*kind.Kind
	admission []admission.Plugin
	logger    *zap.Logger
	timeout   time.Duration
	election  *controller.LeaderElection
}

// Option adjusts a control plane.
type Option func(*config)

// Kinds adds the test's own kinds to the built-in ones.
func Kinds(kinds ...*kind.Kind) Option {
	return func(c *config) { c.kinds = append(c.kinds, kinds...) }
}

// Admission adds admission plugins.
func Admission(plugins ...admission.Plugin) Option {
	return func(c *config) { c.admission = append(c.admission, plugins...) }
}

// Verbose logs everything, down to why each reconcile ran, to the test's log.
func Verbose(t testing.TB) Option {
	return func(c *config) { c.logger = zaptest.NewLogger(t, zaptest.Level(zap.DebugLevel)) }
}

// Timeout bounds each wait (WaitFor, Idle, a request) instead of one minute; in a bubble it is virtual time.
func Timeout(d time.Duration) Option { return func(c *config) { c.timeout = d } }

// Elected gives the manager leader election.
func Elected(e controller.LeaderElection) Option {
	return func(c *config) { c.election = &e }
}

// New starts a control plane for t and ends it with t. The namespaces default and kube-system exist. The manager does
// not run before Start.
func New(t testing.TB, opts ...Option) *ControlPlane {
	t.Helper()
	cfg := config{timeout: time.Minute, logger: zap.NewNop()}
	for _, o := range opts {
		o(&cfg)
	}
	ctx := context.WithoutCancel(t.Context()) // which ends before the cleanup that needs it
	st, err := store.Open(ctx, store.Config{Logger: cfg.logger})
	if err != nil {
		t.Fatalf("controllertest: open a store in memory: %v", err)
	}
	cp := &ControlPlane{t: t, cfg: cfg, ctx: ctx, Faults: newFaults()}
	t.Cleanup(func() {
		cp.stop()
		if err := st.Close(); err != nil {
			t.Errorf("controllertest: close the store: %v", err)
		}
	})
	kinds := crd.New(crd.Config{})
	cp.Server, err = apiserver.New(st, apiserver.Config{
		Kinds:       append(append(builtin.Kinds(), crd.Type().Kind()), cfg.kinds...),
		Definitions: &apiserver.Definitions{Kind: crd.Type().Kind(), Kinds: kinds.Of, Same: kinds.Same},
		Admission:   cfg.admission, Logger: cfg.logger,
		DetectMutation:   true,
		MutationDetected: func(what string) { t.Errorf("controllertest: a cached object was changed in place: %s", what) },
	})
	if err != nil {
		t.Fatalf("controllertest: %v", err)
	}
	cp.Kinds = cp.Server.Kinds()
	cp.Client = cp.Server.Client(authn.System("test"))
	cp.start("the API server", cp.Server)
	definitions, err := crd.NewController(cp.Server.Client(authn.System("apiserver")), kinds, cfg.logger)
	if err != nil {
		t.Fatalf("controllertest: %v", err)
	}
	cp.start("the definitions of custom resources", definitions)
	within, cancel := cp.within()
	defer cancel()
	if err := cp.Server.Ready(within); err != nil {
		t.Fatalf("controllertest: the API server does not become ready: %v", err)
	}
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem} {
		ns := kind.Namespace.New()
		ns.Name = name
		if _, err := client.For(cp.Client, kind.Namespace).Create(within, ns); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatalf("controllertest: create namespace %s: %v", name, err)
		}
	}
	cp.Manager, err = controller.NewManager(cp.Faults.Wrap(cp.Server.Client(authn.System("controllers"))), controller.ManagerConfig{
		Logger: cfg.logger, LeaderElection: cfg.election,
	})
	if err != nil {
		t.Fatalf("controllertest: %v", err)
	}
	return cp
}

// Start runs the manager until the test ends.
func (cp *ControlPlane) Start() {
	cp.t.Helper()
	cp.started = true
	cp.start("the manager", cp.Manager)
}

// Run runs something else beside it, such as a scheduler, until the test ends. Idle waits for it too if it is a
// controller.Idler.
func (cp *ControlPlane) Run(r controller.Runnable) {
	cp.t.Helper()
	cp.start(fmt.Sprintf("%T", r), r)
}

func (cp *ControlPlane) start(name string, r controller.Runnable) {
	ctx, cancel := context.WithCancel(cp.ctx)
	p := &running{name: name, part: r, cancel: cancel, done: make(chan error, 1)}
	cp.running = append(cp.running, p)
	go func() { p.done <- r.Run(ctx) }()
}

// stop ends what runs, last started first.
func (cp *ControlPlane) stop() {
	for i := len(cp.running) - 1; i >= 0; i-- {
		p := cp.running[i]
		p.cancel()
		timeout := time.NewTimer(time.Minute)
		select {
		case err := <-p.done:
			if err != nil {
				cp.t.Errorf("controllertest: %s ended with an error: %v", p.name, err)
			}
		case <-timeout.C:
			stacks := make([]byte, 1<<20)
			cp.t.Errorf("controllertest: %s has not ended a minute after its context:\n%s", p.name, stacks[:runtime.Stack(stacks, true)])
		}
		timeout.Stop()
	}
	cp.running = nil
}

// Context is one to make requests with. It ends after the test's cleanup functions, so they may use it.
func (cp *ControlPlane) Context() context.Context { return cp.ctx }

// within is the context of one wait.
func (cp *ControlPlane) within() (context.Context, context.CancelFunc) {
	return context.WithTimeout(cp.ctx, cp.cfg.timeout)
}

// Apply creates or updates the objects of a manifest (YAML or JSON, documents separated by ---) and returns them as
// stored. Objects without a namespace go to default.
func (cp *ControlPlane) Apply(manifest string) []kind.Instance {
	cp.t.Helper()
	ctx, cancel := cp.within()
	defer cancel()
	out, err := client.Apply(ctx, cp.Client, cp.Kinds, []byte(manifest))
	if err != nil {
		cp.t.Fatalf("controllertest: %v", err)
	}
	return out
}

// Idle waits until the manager, and what was given to Run if it can tell, has nothing left to do. See
// controller.Manager.Idle for what that means.
func (cp *ControlPlane) Idle() {
	cp.t.Helper()
	if !cp.started {
		cp.t.Fatal("controllertest: Idle before Start: the manager does not run")
	}
	ctx, cancel := cp.within()
	defer cancel()
	for _, p := range append([]*running{}, cp.running...) {
		idler, ok := p.part.(controller.Idler)
		if !ok {
			continue
		}
		if err := idler.Idle(ctx); err != nil {
			cp.t.Fatalf("controllertest: not idle after %v: %v", cp.cfg.timeout, err)
		}
	}
}
