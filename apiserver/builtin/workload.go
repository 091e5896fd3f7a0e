package builtin

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateDeployment(d, old *appsv1.Deployment) field.ErrorList {
	spec := field.NewPath("spec")
	s := &d.Spec
	errs := notNegative(deref(s.Replicas), spec.Child("replicas"))
	errs = append(errs, validateSelectorOf("deployment", s.Selector, spec.Child("selector"))...)
	errs = append(errs, validateTemplate(&s.Template, s.Selector, spec.Child("template"))...)
	errs = append(errs, restartsAlways(&s.Template.Spec, spec.Child("template", "spec"))...)
	errs = append(errs, validateRollout(&s.Strategy, spec.Child("strategy"))...)
	errs = append(errs, notNegative(s.MinReadySeconds, spec.Child("minReadySeconds"))...)
	errs = append(errs, notNegative(deref(s.RevisionHistoryLimit), spec.Child("revisionHistoryLimit"))...)
	if p := s.ProgressDeadlineSeconds; p != nil {
		errs = append(errs, notNegative(*p, spec.Child("progressDeadlineSeconds"))...)
		if *p <= s.MinReadySeconds {
			errs = append(errs, field.Invalid(spec.Child("progressDeadlineSeconds"), *p, "must be greater than minReadySeconds"))
		}
	}
	if old != nil {
		errs = append(errs, immutable(s.Selector, old.Spec.Selector, spec.Child("selector"))...)
	}
	return errs
}

func validateDeploymentStatus(d, _ *appsv1.Deployment) field.ErrorList {
	at, s := field.NewPath("status"), &d.Status
	errs := counts(at, map[string]int32{"replicas": s.Replicas, "updatedReplicas": s.UpdatedReplicas, "readyReplicas": s.ReadyReplicas,
		"availableReplicas": s.AvailableReplicas, "unavailableReplicas": s.UnavailableReplicas})
	errs = append(errs, notNegative(s.ObservedGeneration, at.Child("observedGeneration"))...)
	errs = append(errs, atMost(s.UpdatedReplicas, s.Replicas, "status.replicas", at.Child("updatedReplicas"))...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, "status.replicas", at.Child("readyReplicas"))...)
	return append(errs, atMost(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", at.Child("availableReplicas"))...)
}

func validateReplicaSet(r, old *appsv1.ReplicaSet) field.ErrorList {
	spec := field.NewPath("spec")
	s := &r.Spec
	errs := notNegative(deref(s.Replicas), spec.Child("replicas"))
	errs = append(errs, notNegative(s.MinReadySeconds, spec.Child("minReadySeconds"))...)
	errs = append(errs, validateSelectorOf("deployment", s.Selector, spec.Child("selector"))...)
	errs = append(errs, validateTemplate(&s.Template, s.Selector, spec.Child("template"))...)
	errs = append(errs, restartsAlways(&s.Template.Spec, spec.Child("template", "spec"))...)
	if old != nil {
		errs = append(errs, immutable(s.Selector, old.Spec.Selector, spec.Child("selector"))...)
	}
	return errs
}

func validateReplicaSetStatus(r, _ *appsv1.ReplicaSet) field.ErrorList {
	at, s := field.NewPath("status"), &r.Status
	errs := counts(at, map[string]int32{"replicas": s.Replicas, "fullyLabeledReplicas": s.FullyLabeledReplicas, "readyReplicas": s.ReadyReplicas, "availableReplicas": s.AvailableReplicas})
	errs = append(errs, notNegative(s.ObservedGeneration, at.Child("observedGeneration"))...)
	errs = append(errs, atMost(s.FullyLabeledReplicas, s.Replicas, "status.replicas", at.Child("fullyLabeledReplicas"))...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, "status.replicas", at.Child("readyReplicas"))...)
	return append(errs, atMost(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", at.Child("availableReplicas"))...)
}

func counts(at *field.Path, numbers map[string]int32) field.ErrorList {
	var errs field.ErrorList
	for name, n := range sorted(numbers) {
		errs = append(errs, notNegative(n, at.Child(name))...)
	}
	return errs
}

// notLess reports a counter that goes back.
func notLess(now, before *int32, at *field.Path) field.ErrorList {
	if deref(now) >= deref(before) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, deref(now), "cannot be decremented")}
}

func atMost(n, limit int32, what string, at *field.Path) field.ErrorList {
	if n <= limit {
		return nil
	}
	return field.ErrorList{field.Invalid(at, n, "cannot be greater than "+what)}
}

// restartsAlways is for controllers that replace pods which end: a pod of theirs must not end by itself.
func restartsAlways(s *corev1.PodSpec, at *field.Path) field.ErrorList {
	return restartsAlwaysIn("ReplicaSet", s, at)
}

func restartsAlwaysIn(owner string, s *corev1.PodSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(at.Child("restartPolicy"), s.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if s.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(at.Child("activeDeadlineSeconds"), "activeDeadlineSeconds in "+owner+" is not Supported"))
	}
	return errs
}

func validateRollout(s *appsv1.DeploymentStrategy, at *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(at.Child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
	default:
		return oneOf(s.Type, at.Child("type"), appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType)
	}
	if s.RollingUpdate == nil {
		return field.ErrorList{field.Required(at.Child("rollingUpdate"), "this should be defaulted and never be nil")}
	}
	unavailable, surge := deref(s.RollingUpdate.MaxUnavailable), deref(s.RollingUpdate.MaxSurge)
	here := at.Child("rollingUpdate")
	errs := numberOrPercent(unavailable, here.Child("maxUnavailable"))
	errs = append(errs, numberOrPercent(surge, here.Child("maxSurge"))...)
	if amount(unavailable) == 0 && amount(surge) == 0 && len(errs) == 0 {
		errs = append(errs, field.Invalid(here.Child("maxUnavailable"), unavailable.String(), "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, atMostAll(unavailable, here.Child("maxUnavailable"))...)
}

// atMostAll reports a percentage above 100.
func atMostAll(v intstr.IntOrString, at *field.Path) field.ErrorList {
	if v.Type != intstr.String || amount(v) <= 100 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, v, "must not be greater than 100%")}
}

func numberOrPercent(v intstr.IntOrString, at *field.Path) field.ErrorList {
	if v.Type == intstr.Int {
		return notNegative(v.IntVal, at)
	}
	var errs field.ErrorList
	for _, msg := range validation.IsValidPercent(v.StrVal) {
		errs = append(errs, field.Invalid(at, v.StrVal, msg))
	}
	return errs
}

// amount is the number of an int-or-percentage without its unit.
func amount(v intstr.IntOrString) int {
	if v.Type == intstr.Int {
		return int(v.IntVal)
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	if err != nil {
		return 0
	}
	return n
}
