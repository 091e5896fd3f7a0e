package builtin

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateQuantities checks a list of quantities by name.
func validateQuantities(list corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, q := range list {
		here := at.Key(string(name))
		for _, msg := range validation.IsQualifiedName(string(name)) {
			errs = append(errs, field.Invalid(here, name, msg))
		}
		if q.Sign() < 0 {
			errs = append(errs, field.Invalid(here, q.String(), apivalidation.IsNegativeErrorMsg))
		}
		if wholeNumber(name) && q.MilliValue()%1000 != 0 {
			errs = append(errs, field.Invalid(here, q.String(), "must be an integer"))
		}
	}
	return errs
}

// wholeNumber says whether a resource cannot be cut into parts: all but CPU and what is counted in bytes.
func wholeNumber(name corev1.ResourceName) bool { return name == corev1.ResourcePods || extended(name) }

// extended says whether a resource is one of somebody else's, such as example.com/gpu.
func extended(name corev1.ResourceName) bool {
	domain, _, ok := strings.Cut(string(name), "/")
	return ok && domain != "kubernetes.io" && !strings.HasSuffix(domain, ".kubernetes.io")
}

func validateResources(r corev1.ResourceRequirements, at *field.Path) field.ErrorList {
	errs := validateQuantities(r.Limits, at.Child("limits"))
	errs = append(errs, validateQuantities(r.Requests, at.Child("requests"))...)
	for _, part := range []struct {
		list corev1.ResourceList
		at   *field.Path
	}{{r.Limits, at.Child("limits")}, {r.Requests, at.Child("requests")}} {
		for name := range part.list {
			if !containerResource(name) {
				errs = append(errs, field.Invalid(part.at.Key(string(name)), name, "must be a standard resource for containers (cpu, memory, ephemeral-storage, hugepages-<size>) or have a domain, such as example.com/gpu"))
			}
		}
	}
	for name, request := range r.Requests {
		here := at.Child("requests").Key(string(name))
		limit, limited := r.Limits[name]
		exact := extended(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
		switch {
		case exact && !limited:
			errs = append(errs, field.Required(at.Child("limits").Key(string(name)), fmt.Sprintf("limit must be set for non overcommitable resource %s", name)))
		case exact && request.Cmp(limit) != 0:
			errs = append(errs, field.Invalid(here, request.String(), fmt.Sprintf("must be equal to %s limit of %s", name, limit.String())))
		case limited && request.Cmp(limit) > 0:
			errs = append(errs, field.Invalid(here, request.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", name, limit.String())))
		}
	}
	return errs
}

func containerResource(name corev1.ResourceName) bool {
	return slices.Contains([]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}, name) ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) || strings.Contains(string(name), "/")
}
