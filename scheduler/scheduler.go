package scheduler

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts a scheduler. The zero value schedules pods of the default scheduler's name on nodes.
type Config struct {
	// Name is the schedulerName of the units that are this scheduler's. Empty means "default-scheduler".
	Name string

	// Workload says what is placed where; zero means pods on nodes.
	Workload Workload

	// Weights multiply the scores of plugins, by name; a plugin without one has weight 1.
	Weights map[string]int64

	// InitialBackoff and MaxBackoff bound how long a unit waits after an attempt; it doubles each time. 0 means 1 s
	// and 10 s.
	InitialBackoff, MaxBackoff time.Duration

	// Logger is where decisions are reported at debug level and failures above; nil means nowhere.
	Logger *zap.Logger
}

// ErrAlreadyRun is returned by a second Run.
var ErrAlreadyRun = errors.New("scheduler: Run was called before; make a new Scheduler")

// Scheduler places units on targets. All its methods are safe for concurrent use.
type Scheduler struct {
	client   client.Client
	cfg      Config
	stages   stages
	cache    *cache
	queue    *queue
	units    *controller.Informer[kind.Instance]
	targets  *controller.Informer[kind.Instance]
	recorder *controller.Recorder
	permits  permits
	started  atomic.Bool
	binding  sync.WaitGroup
	log      *zap.Logger
}

// New makes a scheduler of plugins (usually plugins.Default()), in the order in which their stages are to run. The
// error names the field or plugin that is wrong.
func New(c client.Client, plugins []Plugin, cfg Config) (*Scheduler, error) {
	if cfg.Name == "" {
		cfg.Name = corev1.DefaultSchedulerName
	}
	if cfg.InitialBackoff <= 0 {
		cfg.InitialBackoff = time.Second
	}
	if cfg.MaxBackoff <= 0 {
		cfg.MaxBackoff = max(10*time.Second, cfg.InitialBackoff)
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if err := cfg.Workload.validate(); err != nil {
		return nil, err
	}
	names := make(map[string]bool, len(plugins))
	for i, p := range plugins {
		if p == nil || p.Name() == "" {
			return nil, fmt.Errorf("scheduler: plugin %d: want one with a name", i)
		}
		if names[p.Name()] {
			return nil, fmt.Errorf("scheduler: plugin %s is given twice", p.Name())
		}
		names[p.Name()] = true
	}
	for name, w := range cfg.Weights {
		if !names[name] || w < 0 {
			return nil, fmt.Errorf("scheduler: Weights[%q] = %d: want a given plugin's name and a weight of 0 or more", name, w)
		}
	}
	s := &Scheduler{
		client: c, cfg: cfg, stages: newStages(plugins), cache: newCache(), log: cfg.Logger,
		units:    controller.NewInformer(c, kind.Untyped(cfg.Workload.Units), controller.InformerConfig{Logger: cfg.Logger}),
		targets:  controller.NewInformer(c, kind.Untyped(cfg.Workload.Targets), controller.InformerConfig{Logger: cfg.Logger}),
		recorder: controller.NewRecorder(c, cfg.Name, ""),
		permits:  permits{waiting: make(map[controller.Key]*waiting)},
	}
	s.queue = newQueue(cfg.InitialBackoff, cfg.MaxBackoff, s.couldHelp)
	s.units.OnChange(s.unitChanged)
	s.targets.OnChange(s.targetChanged)
	return s, nil
}

// Run schedules until ctx ends, then waits for bindings in flight. It returns nil, or the error of a second call.
func (s *Scheduler) Run(ctx context.Context) error {
	if s.started.Swap(true) {
		return ErrAlreadyRun
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	failures := make(chan error, 3)
	for _, run := range []func(context.Context) error{s.units.Run, s.targets.Run, s.recorder.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				failures <- err
				cancel()
			}
		})
	}
	s.loop(ctx)
	s.binding.Wait()
	s.queue.close()
	wg.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

// Ready waits until the scheduler knows all targets and units.
func (s *Scheduler) Ready(ctx context.Context) error {
	if err := s.targets.Wait(ctx); err != nil {
		return err
	}
	return s.units.Wait(ctx)
}

// Pending is how many units wait for a target.
func (s *Scheduler) Pending() int { return s.queue.len() }

// Snapshot is the scheduler's present picture: targets with the units bound to them or assumed on them.
func (s *Scheduler) Snapshot() *Snapshot { return s.cache.take() }

func (s *Scheduler) loop(ctx context.Context) {
	if s.Ready(ctx) != nil {
		return
	}
	for {
		e, u, err := s.queue.pop(ctx)
		if err != nil {
			return
		}
		s.scheduleOne(ctx, e, u)
	}
}

// scheduleOne decides one unit and starts its binding.
func (s *Scheduler) scheduleOne(ctx context.Context, e *entry, u *Unit) {
	c := NewCycle(u, s.cache.take())
	d := s.stages.decide(c, s.cfg.Weights)
	switch {
	case d.Failed != nil:
		s.log.Warn("scheduling failed", zap.Stringer("unit", u.key), zap.String("plugin", d.Failed.Plugin), zap.String("reason", d.Failed.Reason))
		s.refuse(ctx, u, corev1.PodReasonSchedulerError, "plugin "+d.Failed.Plugin+": "+d.Failed.Reason)
		s.queue.retry(e)
	case d.Target == nil:
		s.postFilter(ctx, c, &d)
		s.log.Debug("no target fits", zap.Stringer("unit", u.key), zap.Strings("rejected by", d.rejecters()))
		s.refuse(ctx, u, corev1.PodReasonUnschedulable, d.Sentence(len(c.Snapshot.Targets)))
		s.queue.park(e, d.rejecters())
	default:
		s.log.Debug("chose a target", zap.Stringer("unit", u.key), zap.String("target", d.Target.Name), zap.Any("scores", d.Scores))
		s.cache.place(u, d.Target.Name, true)
		s.binding.Go(func() { s.bind(ctx, e, c, d.Target) })
	}
}

func (s *Scheduler) postFilter(ctx context.Context, c *Cycle, d *Decision) {
	for _, p := range s.stages.postFilters {
		nominated, v := p.stage.PostFilter(ctx, c, d.Rejected)
		if v != nil && v.Code == Failed {
			s.log.Warn("making room failed", zap.Stringer("unit", c.Unit.key), zap.String("plugin", p.name), zap.Error(v.Err))
		}
		if nominated != "" {
			s.log.Debug("made room", zap.Stringer("unit", c.Unit.key), zap.String("plugin", p.name), zap.String("target", nominated))
			return
		}
	}
}

// mine says whether a unit waits for this scheduler.
func (s *Scheduler) mine(u *Unit) bool {
	name := u.Pod.Spec.SchedulerName
	return (name == s.cfg.Name || name == "") && u.target() == "" && u.Object.GetDeletionTimestamp() == nil &&
		!u.finished() && len(u.Pod.Spec.SchedulingGates) == 0
}

// unitChanged sorts a unit's new state: on a target, in the queue, or out of sight.
func (s *Scheduler) unitChanged(old, obj kind.Instance) {
	if obj == nil {
		s.unitGone(controller.KeyOf(old))
		return
	}
	u := s.cfg.Workload.unit(obj)
	switch {
	case u.finished():
		s.unitGone(u.key)
	case u.target() != "":
		s.queue.remove(u.key)
		s.permits.drop(u.key)
		s.cache.place(u, u.target(), false)
		s.queue.happened(Event{Kind: UnitChanged, Unit: u})
	case s.mine(u):
		s.queue.put(u, old == nil || s.matters(old, u))
	default:
		s.queue.remove(u.key)
	}
}

func (s *Scheduler) unitGone(key controller.Key) {
	s.queue.remove(key)
	s.permits.drop(key)
	if gone := s.cache.remove(key); gone != nil {
		s.queue.happened(Event{Kind: UnitGone, Unit: gone})
	}
}

// matters says whether a change of a waiting unit can change the decision: its status can't.
func (s *Scheduler) matters(old kind.Instance, u *Unit) bool {
	before := s.cfg.Workload.Pod(old)
	return !equality.Semantic.DeepEqual(before.Spec, u.Pod.Spec) || !equality.Semantic.DeepEqual(before.Labels, u.Pod.Labels)
}

func (s *Scheduler) targetChanged(old, obj kind.Instance) {
	if obj == nil {
		s.cache.removeTarget(old.GetName())
		return
	}
	t := s.cfg.Workload.target(obj)
	known, now := s.cache.setTarget(t)
	switch {
	case known == nil:
		s.queue.happened(Event{Kind: TargetAdded, New: now})
	case targetMatters(known, now):
		s.queue.happened(Event{Kind: TargetChanged, Old: known, New: now})
	}
}

// targetMatters leaves out what agents write all the time: heartbeats, images, volumes.
func targetMatters(a, b *Target) bool {
	return !equality.Semantic.DeepEqual(a.Node.Spec, b.Node.Spec) ||
		!equality.Semantic.DeepEqual(a.Node.Labels, b.Node.Labels) ||
		!equality.Semantic.DeepEqual(a.Node.Status.Allocatable, b.Node.Status.Allocatable)
}

// couldHelp asks the plugins that rejected a unit whether an event changes their minds.
func (s *Scheduler) couldHelp(rejectedBy []string, u *Unit, e Event) bool {
	if len(rejectedBy) == 0 {
		return e.Kind == TargetAdded // there was no target to ask about
	}
	for _, name := range rejectedBy {
		r, ok := s.stages.plugin(name).(Requeuer)
		if !ok || r.Requeue(u, e) {
			return true
		}
	}
	return false
}
