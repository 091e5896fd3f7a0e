package builtin

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func resourceQuotas() behaviour[*corev1.ResourceQuota] {
	// used lists what is used of what is allowed, for limits or for the rest.
	used := func(q *corev1.ResourceQuota, limits bool) string {
		var parts []string
		for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
			if strings.HasPrefix(string(name), "limits.") != limits {
				continue
			}
			have, most := q.Status.Used[name], q.Status.Hard[name]
			parts = append(parts, fmt.Sprintf("%s: %s/%s", name, have.String(), most.String()))
		}
		return strings.Join(parts, ", ")
	}
	return behaviour[*corev1.ResourceQuota]{
		validate:       validateResourceQuota,
		validateStatus: validateResourceQuotaStatus,
		status:         true,
		generation:     kind.GenerationNever,
		columns: []kind.Column{
			nameColumn(),
			text("Request", "Requests and objects, of those allowed", func(q *corev1.ResourceQuota) string { return used(q, false) }),
			text("Limit", "Limits, of those allowed", func(q *corev1.ResourceQuota) string { return used(q, true) }),
			ageColumn(),
		},
	}
}

func validateResourceQuota(q, old *corev1.ResourceQuota) field.ErrorList {
	at, s := field.NewPath("spec"), &q.Spec
	errs := validateQuotaList(s.Hard, at.Child("hard"))
	scopes := at.Child("scopes")
	for _, scope := range s.Scopes {
		if !quotaScope(scope) {
			errs = append(errs, field.Invalid(scopes, s.Scopes, "unsupported scope"))
		}
		if !scopeFits(scope, s.Hard) {
			errs = append(errs, field.Invalid(scopes, s.Scopes, "unsupported scope applied to resource"))
		}
	}
	errs = append(errs, conflictingScopes(s.Scopes, scopes)...)
	if s.ScopeSelector != nil {
		errs = append(errs, validateScopeSelector(s, at.Child("scopeSelector", "matchExpressions"))...)
	}
	if old != nil && !same(sortedScopes(s.Scopes), sortedScopes(old.Spec.Scopes)) {
		errs = append(errs, field.Invalid(scopes, s.Scopes, apivalidation.FieldImmutableErrorMsg))
	}
	return errs
}

func sortedScopes(list []corev1.ResourceQuotaScope) []corev1.ResourceQuotaScope {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

func validateResourceQuotaStatus(q, _ *corev1.ResourceQuota) field.ErrorList {
	errs := validateQuotaList(q.Status.Hard, field.NewPath("status", "hard"))
	return append(errs, validateQuotaList(q.Status.Used, field.NewPath("status", "used"))...)
}

func validateQuotaList(list corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, q := range list {
		here := at.Key(string(name))
		errs = append(errs, resourceName(name, here)...)
		if !strings.Contains(string(name), "/") && len(validation.IsQualifiedName(string(name))) == 0 && !quotaResource(name) {
			errs = append(errs, field.Invalid(here, name, "must be a standard resource for quota"))
		}
		errs = append(errs, quantityOf(name, q, here)...)
	}
	return errs
}

// resourceName wants a name that is known or somebody's: with a domain.
func resourceName(name corev1.ResourceName, at *field.Path) field.ErrorList {
	errs := checkName(string(name), at, validation.IsQualifiedName)
	if len(errs) == 0 && !strings.Contains(string(name), "/") && !standardResource(name) {
		errs = append(errs, field.Invalid(at, name, "must be a standard resource type or fully qualified"))
	}
	return errs
}

func quantityOf(name corev1.ResourceName, q resource.Quantity, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if q.Sign() < 0 {
		errs = append(errs, field.Invalid(at, q.String(), apivalidation.IsNegativeErrorMsg))
	}
	if (countedResource(name) || extended(name)) && q.MilliValue()%1000 != 0 {
		errs = append(errs, field.Invalid(at, q, "must be an integer"))
	}
	return errs
}

// countedResource says whether a quota on it counts objects.
func countedResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourcePods, corev1.ResourceQuotas, corev1.ResourceServices, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
		corev1.ResourceConfigMaps, corev1.ResourcePersistentVolumeClaims, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers:
		return true
	}
	return false
}

func quotaResource(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory,
		corev1.ResourceRequestsStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
		corev1.ResourceLimitsEphemeralStorage:
		return true
	}
	return countedResource(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(string(name), corev1.ResourceRequestsHugePagesPrefix)
}

func standardResource(name corev1.ResourceName) bool {
	return name == corev1.ResourceStorage || quotaResource(name)
}

func quotaScope(s corev1.ResourceQuotaScope) bool {
	switch s {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeBestEffort,
		corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass,
		corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return true
	}
	return false
}

// scopeFits reports whether what is limited can be told apart by the scope.
func scopeFits(scope corev1.ResourceQuotaScope, hard corev1.ResourceList) bool {
	for name := range hard {
		if !quotaResource(name) {
			continue
		}
		var fits bool
		switch scope {
		case corev1.ResourceQuotaScopeBestEffort:
			fits = name == corev1.ResourcePods
		case corev1.ResourceQuotaScopeVolumeAttributesClass:
			fits = name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
		case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
			corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
			switch name {
			case corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
				corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory:
				fits = true
			}
		default:
			fits = true
		}
		if !fits {
			return false
		}
	}
	return true
}

func conflictingScopes(scopes []corev1.ResourceQuotaScope, at *field.Path) field.ErrorList {
	both := func(a, b corev1.ResourceQuotaScope) bool {
		return slices.Contains(scopes, a) && slices.Contains(scopes, b)
	}
	if both(corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort) ||
		both(corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating) {
		return field.ErrorList{field.Invalid(at, scopes, "conflicting scopes")}
	}
	return nil
}

func validateScopeSelector(s *corev1.ResourceQuotaSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	var scopes []corev1.ResourceQuotaScope
	for _, r := range s.ScopeSelector.MatchExpressions {
		scopes = append(scopes, r.ScopeName)
		if !quotaScope(r.ScopeName) {
			errs = append(errs, field.Invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope"))
		}
		if !scopeFits(r.ScopeName, s.Hard) {
			errs = append(errs, field.Invalid(at, s.ScopeSelector, "unsupported scope applied to resource"))
		}
		switch r.ScopeName {
		case corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating,
			corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
			if r.Operator != corev1.ScopeSelectorOpExists {
				errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
			}
		}
		switch r.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(at.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				errs = append(errs, field.Invalid(at.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
			}
		default:
			errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
		}
	}
	return append(errs, conflictingScopes(scopes, at)...)
}
