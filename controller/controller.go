package controller

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Config adjusts a Controller.
type Config struct {
	Workers   int           // how many keys are reconciled side by side; 0 means 1
	BaseDelay time.Duration // of the first retry of a key that failed; it doubles each time. 0 means 5 ms
	MaxDelay  time.Duration // the longest time between retries; 0 means 5 minutes
	Timeout   time.Duration // ends the context of one reconcile; 0 means none
}

// Controller calls a reconciler for the keys that its sources report. Make it with [New]; its manager runs it.
type Controller struct {
	name       string
	reconciler Reconciler
	cfg        Config
	queue      *Queue[Key]
	logger     *zap.Logger
	running    atomic.Bool

	mu     sync.Mutex
	causes map[Key]Causes
}

// New makes a controller and registers it with m, which runs it once the informers are synced and, with leader
// election, while m leads. The name is for logs and must be unique in m.
func New(m *Manager, name string, r Reconciler, cfg Config, sources ...Source) (*Controller, error) {
	switch {
	case m == nil:
		return nil, fmt.Errorf("controller %q: the manager is nil", name)
	case name == "":
		return nil, fmt.Errorf("controller: the name is empty")
	case r == nil:
		return nil, fmt.Errorf("controller %q: the reconciler is nil", name)
	case cfg.Workers < 0 || cfg.BaseDelay < 0 || cfg.MaxDelay < 0 || cfg.Timeout < 0:
		return nil, fmt.Errorf("controller %q: Config: Workers, BaseDelay, MaxDelay and Timeout must not be negative", name)
	}
	c := &Controller{
		name: name, reconciler: r, cfg: cfg,
		queue:  NewQueue[Key](QueueConfig{BaseDelay: cfg.BaseDelay, MaxDelay: cfg.MaxDelay}),
		logger: m.logger.With(zap.String("controller", name)),
		causes: map[Key]Causes{},
	}
	if err := m.register(c); err != nil {
		return nil, err
	}
	for _, s := range sources {
		if s.attach == nil {
			return nil, fmt.Errorf("controller %q: a source is empty: use For, Owns, Watches or From", name)
		}
		if err := s.attach(m, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Name is the name given to New.
func (c *Controller) Name() string { return c.name }

// Enqueue asks for a reconcile, from a source that is no kind.
func (c *Controller) Enqueue(key Key) { c.enqueue(key, Cause{Reason: Enqueued}) }

// EnqueueAfter asks for a reconcile after a delay.
func (c *Controller) EnqueueAfter(key Key, delay time.Duration) {
	c.note(key, Cause{Reason: Enqueued})
	c.queue.AddAfter(key, delay)
}

func (c *Controller) enqueue(key Key, cause Cause) {
	c.note(key, cause)
	c.queue.Add(key)
}

func (c *Controller) note(key Key, cause Cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.causes[key]
	if n := len(old); n > 0 && old[n-1] == cause {
		return
	}
	if len(old) == maxCauses {
		old = append(Causes(nil), old[1:]...) // a reconciler may hold the present slice
	}
	c.causes[key] = append(old, cause)
}

func (c *Controller) takeCauses(key Key) Causes {
	c.mu.Lock()
	defer c.mu.Unlock()
	causes := c.causes[key]
	delete(c.causes, key)
	return causes
}

// Run works on keys until ctx ends and waits for the reconciles that are under way. The manager calls it.
func (c *Controller) Run(ctx context.Context) error {
	if c.running.Swap(true) {
		return fmt.Errorf("controller %s: %w", c.name, ErrAlreadyRun)
	}
	var workers sync.WaitGroup
	for range max(1, c.cfg.Workers) {
		workers.Go(func() { c.work(ctx) })
	}
	workers.Wait()
	return c.queue.Close()
}

func (c *Controller) work(ctx context.Context) {
	for {
		key, err := c.queue.Get(ctx)
		if err != nil {
			return
		}
		c.process(ctx, key)
		c.queue.Done(key)
	}
}

func (c *Controller) process(ctx context.Context, key Key) {
	causes := c.takeCauses(key)
	logger := c.logger.With(zap.String("key", display(key)))
	logger.Debug("reconcile", zap.Stringer("trigger", causes))
	began := time.Now()
	result, err := c.reconcile(ctx, key, causes)
	switch {
	case err != nil && ctx.Err() != nil:
		return // the controller ends; whoever comes next starts from the state of the world
	case IsTerminal(err):
		c.queue.Forget(key)
		logger.Error("reconcile failed for good", zap.Error(err), zap.Stringer("trigger", causes))
	case err != nil:
		c.note(key, Cause{Reason: Retried})
		retry := c.queue.AddRateLimited(key)
		log := logger.Warn
		if apierrors.IsConflict(err) { // another writer was first: no news
			log = logger.Debug
		}
		log("reconcile failed", zap.Error(err), zap.Stringer("trigger", causes), zap.Duration("retry", retry), zap.Int("failures", c.queue.Failures(key)))
	default:
		c.queue.Forget(key)
		if result.RequeueAfter > 0 {
			c.note(key, Cause{Reason: Requeued})
			c.queue.AddAfter(key, result.RequeueAfter)
		}
		logger.Debug("reconciled", zap.Duration("took", time.Since(began)), zap.Duration("requeue", result.RequeueAfter))
	}
}

func (c *Controller) reconcile(ctx context.Context, key Key, causes Causes) (result Result, err error) {
	ctx = context.WithValue(ctx, causesKey{}, causes)
	if c.cfg.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timeout)
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reconcile of %s panicked: %v\n%s", display(key), p, debug.Stack())
		}
	}()
	return c.reconciler.Reconcile(ctx, key)
}
