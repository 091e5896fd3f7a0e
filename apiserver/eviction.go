package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// maxDisrupted bounds the evictions that a budget's controller has not taken note of. Source: kube-apiserver.
const maxDisrupted = 2000

// evict is the pods/eviction subresource: a delete, with the options that the eviction carries, that disruption budgets may refuse.
// The budget is charged in the transaction that deletes the pod. The answer has no object, as upstream's.
func (c *call) evict(ctx context.Context) (*client.Response, error) {
	eviction, ok := c.req.Object.(*policyv1.Eviction)
	if !ok {
		return nil, badRequest("create pods/eviction: the object is a %T, must be a *policy/v1.Eviction", c.req.Object)
	}
	if err := c.nameGiven(); err != nil {
		return nil, err
	}
	if eviction.DeleteOptions != nil {
		c.req.Delete = *eviction.DeleteOptions
		c.req.DryRun = c.req.DryRun || slices.Contains(eviction.DeleteOptions.DryRun, metav1.DryRunAll)
	}
	c.guard = c.chargeBudget
	resp, err := c.delete(ctx)
	if err != nil {
		return nil, err
	}
	return &client.Response{Created: true, Deleted: resp.Deleted}, nil
}

// chargeBudget finds the budget that the pod counts for and takes one disruption from it. Nil means that there is nothing to take.
func (c *call) chargeBudget(_ context.Context, old *entry) (*beside, error) {
	pod, ok := old.obj.(*corev1.Pod)
	if !ok || unbudgeted(pod) {
		return nil, nil
	}
	served := c.server.served.Load()
	k, ok := served.kinds.Find(kind.PodDisruptionBudget.Kind())
	if !ok {
		return nil, nil
	}
	found, err := budgetsOf(pod, served.cache(k))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	if len(found) > 1 {
		return nil, status(500, metav1.StatusReasonInternalError, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
	}
	current := found[0].obj.(*policyv1.PodDisruptionBudget)
	if !podReady(pod) && evictsUnhealthy(current) {
		return nil, nil
	}
	budget := current.DeepCopy()
	if err := takeDisruption(budget, pod.Name, now()); err != nil {
		return nil, err
	}
	budget.ResourceVersion = ""
	value, err := k.Encode(budget)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return &beside{key: found[0].key, rev: found[0].rev, value: value}, nil
}

// unbudgeted says whether a pod's end disrupts nothing.
func unbudgeted(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return true
	}
	return pod.DeletionTimestamp != nil
}

// budgetsOf reads from the cache, which is current: the pod was read from them in this attempt.
func budgetsOf(pod *corev1.Pod, budgets *cache) ([]*entry, error) {
	var found []*entry
	var bad error
	budgets.view().ascend(budgets.scope(pod.Namespace), "", func(e *entry) bool {
		selector, err := metav1.LabelSelectorAsSelector(e.obj.(*policyv1.PodDisruptionBudget).Spec.Selector)
		if err != nil {
			bad = apierrors.NewInternalError(fmt.Errorf("selector of the disruption budget %s: %w", e.obj.GetName(), err))
			return false
		}
		if selector.Matches(labels.Set(pod.Labels)) {
			found = append(found, e)
		}
		return true
	})
	return found, bad
}

// evictsUnhealthy says whether a pod that is not ready may go without being charged for: because the budget always allows it,
// or because enough others are healthy.
func evictsUnhealthy(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.CurrentHealthy >= b.Status.DesiredHealthy && b.Status.DesiredHealthy > 0
}

func podReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// takeDisruption notes in a budget that a pod is being evicted, or says why it may not be. The words are upstream's.
func takeDisruption(b *policyv1.PodDisruptionBudget, pod string, at metav1.Time) error {
	s := &b.Status
	const refused = "Cannot evict pod as it would violate the pod's disruption budget."
	because := func(e *apierrors.StatusError, format string, args ...any) error {
		e.ErrStatus.Details.Causes = append(e.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf(format, args...)})
		return e
	}
	forbidden := func(why string) *apierrors.StatusError {
		return apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New(why))
	}
	switch {
	case s.ObservedGeneration < b.Generation:
		return because(apierrors.NewTooManyRequests(refused, 10), "The disruption budget %s is still being processed by the server.", b.Name)
	case s.DisruptionsAllowed < 0:
		return because(forbidden("pdb disruptions allowed is negative"), "The disruption budget %s does not allow evicting pods currently: pdb disruptions allowed is negative", b.Name)
	case len(s.DisruptedPods) > maxDisrupted:
		return because(forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller"),
			"The disruption budget %s does not allow evicting pods currently: too many pending evictions not confirmed by PDB controller", b.Name)
	case s.DisruptionsAllowed == 0:
		no := apierrors.NewTooManyRequests(refused, 0)
		condition := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition)
		told := condition != nil && condition.Status == metav1.ConditionFalse && condition.Message != ""
		switch {
		case told && condition.Reason == policyv1.SyncFailedReason:
			return because(no, "The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, condition.Message)
		case s.CurrentHealthy <= s.DesiredHealthy:
			return because(no, "The disruption budget %s needs %d healthy pods and has %d currently", b.Name, s.DesiredHealthy, s.CurrentHealthy)
		case told:
			return because(no, "The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, condition.Reason, condition.Message)
		}
		return because(no, "The disruption budget %s does not allow evicting pods currently", b.Name)
	}
	s.DisruptionsAllowed--
	if s.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.InsufficientPodsReason,
			ObservedGeneration: s.ObservedGeneration, LastTransitionTime: at,
		})
	}
	if s.DisruptedPods == nil {
		s.DisruptedPods = make(map[string]metav1.Time, 1)
	}
	s.DisruptedPods[pod] = at
	return nil
}
