package builtin

import (
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func pods() behaviour[*corev1.Pod] {
	return behaviour[*corev1.Pod]{
		defaults:       defaultPod,
		prepare:        preparePod,
		validate:       validatePod,
		validateStatus: validatePodStatus,
		warnings:       podWarnings,
		status:         true,
		gracePeriod:    podGracePeriod,
		columns:        podColumns(),
		parts: map[string]kind.Part{
			"ephemeralcontainers": part(takeEphemeralContainers, validateEphemeralContainers),
			"resize":              part(takeResources, validateResize),
		},
		subresources: []string{"binding", "eviction", "log", "exec", "attach", "portforward"},
		fields: map[string]func(*corev1.Pod) string{
			"spec.nodeName":            func(p *corev1.Pod) string { return p.Spec.NodeName },
			"spec.host":                func(p *corev1.Pod) string { return p.Spec.NodeName }, // its name in v1beta days
			"spec.restartPolicy":       func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) },
			"spec.schedulerName":       func(p *corev1.Pod) string { return p.Spec.SchedulerName },
			"spec.serviceAccountName":  func(p *corev1.Pod) string { return p.Spec.ServiceAccountName },
			"spec.hostNetwork":         func(p *corev1.Pod) string { return boolean(p.Spec.HostNetwork) },
			"status.phase":             func(p *corev1.Pod) string { return string(p.Status.Phase) },
			"status.podIP":             func(p *corev1.Pod) string { return p.Status.PodIP },
			"status.nominatedNodeName": func(p *corev1.Pod) string { return p.Status.NominatedNodeName },
		},
	}
}

func defaultPod(p *corev1.Pod) {
	setPtr(&p.Spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	defaultPodSpec(&p.Spec)
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			requestsFromLimits(&list[i].Resources)
		}
	}
	if p.Spec.Resources != nil {
		requestsFromLimits(p.Spec.Resources)
	}
}

// requestsFromLimits makes a limit the request where none is given.
func requestsFromLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = make(corev1.ResourceList, len(r.Limits))
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

func preparePod(p, old *corev1.Pod) {
	if old == nil {
		p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: qosClass(&p.Spec)}
		return
	}
	p.Status = *old.Status.DeepCopy()
}

// podGracePeriod is what the caller asks for, or else the pod's own period. A pod that runs nowhere, or has finished,
// has nothing to wait for.
func podGracePeriod(p *corev1.Pod, requested *int64) int64 {
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return 0
	}
	period := deref(p.Spec.TerminationGracePeriodSeconds)
	if requested != nil {
		period = *requested
	}
	if period < 0 {
		return 1
	}
	return period
}

// qosClass says how a pod is treated when its node runs short: Guaranteed when every container's requests equal its
// limits for CPU and memory, BestEffort when none says anything about them, Burstable between.
// Source: Kubernetes documentation, Pod Quality of Service Classes.
func qosClass(s *corev1.PodSpec) corev1.PodQOSClass {
	all := make([]corev1.ResourceRequirements, 0, len(s.Containers)+len(s.InitContainers))
	if s.Resources != nil {
		all = append(all, *s.Resources) // resources of the whole pod take the place of the containers'
	} else {
		for _, c := range s.InitContainers {
			all = append(all, c.Resources)
		}
		for _, c := range s.Containers {
			all = append(all, c.Resources)
		}
	}
	guaranteed, mentioned := len(all) > 0, false
	for _, r := range all {
		requests, limits := computing(r.Requests), computing(r.Limits)
		mentioned = mentioned || len(requests)+len(limits) > 0
		guaranteed = guaranteed && len(limits) == 2 && maps.Equal(requests, limits)
	}
	switch {
	case !mentioned:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// computing gives the CPU (in thousandths) and memory (in bytes) of a list, without zeros.
func computing(list corev1.ResourceList) map[corev1.ResourceName]int64 {
	out := make(map[corev1.ResourceName]int64, 2)
	if n := list.Cpu().MilliValue(); n != 0 {
		out[corev1.ResourceCPU] = n
	}
	if n := list.Memory().Value(); n != 0 {
		out[corev1.ResourceMemory] = n
	}
	return out
}
