package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statusInput is what a pod's status is computed from.
type statusInput struct {
	desired  *desired
	observed *observed
	previous *corev1.PodStatus // the last status known: computed earlier, or the API's
	hostIPs  []string
	prefix   string // of container ids, such as containerd://
	machine  *machine
}

// status computes what the API is told about a pod. It is pure. Conditions and fields that are not the agent's own
// (PodScheduled, nominatedNodeName, qosClass, ...) are taken from the previous status.
func (in *statusInput) status(now time.Time) corev1.PodStatus {
	d, o, pod := in.desired, in.observed, in.desired.pod
	st := *in.previous.DeepCopy()
	if st.StartTime == nil {
		t := metav1.NewTime(now.Truncate(time.Second))
		st.StartTime = &t
	}
	st.ObservedGeneration = pod.Generation
	if len(in.hostIPs) > 0 {
		st.HostIP, st.HostIPs = in.hostIPs[0], nil
		for _, ip := range in.hostIPs {
			st.HostIPs = append(st.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	s := o.current()
	if s != nil && len(s.ips) > 0 {
		st.PodIP, st.PodIPs = s.ips[0], nil
		for _, ip := range s.ips {
			st.PodIPs = append(st.PodIPs, corev1.PodIP{IP: ip})
		}
	}
	initialized := o.initialized(pod) || in.initializedBefore()
	st.InitContainerStatuses = in.containers(pod.Spec.InitContainers, true, initialized, now)
	st.ContainerStatuses = in.containers(pod.Spec.Containers, false, initialized, now)
	in.phase(&st, initialized)

	ended := st.Phase == corev1.PodSucceeded || st.Phase == corev1.PodFailed
	set := func(kind corev1.PodConditionType, ok bool, reason, message string) {
		setCondition(&st, kind, ok, reason, message, pod.Generation, now)
	}
	set(corev1.PodReadyToStartContainers, s != nil, "", "")
	switch {
	case ended && st.Phase == corev1.PodSucceeded:
		set(corev1.PodInitialized, true, "PodCompleted", "")
	case initialized:
		set(corev1.PodInitialized, true, "", "")
	default:
		set(corev1.PodInitialized, false, "ContainersNotInitialized",
			"containers with incomplete status: "+names(st.InitContainerStatuses, func(c *corev1.ContainerStatus) bool { return !c.Ready }))
	}
	unready := names(slices.Concat(sidecarStatuses(pod, st.InitContainerStatuses), st.ContainerStatuses),
		func(c *corev1.ContainerStatus) bool { return !c.Ready })
	switch {
	case ended && st.Phase == corev1.PodSucceeded:
		set(corev1.ContainersReady, false, "PodCompleted", "")
		set(corev1.PodReady, false, "PodCompleted", "")
	case ended:
		set(corev1.ContainersReady, false, "PodFailed", "")
		set(corev1.PodReady, false, "PodFailed", "")
	case d.gone || d.halt:
		set(corev1.ContainersReady, false, "Terminating", "the node agent is stopping the pod")
		set(corev1.PodReady, false, "Terminating", "the node agent is stopping the pod")
	case unready != "":
		set(corev1.ContainersReady, false, "ContainersNotReady", "containers with unready status: "+unready)
		set(corev1.PodReady, false, "ContainersNotReady", "containers with unready status: "+unready)
	default:
		set(corev1.ContainersReady, true, "", "")
		if gate := closedGate(pod); gate != "" {
			set(corev1.PodReady, false, "ReadinessGatesNotReady", fmt.Sprintf("the readiness gate %q is not True", gate))
		} else {
			set(corev1.PodReady, true, "", "")
		}
	}
	return st
}

// initializedBefore: a pod whose runtime state is gone while it ends stays as initialized as it was.
func (in *statusInput) initializedBefore() bool {
	return (in.desired.terminating() || in.desired.over()) && conditionTrue(in.previous, corev1.PodInitialized)
}

func (in *statusInput) phase(st *corev1.PodStatus, initialized bool) {
	d, o, pod := in.desired, in.observed, in.desired.pod
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		st.Phase = pod.Status.Phase
		return
	case d.failed != nil:
		st.Phase, st.Reason, st.Message = corev1.PodFailed, d.failed.reason, d.failed.message
		return
	}
	if phase, ok := o.outcome(pod); ok && !d.halt {
		st.Phase = phase
		return
	}
	if pod.DeletionTimestamp != nil && in.allEnded(st) {
		st.Phase = corev1.PodSucceeded
		for i := range st.ContainerStatuses {
			if t := st.ContainerStatuses[i].State.Terminated; t == nil || t.ExitCode != 0 {
				st.Phase = corev1.PodFailed
			}
		}
		return
	}
	st.Phase = corev1.PodRunning
	if !initialized {
		st.Phase = corev1.PodPending
	}
	for i := range st.ContainerStatuses {
		if c := &st.ContainerStatuses[i]; c.State.Waiting != nil && c.LastTerminationState.Terminated == nil {
			st.Phase = corev1.PodPending
		}
	}
}

// allEnded tells whether a terminating pod has come to rest.
func (in *statusInput) allEnded(st *corev1.PodStatus) bool {
	if in.observed.current() != nil {
		return false
	}
	for i := range in.observed.containers {
		if in.observed.containers[i].live() {
			return false
		}
	}
	for i := range st.ContainerStatuses {
		if st.ContainerStatuses[i].State.Running != nil {
			return false
		}
	}
	return true
}

func (in *statusInput) containers(specs []corev1.Container, init, initialized bool, now time.Time) []corev1.ContainerStatus {
	if len(specs) == 0 {
		return nil
	}
	out := make([]corev1.ContainerStatus, len(specs))
	for i := range specs {
		out[i] = in.container(&specs[i], init, initialized, now)
	}
	return out
}

func (in *statusInput) container(spec *corev1.Container, init, initialized bool, now time.Time) corev1.ContainerStatus {
	o := in.observed
	st := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, Started: new(bool)}
	previous := statusOf(in.previous, spec.Name)
	c := o.latest(spec.Name)
	if c == nil {
		in.unobserved(&st, spec, previous, init, initialized)
		return st
	}
	st.RestartCount = int32(c.attempt)
	st.ContainerID, st.ImageID = in.prefix+c.id, c.imageID
	if c.image != "" {
		st.Image = c.image
	}
	if b := o.before(c); b != nil && b.state == stateExited {
		st.LastTerminationState.Terminated = in.terminated(b)
	} else if previous != nil && previous.ContainerID == st.ContainerID {
		st.LastTerminationState = previous.LastTerminationState
	}
	switch c.state {
	case stateRunning, stateUnknown:
		h := o.healthOf(c, spec)
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.started.Truncate(time.Second))}
		*st.Started = h.started
		st.Ready = h.started && h.ready
		if init && !sidecar(spec) {
			st.Ready = false
		}
	case stateExited:
		st.State.Terminated = in.terminated(c)
		if init && !sidecar(spec) {
			st.Ready = c.exitCode == 0
		}
		in.waitsForRestart(&st, spec, c, init, now)
	default:
		in.waiting(&st, spec, init, initialized)
	}
	return st
}

// unobserved is the status of a container that the runtime does not have: it has not been made yet, or the runtime
// forgot it.
func (in *statusInput) unobserved(st *corev1.ContainerStatus, spec *corev1.Container, previous *corev1.ContainerStatus, init, initialized bool) {
	d := in.desired
	if previous != nil && previous.ContainerID != "" {
		if d.terminating() || d.over() || previous.State.Terminated != nil && init {
			*st = *previous.DeepCopy()
			st.Ready = init && previous.Ready && !sidecar(spec)
			if st.State.Running != nil {
				st.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
					ExitCode: 137, Reason: "ContainerStatusUnknown", ContainerID: previous.ContainerID,
					Message: "the container was not found in the runtime when the pod ended",
				}}
				st.Started = new(bool)
			}
			return
		}
		st.RestartCount = previous.RestartCount
		switch {
		case previous.State.Terminated != nil:
			st.LastTerminationState.Terminated = previous.State.Terminated
		case previous.State.Running != nil:
			st.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
				ExitCode: 137, Reason: "ContainerStatusUnknown", ContainerID: previous.ContainerID,
				Message: "the container was not found in the runtime any more",
			}
		default:
			st.LastTerminationState = previous.LastTerminationState
		}
	}
	in.waiting(st, spec, init, initialized)
}

func (in *statusInput) waiting(st *corev1.ContainerStatus, spec *corev1.Container, init, initialized bool) {
	w := &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	if init || len(in.desired.pod.Spec.InitContainers) > 0 && !initialized {
		w.Reason = "PodInitializing"
	}
	if r, ok := in.observed.retries[spec.Name]; ok && r.reason != "" {
		w.Reason, w.Message = r.reason, r.message
	}
	st.State.Waiting = w
}

// waitsForRestart turns the status of an ended container into that of one that waits for its next start.
func (in *statusInput) waitsForRestart(st *corev1.ContainerStatus, spec *corev1.Container, c *container, init bool, now time.Time) {
	d := in.desired
	if d.terminating() || d.over() {
		return
	}
	if init && !sidecar(spec) && c.exitCode == 0 || !sidecar(spec) && !restarts(d.pod.Spec.RestartPolicy, c.exitCode) {
		return
	}
	var w corev1.ContainerStateWaiting
	if r, ok := in.observed.retries[spec.Name]; ok && r.reason != "" {
		w.Reason, w.Message = r.reason, r.message
	} else if delay := in.machine.delay(in.observed, c); delay > 0 && c.finished.Add(delay).After(now) {
		w.Reason = "CrashLoopBackOff"
		w.Message = fmt.Sprintf("back-off %v restarting failed container=%s pod=%s_%s(%s)",
			delay, spec.Name, d.pod.Name, d.pod.Namespace, d.pod.UID)
	} else {
		return
	}
	st.LastTerminationState.Terminated = st.State.Terminated
	st.State = corev1.ContainerState{Waiting: &w}
}

func (in *statusInput) terminated(c *container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: c.exitCode, Reason: c.reason, Message: c.message, ContainerID: in.prefix + c.id,
		FinishedAt: metav1.NewTime(c.finished.Truncate(time.Second)),
	}
	if !c.started.IsZero() {
		t.StartedAt = metav1.NewTime(c.started.Truncate(time.Second))
	}
	if t.Reason == "" {
		t.Reason = "Completed"
		if c.exitCode != 0 {
			t.Reason = "Error"
		}
	}
	return t
}

// setCondition sets a condition; its transition time moves only with its status.
func setCondition(st *corev1.PodStatus, kind corev1.PodConditionType, ok bool, reason, message string, generation int64, now time.Time) {
	c := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: generation}
	if ok {
		c.Status = corev1.ConditionTrue
	}
	for i := range st.Conditions {
		old := &st.Conditions[i]
		if old.Type != kind {
			continue
		}
		c.LastTransitionTime, c.LastProbeTime = old.LastTransitionTime, old.LastProbeTime
		if old.Status != c.Status {
			c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		}
		*old = c
		return
	}
	c.LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
	st.Conditions = append(st.Conditions, c)
}

func conditionTrue(st *corev1.PodStatus, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(st.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == kind && c.Status == corev1.ConditionTrue
	})
}

func closedGate(pod *corev1.Pod) string {
	for _, g := range pod.Spec.ReadinessGates {
		if !conditionTrue(&pod.Status, g.ConditionType) {
			return string(g.ConditionType)
		}
	}
	return ""
}

func sidecarStatuses(pod *corev1.Pod, list []corev1.ContainerStatus) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range pod.Spec.InitContainers {
		if sidecar(&pod.Spec.InitContainers[i]) {
			out = append(out, list[i])
		}
	}
	return out
}

func names(list []corev1.ContainerStatus, with func(*corev1.ContainerStatus) bool) string {
	var out []string
	for i := range list {
		if with(&list[i]) {
			out = append(out, list[i].Name)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "[" + strings.Join(out, " ") + "]"
}

// agentOwned are the conditions that the agent writes; others in the API are kept as they are.
func agentOwned(kind corev1.PodConditionType) bool {
	switch kind {
	case corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodReadyToStartContainers:
		return true
	}
	return false
}

// mergeStatus puts the agent's status into the API's current one: what others own there stays.
func mergeStatus(into, from *corev1.PodStatus) {
	merged := *from.DeepCopy()
	merged.Conditions = nil
	for _, c := range into.Conditions {
		if !agentOwned(c.Type) {
			merged.Conditions = append(merged.Conditions, c)
		}
	}
	for _, c := range from.Conditions {
		if agentOwned(c.Type) {
			for _, old := range into.Conditions {
				if old.Type == c.Type && old.Status == c.Status && !old.LastTransitionTime.IsZero() {
					c.LastTransitionTime = old.LastTransitionTime
				}
			}
			merged.Conditions = append(merged.Conditions, c)
		}
	}
	merged.NominatedNodeName = into.NominatedNodeName
	merged.QOSClass = into.QOSClass
	merged.ResourceClaimStatuses = into.ResourceClaimStatuses
	merged.Resize = into.Resize
	merged.EphemeralContainerStatuses = into.EphemeralContainerStatuses
	if into.StartTime != nil {
		merged.StartTime = into.StartTime
	}
	*into = merged
}
