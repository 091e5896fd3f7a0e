package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// indexVariable tells a container its completion index.
const indexVariable = "JOB_COMPLETION_INDEX"

func indexed(j *batchv1.Job) bool {
	return j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion
}

func active(p *corev1.Pod) bool { return !controller.PodEnded(p) && p.DeletionTimestamp == nil }

func terminating(p *corev1.Pod) bool { return !controller.PodEnded(p) && p.DeletionTimestamp != nil }

func ready(p *corev1.Pod) bool {
	_, ready := controller.PodReady(p)
	return ready
}

// tracked pods are not accounted for yet.
func tracked(p *corev1.Pod) bool { return slices.Contains(p.Finalizers, batchv1.JobTrackingFinalizer) }

// onlyFailed says that a pod counts as failed, and is replaced, when it has ended and not already when its deletion
// began.
func onlyFailed(j *batchv1.Job) bool {
	return j.Spec.PodReplacementPolicy != nil && *j.Spec.PodReplacementPolicy == batchv1.Failed
}

// failed says whether a pod counts as failed. A pod that is being deleted may never get to say how it ended.
func failed(j *batchv1.Job, p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || terminating(p) && !onlyFailed(j)
}

// endedAt is when a pod ended, as well as its status tells.
func endedAt(p *corev1.Pod) time.Time {
	var at time.Time
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if t := list[i].State.Terminated; t != nil && t.FinishedAt.After(at) {
				at = t.FinishedAt.Time
			}
		}
	}
	if !at.IsZero() {
		return at
	}
	if p.DeletionTimestamp != nil { // it lies in the future by the grace period
		at = p.DeletionTimestamp.Time
		if p.DeletionGracePeriodSeconds != nil {
			at = at.Add(-time.Duration(*p.DeletionGracePeriodSeconds) * time.Second)
		}
		return at
	}
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse {
			return c.LastTransitionTime.Time
		}
	}
	return p.CreationTimestamp.Time
}

// newPod is a pod of the Job's template; index is -1 when pods are not numbered.
func newPod(j *batchv1.Job, index int) *corev1.Pod {
	t := j.Spec.Template.DeepCopy()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: j.Name[:min(len(j.Name), 57)] + "-", Namespace: j.Namespace, Labels: t.Labels, Annotations: t.Annotations,
			Finalizers: append(slices.Clone(t.Finalizers), batchv1.JobTrackingFinalizer),
		},
		Spec: t.Spec,
	}
	if index >= 0 {
		number := strconv.Itoa(index)
		own := fmt.Sprintf("%s-%d", j.Name, index)
		pod.GenerateName = own[:min(len(own), 57)] + "-"
		pod.Labels = with(pod.Labels, batchv1.JobCompletionIndexAnnotation, number)
		pod.Annotations = with(pod.Annotations, batchv1.JobCompletionIndexAnnotation, number)
		if pod.Spec.Hostname == "" {
			pod.Spec.Hostname = own
		}
		addIndexVariable(pod.Spec.InitContainers)
		addIndexVariable(pod.Spec.Containers)
	}
	controller.SetOwner(j, pod, kind.Job.Kind())
	return pod
}

func addIndexVariable(containers []corev1.Container) {
	for i := range containers {
		c := &containers[i]
		if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == indexVariable }) {
			continue
		}
		c.Env = append(c.Env, corev1.EnvVar{Name: indexVariable, ValueFrom: &corev1.EnvVarSource{
			FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.annotations['" + batchv1.JobCompletionIndexAnnotation + "']"},
		}})
	}
}

func with(m map[string]string, key, value string) map[string]string {
	out := maps.Clone(m)
	if out == nil {
		out = make(map[string]string)
	}
	out[key] = value
	return out
}
