package kubelet

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/api/equality"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/kubelet/probe"
)

// worker looks after one pod, for as long as anything of it is wanted or left.
type worker struct {
	kubelet *Kubelet
	uid     types.UID
	wake    chan struct{} // a token: look again
	resting chan struct{} // closed when a halted pod has come to rest

	mu      sync.Mutex // held for moments only
	pod     *corev1.Pod
	gone    bool
	failed  *failure
	fresh   bool // an object that the pod refers to has changed
	results map[string]health
	seen    sight             // for readers outside
	latest  *corev1.PodStatus // to be written
	dirty   chan struct{}     // a token: latest is to be written

	// The worker's goroutine alone uses what follows.
	observed observed
	deadline time.Time
	graceFor int64 // the grace that deadline was computed from
	status   *corev1.PodStatus
	probers  map[string]context.CancelFunc
	probing  sync.WaitGroup
	renewAt  time.Time // volumes are stale then
	compared string    // the object's version that was compared with status last
}

// step is an action under way.
type step struct {
	action   action
	deadline time.Time // the pod's, when it began
	cancel   context.CancelFunc
	done     chan func(*worker)
}

func newWorker(k *Kubelet, pod *corev1.Pod) *worker {
	return &worker{
		kubelet: k, uid: pod.UID, pod: pod,
		wake: make(chan struct{}, 1), dirty: make(chan struct{}, 1), resting: make(chan struct{}),
		results: map[string]health{}, probers: map[string]context.CancelFunc{},
		observed: observed{crashes: map[string]crash{}, retries: map[string]retry{}, stale: true},
	}
}

func token1(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// update gives the worker the API's newest object; nil means that the API has it no more.
func (w *worker) update(pod *corev1.Pod, last *corev1.Pod) {
	w.mu.Lock()
	if pod != nil {
		w.pod = pod
	} else {
		w.gone = true
		if last != nil {
			w.pod = last
		}
	}
	w.mu.Unlock()
	token1(w.wake)
}

// objectsChanged says that a ConfigMap or Secret of the pod is another one now.
func (w *worker) objectsChanged() {
	w.mu.Lock()
	w.fresh = true
	w.mu.Unlock()
	token1(w.wake)
}

// snapshot is what the worker knows, for the HTTP handler.
func (w *worker) snapshot() (*corev1.Pod, sight, *corev1.PodStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod, w.seen, w.latest
}

// desire gathers what is wanted now, and the time of the end of a terminating pod.
func (w *worker) desire(now time.Time) desired {
	w.mu.Lock()
	d := desired{pod: w.pod, gone: w.gone, failed: w.failed, halt: w.kubelet.halted()}
	if w.fresh {
		w.fresh = false
		w.observed.stale = true
		delete(w.observed.retries, stepVolumes)
		for name, r := range w.observed.retries {
			if r.reason == reasonConfig {
				delete(w.observed.retries, name)
			}
		}
	}
	maps.Copy(w.observed.health, w.results)
	w.mu.Unlock()
	if !w.renewAt.IsZero() && !now.Before(w.renewAt) {
		w.observed.stale, w.renewAt = true, time.Time{}
	}
	if limit := d.pod.Spec.ActiveDeadlineSeconds; limit != nil && d.failed == nil && d.pod.Status.StartTime != nil && !d.over() &&
		!now.Before(d.pod.Status.StartTime.Add(time.Duration(*limit)*time.Second)) {
		d.failed = &failure{"DeadlineExceeded", "Pod was active on the node longer than the specified deadline"}
		w.mu.Lock()
		w.failed = d.failed
		w.mu.Unlock()
		w.kubelet.event(d.pod, corev1.EventTypeNormal, d.failed.reason, "%s", d.failed.message)
	}
	if d.terminating() {
		seconds := int64(grace(d.pod) / time.Second)
		if g := d.pod.DeletionGracePeriodSeconds; g != nil {
			seconds = *g
		}
		if d.gone {
			seconds = min(seconds, forcedGrace) // nobody waits for it any more
		}
		seconds = max(seconds, 1)
		if w.deadline.IsZero() {
			w.deadline, w.graceFor = now.Add(time.Duration(seconds)*time.Second), seconds
		} else if seconds < w.graceFor {
			w.graceFor = seconds
			if at := now.Add(time.Duration(seconds) * time.Second); at.Before(w.deadline) {
				w.deadline = at
			}
		}
	}
	d.deadline = w.deadline
	return d
}

// forcedGrace is the most that a pod gets whose object has gone before its containers, such as by a forced deletion, in
// seconds. Kubernetes promises such pods "a small grace period" (Pod Lifecycle, forced Pod termination).
const forcedGrace = 2

// interrupted tells whether a step has lost its purpose.
func (s *step) interrupted(d *desired) bool {
	switch s.action.verb {
	case actVolumes, actRunSandbox, actStart:
		return d.terminating() || d.over()
	case actStop:
		return !d.deadline.IsZero() && (s.deadline.IsZero() || d.deadline.Before(s.deadline))
	}
	return false
}

// run is the shell around next: observe, decide, act, until nothing of the pod is left or ctx ends.
func (w *worker) run(ctx context.Context) {
	k := w.kubelet
	w.observed.health = map[string]health{}
	var writer sync.WaitGroup
	writeCtx, stopWriter := context.WithCancel(ctx)
	writer.Go(func() { w.write(writeCtx) })
	defer writer.Wait()
	defer stopWriter()
	defer w.probing.Wait()
	defer w.stopProbers(nil)
	defer func() {
		if !w.isResting() {
			close(w.resting)
		}
	}()
	var current *step
	var failures int
	first := true
	for {
		now := time.Now()
		d := w.desire(now)
		var until time.Time
		if current != nil {
			if current.interrupted(&d) {
				current.cancel()
			}
			w.publish(&d, now)
		} else if err := w.observe(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			failures++
			until = now.Add(min(time.Second<<min(failures-1, 5), 30*time.Second))
			k.logger.Warn("observe pod", zap.String("pod", d.pod.Namespace+"/"+d.pod.Name), zap.Error(err))
		} else {
			failures = 0
			if first {
				first = false
				w.adopt(&d)
			}
			a := k.machine.next(&d, &w.observed, now)
			w.publish(&d, now)
			w.syncProbers(ctx, &d)
			switch a.verb {
			case actWait:
				until = earliest(a.until, w.renewAt)
				if d.halt && d.terminating() && len(standing(&w.observed)) == 0 && !w.isResting() {
					close(w.resting)
				}
			case actDone:
				return
			default:
				current = w.begin(ctx, &d, a)
			}
		}
		timer := time.NewTimer(24 * time.Hour)
		if !until.IsZero() {
			timer.Reset(max(time.Until(until), 0))
		}
		var done chan func(*worker)
		if current != nil {
			done = current.done
		}
		select {
		case <-ctx.Done():
			timer.Stop()
			if current != nil {
				current.cancel()
				<-current.done
			}
			return
		case <-w.wake:
		case <-timer.C:
		case absorb := <-done:
			absorb(w)
			current.cancel()
			current = nil
		}
		timer.Stop()
	}
}

func (w *worker) isResting() bool {
	select {
	case <-w.resting:
		return true
	default:
		return false
	}
}

// observe refreshes what the runtime says.
func (w *worker) observe(ctx context.Context) error {
	s, err := w.kubelet.look(ctx, string(w.uid), sight{w.observed.sandboxes, w.observed.containers})
	if err != nil {
		return err
	}
	for i := range s.containers {
		c := &s.containers[i]
		if c.state == stateExited && c.message == "" {
			w.lastWords(ctx, c)
		}
	}
	w.observed.sandboxes, w.observed.containers = s.sandboxes, s.containers
	w.mu.Lock()
	w.seen = s
	w.mu.Unlock()
	return nil
}

// adopt takes over what the API remembers about containers that ran before this agent: they keep their readiness until
// their probes say otherwise.
func (w *worker) adopt(d *desired) {
	if len(w.observed.sandboxes) > 0 {
		w.observed.volumes = true // they were there when the sandbox was made; stale has them refreshed
	}
	for i := range w.observed.containers {
		c := &w.observed.containers[i]
		st, spec := statusOf(&d.pod.Status, c.name), containerNamed(d.pod, c.name)
		if c.state != stateRunning || spec == nil || !probed(spec) || st == nil || !strings.HasSuffix(st.ContainerID, "://"+c.id) {
			continue
		}
		h := w.observed.healthOf(c, spec)
		if spec.StartupProbe != nil {
			h.started = optional(st.Started)
			h.ready = h.started && spec.ReadinessProbe == nil
		}
		if spec.ReadinessProbe != nil {
			h.ready = h.started && st.Ready
		}
		w.observed.health[c.id] = h
		w.mu.Lock()
		w.results[c.id] = h
		w.mu.Unlock()
	}
}

// publish computes the status and hands it to the writer if it is new.
func (w *worker) publish(d *desired, now time.Time) {
	if d.gone || d.pod.ResourceVersion == "" {
		return // the API doesn't want to hear about it
	}
	previous := w.status
	if previous == nil {
		previous = &d.pod.Status
	} else {
		p := *previous
		p.Conditions = slices.Clone(p.Conditions)
		for _, c := range d.pod.Status.Conditions {
			if !agentOwned(c.Type) && !slices.ContainsFunc(p.Conditions, func(o corev1.PodCondition) bool { return o.Type == c.Type }) {
				p.Conditions = append(p.Conditions, c)
			}
		}
		previous = &p
	}
	in := statusInput{
		desired: d, observed: &w.observed, previous: previous,
		hostIPs: []string{w.kubelet.config.Address}, prefix: w.kubelet.prefix(), machine: &w.kubelet.machine,
	}
	st := in.status(now)
	if w.status != nil && equality.Semantic.DeepEqual(w.status, &st) {
		// Somebody else may have written over it: a node that was unreachable has its pods marked unready, for one. One
		// look for each version of the object is enough; the writer writes only what differs.
		merged := *d.pod.Status.DeepCopy()
		mergeStatus(&merged, &st)
		if w.compared != d.pod.ResourceVersion && !equality.Semantic.DeepEqual(&merged, &d.pod.Status) {
			w.compared = d.pod.ResourceVersion
			token1(w.dirty)
		}
		return
	}
	w.status = &st
	w.mu.Lock()
	w.latest = &st
	w.mu.Unlock()
	token1(w.dirty)
}

// write writes the newest status whenever there is a new one, and again while that fails.
func (w *worker) write(ctx context.Context) {
	delay := time.Duration(0)
	for {
		if delay > 0 {
			t := time.NewTimer(delay)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		} else {
			select {
			case <-ctx.Done():
			case <-w.dirty:
			}
		}
		if ctx.Err() != nil {
			return
		}
		pod, _, st := w.snapshot()
		if err := w.kubelet.putStatus(ctx, pod, st); err != nil && ctx.Err() == nil {
			w.kubelet.logger.Warn("write pod status", zap.String("pod", pod.Namespace+"/"+pod.Name), zap.Error(err))
			delay = min(max(2*delay, 200*time.Millisecond), 10*time.Second)
			continue
		}
		delay = 0
	}
}

// syncProbers has a prober for each running container that has probes, and for no other.
func (w *worker) syncProbers(ctx context.Context, d *desired) {
	want := map[string]bool{}
	s := w.observed.current()
	if s != nil && !d.terminating() && !d.over() {
		for i := range w.observed.containers {
			c := &w.observed.containers[i]
			spec := containerNamed(d.pod, c.name)
			if c.state != stateRunning || c.sandbox != s.id || spec == nil || !probed(spec) {
				continue
			}
			want[c.id] = true
			if w.probers[c.id] != nil {
				continue
			}
			p := &prober{
				kubelet: w.kubelet, pod: d.pod, spec: spec, container: *c, first: w.observed.healthOf(c, spec),
				report: func(id string, h health) {
					w.mu.Lock()
					w.results[id] = h
					w.mu.Unlock()
					token1(w.wake)
				},
			}
			p.unhealthy = func(kind string, out probe.Result) {
				w.kubelet.event(p.pod, corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", kind, out.Output)
			}
			if len(s.ips) > 0 {
				p.host = s.ips[0]
			}
			probeCtx, cancel := context.WithCancel(ctx)
			w.probers[c.id] = cancel
			w.probing.Go(func() { p.run(probeCtx) })
		}
	}
	w.stopProbers(want)
	w.mu.Lock()
	for id := range w.results {
		if !slices.ContainsFunc(w.observed.containers, func(c container) bool { return c.id == id }) {
			delete(w.results, id)
			delete(w.observed.health, id)
		}
	}
	w.mu.Unlock()
}

func (w *worker) stopProbers(except map[string]bool) {
	for id, cancel := range w.probers {
		if !except[id] {
			cancel()
			delete(w.probers, id)
		}
	}
}
