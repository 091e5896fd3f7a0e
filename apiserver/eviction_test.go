package apiserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func TestEvictionAndBudgets(t *testing.T) {
	_, c := start(t, func(cfg *apiserver.Config) { cfg.Kinds = builtin.Kinds() })
	ctx := t.Context()
	pods, budgets := client.For(c, kind.Pod), client.For(c, kind.PodDisruptionBudget)
	run := func(name string, labels map[string]string, phase corev1.PodPhase, ready corev1.ConditionStatus) {
		t.Helper()
		_, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}},
		})
		require.NoError(t, err)
		_, err = pods.MutateStatus(ctx, "default", name, func(p *corev1.Pod) error {
			p.Status.Phase, p.Status.Conditions = phase, []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
			return nil
		})
		require.NoError(t, err)
	}
	evict := func(name string, dry ...string) error {
		_, err := c.Do(ctx, &client.Request{
			Verb: client.Create, Kind: kind.Pod.Kind(), Subresource: "eviction", Namespace: "default", Name: name,
			Object: &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, DeleteOptions: &metav1.DeleteOptions{DryRun: dry}},
		})
		return err
	}
	web := map[string]string{"app": "web"}
	for _, name := range []string{"one", "two", "three"} {
		run(name, web, corev1.PodRunning, corev1.ConditionTrue)
	}
	run("pending", web, corev1.PodPending, corev1.ConditionFalse)
	run("sick", web, corev1.PodRunning, corev1.ConditionFalse)
	run("other", map[string]string{"app": "db"}, corev1.PodRunning, corev1.ConditionTrue)
	least := intstr.FromInt32(2)
	_, err := budgets.Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &least, Selector: &metav1.LabelSelector{MatchLabels: web}},
	})
	require.NoError(t, err)

	cause := func(err error) string {
		t.Helper()
		status, ok := err.(apierrors.APIStatus)
		require.True(t, ok, "%v", err)
		require.Len(t, status.Status().Details.Causes, 1)
		require.Equal(t, policyv1.DisruptionBudgetCause, status.Status().Details.Causes[0].Type)
		return status.Status().Details.Causes[0].Message
	}
	// The controller has not seen the budget yet.
	err = evict("one")
	require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
	require.EqualError(t, err, "Cannot evict pod as it would violate the pod's disruption budget.")
	require.Equal(t, "The disruption budget web is still being processed by the server.", cause(err))
	require.NoError(t, evict("pending"), "what does not run disrupts nothing")
	require.NoError(t, evict("other"), "not the budget's")

	_, err = budgets.MutateStatus(ctx, "default", "web", func(b *policyv1.PodDisruptionBudget) error {
		b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: 1, CurrentHealthy: 3, DesiredHealthy: 2, ExpectedPods: 3}
		return nil
	})
	require.NoError(t, err)
	require.NoError(t, evict("sick"), "enough others are healthy")
	require.NoError(t, evict("one", metav1.DryRunAll))
	budget, err := budgets.Get(ctx, "default", "web")
	require.NoError(t, err)
	require.Equal(t, int32(1), budget.Status.DisruptionsAllowed, "neither was charged for")

	require.NoError(t, evict("one"))
	budget, err = budgets.Get(ctx, "default", "web")
	require.NoError(t, err)
	require.Equal(t, int32(0), budget.Status.DisruptionsAllowed)
	require.Contains(t, budget.Status.DisruptedPods, "one")
	require.Equal(t, int64(1), budget.Generation)
	_, err = pods.Get(ctx, "default", "one")
	require.True(t, apierrors.IsNotFound(err), "%v", err)

	_, err = budgets.MutateStatus(ctx, "default", "web", func(b *policyv1.PodDisruptionBudget) error { b.Status.CurrentHealthy = 2; return nil })
	require.NoError(t, err)
	err = evict("two")
	require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
	require.Equal(t, "The disruption budget web needs 2 healthy pods and has 2 currently", cause(err))
	_, err = pods.Get(ctx, "default", "two")
	require.NoError(t, err)
	require.NoError(t, pods.Delete(ctx, "default", "two"), "a delete asks no budget")

	_, err = budgets.Create(ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "all"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}}})
	require.NoError(t, err)
	require.ErrorContains(t, evict("three"), "This pod has more than one PodDisruptionBudget")
}

// Evictions at once never take more than the budget allows.
func TestEvictionsAtOnce(t *testing.T) {
	_, c := start(t, func(cfg *apiserver.Config) { cfg.Kinds = builtin.Kinds() })
	ctx := t.Context()
	pods, budgets := client.For(c, kind.Pod), client.For(c, kind.PodDisruptionBudget)
	const running, allowed = 12, 5
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
	for _, name := range names {
		_, err := pods.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}}})
		require.NoError(t, err)
		_, err = pods.MutateStatus(ctx, "default", name, func(p *corev1.Pod) error {
			p.Status.Phase, p.Status.Conditions = corev1.PodRunning, []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
			return nil
		})
		require.NoError(t, err)
	}
	_, err := budgets.Create(ctx, &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "all"}, Spec: policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{}}})
	require.NoError(t, err)
	_, err = budgets.MutateStatus(ctx, "default", "all", func(b *policyv1.PodDisruptionBudget) error {
		b.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: 1, DisruptionsAllowed: allowed, CurrentHealthy: running, DesiredHealthy: running - allowed}
		return nil
	})
	require.NoError(t, err)
	answers := make(chan error, len(names))
	for _, name := range names {
		go func() {
			_, err := c.Do(ctx, &client.Request{Verb: client.Create, Kind: kind.Pod.Kind(), Subresource: "eviction", Namespace: "default", Name: name,
				Object: &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}})
			answers <- err
		}()
	}
	went := 0
	for range names {
		if err := <-answers; err == nil {
			went++
		} else {
			require.True(t, apierrors.IsTooManyRequests(err), "%v", err)
		}
	}
	require.Equal(t, allowed, went)
	left, err := pods.List(ctx, client.InNamespace("default"))
	require.NoError(t, err)
	require.Len(t, left.Items, running-allowed)
	budget, err := budgets.Get(ctx, "default", "all")
	require.NoError(t, err)
	require.Len(t, budget.Status.DisruptedPods, allowed)
}
