package builtin

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// changeable is what an update of a pod may touch, as the error says it.
const changeable = "pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, " +
	"`spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing tolerations), `spec.terminationGracePeriodSeconds` " +
	"(allow it to be set to 1 if it was previously negative); a pod is given its node through the binding subresource"

func validatePod(p, old *corev1.Pod) field.ErrorList {
	spec := field.NewPath("spec")
	errs := validatePodSpec(&p.Spec, spec)
	if len(p.Spec.SchedulingGates) > 0 && p.Spec.NodeName != "" {
		errs = append(errs, field.Forbidden(spec.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	if old == nil {
		if len(p.Spec.EphemeralContainers) > 0 {
			errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "cannot be set on create"))
		}
		return errs
	}
	return append(errs, validatePodUpdate(p, old, spec)...)
}

// validatePodUpdate puts back, in a copy, what may change; whatever still differs may not.
func validatePodUpdate(p, old *corev1.Pod, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	now, before := p.Spec.DeepCopy(), &old.Spec
	for _, list := range []struct{ now, before []corev1.Container }{{now.Containers, before.Containers}, {now.InitContainers, before.InitContainers}} {
		for i := range min(len(list.now), len(list.before)) {
			list.now[i].Image = list.before[i].Image
		}
	}
	errs = append(errs, deadlineChange(now.ActiveDeadlineSeconds, before.ActiveDeadlineSeconds, at.Child("activeDeadlineSeconds"))...)
	now.ActiveDeadlineSeconds = before.ActiveDeadlineSeconds
	errs = append(errs, tolerationChange(now.Tolerations, before.Tolerations, at.Child("tolerations"))...)
	now.Tolerations = before.Tolerations
	if deref(before.TerminationGracePeriodSeconds) < 0 && deref(now.TerminationGracePeriodSeconds) == 1 {
		now.TerminationGracePeriodSeconds = before.TerminationGracePeriodSeconds
	}
	for i, g := range now.SchedulingGates {
		if !slices.Contains(before.SchedulingGates, g) {
			errs = append(errs, field.Forbidden(at.Child("schedulingGates").Index(i), "only deletion is allowed, but found new scheduling gate '"+g.Name+"'"))
		}
	}
	now.SchedulingGates = before.SchedulingGates
	if len(before.SchedulingGates) > 0 && selectorNarrowed(now.NodeSelector, before.NodeSelector) {
		now.NodeSelector = before.NodeSelector // a gated pod may still be confined to fewer nodes
	}
	if !same(*now, *before) {
		errs = append(errs, field.Forbidden(at, changeable))
	}
	return errs
}

// deadlineChange allows a deadline to be set or brought forward.
func deadlineChange(now, before *int64, at *field.Path) field.ErrorList {
	switch {
	case before == nil:
		return nil
	case now == nil:
		return field.ErrorList{field.Invalid(at, nil, "must not update from a positive integer to nil value")}
	case *now > *before:
		return field.ErrorList{field.Invalid(at, *now, "must be less than or equal to previous value")}
	}
	return nil
}

// tolerationChange allows additions, and other lengths of what is tolerated for a time.
func tolerationChange(now, before []corev1.Toleration, at *field.Path) field.ErrorList {
	for _, b := range before {
		kept := slices.ContainsFunc(now, func(n corev1.Toleration) bool {
			n.TolerationSeconds = b.TolerationSeconds
			return same(n, b)
		})
		if !kept {
			return field.ErrorList{field.Forbidden(at, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

func selectorNarrowed(now, before map[string]string) bool {
	for key, value := range before {
		if now[key] != value {
			return false
		}
	}
	return true
}

func validatePodStatus(p, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	status := field.NewPath("status")
	if old != nil && p.Spec.NodeName != old.Spec.NodeName {
		errs = append(errs, field.Forbidden(field.NewPath("spec", "nodeName"), "may not be changed directly"))
	}
	errs = append(errs, mayName(p.Status.NominatedNodeName, status.Child("nominatedNodeName"), dnsSubdomain)...)
	for i, ip := range p.Status.PodIPs {
		errs = append(errs, validation.IsValidIP(status.Child("podIPs").Index(i), ip.IP)...)
	}
	twice := make(seen[string], len(p.Status.Conditions))
	for i, c := range p.Status.Conditions {
		errs = append(errs, twice.add(string(c.Type), status.Child("conditions").Index(i).Child("type"))...)
	}
	return errs
}

func podWarnings(p, _ *corev1.Pod) []string {
	return podSpecWarnings(&p.Spec, field.NewPath("spec"))
}
