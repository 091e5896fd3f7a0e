package builtin

import (
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func daemonSets() behaviour[*appsv1.DaemonSet] {
	status := func(name, description string, get func(*appsv1.DaemonSetStatus) int32) kind.Column {
		return number(name, description, func(d *appsv1.DaemonSet, _ time.Time) any { return int64(get(&d.Status)) })
	}
	return behaviour[*appsv1.DaemonSet]{
		defaults:       defaultDaemonSet,
		prepare:        prepareDaemonSet,
		validate:       validateDaemonSet,
		validateStatus: validateDaemonSetStatus,
		warnings: func(d, _ *appsv1.DaemonSet) []string {
			return podSpecWarnings(&d.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
		},
		status: true,
		columns: append([]kind.Column{
			nameColumn(),
			status("Desired", "Nodes that should run its pod", func(s *appsv1.DaemonSetStatus) int32 { return s.DesiredNumberScheduled }),
			status("Current", "Nodes that run its pod and should", func(s *appsv1.DaemonSetStatus) int32 { return s.CurrentNumberScheduled }),
			status("Ready", "Nodes on which it is ready", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberReady }),
			status("Up-to-date", "Nodes that run the current template", func(s *appsv1.DaemonSetStatus) int32 { return s.UpdatedNumberScheduled }),
			status("Available", "Nodes on which it has been ready for minReadySeconds", func(s *appsv1.DaemonSetStatus) int32 { return s.NumberAvailable }),
			column("Node Selector", "Labels of the nodes that should run it", func(d *appsv1.DaemonSet, _ time.Time) any {
				return labels.FormatLabels(d.Spec.Template.Spec.NodeSelector)
			}),
			ageColumn(),
		}, templateColumns(func(d *appsv1.DaemonSet) (*metav1.LabelSelector, containers) {
			return d.Spec.Selector, d.Spec.Template.Spec.Containers
		})...),
	}
}

func defaultDaemonSet(d *appsv1.DaemonSet) {
	u := &d.Spec.UpdateStrategy
	set(&u.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if u.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		setPtr(&u.RollingUpdate, appsv1.RollingUpdateDaemonSet{})
		setPtr(&u.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		setPtr(&u.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	setPtr(&d.Spec.RevisionHistoryLimit, 10)
	defaultPodSpec(&d.Spec.Template.Spec)
}

// prepareDaemonSet counts templates in the annotation that the field of older API versions has become.
func prepareDaemonSet(d, old *appsv1.DaemonSet) {
	generation := int64(1)
	if old != nil {
		generation, _ = strconv.ParseInt(old.Annotations[appsv1.DeprecatedTemplateGeneration], 10, 64)
		if !same(d.Spec.Template, old.Spec.Template) {
			generation++
		}
	}
	if d.Annotations == nil {
		d.Annotations = make(map[string]string, 1)
	}
	d.Annotations[appsv1.DeprecatedTemplateGeneration] = strconv.FormatInt(generation, 10)
}

func validateDaemonSet(d, old *appsv1.DaemonSet) field.ErrorList {
	at, s := field.NewPath("spec"), &d.Spec
	errs := validateSelectorOf("daemonset", s.Selector, at.Child("selector"))
	errs = append(errs, validateTemplate(&s.Template, s.Selector, at.Child("template"))...)
	errs = append(errs, restartsAlwaysIn("DaemonSet", &s.Template.Spec, at.Child("template", "spec"))...)
	errs = append(errs, notNegative(s.MinReadySeconds, at.Child("minReadySeconds"))...)
	errs = append(errs, notNegative(deref(s.RevisionHistoryLimit), at.Child("revisionHistoryLimit"))...)
	errs = append(errs, validateDaemonSetRollout(&s.UpdateStrategy, at.Child("updateStrategy"))...)
	if old != nil {
		errs = append(errs, immutable(s.Selector, old.Spec.Selector, at.Child("selector"))...)
	}
	return errs
}

func validateDaemonSetRollout(u *appsv1.DaemonSetUpdateStrategy, at *field.Path) field.ErrorList {
	switch u.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
	default:
		return field.ErrorList{field.NotSupported(at, u.Type, []appsv1.DaemonSetUpdateStrategyType{appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType})}
	}
	here := at.Child("rollingUpdate")
	if u.RollingUpdate == nil {
		return field.ErrorList{field.Required(here, "")}
	}
	unavailable, surge := deref(u.RollingUpdate.MaxUnavailable), deref(u.RollingUpdate.MaxSurge)
	var errs field.ErrorList
	errs = append(errs, numberOrPercent(unavailable, here.Child("maxUnavailable"))...)
	errs = append(errs, numberOrPercent(surge, here.Child("maxSurge"))...)
	errs = append(errs, atMostAll(unavailable, here.Child("maxUnavailable"))...)
	errs = append(errs, atMostAll(surge, here.Child("maxSurge"))...)
	switch {
	case amount(unavailable) != 0 && amount(surge) != 0:
		errs = append(errs, field.Invalid(here.Child("maxSurge"), surge.String(), "may not be set when maxUnavailable is non-zero"))
	case amount(unavailable) == 0 && amount(surge) == 0:
		errs = append(errs, field.Required(here.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

func validateDaemonSetStatus(d, old *appsv1.DaemonSet) field.ErrorList {
	at, s := field.NewPath("status"), &d.Status
	errs := counts(at, map[string]int32{"currentNumberScheduled": s.CurrentNumberScheduled, "numberMisscheduled": s.NumberMisscheduled,
		"desiredNumberScheduled": s.DesiredNumberScheduled, "numberReady": s.NumberReady, "updatedNumberScheduled": s.UpdatedNumberScheduled,
		"numberAvailable": s.NumberAvailable, "numberUnavailable": s.NumberUnavailable, "collisionCount": deref(s.CollisionCount)})
	errs = append(errs, notNegative(s.ObservedGeneration, at.Child("observedGeneration"))...)
	if old != nil {
		errs = append(errs, notLess(s.CollisionCount, old.Status.CollisionCount, at.Child("collisionCount"))...)
	}
	return errs
}
