package scheduler

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/controller"
)

// bind carries a decided unit from Reserve to PostBind. The unit is assumed on the target; whatever goes wrong takes
// that back.
func (s *Scheduler) bind(ctx context.Context, e *entry, c *Cycle, t *Target) {
	v := s.reserve(ctx, c, t)
	if v == nil {
		v = s.permit(ctx, c, t)
	}
	for _, p := range s.stages.preBinds {
		if v != nil {
			break
		}
		v = p.stage.PreBind(ctx, c, t).by(p.name)
	}
	if v == nil {
		v = s.write(ctx, c, t)
	}
	if v == nil {
		for _, p := range s.stages.postBinds {
			p.stage.PostBind(ctx, c, t)
		}
		s.recorder.Event(c.Unit.Object, corev1.EventTypeNormal, "Scheduled", "Assigned %s to %s", c.Unit.key, t.Name)
		return
	}
	for i := len(s.stages.reserves) - 1; i >= 0; i-- {
		s.stages.reserves[i].stage.Unreserve(ctx, c, t)
	}
	s.cache.forget(c.Unit)
	s.queue.happened(Event{Kind: UnitGone, Unit: c.Unit})
	if ctx.Err() != nil {
		return
	}
	s.log.Info("binding failed", zap.Stringer("unit", c.Unit.key), zap.String("target", t.Name), zap.String("plugin", v.Plugin), zap.String("reason", v.Reason))
	if v.Code == Failed {
		s.refuse(ctx, c.Unit, corev1.PodReasonSchedulerError, "binding to "+t.Name+": "+v.Reason)
		s.queue.retry(e)
		return
	}
	s.refuse(ctx, c.Unit, corev1.PodReasonUnschedulable, v.Plugin+" refused "+t.Name+": "+v.Reason)
	s.queue.park(e, []string{v.Plugin})
}

func (s *Scheduler) reserve(ctx context.Context, c *Cycle, t *Target) *Verdict {
	for _, p := range s.stages.reserves {
		if v := p.stage.Reserve(ctx, c, t).by(p.name); v != nil {
			return v
		}
	}
	return nil
}

// write lets the first binder that wants to bind, and the workload's own otherwise. A lost reply is no failure: the
// object itself says whether it was bound.
func (s *Scheduler) write(ctx context.Context, c *Cycle, t *Target) *Verdict {
	for _, p := range s.stages.binds {
		if v := p.stage.Bind(ctx, c, t).by(p.name); v == nil || v.Code != Skip {
			return v
		}
	}
	err := s.cfg.Workload.Bind(ctx, s.client, c.Unit.Object, t.Name)
	if err == nil || apierrors.IsNotFound(err) {
		return nil // not found: the unit is gone, and its deletion frees the target
	}
	resp, getErr := s.client.Do(ctx, &client.Request{
		Verb: client.Get, Kind: s.cfg.Workload.Units, Namespace: c.Unit.key.Namespace, Name: c.Unit.key.Name,
	})
	if getErr == nil && sameUID(resp.Object, c.Unit.Object) && s.cfg.Workload.Pod(resp.Object).Spec.NodeName == t.Name {
		return nil
	}
	return Fail(err)
}

// permit asks the permit stages, and waits for those that want to wait.
func (s *Scheduler) permit(ctx context.Context, c *Cycle, t *Target) *Verdict {
	w := &waiting{plugins: make(map[string]bool), done: make(chan *Verdict, 1)}
	longest := time.Duration(0)
	for _, p := range s.stages.permits {
		v, limit := p.stage.Permit(ctx, c, t)
		if v = v.by(p.name); v == nil {
			continue
		}
		if v.Code != Wait {
			return v
		}
		w.plugins[p.name] = true
		if longest == 0 || limit < longest {
			longest = limit
		}
	}
	if len(w.plugins) == 0 {
		return nil
	}
	s.permits.add(c.Unit.key, w)
	defer s.permits.drop(c.Unit.key)
	timer := time.NewTimer(longest)
	defer timer.Stop()
	select {
	case v := <-w.done:
		return v
	case <-timer.C:
		return Reject("no permit within %s", longest)
	case <-ctx.Done():
		return Fail(ctx.Err())
	}
}

// Allow gives a plugin's permit to a unit that waits for it. It reports whether the unit waited for that plugin.
func (s *Scheduler) Allow(unit controller.Key, plugin string) bool {
	return s.permits.answer(unit, plugin, nil)
}

// Refuse ends a unit's wait for a permit.
func (s *Scheduler) Refuse(unit controller.Key, plugin, reason string) bool {
	return s.permits.answer(unit, plugin, Reject("%s", reason).by(plugin))
}

// permits are the units that wait for one.
type permits struct {
	mu      sync.Mutex
	waiting map[controller.Key]*waiting
}

type waiting struct {
	plugins map[string]bool
	done    chan *Verdict // one verdict at most
	ended   bool
}

func (p *permits) add(key controller.Key, w *waiting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting[key] = w
}

// drop ends a wait whose unit is gone.
func (p *permits) drop(key controller.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w, ok := p.waiting[key]; ok {
		w.end(Fail(errors.New("the unit is gone")))
		delete(p.waiting, key)
	}
}

func (p *permits) answer(key controller.Key, plugin string, v *Verdict) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	w, ok := p.waiting[key]
	if !ok || !w.plugins[plugin] {
		return false
	}
	delete(w.plugins, plugin)
	if v != nil || len(w.plugins) == 0 {
		w.end(v)
	}
	return true
}

func (w *waiting) end(v *Verdict) {
	if !w.ended {
		w.ended = true
		w.done <- v
	}
}
