package kubelet

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// desired is what is wanted of a pod: the API's object and what this agent decided about it.
type desired struct {
	pod      *corev1.Pod // read-only; for a pod known from the runtime alone, what its labels tell
	gone     bool        // the API has no such pod (any more)
	halt     bool        // the agent stops all pods (StopPods); the API still wants it
	deadline time.Time   // when a terminating pod's containers are killed; zero while it isn't terminating
	failed   *failure    // this agent refused or gave up the pod
}

// failure is why a pod failed as a whole.
type failure struct{ reason, message string }

func (d *desired) terminating() bool {
	return d.gone || d.halt || d.pod.DeletionTimestamp != nil
}

// over tells whether the pod was found to have ended for good earlier.
func (d *desired) over() bool {
	return d.failed != nil || d.pod.Status.Phase == corev1.PodSucceeded || d.pod.Status.Phase == corev1.PodFailed
}

// sidecar tells whether an init container keeps running beside the containers (KEP-753).
func sidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// restarts tells whether a container that ended with code is to be started again.
func restarts(policy corev1.RestartPolicy, code int32) bool {
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0
	default:
		return true
	}
}

// observed is what is known about a pod on this node.
type observed struct {
	sandboxes  []sandbox   // oldest first
	containers []container // of all sandboxes, oldest first

	// What the worker remembers beside the runtime.
	health   map[string]health // by container id
	crashes  map[string]crash  // by container name
	retries  map[string]retry  // by container name, or one of the steps below
	volumes  bool              // prepared at least once since the agent started
	stale    bool              // volumes have to be rendered again
	reported bool              // the last status was written, or could not be
	cleaned  bool              // nothing of the pod is left on the node
	deleted  bool              // the API was told to forget the pod
}

// Names of steps in observed.retries that belong to the pod and not to a container. Container names can't hold a colon.
const (
	stepVolumes = "step:volumes"
	stepSandbox = "step:sandbox"
	stepStop    = "step:stop"
	stepClean   = "step:clean"
	stepDelete  = "step:delete"
)

type sandbox struct {
	id      string
	attempt uint32
	ready   bool
	created time.Time
	ips     []string
}

type containerState int

const (
	stateCreated containerState = iota
	stateRunning
	stateExited
	stateUnknown
)

type container struct {
	id, sandbox, name string
	attempt           uint32
	state             containerState
	hash              string // of what the container was created from; empty when unknown
	image, imageID    string
	created           time.Time
	started, finished time.Time
	exitCode          int32
	reason, message   string
	logPath           string
}

// live tells whether a process of the container may exist.
func (c *container) live() bool { return c.state == stateRunning || c.state == stateUnknown }

// health is what probes found about one container.
type health struct {
	started  bool   // no startup probe, or it succeeded
	ready    bool   // no readiness probe, or it succeeded last
	failed   bool   // the liveness or startup probe gave up
	message  string // why it failed
	graceful *int64 // the failed probe's own grace period
}

// crash remembers a container's restarts.
type crash struct{ delay time.Duration }

// retry says that a step failed, and when it may be tried again.
type retry struct {
	until           time.Time
	delay           time.Duration
	reason, message string
}

// current is the sandbox that the pod's containers belong into: the newest, if it is ready.
func (o *observed) current() *sandbox {
	if n := len(o.sandboxes); n > 0 && o.sandboxes[n-1].ready {
		return &o.sandboxes[n-1]
	}
	return nil
}

// latest is the newest instance of a container in any sandbox.
func (o *observed) latest(name string) *container {
	for i := range slices.Backward(o.containers) {
		if o.containers[i].name == name {
			return &o.containers[i]
		}
	}
	return nil
}

// in is the newest instance of a container in one sandbox.
func (o *observed) in(s *sandbox, name string) *container {
	if s == nil {
		return nil
	}
	for i := range slices.Backward(o.containers) {
		if o.containers[i].name == name && o.containers[i].sandbox == s.id {
			return &o.containers[i]
		}
	}
	return nil
}

// before is the instance that preceded c.
func (o *observed) before(c *container) *container {
	found := false
	for i := range slices.Backward(o.containers) {
		if o.containers[i].name != c.name {
			continue
		}
		if found {
			return &o.containers[i]
		}
		found = o.containers[i].id == c.id
	}
	return nil
}

// healthOf gives a container's health; without a verdict of its probes it is healthy when it has none.
func (o *observed) healthOf(c *container, spec *corev1.Container) health {
	if h, ok := o.health[c.id]; ok {
		return h
	}
	return health{started: spec.StartupProbe == nil, ready: spec.StartupProbe == nil && spec.ReadinessProbe == nil}
}

// initialized tells whether the init containers of the current sandbox have done their work.
func (o *observed) initialized(pod *corev1.Pod) bool {
	s := o.current()
	for i := range pod.Spec.Containers {
		name := pod.Spec.Containers[i].Name
		if s != nil && o.in(s, name) != nil || s == nil && o.latest(name) != nil {
			return true
		}
	}
	for i := range pod.Spec.InitContainers {
		spec := &pod.Spec.InitContainers[i]
		c := o.in(s, spec.Name)
		switch {
		case c == nil:
			return false
		case sidecar(spec):
			if c.state != stateRunning || !o.healthOf(c, spec).started {
				return false
			}
		case c.state != stateExited || c.exitCode != 0:
			return false
		}
	}
	return s != nil
}

// outcome tells whether the pod has ended by itself, and how: every container ended and none is to be restarted, or an
// init container failed that may not be tried again.
func (o *observed) outcome(pod *corev1.Pod) (corev1.PodPhase, bool) {
	for i := range pod.Spec.InitContainers {
		spec := &pod.Spec.InitContainers[i]
		c := o.latest(spec.Name)
		if c != nil && !sidecar(spec) && c.state == stateExited && c.exitCode != 0 && !restarts(pod.Spec.RestartPolicy, c.exitCode) {
			return corev1.PodFailed, true
		}
	}
	phase := corev1.PodSucceeded
	for i := range pod.Spec.Containers {
		c := o.latest(pod.Spec.Containers[i].Name)
		if c == nil || c.state != stateExited || restarts(pod.Spec.RestartPolicy, c.exitCode) {
			return "", false
		}
		if c.exitCode != 0 {
			phase = corev1.PodFailed
		}
	}
	return phase, len(pod.Spec.Containers) > 0
}
