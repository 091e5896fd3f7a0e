package builtin

import (
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func runtimeClasses() behaviour[*nodev1.RuntimeClass] {
	return behaviour[*nodev1.RuntimeClass]{
		validate: func(c, old *nodev1.RuntimeClass) field.ErrorList {
			if old != nil {
				return immutable(c.Handler, old.Handler, field.NewPath("handler"))
			}
			errs := needName(c.Handler, field.NewPath("handler"), dnsLabel)
			if c.Overhead != nil {
				errs = append(errs, validateResources(corev1.ResourceRequirements{Limits: c.Overhead.PodFixed}, field.NewPath("overhead"))...)
			}
			if c.Scheduling != nil {
				at := field.NewPath("scheduling")
				errs = append(errs, metav1validation.ValidateLabels(c.Scheduling.NodeSelector, at.Child("nodeSelector"))...)
				errs = append(errs, validateTolerations(c.Scheduling.Tolerations, at.Child("tolerations"))...)
			}
			return errs
		},
		columns: []kind.Column{
			nameColumn(),
			text("Handler", "How the runtime calls it", func(c *nodev1.RuntimeClass) string { return c.Handler }),
			ageColumn(),
		},
	}
}
