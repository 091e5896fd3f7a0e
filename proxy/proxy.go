package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// ErrAlreadyRun is the sentinel for a second call of Run.
var ErrAlreadyRun = errors.New("proxy: Run was called before")

// ReasonFailedToServe is the reason with which Config.Report is called for a service port that the dataplane can't
// serve.
const ReasonFailedToServe = "FailedToServe"

// Config adjusts a Proxy. The zero Config works: it is a proxy on no node.
type Config struct {
	NodeName string // for local traffic policies and hints; empty means that no endpoint is local
	Zone     string // the node's topology.kubernetes.io/zone; empty means unknown

	// EveryNode makes one proxy serve several nodes at once, as in the embedded network, where two proxies would want
	// the same addresses: every endpoint is local.
	EveryNode bool

	// MinSyncPeriod is the least time from one Apply to the next: changes meanwhile are applied together. 0 means 10
	// ms.
	MinSyncPeriod time.Duration
	// RetryDelay is the first wait before a failed Apply is repeated; it doubles up to 30 s. 0 means 500 ms.
	RetryDelay time.Duration

	// Report is told of each service port that can't be served, again when the message changes: an event for the
	// Service, usually. It must not block; it is called from the proxy's goroutine. Nil means nobody is told.
	Report func(svc *corev1.Service, reason, message string)

	Logger *zap.Logger // nil means none
}

const maxRetryDelay = 30 * time.Second

// indexService is the index of slices by the Service they belong to.
const indexService = "service"

// Proxy keeps a dataplane in step with the cluster's Services. Create it with [New].
type Proxy struct {
	cfg      Config
	dp       Dataplane
	services *controller.Informer[*corev1.Service]
	slices   *controller.Informer[*discoveryv1.EndpointSlice]
	running  atomic.Bool
	synced   chan struct{}

	mu       sync.Mutex
	dirty    map[types.NamespacedName]struct{}
	pending  bool          // something was touched and is not in table yet
	wake     chan struct{} // holds a token when dirty is not empty
	table    Table
	revision int64
	applied  chan struct{} // closed, and replaced, when table or revision change

	// Owned by Run.
	rules    map[types.NamespacedName][]Rule
	reported map[ServicePortName]string
}

// New makes a proxy over a client and a dataplane, which stays the caller's to close.
func New(c client.Client, dp Dataplane, cfg Config) (*Proxy, error) {
	if c == nil {
		return nil, errors.New("proxy.New: the client is nil")
	}
	if dp == nil {
		return nil, errors.New("proxy.New: the dataplane is nil")
	}
	if cfg.MinSyncPeriod < 0 || cfg.RetryDelay < 0 {
		return nil, fmt.Errorf("proxy.Config: MinSyncPeriod (%s) and RetryDelay (%s) must not be negative", cfg.MinSyncPeriod, cfg.RetryDelay)
	}
	if cfg.MinSyncPeriod == 0 {
		cfg.MinSyncPeriod = 10 * time.Millisecond
	}
	if cfg.RetryDelay == 0 {
		cfg.RetryDelay = 500 * time.Millisecond
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	p := &Proxy{
		cfg:      cfg,
		dp:       dp,
		services: controller.NewInformer(c, kind.Service, controller.InformerConfig{Logger: cfg.Logger}),
		slices:   controller.NewInformer(c, kind.EndpointSlice, controller.InformerConfig{Logger: cfg.Logger}),
		synced:   make(chan struct{}),
		dirty:    map[types.NamespacedName]struct{}{},
		wake:     make(chan struct{}, 1),
		applied:  make(chan struct{}),
		rules:    map[types.NamespacedName][]Rule{},
		reported: map[ServicePortName]string{},
	}
	if err := p.slices.AddIndex(indexService, func(s *discoveryv1.EndpointSlice) []string { return []string{serviceOf(s).String()} }); err != nil {
		return nil, err
	}
	p.services.OnChange(func(before, after *corev1.Service) {
		if after == nil {
			after = before
		}
		p.touch(types.NamespacedName{Namespace: after.Namespace, Name: after.Name})
	})
	p.slices.OnChange(func(before, after *discoveryv1.EndpointSlice) {
		for _, s := range []*discoveryv1.EndpointSlice{before, after} {
			if s != nil {
				p.touch(serviceOf(s))
			}
		}
	})
	return p, nil
}

func serviceOf(s *discoveryv1.EndpointSlice) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// touch marks a Service for rebuilding.
func (p *Proxy) touch(service types.NamespacedName) {
	p.mu.Lock()
	p.dirty[service] = struct{}{}
	p.pending = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Synced is closed when the first complete table has been given to the dataplane, even if single rules of it failed.
func (p *Proxy) Synced() <-chan struct{} { return p.synced }

// Table is what the dataplane was last told. It is shared and read-only.
func (p *Proxy) Table() Table {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table
}

// Revision is the store revision up to which Services and slices are in the table; 0 before Synced. It rises as well
// when changes of other objects are known to have passed without touching the table.
func (p *Proxy) Revision() int64 {
	seen := min(p.services.Revision(), p.slices.Revision())
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.pending && p.revision > 0 {
		return max(p.revision, seen)
	}
	return p.revision
}

// WaitFor waits until the table that the dataplane was told fulfils cond.
func (p *Proxy) WaitFor(ctx context.Context, cond func(Table) bool) error {
	for {
		p.mu.Lock()
		t, changed, synced := p.table, p.applied, p.revision > 0
		p.mu.Unlock()
		if synced && cond(t) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Run works until ctx ends, and returns nil then. It may be called once. The dataplane is left as it is.
func (p *Proxy) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return ErrAlreadyRun
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	for _, run := range []func(context.Context) error{p.services.Run, p.slices.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	if p.services.Wait(ctx) == nil && p.slices.Wait(ctx) == nil {
		p.loop(ctx)
	}
	cancel()
	wg.Wait()
	close(errs)
	return <-errs
}

// loop applies tables until ctx ends.
func (p *Proxy) loop(ctx context.Context) {
	delay := p.cfg.RetryDelay
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-retry.C: // also the first time
		}
		retry.Stop()
		if p.sync(ctx) {
			delay = p.cfg.RetryDelay
		} else {
			retry.Reset(delay)
			delay = min(2*delay, maxRetryDelay)
		}
		pause.Reset(p.cfg.MinSyncPeriod)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
	}
}

// sync applies the present table, and reports whether all of it holds.
func (p *Proxy) sync(ctx context.Context) bool {
	// In this order: what the revisions cover is in dirty already, and what is dirty is read after.
	revision := min(p.services.Revision(), p.slices.Revision())
	p.mu.Lock()
	dirty := p.dirty
	p.dirty = map[types.NamespacedName]struct{}{}
	p.mu.Unlock()
	for name := range dirty {
		p.rebuild(name)
	}
	t := p.assemble()
	err := p.dp.Apply(ctx, t)
	failed, rest := RuleErrors(err)
	if rest != nil {
		if ctx.Err() == nil {
			p.cfg.Logger.Error("applying the table failed, trying again", zap.Error(rest))
		}
		return false
	}
	p.mu.Lock()
	p.table, p.revision = t, max(revision, p.revision, 1)
	p.pending = len(p.dirty) > 0
	close(p.applied)
	p.applied = make(chan struct{})
	p.mu.Unlock()
	select {
	case <-p.synced:
	default:
		close(p.synced)
	}
	p.report(failed)
	return len(failed) == 0
}

func (p *Proxy) rebuild(name types.NamespacedName) {
	var rules []Rule
	if svc, ok := p.services.Get(name.Namespace, name.Name); ok {
		rules = buildRules(svc, p.slices.ByIndex(indexService, name.String()), Node{Name: p.cfg.NodeName, Zone: p.cfg.Zone, Every: p.cfg.EveryNode})
	}
	if len(rules) == 0 {
		delete(p.rules, name)
		return
	}
	p.rules[name] = rules
}

func (p *Proxy) assemble() Table {
	n := 0
	for _, rules := range p.rules {
		n += len(rules)
	}
	t := Table{Rules: make([]Rule, 0, n)}
	for _, rules := range p.rules {
		t.Rules = append(t.Rules, rules...)
	}
	slices.SortFunc(t.Rules, compareRules)
	return t
}

// report tells of service ports that fail since this Apply, or fail differently.
func (p *Proxy) report(failed []*RuleError) {
	now := make(map[ServicePortName]string, len(failed))
	for _, e := range failed {
		if before := now[e.Rule]; before != "" {
			now[e.Rule] = before + "; " + e.Err.Error()
		} else {
			now[e.Rule] = e.Err.Error()
		}
	}
	for _, e := range failed {
		name, message := e.Rule, now[e.Rule]
		if p.reported[name] == message {
			continue
		}
		p.reported[name] = message
		p.cfg.Logger.Warn("a service port can't be served", zap.Stringer("service port", name), zap.String("why", message))
		if svc, ok := p.services.Get(name.Namespace, name.Name); ok && p.cfg.Report != nil {
			p.cfg.Report(svc, ReasonFailedToServe, "service port "+name.String()+" can't be served: "+message)
		}
	}
	for name := range p.reported {
		if _, ok := now[name]; !ok {
			delete(p.reported, name)
			p.cfg.Logger.Info("a service port is served again", zap.Stringer("service port", name))
		}
	}
}
