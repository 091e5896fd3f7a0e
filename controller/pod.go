package controller

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// PodEnded reports whether all containers of a pod have ended for good.
func PodEnded(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
}

// PodReady reports whether a pod's Ready condition is true, and since when it is what it is: the zero time when the
// pod has no such condition yet.
func PodReady(p *corev1.Pod) (since time.Time, ready bool) {
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.LastTransitionTime.Time, c.Status == corev1.ConditionTrue
		}
	}
	return time.Time{}, false
}
