package deployment

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Reasons of the conditions, as kubectl rollout reads them.
const (
	reasonAvailable   = "MinimumReplicasAvailable"
	reasonUnavailable = "MinimumReplicasUnavailable"
	reasonUpdated     = "ReplicaSetUpdated"
	reasonComplete    = "NewReplicaSetAvailable"
	reasonTimedOut    = "ProgressDeadlineExceeded"
	reasonPaused      = "DeploymentPaused"
)

// statusOf is the Deployment's status as its sets are now, and when the progress deadline should be looked at again
// (0: no need).
func statusOf(d *appsv1.Deployment, present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet, now time.Time) (appsv1.DeploymentStatus, time.Duration) {
	status := appsv1.DeploymentStatus{
		ObservedGeneration: d.Generation,
		CollisionCount:     d.Status.CollisionCount,
		Conditions:         slices.Clone(d.Status.Conditions),
	}
	var terminating int32
	all := old
	if present != nil {
		all = append([]*appsv1.ReplicaSet{present}, old...)
		status.UpdatedReplicas = present.Status.Replicas
	}
	var wanted int32
	for _, rs := range all {
		wanted += replicas(rs.Spec.Replicas)
		status.Replicas += rs.Status.Replicas
		status.ReadyReplicas += rs.Status.ReadyReplicas
		status.AvailableReplicas += rs.Status.AvailableReplicas
		if rs.Status.TerminatingReplicas != nil {
			terminating += *rs.Status.TerminatingReplicas
		}
	}
	status.TerminatingReplicas = &terminating
	status.UnavailableReplicas = max(0, wanted-status.AvailableReplicas)

	if status.AvailableReplicas >= replicas(d.Spec.Replicas)-maxUnavailable(d) {
		set(&status, appsv1.DeploymentAvailable, corev1.ConditionTrue, reasonAvailable, "The Deployment has minimum availability.", now)
	} else {
		set(&status, appsv1.DeploymentAvailable, corev1.ConditionFalse, reasonUnavailable, "The Deployment does not have minimum availability.", now)
	}
	copyFailure(&status, all, now)
	return status, progress(d, &status, present, now)
}

// complete says whether the rollout has ended: all replicas are of the present template, available, and no other is
// left.
func complete(d *appsv1.Deployment, s *appsv1.DeploymentStatus) bool {
	desired := replicas(d.Spec.Replicas)
	return s.UpdatedReplicas == desired && s.Replicas == desired && s.AvailableReplicas == desired
}

// progress writes the Progressing condition and returns how long until the deadline.
func progress(d *appsv1.Deployment, status *appsv1.DeploymentStatus, present *appsv1.ReplicaSet, now time.Time) time.Duration {
	if d.Spec.ProgressDeadlineSeconds == nil || *d.Spec.ProgressDeadlineSeconds == 1<<31-1 {
		status.Conditions = slices.DeleteFunc(status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentProgressing })
		return 0
	}
	name := "the new ReplicaSet"
	if present != nil {
		name = fmt.Sprintf("ReplicaSet %q", present.Name)
	}
	have := find(status.Conditions, appsv1.DeploymentProgressing)
	begins := present != nil && revisionOf(d) != revisionOf(present) // of this template nothing was reported yet
	switch {
	case d.Spec.Paused && have != nil && have.Reason == reasonTimedOut:
		return 0
	case d.Spec.Paused:
		set(status, appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "The Deployment is paused.", now)
		return 0
	case complete(d, status):
		set(status, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonComplete, name+" has successfully progressed.", now)
		return 0
	case !begins && !advanced(&d.Status, status) && have != nil && (have.Reason == reasonComplete || have.Reason == reasonTimedOut):
		return 0 // it was rolled out once, and losing a pod is not a rollout; or it was given up until something moves
	case !begins && have != nil && have.Reason == reasonComplete && status.Replicas == status.UpdatedReplicas:
		return 0
	}
	moved := begins || have == nil || have.Reason == reasonPaused || advanced(&d.Status, status)
	if moved {
		set(status, appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, name+" is progressing.", now)
		touch(status, now)
		have = find(status.Conditions, appsv1.DeploymentProgressing)
	}
	left := have.LastUpdateTime.Add(time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second).Sub(now)
	if left > 0 {
		return left
	}
	set(status, appsv1.DeploymentProgressing, corev1.ConditionFalse, reasonTimedOut, name+" has timed out progressing.", now)
	return 0
}

// advanced says whether anything moved towards the goal.
func advanced(before, now *appsv1.DeploymentStatus) bool {
	return now.UpdatedReplicas > before.UpdatedReplicas || now.ReadyReplicas > before.ReadyReplicas ||
		now.AvailableReplicas > before.AvailableReplicas || now.Replicas-now.UpdatedReplicas < before.Replicas-before.UpdatedReplicas
}

// copyFailure passes on why a set can't make its pods, the present one before the others.
func copyFailure(status *appsv1.DeploymentStatus, all []*appsv1.ReplicaSet, now time.Time) {
	for _, rs := range all {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue {
				set(status, appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message, now)
				return
			}
		}
	}
	status.Conditions = slices.DeleteFunc(status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == appsv1.DeploymentReplicaFailure })
}

func find(conditions []appsv1.DeploymentCondition, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range conditions {
		if conditions[i].Type == t {
			return &conditions[i]
		}
	}
	return nil
}

func set(status *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType, value corev1.ConditionStatus, reason, message string, now time.Time) {
	want := appsv1.DeploymentCondition{
		Type: t, Status: value, Reason: reason, Message: message,
		LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
	have := find(status.Conditions, t)
	switch {
	case have == nil:
		status.Conditions = append(status.Conditions, want)
	case have.Status == value && have.Reason == reason && have.Message == message:
	default:
		if have.Status == value {
			want.LastTransitionTime = have.LastTransitionTime
		}
		*have = want
	}
}

// touch notes that there was progress, from which the deadline counts.
func touch(status *appsv1.DeploymentStatus, now time.Time) {
	if c := find(status.Conditions, appsv1.DeploymentProgressing); c != nil {
		c.LastUpdateTime = metav1.NewTime(now)
	}
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
