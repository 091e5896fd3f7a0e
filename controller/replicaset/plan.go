package replicaset

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/keelson-dev/keelson/controller"
)

// active pods count: they have not ended and are not being deleted.
func active(p *corev1.Pod) bool {
	return !controller.PodEnded(p) && p.DeletionTimestamp == nil
}

// availableIn is how long until a pod has been ready for minReady; 0 means that it is available, and false that it is
// not ready.
func availableIn(p *corev1.Pod, minReady time.Duration, now time.Time) (time.Duration, bool) {
	since, ok := controller.PodReady(p)
	if !ok {
		return 0, false
	}
	return max(0, since.Add(minReady).Sub(now)), true
}

// surplus picks n of pods to delete. Earlier in the order go first: not bound, then pending, then not ready, then a
// lower pod-deletion-cost, then from a node that has more of the related pods, then ready for a shorter time, then
// restarted more often, then younger. Related are the pods of all sets of the same Deployment. Source: the order that
// kube-controller-manager documents for ReplicaSets; it compares ages by their logarithm, this compares them exactly.
func surplus(pods, related []*corev1.Pod, n int) []*corev1.Pod {
	perNode := make(map[string]int)
	for _, p := range related {
		if p.Spec.NodeName != "" && active(p) {
			perNode[p.Spec.NodeName]++
		}
	}
	sorted := slices.Clone(pods)
	slices.SortStableFunc(sorted, func(a, b *corev1.Pod) int {
		sinceA, readyA := controller.PodReady(a)
		sinceB, readyB := controller.PodReady(b)
		return cmp.Or(
			compareBool(a.Spec.NodeName != "", b.Spec.NodeName != ""),
			cmp.Compare(phaseRank(a), phaseRank(b)),
			compareBool(readyA, readyB),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			-cmp.Compare(perNode[a.Spec.NodeName], perNode[b.Spec.NodeName]),
			compareSince(sinceA, sinceB, readyA && readyB),
			-cmp.Compare(restarts(a), restarts(b)),
			-a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return sorted[:min(n, len(sorted))]
}

// compareSince has the later first; pods that are not ready have not been ready for any time.
func compareSince(a, b time.Time, ready bool) int {
	if !ready {
		return 0
	}
	return b.Compare(a)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func phaseRank(p *corev1.Pod) int {
	switch p.Status.Phase {
	case corev1.PodPending, "":
		return 0
	case corev1.PodUnknown:
		return 1
	}
	return 2
}

func deletionCost(p *corev1.Pod) int {
	cost, err := strconv.Atoi(p.Annotations[corev1.PodDeletionCost])
	if err != nil {
		return 0
	}
	return cost
}

func restarts(p *corev1.Pod) (n int32) {
	for i := range p.Status.ContainerStatuses {
		n = max(n, p.Status.ContainerStatuses[i].RestartCount)
	}
	return n
}

// newPod is a pod of the set's template, without a name: the server generates it.
func newPod(rs *appsv1.ReplicaSet) *corev1.Pod {
	t := rs.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: generateName(rs.Name), Namespace: rs.Namespace,
			Labels: t.Labels, Annotations: t.Annotations, Finalizers: t.Finalizers,
		},
		Spec: t.Spec,
	}
}

// generateName leaves room for the server's five characters in a DNS label of 63, which a pod's host name must be.
func generateName(owner string) string { return owner[:min(len(owner), 57)] + "-" }

// statusOf is the set's status as its pods are now, and when it will change by itself because a pod becomes available
// (0: it will not).
func statusOf(rs *appsv1.ReplicaSet, pods []*corev1.Pod, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	status := *rs.Status.DeepCopy()
	status.ObservedGeneration = rs.Generation
	status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas = 0, 0, 0, 0
	template := labels.Set(rs.Spec.Template.Labels).AsSelectorPreValidated()
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	var next time.Duration
	var terminating int32
	for _, p := range pods {
		if p.DeletionTimestamp != nil && !controller.PodEnded(p) {
			terminating++
		}
		if !active(p) {
			continue
		}
		status.Replicas++
		if template.Matches(labels.Set(p.Labels)) {
			status.FullyLabeledReplicas++
		}
		in, ready := availableIn(p, minReady, now)
		switch {
		case !ready:
		case in == 0:
			status.ReadyReplicas++
			status.AvailableReplicas++
		default:
			status.ReadyReplicas++
			if next == 0 || in < next {
				next = in
			}
		}
	}
	status.TerminatingReplicas = &terminating
	return status, next
}

// setFailure notes or clears that pods could not be created or deleted. A failure that is known already stays as it
// is: messages name pods, and a status that differs with each try would cause the next try.
func setFailure(status *appsv1.ReplicaSetStatus, reason string, cause error, now time.Time) {
	isFailure := func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }
	i := slices.IndexFunc(status.Conditions, isFailure)
	if cause != nil && i >= 0 && status.Conditions[i].Reason == reason {
		return
	}
	status.Conditions = slices.DeleteFunc(status.Conditions, isFailure)
	if cause != nil {
		status.Conditions = append(status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: reason, Message: cause.Error(),
			LastTransitionTime: metav1.NewTime(now),
		})
	}
}
