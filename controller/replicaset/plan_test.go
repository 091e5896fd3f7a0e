package replicaset

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Unix(1e9, 0)

// pod is bound to n1, running and ready since an hour, unless changed.
func pod(name string, change ...func(p *corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(epoch)},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	readyFor(time.Hour)(p)
	for _, f := range change {
		f(p)
	}
	return p
}

func readyFor(d time.Duration) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(epoch.Add(-d))}}
	}
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func phase(v corev1.PodPhase) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Status.Phase = v } }

func on(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

func cost(v string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.PodDeletionCost: v} }
}

func TestSurplus(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  *corev1.Pod // to be deleted before the second
		second *corev1.Pod
	}{
		{"not bound", pod("z", on("")), pod("a", phase(corev1.PodPending))},
		{"pending", pod("z", phase(corev1.PodPending)), pod("a", phase(corev1.PodUnknown))},
		{"unknown", pod("z", phase(corev1.PodUnknown)), pod("a", unready)},
		{"not ready before cheap", pod("z", unready), pod("a", cost("-10"))},
		{"cheap", pod("z", cost("-10")), pod("a")},
		{"cost is a number", pod("z", cost("9")), pod("a", cost("10"))},
		{"an unreadable cost is 0", pod("z", cost("x")), pod("a", cost("1"))},
		{"ready for a shorter time", pod("z", readyFor(time.Minute)), pod("a")},
		{"restarted more often", pod("z", func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 3}}
		}), pod("a")},
		{"younger", pod("z", func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(epoch.Add(time.Second)) }), pod("a")},
		{"since when it is not ready does not matter", pod("a", unready, restart), pod("z", readyFor(time.Second), unready)},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, order := range [][]*corev1.Pod{{c.first, c.second}, {c.second, c.first}} {
				require.Equal(t, c.first.Name, surplus(order, order, 1)[0].Name)
			}
		})
	}
	crowded, lonely, neighbour := pod("z", on("n1")), pod("a", on("n2")), pod("of another set", on("n1"))
	pods := []*corev1.Pod{lonely, crowded}
	require.Equal(t, "z", surplus(pods, []*corev1.Pod{lonely, crowded, neighbour}, 1)[0].Name, "spread over nodes, counting sets of the same Deployment")
	require.Len(t, surplus(pods, pods, 5), 2)
}

func restart(p *corev1.Pod) {
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{RestartCount: 1}}
}

func TestStatus(t *testing.T) {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Generation: 4}, Spec: appsv1.ReplicaSetSpec{MinReadySeconds: 30}}
	rs.Spec.Template.Labels = map[string]string{"a": "b"}
	going := metav1.NewTime(epoch)
	labelled := func(p *corev1.Pod) { p.Labels = map[string]string{"a": "b", "c": "d"} }
	status, next := statusOf(rs, []*corev1.Pod{
		pod("available", labelled), pod("ready", readyFor(10*time.Second)), pod("later", readyFor(5*time.Second)), pod("unready", unready),
		pod("ended", phase(corev1.PodFailed)), pod("going", func(p *corev1.Pod) { p.DeletionTimestamp = &going }),
	}, epoch)
	require.Equal(t, int32(4), status.Replicas)
	require.Equal(t, int32(3), status.ReadyReplicas)
	require.Equal(t, int32(1), status.AvailableReplicas)
	require.Equal(t, int32(1), status.FullyLabeledReplicas)
	require.Equal(t, int32(1), *status.TerminatingReplicas)
	require.Equal(t, int64(4), status.ObservedGeneration)
	require.Equal(t, 20*time.Second, next, "until the first becomes available")
}

func TestFailureCondition(t *testing.T) {
	var status appsv1.ReplicaSetStatus
	setFailure(&status, "FailedCreate", errors.New("quota: web-a"), epoch)
	first := status.Conditions[0]
	setFailure(&status, "FailedCreate", errors.New("quota: web-b"), epoch.Add(time.Minute))
	require.Equal(t, []appsv1.ReplicaSetCondition{first}, status.Conditions, "the same failure is no change")
	setFailure(&status, "FailedDelete", errors.New("no"), epoch.Add(time.Minute))
	require.Equal(t, "FailedDelete", status.Conditions[0].Reason)
	setFailure(&status, "", nil, epoch)
	require.Empty(t, status.Conditions)
}

func TestNewPodName(t *testing.T) {
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("x", 70), Namespace: "default"}}
	require.Len(t, newPod(rs).GenerateName, 58)
}
