package builtin

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// The two classes that exist without an object, and the highest value that others may have.
// Source: k8s.io/api, scheduling; Kubernetes documentation, Pod Priority and Preemption.
const (
	SystemClusterCritical = "system-cluster-critical"
	SystemNodeCritical    = "system-node-critical"

	highestUserPriority   int32 = 1000000000
	systemCriticalBase    int32 = 2 * highestUserPriority
	systemClusterPriority       = systemCriticalBase
	systemNodePriority          = systemCriticalBase + 1000
	systemPrefix                = "system-"
)

func priorityClasses() behaviour[*schedulingv1.PriorityClass] {
	return behaviour[*schedulingv1.PriorityClass]{
		defaults: func(p *schedulingv1.PriorityClass) { setPtr(&p.PreemptionPolicy, corev1.PreemptLowerPriority) },
		validate: validatePriorityClass,
		columns: []kind.Column{
			nameColumn(),
			number("Value", "Priority of pods of the class", func(p *schedulingv1.PriorityClass, _ time.Time) any { return int64(p.Value) }),
			column("Global-Default", "Whether pods without a class get it", func(p *schedulingv1.PriorityClass, _ time.Time) any { return p.GlobalDefault }),
			ageColumn(),
			wide("PreemptionPolicy", "Whether its pods may push out others", func(p *schedulingv1.PriorityClass, _ time.Time) any {
				return string(deref(p.PreemptionPolicy))
			}),
		},
	}
}

func validatePriorityClass(p, old *schedulingv1.PriorityClass) field.ErrorList {
	var errs field.ErrorList
	if strings.HasPrefix(p.Name, systemPrefix) {
		want, known := systemPriority(p.Name)
		if !known || p.Value != want || p.GlobalDefault {
			errs = append(errs, field.Forbidden(field.NewPath("metadata", "name"),
				fmt.Sprintf("names that start with %q are reserved for the system's own classes", systemPrefix)))
		}
	} else if p.Value > highestUserPriority {
		errs = append(errs, field.Forbidden(field.NewPath("value"),
			fmt.Sprintf("maximum allowed value of a user defined priority is %d", highestUserPriority)))
	}
	errs = append(errs, oneOf(deref(p.PreemptionPolicy), field.NewPath("preemptionPolicy"), corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	if old != nil {
		errs = append(errs, immutable(p.Value, old.Value, field.NewPath("value"))...)
		errs = append(errs, immutable(p.PreemptionPolicy, old.PreemptionPolicy, field.NewPath("preemptionPolicy"))...)
	}
	return errs
}

// systemPriority is the value of a class that exists without an object.
func systemPriority(name string) (int32, bool) {
	switch name {
	case SystemClusterCritical:
		return systemClusterPriority, true
	case SystemNodeCritical:
		return systemNodePriority, true
	}
	return 0, false
}
