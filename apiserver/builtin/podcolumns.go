package builtin

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// nodeLost is the reason that the node lifecycle controller gives pods whose node does not answer.
const nodeLost = "NodeLost"

func podColumns() []kind.Column {
	return []kind.Column{
		nameColumn(),
		column("Ready", "Ready containers of those that should be", func(p *corev1.Pod, _ time.Time) any {
			s := summarize(p)
			return fmt.Sprintf("%d/%d", s.ready, s.total)
		}),
		column("Status", "State of the pod, in a word", func(p *corev1.Pod, _ time.Time) any { return summarize(p).state }),
		column("Restarts", "How often containers were started again", func(p *corev1.Pod, now time.Time) any {
			s := summarize(p)
			if s.restarts == 0 || s.lastRestart.IsZero() {
				return integer(s.restarts)
			}
			return fmt.Sprintf("%d (%s ago)", s.restarts, age(s.lastRestart, now))
		}),
		ageColumn(),
		wide("IP", "Address of the pod", func(p *corev1.Pod, _ time.Time) any {
			if len(p.Status.PodIPs) > 0 {
				return orNone(p.Status.PodIPs[0].IP)
			}
			return orNone(p.Status.PodIP)
		}),
		wide("Node", "Where it runs", func(p *corev1.Pod, _ time.Time) any { return orNone(p.Spec.NodeName) }),
		wide("Nominated Node", "Where room is being made for it", func(p *corev1.Pod, _ time.Time) any { return orNone(p.Status.NominatedNodeName) }),
		wide("Readiness Gates", "Further conditions of being ready", func(p *corev1.Pod, _ time.Time) any { return readinessGates(p) }),
	}
}

// summary is what a pod's row says.
type summary struct {
	state       string
	ready       int
	total       int
	restarts    int64
	lastRestart metav1.Time
}

func (s *summary) count(c *corev1.ContainerStatus) {
	s.restarts += int64(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// summarize finds the one word that says most about a pod, in the words that kubectl's users know: what the first
// unfinished init container does, else what the first container that is not well does, else the phase.
func summarize(p *corev1.Pod) summary {
	s := summary{state: string(p.Status.Phase), total: len(p.Spec.Containers)}
	if p.Status.Reason != "" {
		s.state = p.Status.Reason
	}
	if c := podCondition(p, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		s.state = corev1.PodReasonSchedulingGated
	}
	sidecars := make(map[string]bool)
	for _, c := range p.Spec.InitContainers {
		if deref(c.RestartPolicy) == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			s.total++
		}
	}
	aside := summary{} // restarts of sidecars, which count on after initialization
	if !initializing(p, &s, &aside, sidecars) || isTrue(p, corev1.PodInitialized) {
		s.restarts, s.lastRestart = aside.restarts, aside.lastRestart
		containersState(p, &s)
	}
	if p.DeletionTimestamp != nil {
		switch {
		case p.Status.Reason == nodeLost:
			s.state = "Unknown"
		case p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
			s.state = "Terminating"
		}
	}
	return s
}

// initializing describes the first init container that has not done its part, and says whether there is one.
func initializing(p *corev1.Pod, s, aside *summary, sidecars map[string]bool) bool {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.count(c)
		if sidecars[c.Name] {
			aside.count(c)
		}
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			continue
		case sidecars[c.Name] && deref(c.Started):
			if c.Ready {
				s.ready++
			}
			continue
		case c.State.Terminated != nil:
			s.state = "Init:" + terminationReason(c.State.Terminated)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.state = "Init:" + c.State.Waiting.Reason
		default:
			s.state = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true
	}
	return false
}

func containersState(p *corev1.Pod, s *summary) {
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- { // so that the first container has the last word
		c := &p.Status.ContainerStatuses[i]
		s.count(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.state = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.state = terminationReason(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.state == "Completed" && running {
		if s.state = "NotReady"; isTrue(p, corev1.PodReady) {
			s.state = "Running"
		}
	}
}

func terminationReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func isTrue(p *corev1.Pod, t corev1.PodConditionType) bool {
	c := podCondition(p, t)
	return c != nil && c.Status == corev1.ConditionTrue
}

func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return none
	}
	met := 0
	for _, g := range p.Spec.ReadinessGates {
		if isTrue(p, g.ConditionType) {
			met++
		}
	}
	return strings.Join([]string{integer(int64(met)), integer(int64(len(p.Spec.ReadinessGates)))}, "/")
}
