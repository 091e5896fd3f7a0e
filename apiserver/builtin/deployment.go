package builtin

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func deployments() behaviour[*appsv1.Deployment] {
	return behaviour[*appsv1.Deployment]{
		defaults:       defaultDeployment,
		prepare:        prepareDeployment,
		validate:       validateDeployment,
		validateStatus: validateDeploymentStatus,
		warnings: func(d, _ *appsv1.Deployment) []string {
			return podSpecWarnings(&d.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
		},
		status: true,
		scale: scaleOf(
			func(d *appsv1.Deployment) (*int32, int32, *metav1.LabelSelector) {
				return d.Spec.Replicas, d.Status.Replicas, d.Spec.Selector
			},
			func(d *appsv1.Deployment) **int32 { return &d.Spec.Replicas }),
		columns: append([]kind.Column{
			nameColumn(),
			column("Ready", "Ready pods of those wanted", func(d *appsv1.Deployment, _ time.Time) any {
				return ratio(d.Status.ReadyReplicas, deref(d.Spec.Replicas))
			}),
			number("Up-to-date", "Pods of the current template", func(d *appsv1.Deployment, _ time.Time) any { return int64(d.Status.UpdatedReplicas) }),
			number("Available", "Pods ready for at least minReadySeconds", func(d *appsv1.Deployment, _ time.Time) any { return int64(d.Status.AvailableReplicas) }),
			ageColumn(),
		}, templateColumns(func(d *appsv1.Deployment) (*metav1.LabelSelector, containers) {
			return d.Spec.Selector, d.Spec.Template.Spec.Containers
		})...),
	}
}

func defaultDeployment(d *appsv1.Deployment) {
	s := &d.Spec
	setPtr(&s.Replicas, 1)
	setPtr(&s.RevisionHistoryLimit, 10)
	setPtr(&s.ProgressDeadlineSeconds, 600)
	set(&s.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if s.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		setPtr(&s.Strategy.RollingUpdate, appsv1.RollingUpdateDeployment{})
		setPtr(&s.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		setPtr(&s.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	defaultPodSpec(&s.Template.Spec)
}

func prepareDeployment(d, old *appsv1.Deployment) {
	if old == nil {
		d.Status = appsv1.DeploymentStatus{}
		return
	}
	d.Status = *old.Status.DeepCopy()
}

// scaleOf makes the scale subresource from where a kind keeps its replicas.
func scaleOf[T kind.Instance](read func(T) (want *int32, have int32, selector *metav1.LabelSelector), want func(T) **int32) *kind.Scale {
	return &kind.Scale{
		Get: func(obj kind.Instance) autoscalingv1.Scale {
			spec, status, selector := read(obj.(T))
			return autoscalingv1.Scale{
				Spec:   autoscalingv1.ScaleSpec{Replicas: deref(spec)},
				Status: autoscalingv1.ScaleStatus{Replicas: status, Selector: selectorText(selector)},
			}
		},
		Set: func(obj kind.Instance, replicas int32) { *want(obj.(T)) = &replicas },
	}
}
