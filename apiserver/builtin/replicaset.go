package builtin

import (
	"maps"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func replicaSets() behaviour[*appsv1.ReplicaSet] {
	return behaviour[*appsv1.ReplicaSet]{
		defaults: func(r *appsv1.ReplicaSet) {
			setPtr(&r.Spec.Replicas, 1)
			defaultPodSpec(&r.Spec.Template.Spec)
		},
		prepare: func(r, old *appsv1.ReplicaSet) {
			if old == nil {
				r.Status = appsv1.ReplicaSetStatus{}
				return
			}
			r.Status = *old.Status.DeepCopy()
		},
		validate:       validateReplicaSet,
		validateStatus: validateReplicaSetStatus,
		warnings: func(r, _ *appsv1.ReplicaSet) []string {
			return podSpecWarnings(&r.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
		},
		status: true,
		scale: scaleOf(
			func(r *appsv1.ReplicaSet) (*int32, int32, *metav1.LabelSelector) {
				return r.Spec.Replicas, r.Status.Replicas, r.Spec.Selector
			},
			func(r *appsv1.ReplicaSet) **int32 { return &r.Spec.Replicas }),
		fields: map[string]func(*appsv1.ReplicaSet) string{
			"status.replicas": func(r *appsv1.ReplicaSet) string { return strconv.Itoa(int(r.Status.Replicas)) },
		},
		columns: append([]kind.Column{
			nameColumn(),
			number("Desired", "Pods wanted", func(r *appsv1.ReplicaSet, _ time.Time) any { return int64(deref(r.Spec.Replicas)) }),
			number("Current", "Pods that exist", func(r *appsv1.ReplicaSet, _ time.Time) any { return int64(r.Status.Replicas) }),
			number("Ready", "Pods that are ready", func(r *appsv1.ReplicaSet, _ time.Time) any { return int64(r.Status.ReadyReplicas) }),
			ageColumn(),
		}, templateColumns(func(r *appsv1.ReplicaSet) (*metav1.LabelSelector, containers) {
			return r.Spec.Selector, r.Spec.Template.Spec.Containers
		})...),
	}
}

func copyLabels(in map[string]string) map[string]string {
	if in == nil {
		return make(map[string]string)
	}
	return maps.Clone(in)
}
