package controller

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// ManagerConfig adjusts a Manager.
type ManagerConfig struct {
	Logger         *zap.Logger     // nil means none
	LeaderElection *LeaderElection // nil means that controllers run without asking
	Host           string          // what events name as their source host; empty means none
}

// Runnable is anything with a loop: it returns nil when ctx ends, and an error when it can't go on.
type Runnable interface {
	Run(ctx context.Context) error
}

// RunnableFunc is a Runnable made of a function.
type RunnableFunc func(ctx context.Context) error

// Run calls f.
func (f RunnableFunc) Run(ctx context.Context) error { return f(ctx) }

// Idler is implemented by runnables that [Manager.Idle] should wait for: Idle returns when nothing is left to do, or
// with ctx's error.
type Idler interface {
	Idle(ctx context.Context) error
}

// Manager owns what controllers share, and runs it all. Informers and recorders run from the start; controllers and
// what was given to Add run once the informers that were known by then are synced and, with leader election, this
// process leads. The first error ends everything. It is safe for concurrent use. Make it with [NewManager].
type Manager struct {
	client   client.Client
	cfg      ManagerConfig
	logger   *zap.Logger
	election *election // nil without leader election
	leading  chan struct{}
	standby  *group // informers, recorders: run without leadership
	leader   *group // controllers and runnables

	mu          sync.Mutex
	ran         bool
	informers   map[informerID]any // *Informer[T]
	cores       []*informer
	controllers []*Controller
	recorders   map[string]*Recorder
}

type informerID struct {
	resource                 schema.GroupVersionResource
	typ                      reflect.Type
	namespace, label, fields string
}

// NewManager makes a manager that talks to a control plane through c. Nothing runs before Run.
func NewManager(c client.Client, cfg ManagerConfig) (*Manager, error) {
	if c == nil {
		return nil, errors.New("manager: the client is nil")
	}
	m := &Manager{
		client: c, cfg: cfg, logger: cfg.Logger, leading: make(chan struct{}),
		standby: newGroup(), leader: newGroup(),
		informers: map[informerID]any{}, recorders: map[string]*Recorder{},
	}
	if m.logger == nil {
		m.logger = zap.NewNop()
	}
	if cfg.LeaderElection != nil {
		e, err := newElection(c, *cfg.LeaderElection, m.logger)
		if err != nil {
			return nil, err
		}
		m.election = e
	}
	return m, nil
}

// Client is the client that the manager was made with.
func (m *Manager) Client() client.Client { return m.client }

// Logger is the manager's logger, never nil.
func (m *Manager) Logger() *zap.Logger { return m.logger }

// Leading is closed when the controllers start: when this manager became the leader or, without leader election, when
// the informers are synced.
func (m *Manager) Leading() <-chan struct{} { return m.leading }

// InformerFor is the shared informer of all objects of a kind. A manager that runs already starts it at once.
func InformerFor[T kind.Instance](m *Manager, t kind.Type[T]) *Informer[T] {
	return SelectedInformer(m, t, InformerConfig{})
}

// SelectedInformer is the shared informer of the objects that cfg selects; the same selection gives the same informer.
func SelectedInformer[T kind.Instance](m *Manager, t kind.Type[T], cfg InformerConfig) *Informer[T] {
	id := informerID{t.Kind().GroupVersionResource(), reflect.TypeFor[T](), cfg.Namespace, cfg.LabelSelector, cfg.FieldSelector}
	m.mu.Lock()
	if i, ok := m.informers[id].(*Informer[T]); ok {
		m.mu.Unlock()
		return i
	}
	if cfg.Logger == nil {
		cfg.Logger = m.logger
	}
	i := NewInformer(m.client, t, cfg)
	m.informers[id] = i
	m.cores = append(m.cores, i.core)
	m.mu.Unlock()
	m.standby.add(i.core)
	return i
}

// Recorder is the recorder for events of one component. The manager runs it.
func (m *Manager) Recorder(component string) *Recorder {
	m.mu.Lock()
	r, ok := m.recorders[component]
	if !ok {
		r = NewRecorder(m.client, component, m.cfg.Host)
		r.logger = m.logger
		m.recorders[component] = r
	}
	m.mu.Unlock()
	if !ok {
		m.standby.add(r)
	}
	return r
}

// Add has a runnable run beside the controllers, under the same conditions. A manager that leads starts it at once.
func (m *Manager) Add(r Runnable) { m.leader.add(r) }

// AddStandby has a runnable run from the start, whether this process leads or not.
func (m *Manager) AddStandby(r Runnable) { m.standby.add(r) }

func (m *Manager) register(c *Controller) error {
	m.mu.Lock()
	for _, o := range m.controllers {
		if o.name == c.name {
			m.mu.Unlock()
			return fmt.Errorf("controller %q: the manager has one of this name already", c.name)
		}
	}
	m.controllers = append(m.controllers, c)
	m.mu.Unlock()
	m.leader.add(c)
	return nil
}

// Run runs everything until ctx ends, and returns nil then; or until something fails, and returns its error. First the
// controllers end, then the lease is given back, then informers and recorders end; no goroutine is left.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	if m.ran {
		m.mu.Unlock()
		return fmt.Errorf("manager: %w", ErrAlreadyRun)
	}
	m.ran = true
	m.mu.Unlock()

	work, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	base, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer m.standby.wait() // after stop
	defer stop()
	m.standby.start(base, fail)
	m.runLeader(work, base, fail)
	if err := context.Cause(work); !errors.Is(err, context.Cause(ctx)) {
		return err
	}
	return nil
}

// runLeader waits for its turn, runs the controllers until work ends, and gives the lease back.
func (m *Manager) runLeader(work, base context.Context, fail context.CancelCauseFunc) {
	defer m.leader.wait()
	for _, i := range m.known() {
		if i.wait(work) != nil {
			return
		}
	}
	if m.election != nil {
		if m.election.acquire(work) != nil {
			return
		}
		var renewing sync.WaitGroup
		renew, stop := context.WithCancel(base)
		renewing.Go(func() {
			if m.election.renew(renew) != nil {
				fail(ErrLeadershipLost)
			}
		})
		defer func() {
			m.leader.wait()
			stop()
			renewing.Wait()
			m.election.release(base)
		}()
	}
	m.logger.Debug("controllers start")
	close(m.leading)
	m.leader.start(work, fail)
	<-work.Done()
}

func (m *Manager) known() []*informer {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.cores)
}
