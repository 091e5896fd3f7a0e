package builtin

import (
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func replicationControllers() behaviour[*corev1.ReplicationController] {
	template := func(r *corev1.ReplicationController) containers {
		if r.Spec.Template == nil {
			return nil
		}
		return r.Spec.Template.Spec.Containers
	}
	columns := templateColumns(func(r *corev1.ReplicationController) (*metav1.LabelSelector, containers) { return nil, template(r) })[:2]
	return behaviour[*corev1.ReplicationController]{
		defaults:       defaultReplicationController,
		validate:       validateReplicationController,
		validateStatus: validateReplicationControllerStatus,
		warnings: func(r, _ *corev1.ReplicationController) []string {
			if r.Spec.Template == nil {
				return nil
			}
			return podSpecWarnings(&r.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
		},
		status: true,
		scale: scaleOf(
			func(r *corev1.ReplicationController) (*int32, int32, *metav1.LabelSelector) {
				return r.Spec.Replicas, r.Status.Replicas, &metav1.LabelSelector{MatchLabels: r.Spec.Selector}
			},
			func(r *corev1.ReplicationController) **int32 { return &r.Spec.Replicas }),
		orphanByDefault: true,
		fields: map[string]func(*corev1.ReplicationController) string{
			"status.replicas": func(r *corev1.ReplicationController) string { return strconv.Itoa(int(r.Status.Replicas)) },
		},
		columns: append(append([]kind.Column{
			nameColumn(),
			number("Desired", "Pods wanted", func(r *corev1.ReplicationController, _ time.Time) any { return int64(deref(r.Spec.Replicas)) }),
			number("Current", "Pods that exist", func(r *corev1.ReplicationController, _ time.Time) any { return int64(r.Status.Replicas) }),
			number("Ready", "Pods that are ready", func(r *corev1.ReplicationController, _ time.Time) any { return int64(r.Status.ReadyReplicas) }),
			ageColumn(),
		}, columns...), wide("Selector", "Which pods belong to it", func(r *corev1.ReplicationController, _ time.Time) any {
			return labels.FormatLabels(r.Spec.Selector)
		})),
	}
}

func defaultReplicationController(r *corev1.ReplicationController) {
	setPtr(&r.Spec.Replicas, 1)
	if r.Spec.Template == nil {
		return
	}
	if l := r.Spec.Template.Labels; l != nil {
		if len(r.Spec.Selector) == 0 {
			r.Spec.Selector = maps.Clone(l)
		}
		if len(r.Labels) == 0 {
			r.Labels = maps.Clone(l)
		}
	}
	defaultPodSpec(&r.Spec.Template.Spec)
}

func validateReplicationController(r, _ *corev1.ReplicationController) field.ErrorList {
	at, s := field.NewPath("spec"), &r.Spec
	errs := notNegative(s.MinReadySeconds, at.Child("minReadySeconds"))
	if len(s.Selector) == 0 {
		errs = append(errs, field.Required(at.Child("selector"), ""))
	}
	errs = append(errs, notNegative(deref(s.Replicas), at.Child("replicas"))...)
	if s.Template == nil {
		return append(errs, field.Required(at.Child("template"), ""))
	}
	selector := &metav1.LabelSelector{MatchLabels: s.Selector}
	errs = append(errs, validateTemplate(s.Template, selector, at.Child("template"))...)
	return append(errs, restartsAlwaysIn("ReplicationController", &s.Template.Spec, at.Child("template", "spec"))...)
}

func validateReplicationControllerStatus(r, _ *corev1.ReplicationController) field.ErrorList {
	at, s := field.NewPath("status"), &r.Status
	errs := counts(at, map[string]int32{"replicas": s.Replicas, "fullyLabeledReplicas": s.FullyLabeledReplicas, "readyReplicas": s.ReadyReplicas, "availableReplicas": s.AvailableReplicas})
	errs = append(errs, notNegative(s.ObservedGeneration, at.Child("observedGeneration"))...)
	errs = append(errs, atMost(s.FullyLabeledReplicas, s.Replicas, "status.replicas", at.Child("fullyLabeledReplicas"))...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, "status.replicas", at.Child("readyReplicas"))...)
	return append(errs, atMost(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", at.Child("availableReplicas"))...)
}

func podTemplates() behaviour[*corev1.PodTemplate] {
	columns := templateColumns(func(p *corev1.PodTemplate) (*metav1.LabelSelector, containers) {
		return nil, p.Template.Spec.Containers
	})[:2]
	for i := range columns {
		columns[i].Priority = 0
	}
	return behaviour[*corev1.PodTemplate]{
		defaults:   func(p *corev1.PodTemplate) { defaultPodSpec(&p.Template.Spec) },
		generation: kind.GenerationAlways,
		validate: func(p, _ *corev1.PodTemplate) field.ErrorList {
			return validateTemplate(&p.Template, nil, field.NewPath("template"))
		},
		warnings: func(p, _ *corev1.PodTemplate) []string {
			return podSpecWarnings(&p.Template.Spec, field.NewPath("template", "spec"))
		},
		columns: append(append([]kind.Column{nameColumn()}, columns...), column("Pod Labels", "Labels of pods made from it", func(p *corev1.PodTemplate, _ time.Time) any {
			return labels.FormatLabels(p.Template.Labels)
		})),
	}
}
