package deployment

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStatusOverARollout(t *testing.T) {
	start := time.Unix(1e9, 0)
	d := newDeployment(3, "1", "0")
	deadline := int32(60)
	d.Spec.ProgressDeadlineSeconds = &deadline
	d.Generation = 7
	present := newSet(d, "web-a", 0, 0, 0)
	present.Annotations[RevisionAnnotation] = "1"
	for _, c := range []struct {
		name        string
		at          int
		do          func()
		reason      string
		progressing corev1.ConditionStatus
		available   corev1.ConditionStatus
		after       time.Duration
		replicas    int32
		missing     int32
	}{
		{"begins", 0, func() {}, reasonUpdated, "True", "False", 60 * time.Second, 0, 0},
		{"pods exist", 10, func() { present.Spec.Replicas, present.Status.Replicas = d.Spec.Replicas, 3 }, reasonUpdated, "True", "False", 60 * time.Second, 3, 3},
		{"nothing moves", 30, func() {}, reasonUpdated, "True", "False", 40 * time.Second, 3, 3},
		{"too long", 70, func() {}, reasonTimedOut, "False", "False", 0, 3, 3},
		{"still", 700, func() {}, reasonTimedOut, "False", "False", 0, 3, 3},
		{"moves again", 710, func() { present.Status.ReadyReplicas = 1 }, reasonUpdated, "True", "False", 60 * time.Second, 3, 3},
		{"complete", 720, func() { present.Status.AvailableReplicas, present.Status.ReadyReplicas = 3, 3 }, reasonComplete, "True", "True", 0, 3, 0},
		{"a pod is lost later", 900, func() { present.Status.AvailableReplicas, present.Status.ReadyReplicas = 2, 2 }, reasonComplete, "True", "False", 0, 3, 1},
		{"paused", 910, func() { d.Spec.Paused = true }, reasonPaused, "Unknown", "False", 0, 3, 1},
		{"resumed", 920, func() { d.Spec.Paused = false }, reasonUpdated, "True", "False", 60 * time.Second, 3, 1},
		{"complete again", 930, func() { present.Status.AvailableReplicas, present.Status.ReadyReplicas = 3, 3 }, reasonComplete, "True", "True", 0, 3, 0},
		{"another rollout, nothing done yet", 940, func() {
			d.Annotations = map[string]string{RevisionAnnotation: "0"}
			present.Status.AvailableReplicas = 0
		}, reasonUpdated, "True", "False", 60 * time.Second, 3, 3},
	} {
		c.do()
		status, after := statusOf(d, present, nil, start.Add(time.Duration(c.at)*time.Second))
		d.Annotations = map[string]string{RevisionAnnotation: "1"}
		d.Status = status
		p := find(status.Conditions, appsv1.DeploymentProgressing)
		require.NotNil(t, p, c.name)
		require.Equal(t, c.reason, p.Reason, c.name)
		require.Equal(t, c.progressing, p.Status, c.name)
		require.Equal(t, c.available, find(status.Conditions, appsv1.DeploymentAvailable).Status, c.name)
		require.Equal(t, c.after, after, c.name)
		require.Equal(t, c.replicas, status.Replicas, c.name)
		require.Equal(t, c.missing, status.UnavailableReplicas, c.name)
		require.Equal(t, int64(7), status.ObservedGeneration, c.name)
	}
	d.Spec.ProgressDeadlineSeconds = nil
	status, _ := statusOf(d, present, nil, start)
	require.Nil(t, find(status.Conditions, appsv1.DeploymentProgressing))
}

func TestStatusPassesOnFailures(t *testing.T) {
	d := newDeployment(3, "1", "0")
	failing := func(name, message string) *appsv1.ReplicaSet {
		rs := newSet(d, name, 0, 3, 0)
		rs.Status.Conditions = []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: corev1.ConditionTrue, Reason: "FailedCreate", Message: message}}
		return rs
	}
	status, _ := statusOf(d, failing("new", "quota"), []*appsv1.ReplicaSet{failing("old", "other")}, time.Unix(1e9, 0))
	c := find(status.Conditions, appsv1.DeploymentReplicaFailure)
	require.NotNil(t, c)
	require.Equal(t, "quota", c.Message, "the present set's counts more")
	d.Status = status
	status, _ = statusOf(d, newSet(d, "new", 0, 3, 3), nil, time.Unix(1e9, 0))
	require.Nil(t, find(status.Conditions, appsv1.DeploymentReplicaFailure))
}

func TestNamesAndRevisions(t *testing.T) {
	d := newDeployment(2, "1", "0")
	d.Name = "web"
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	d.Spec.Template.Labels = map[string]string{"app": "web"}
	d.Annotations = map[string]string{"team": "a", corev1.LastAppliedConfigAnnotation: "{}", RevisionAnnotation: "9"}
	rs, err := newReplicaSet(d, 4)
	require.NoError(t, err)
	require.True(t, sameTemplate(&rs.Spec.Template, &d.Spec.Template))
	require.Equal(t, map[string]string{"team": "a", RevisionAnnotation: "4", desiredReplicasAnnotation: "2", maxReplicasAnnotation: "3"}, rs.Annotations)
	require.Equal(t, rs.Spec.Selector.MatchLabels, rs.Spec.Template.Labels)
	n := int32(1)
	d.Status.CollisionCount = &n
	other, err := newReplicaSet(d, 4)
	require.NoError(t, err)
	require.NotEqual(t, rs.Name, other.Name)
	again := annotations(annotations(rs.Annotations, d, 6), d, 8)
	require.Equal(t, "8", again[RevisionAnnotation])
	require.Equal(t, "4,6", again[historyAnnotation])
}
