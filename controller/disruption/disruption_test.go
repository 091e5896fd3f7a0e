package disruption_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/disruption"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *controllertest.ControlPlane {
	cp := controllertest.New(t, controllertest.Timeout(24*time.Hour))
	require.NoError(t, disruption.New(cp.Manager, disruption.Config{}))
	cp.Start()
	return cp
}

// pod makes a pod of an owner, "Kind/name", or of nobody.
func pod(cp *controllertest.ControlPlane, name, owner string, ready corev1.ConditionStatus) {
	text := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, labels: {app: web}}\nspec: {nodeName: node, containers: [{name: c, image: i}]}", name)
	cp.Apply(text)
	if owner != "" {
		set := controllertest.Get(cp, kind.ReplicaSet, "default", owner)
		controllertest.Mutate(cp, kind.Pod, "default", name, func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, kind.ReplicaSet.Kind().GroupVersionKind())}
		})
	}
	setReady(cp, name, ready)
}

func setReady(cp *controllertest.ControlPlane, name string, ready corev1.ConditionStatus) {
	controllertest.MutateStatus(cp, kind.Pod, "default", name, func(p *corev1.Pod) {
		p.Status.Phase, p.Status.Conditions = corev1.PodRunning, []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	})
}

// status is "expected pods, wanted healthy, healthy, allowed".
func status(cp *controllertest.ControlPlane) string {
	cp.Idle()
	s := controllertest.Get(cp, kind.PodDisruptionBudget, "default", "web").Status
	return fmt.Sprintf("%d %d %d %d", s.ExpectedPods, s.DesiredHealthy, s.CurrentHealthy, s.DisruptionsAllowed)
}

func budget(cp *controllertest.ControlPlane, spec string) {
	cp.Apply("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: web}\nspec: {selector: {matchLabels: {app: web}}, " + spec + "}")
}

func evict(cp *controllertest.ControlPlane, name string) error {
	_, err := cp.Client.Do(cp.Context(), &client.Request{
		Verb: client.Create, Kind: kind.Pod.Kind(), Subresource: "eviction", Namespace: "default", Name: name,
		Object: &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}},
	})
	return err
}

func TestNumber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t)
		budget(cp, "minAvailable: 1")
		require.Equal(t, "0 1 0 0", status(cp))
		pod(cp, "a", "", corev1.ConditionTrue)
		pod(cp, "b", "", corev1.ConditionTrue)
		pod(cp, "c", "", corev1.ConditionFalse)
		require.Equal(t, "3 1 2 1", status(cp))
		require.NoError(t, evict(cp, "a"))
		err := evict(cp, "b")
		require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
		setReady(cp, "c", corev1.ConditionTrue)
		status(cp)
		require.NoError(t, evict(cp, "b"), "another is healthy now")
		require.Equal(t, "1", status(cp)[4:5])
	})
}

func TestOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t)
		cp.Apply(`apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}`)
		budget(cp, "maxUnavailable: 25%")
		pod(cp, "a", "web", corev1.ConditionTrue)
		pod(cp, "b", "web", corev1.ConditionTrue)
		pod(cp, "c", "web", corev1.ConditionTrue)
		require.Equal(t, "4 3 3 0", status(cp), "one of four is missing already")
		pod(cp, "free", "", corev1.ConditionTrue)
		require.Equal(t, "4 3 4 1", status(cp))
		controllertest.Mutate(cp, kind.PodDisruptionBudget, "default", "web", func(b *policyv1.PodDisruptionBudget) {
			least := b.Spec.MaxUnavailable
			b.Spec.MinAvailable, b.Spec.MaxUnavailable = least, nil
		})
		require.Equal(t, "4 1 4 3", status(cp))
	})
}

func TestUnknownOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t)
		budget(cp, "maxUnavailable: 1")
		pod(cp, "a", "", corev1.ConditionTrue)
		controllertest.Mutate(cp, kind.Pod, "default", "a", func(p *corev1.Pod) {
			yes := true
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Fleet", Name: "f", UID: "u", Controller: &yes}}
		})
		cp.Idle()
		s := controllertest.Get(cp, kind.PodDisruptionBudget, "default", "web").Status
		c := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition)
		require.Equal(t, policyv1.SyncFailedReason, c.Reason)
		require.Contains(t, c.Message, "Fleet f owns selected pods")
		require.Zero(t, s.DisruptionsAllowed)
	})
}

// TestEvictionOfWhichNothingCame has an eviction noted whose pod lives on.
func TestEvictionOfWhichNothingCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t)
		budget(cp, "minAvailable: 1")
		pod(cp, "a", "", corev1.ConditionTrue)
		pod(cp, "b", "", corev1.ConditionTrue)
		require.Equal(t, "2 1 2 1", status(cp))
		controllertest.MutateStatus(cp, kind.PodDisruptionBudget, "default", "web", func(b *policyv1.PodDisruptionBudget) {
			b.Status.DisruptedPods = map[string]metav1.Time{"a": metav1.Now(), "gone": metav1.Now()}
		})
		require.Equal(t, "2 1 1 0", status(cp))
		<-time.After(time.Minute)
		require.Equal(t, "2 1 1 0", status(cp))
		<-time.After(2 * time.Minute)
		require.Equal(t, "2 1 2 1", status(cp))
		require.Empty(t, controllertest.Get(cp, kind.PodDisruptionBudget, "default", "web").Status.DisruptedPods)
	})
}

func TestConfig(t *testing.T) {
	require.ErrorContains(t, disruption.New(nil, disruption.Config{}), "manager is nil")
}
