package builtin

import (
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func podDisruptionBudgets() behaviour[*policyv1.PodDisruptionBudget] {
	amount := func(v *intstr.IntOrString) string {
		if v == nil {
			return "N/A"
		}
		return v.String()
	}
	return behaviour[*policyv1.PodDisruptionBudget]{
		validate:       validateDisruptionBudget,
		validateStatus: validateDisruptionBudgetStatus,
		status:         true,
		columns: []kind.Column{
			nameColumn(),
			text("Min Available", "Pods that must stay", func(b *policyv1.PodDisruptionBudget) string { return amount(b.Spec.MinAvailable) }),
			text("Max Unavailable", "Pods that may be away", func(b *policyv1.PodDisruptionBudget) string { return amount(b.Spec.MaxUnavailable) }),
			number("Allowed Disruptions", "Pods that may be evicted now", func(b *policyv1.PodDisruptionBudget, _ time.Time) any {
				return int64(b.Status.DisruptionsAllowed)
			}),
			ageColumn(),
		},
	}
}

func validateDisruptionBudget(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	at, s := field.NewPath("spec"), &b.Spec
	var errs field.ErrorList
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(at, *s, "minAvailable and maxUnavailable cannot be both set"))
	}
	for name, v := range sorted(map[string]*intstr.IntOrString{"minAvailable": s.MinAvailable, "maxUnavailable": s.MaxUnavailable}) {
		if v != nil {
			errs = append(errs, numberOrPercent(*v, at.Child(name))...)
			errs = append(errs, atMostAll(*v, at.Child(name))...)
		}
	}
	if s.Selector != nil {
		errs = append(errs, wellFormed(s.Selector, at.Child("selector"))...)
	}
	if p := s.UnhealthyPodEvictionPolicy; p != nil {
		errs = append(errs, supported(*p, at.Child("unhealthyPodEvictionPolicy"), policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}

func validateDisruptionBudgetStatus(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	at, s := field.NewPath("status"), &b.Status
	errs := metav1validation.ValidateConditions(s.Conditions, at.Child("conditions"))
	return append(errs, counts(at, map[string]int32{"disruptionsAllowed": s.DisruptionsAllowed, "currentHealthy": s.CurrentHealthy,
		"desiredHealthy": s.DesiredHealthy, "expectedPods": s.ExpectedPods})...)
}
