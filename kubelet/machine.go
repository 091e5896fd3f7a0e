package kubelet

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// verb is what an action does.
type verb int

const (
	actWait          verb = iota // until something changes, or until the action's time
	actVolumes                   // prepare or refresh the pod's volumes
	actRunSandbox                // create a sandbox
	actStart                     // pull, create and start a container
	actStop                      // end containers
	actStopSandbox               // stop sandboxes
	actRemove                    // remove ended containers
	actRemoveSandbox             // remove a stopped sandbox without containers
	actReport                    // write the last status before the pod goes
	actClean                     // remove everything the pod has on the node
	actDelete                    // tell the API that the pod is gone
	actDone                      // nothing is left: forget the pod
)

// action is the one next step for a pod.
type action struct {
	verb      verb
	until     time.Time         // actWait: look again then; zero means no such time
	attempt   uint32            // actRunSandbox, actStart
	sandbox   string            // actStart
	container *corev1.Container // actStart
	init      bool              // actStart: it is an init container
	stops     []stop            // actStop
	ids       []string          // actStopSandbox, actRemove, actRemoveSandbox
	delay     time.Duration     // actStart: the container's restart delay from now on
}

// stop is one container to end.
type stop struct {
	container container
	grace     time.Duration // from SIGTERM (or the preStop hook) to SIGKILL
	reason    string        // for the event
	message   string
}

// machine holds the parameters of next.
type machine struct {
	base, limit, reset time.Duration // restart delays
	hash               func(*corev1.Container) string
}

// next decides the next step for a pod. It is pure: equal arguments give equal results.
func (m *machine) next(d *desired, o *observed, now time.Time) action {
	if d.terminating() {
		return m.terminate(d, o, now)
	}
	if _, ended := o.outcome(d.pod); ended || d.over() {
		return m.finish(d, o, now)
	}
	if stops := m.strays(d, o); len(stops) > 0 {
		return gated(o, stepStop, now, action{verb: actStop, stops: stops})
	}
	s := o.current()
	if s == nil {
		return m.sandbox(o, now)
	}
	a, ok := m.containers(d, o, s, now)
	if ok {
		return a
	}
	if ids := garbage(o, s); len(ids) > 0 {
		return gated(o, stepClean, now, action{verb: actRemove, ids: ids, until: a.until})
	}
	if ids := emptied(o, s); len(ids) > 0 {
		return gated(o, stepClean, now, action{verb: actRemoveSandbox, ids: ids, until: a.until})
	}
	if o.stale {
		return gated(o, stepVolumes, now, action{verb: actVolumes, until: a.until})
	}
	return a
}

// gated is a, or waiting when the step failed a moment ago.
func gated(o *observed, step string, now time.Time, a action) action {
	if r := o.retries[step]; r.until.After(now) {
		return wait(earliest(r.until, a.until))
	}
	a.until = time.Time{}
	return a
}

func wait(until time.Time) action { return action{verb: actWait, until: until} }

// earliest is the earlier of two times, where zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sandbox makes the pod a sandbox: the old ones are stopped first, and the volumes are there before it.
func (m *machine) sandbox(o *observed, now time.Time) action {
	var attempt uint32
	var ready []string
	for _, s := range o.sandboxes {
		attempt = max(attempt, s.attempt+1)
		if s.ready {
			ready = append(ready, s.id)
		}
	}
	if len(ready) > 0 {
		return gated(o, stepStop, now, action{verb: actStopSandbox, ids: ready})
	}
	if !o.volumes {
		return gated(o, stepVolumes, now, action{verb: actVolumes})
	}
	return gated(o, stepSandbox, now, action{verb: actRunSandbox, attempt: attempt})
}

// strays are processes that should not be: containers of another sandbox than the current one, and older instances of
// a container that has a newer one.
func (m *machine) strays(d *desired, o *observed) []stop {
	s := o.current()
	var out []stop
	for i := range o.containers {
		c := &o.containers[i]
		if !c.live() {
			continue
		}
		if s == nil || c.sandbox != s.id || o.latest(c.name).id != c.id {
			out = append(out, stop{
				container: *c, grace: grace(d.pod), reason: "Killing",
				message: fmt.Sprintf("Stopping container %s: its sandbox has been replaced", c.name),
			})
		}
	}
	return out
}

func grace(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return time.Duration(max(*s, 1)) * time.Second
	}
	return 30 * time.Second
}

// containers looks after the containers in the sandbox. When there is nothing to do now, it is false with the wait.
func (m *machine) containers(d *desired, o *observed, s *sandbox, now time.Time) (action, bool) {
	var until time.Time
	if limit := d.pod.Spec.ActiveDeadlineSeconds; limit != nil && d.pod.Status.StartTime != nil {
		until = d.pod.Status.StartTime.Add(time.Duration(*limit) * time.Second)
	}
	initialized := o.initialized(d.pod)
	for i := range d.pod.Spec.InitContainers {
		spec := &d.pod.Spec.InitContainers[i]
		if initialized && !sidecar(spec) {
			continue
		}
		a, ok, passed := m.one(d, o, s, spec, true, now)
		if ok {
			return a, true
		}
		until = earliest(until, a.until)
		if !passed && !initialized {
			return wait(until), false
		}
	}
	if !initialized {
		return wait(until), false
	}
	for i := range d.pod.Spec.Containers {
		a, ok, _ := m.one(d, o, s, &d.pod.Spec.Containers[i], false, now)
		if ok {
			return a, true
		}
		until = earliest(until, a.until)
	}
	return wait(until), false
}

// one looks after one container: the step and true, or the wait, false, and whether what follows it may go on.
func (m *machine) one(d *desired, o *observed, s *sandbox, spec *corev1.Container, init bool, now time.Time) (a action, ok, passed bool) {
	c := o.in(s, spec.Name)
	again := init // a new sandbox begins with the init containers again
	if c == nil && !again {
		c = o.latest(spec.Name) // ended in an earlier sandbox
	}
	start := action{verb: actStart, sandbox: s.id, container: spec, init: init, attempt: m.attempt(d, o, spec.Name)}
	switch {
	case c == nil:
		a = gated(o, spec.Name, now, start)
		return a, a.verb != actWait, false
	case c.state == stateCreated:
		// Whoever created it did not live to start it, or could not: its environment may be old, so it is made anew.
		a = gated(o, spec.Name, now, action{verb: actRemove, ids: []string{c.id}})
		return a, a.verb != actWait, false
	case c.live():
		h := o.healthOf(c, spec)
		if st, unfit := m.unfit(d, c, spec, h); unfit {
			a = gated(o, stepStop, now, action{verb: actStop, stops: []stop{st}})
			return a, a.verb != actWait, false
		}
		return wait(time.Time{}), false, sidecar(spec) && c.state == stateRunning && h.started
	}
	if init && !sidecar(spec) && c.exitCode == 0 {
		return wait(time.Time{}), false, true
	}
	if !sidecar(spec) && !restarts(d.pod.Spec.RestartPolicy, c.exitCode) {
		return wait(time.Time{}), false, false
	}
	delay := m.delay(o, c)
	if until := c.finished.Add(delay); delay > 0 && until.After(now) {
		return wait(until), false, false
	}
	start.delay = min(max(2*delay, m.base), m.limit)
	a = gated(o, spec.Name, now, start)
	return a, a.verb != actWait, false
}

// delay is how long a container that ended waits for its restart. The first restart is at once.
func (m *machine) delay(o *observed, c *container) time.Duration {
	if !c.started.IsZero() && c.finished.Sub(c.started) >= m.reset {
		return 0
	}
	return o.crashes[c.name].delay
}

// unfit tells why a running container has to be ended, if it has.
func (m *machine) unfit(d *desired, c *container, spec *corev1.Container, h health) (stop, bool) {
	st := stop{container: *c, grace: grace(d.pod), reason: "Killing"}
	if h.failed {
		if h.graceful != nil {
			st.grace = time.Duration(max(*h.graceful, 1)) * time.Second
		}
		st.message = fmt.Sprintf("Container %s %s, will be restarted", c.name, h.message)
		return st, true
	}
	if c.hash != "" && c.hash != m.hash(spec) {
		st.message = fmt.Sprintf("Container %s definition changed, will be restarted", c.name)
		return st, true
	}
	return stop{}, false
}

// attempt is the number of the next instance of a container; the API's count serves when the runtime forgot.
func (m *machine) attempt(d *desired, o *observed, name string) uint32 {
	if c := o.latest(name); c != nil {
		return c.attempt + 1
	}
	if st := statusOf(&d.pod.Status, name); st != nil && st.ContainerID != "" {
		return uint32(st.RestartCount) + 1
	}
	return 0
}

// garbage is ended containers that nobody asks about: older than the last two of their name, which are kept for
// "logs --previous".
func garbage(o *observed, s *sandbox) []string {
	seen := map[string]int{}
	var out []string
	for i := range slices.Backward(o.containers) {
		c := &o.containers[i]
		seen[c.name]++
		if seen[c.name] > 2 && !c.live() || c.state == stateCreated && c.sandbox != s.id {
			out = append(out, c.id)
		}
	}
	return out
}

// emptied is stopped sandboxes that hold no container any more.
func emptied(o *observed, s *sandbox) []string {
	var out []string
	for _, old := range o.sandboxes {
		used := slices.ContainsFunc(o.containers, func(c container) bool { return c.sandbox == old.id })
		if old.id != s.id && !used {
			out = append(out, old.id)
		}
	}
	return out
}

// finish brings a pod to rest that has ended for good: what still runs (sidecars, or everything when the pod was given
// up) is stopped, then the sandbox. Containers stay for their logs until the pod is deleted.
func (m *machine) finish(d *desired, o *observed, now time.Time) action {
	if stops := m.remaining(d, o, grace(d.pod)); len(stops) > 0 {
		return gated(o, stepStop, now, action{verb: actStop, stops: stops})
	}
	if ids := standing(o); len(ids) > 0 {
		return gated(o, stepStop, now, action{verb: actStopSandbox, ids: ids})
	}
	return wait(time.Time{})
}

// terminate ends a pod: containers within what is left of the grace, sandboxes, the last status, everything on the node,
// and at last the API's object.
func (m *machine) terminate(d *desired, o *observed, now time.Time) action {
	if stops := m.remaining(d, o, max(d.deadline.Sub(now), 0)); len(stops) > 0 {
		return gated(o, stepStop, now, action{verb: actStop, stops: stops})
	}
	if ids := standing(o); len(ids) > 0 {
		return gated(o, stepStop, now, action{verb: actStopSandbox, ids: ids})
	}
	if !d.gone && d.pod.DeletionTimestamp == nil {
		return wait(time.Time{}) // halted: the API's pod stays, and starts again with the next agent
	}
	if !d.gone && !o.reported {
		return action{verb: actReport}
	}
	_, tried := o.retries[stepClean]
	if !o.cleaned && (!tried || d.gone || o.deleted) {
		return gated(o, stepClean, now, action{verb: actClean})
	}
	if !d.gone && !o.deleted {
		return gated(o, stepDelete, now, action{verb: actDelete})
	}
	if d.gone && o.cleaned {
		return action{verb: actDone}
	}
	return wait(time.Time{})
}

// remaining is what to stop now: first the containers together, then the sidecars from the last to the first, and
// then whatever else runs under the pod's name.
func (m *machine) remaining(d *desired, o *observed, grace time.Duration) []stop {
	stopOf := func(c *container) stop {
		return stop{container: *c, grace: grace, reason: "Killing", message: "Stopping container " + c.name}
	}
	sidecars := map[string]bool{}
	for i := range d.pod.Spec.InitContainers {
		if sidecar(&d.pod.Spec.InitContainers[i]) {
			sidecars[d.pod.Spec.InitContainers[i].Name] = true
		}
	}
	var out []stop
	for i := range o.containers {
		if c := &o.containers[i]; c.live() && !sidecars[c.name] {
			out = append(out, stopOf(c))
		}
	}
	if len(out) > 0 {
		return out
	}
	for i := range slices.Backward(d.pod.Spec.InitContainers) {
		for j := range o.containers {
			if c := &o.containers[j]; c.live() && c.name == d.pod.Spec.InitContainers[i].Name {
				out = append(out, stopOf(c))
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// standing is the sandboxes that are not stopped.
func standing(o *observed) []string {
	var out []string
	for _, s := range o.sandboxes {
		if s.ready {
			out = append(out, s.id)
		}
	}
	return out
}

// statusOf finds a container's status in a pod's.
func statusOf(st *corev1.PodStatus, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
