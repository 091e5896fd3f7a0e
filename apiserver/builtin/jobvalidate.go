package builtin

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxIndexedParallelism bounds jobs whose pods are numbered. Source: k8s.io/api, batch/v1.
const maxIndexedParallelism = 100000

func validateJob(j, old *batchv1.Job) field.ErrorList {
	spec, s := field.NewPath("spec"), &j.Spec
	errs := validateJobSpec(s, j.Name, spec)
	errs = append(errs, validateSelector(s.Selector, spec.Child("selector"))...)
	if old != nil {
		errs = append(errs, validateJobUpdate(j, old, spec)...)
	}
	return errs
}

// validateJobSpec checks all but the selector; name is empty in templates of jobs.
func validateJobSpec(s *batchv1.JobSpec, name string, spec *field.Path) field.ErrorList {
	errs := counts(spec, map[string]int32{"parallelism": deref(s.Parallelism), "completions": deref(s.Completions),
		"backoffLimit": deref(s.BackoffLimit), "ttlSecondsAfterFinished": deref(s.TTLSecondsAfterFinished),
		"backoffLimitPerIndex": deref(s.BackoffLimitPerIndex), "maxFailedIndexes": deref(s.MaxFailedIndexes)})
	errs = append(errs, notNegative(deref(s.ActiveDeadlineSeconds), spec.Child("activeDeadlineSeconds"))...)
	errs = append(errs, validateCompletion(s, name, spec)...)
	errs = append(errs, validateTemplate(&s.Template, s.Selector, spec.Child("template"))...)
	policies := []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever}
	switch p := s.Template.Spec.RestartPolicy; {
	case p == "" || p == corev1.RestartPolicyAlways: // Always is the default of pods, so that whoever left it out reads what to write
		errs = append(errs, field.Required(spec.Child("template", "spec", "restartPolicy"), fmt.Sprintf("valid values: %q, %q", policies[0], policies[1])))
	default:
		errs = append(errs, oneOf(p, spec.Child("template", "spec", "restartPolicy"), policies...)...)
	}
	errs = append(errs, oneOf(deref(s.PodReplacementPolicy), spec.Child("podReplacementPolicy"), batchv1.Failed, batchv1.TerminatingOrFailed)...)
	if s.PodFailurePolicy != nil {
		errs = append(errs, validateFailurePolicy(s, spec.Child("podFailurePolicy"))...)
	}
	if m := deref(s.ManagedBy); m != "" {
		errs = append(errs, validation.IsDomainPrefixedPath(spec.Child("managedBy"), m)...)
	}
	return errs
}

func validateCompletion(s *batchv1.JobSpec, name string, spec *field.Path) field.ErrorList {
	mode := deref(s.CompletionMode)
	errs := oneOf(mode, spec.Child("completionMode"), batchv1.IndexedCompletion, batchv1.NonIndexedCompletion)
	if mode == batchv1.IndexedCompletion {
		if s.Completions == nil {
			errs = append(errs, field.Required(spec.Child("completions"), fmt.Sprintf("when completion mode is %s", mode)))
		}
		if n := deref(s.Parallelism); n > maxIndexedParallelism {
			errs = append(errs, field.Invalid(spec.Child("parallelism"), n, fmt.Sprintf("must be less than or equal to %d when completion mode is %s", maxIndexedParallelism, mode)))
		}
		// Pods are called <job>-<index> and that is their host name too.
		if n := deref(s.Completions); n > 0 && name != "" {
			if msgs := validation.IsDNS1123Label(fmt.Sprintf("%s-%d", name, n-1)); len(msgs) > 0 {
				errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), name, "will not be able to create pod with invalid DNS label: "+msgs[0]))
			}
		}
		return errs
	}
	if s.BackoffLimitPerIndex != nil {
		errs = append(errs, field.Invalid(spec.Child("backoffLimitPerIndex"), *s.BackoffLimitPerIndex, "requires indexed completion mode"))
	}
	if s.SuccessPolicy != nil {
		errs = append(errs, field.Invalid(spec.Child("successPolicy"), *s.SuccessPolicy, "requires indexed completion mode"))
	}
	return errs
}

func validateFailurePolicy(s *batchv1.JobSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		errs = append(errs, field.Invalid(at, s.Template.Spec.RestartPolicy, "only \"Never\" is supported as restartPolicy when podFailurePolicy is specified"))
	}
	for i, r := range s.PodFailurePolicy.Rules {
		here := at.Child("rules").Index(i)
		errs = append(errs, oneOf(r.Action, here.Child("action"), batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
			batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)...)
		if (r.OnExitCodes == nil) == (len(r.OnPodConditions) == 0) {
			errs = append(errs, field.Invalid(here, "", "must specify exactly one of onExitCodes and onPodConditions"))
		}
		if e := r.OnExitCodes; e != nil {
			errs = append(errs, oneOf(e.Operator, here.Child("onExitCodes", "operator"), batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)...)
			if len(e.Values) == 0 {
				errs = append(errs, field.Invalid(here.Child("onExitCodes", "values"), e.Values, "at least one value is required"))
			}
			for k, v := range e.Values {
				if v == 0 && e.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
					errs = append(errs, field.Invalid(here.Child("onExitCodes", "values").Index(k), v, "must not be 0 for the In operator"))
				}
			}
		}
	}
	return errs
}

func validateJobUpdate(j, old *batchv1.Job, spec *field.Path) field.ErrorList {
	now, before := &j.Spec, &old.Spec
	errs := immutable(now.Selector, before.Selector, spec.Child("selector"))
	errs = append(errs, immutable(now.CompletionMode, before.CompletionMode, spec.Child("completionMode"))...)
	errs = append(errs, immutable(now.PodFailurePolicy, before.PodFailurePolicy, spec.Child("podFailurePolicy"))...)
	errs = append(errs, immutable(now.BackoffLimitPerIndex, before.BackoffLimitPerIndex, spec.Child("backoffLimitPerIndex"))...)
	errs = append(errs, immutable(now.ManagedBy, before.ManagedBy, spec.Child("managedBy"))...)
	errs = append(errs, immutable(now.SuccessPolicy, before.SuccessPolicy, spec.Child("successPolicy"))...)
	if same(now.Completions, before.Completions) {
		return append(errs, validateJobTemplateUpdate(j, old, spec)...)
	}
	elastic := deref(now.CompletionMode) == batchv1.IndexedCompletion && now.Completions != nil && before.Completions != nil && deref(now.Completions) == deref(now.Parallelism)
	if !elastic {
		errs = append(errs, field.Invalid(spec.Child("completions"), deref(now.Completions), "field is immutable, except that indexed jobs may change it together with parallelism, to the same value"))
	}
	return append(errs, validateJobTemplateUpdate(j, old, spec)...)
}

// validateJobTemplateUpdate refuses changes of the template, except where a suspended job that has not started may run.
func validateJobTemplateUpdate(j, old *batchv1.Job, spec *field.Path) field.ErrorList {
	now, before := j.Spec.Template.DeepCopy(), &old.Spec.Template
	if deref(old.Spec.Suspend) && old.Status.StartTime == nil {
		now.Spec.NodeSelector, now.Spec.Affinity = before.Spec.NodeSelector, before.Spec.Affinity
		now.Spec.Tolerations, now.Spec.SchedulingGates = before.Spec.Tolerations, before.Spec.SchedulingGates
		now.Annotations, now.Labels = before.Annotations, before.Labels
	}
	return immutable(*now, *before, spec.Child("template"))
}

func validateJobStatus(j, _ *batchv1.Job) field.ErrorList {
	at, s := field.NewPath("status"), &j.Status
	errs := counts(at, map[string]int32{"active": s.Active, "succeeded": s.Succeeded, "failed": s.Failed, "ready": deref(s.Ready), "terminating": deref(s.Terminating)})
	if s.CompletionTime != nil && s.StartTime != nil && s.CompletionTime.Before(s.StartTime) {
		errs = append(errs, field.Invalid(at.Child("completionTime"), s.CompletionTime, "completionTime cannot be set before startTime"))
	}
	return errs
}
