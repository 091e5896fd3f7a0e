package builtin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func limitRanges() behaviour[*corev1.LimitRange] {
	return behaviour[*corev1.LimitRange]{
		defaults: defaultLimitRange,
		validate: validateLimitRange,
		columns: []kind.Column{
			nameColumn(),
			{Name: "Created At", Type: "date", Description: "When the object was created", Cell: func(obj kind.Instance, _ time.Time) any {
				return obj.GetCreationTimestamp().UTC().Format(time.RFC3339)
			}},
		},
	}
}

// defaultLimitRange derives, for containers, a limit from the highest allowed, and a request from the limit or the lowest allowed.
func defaultLimitRange(l *corev1.LimitRange) {
	fill := func(to, from corev1.ResourceList) {
		for name, q := range from {
			if _, ok := to[name]; !ok {
				to[name] = q.DeepCopy()
			}
		}
	}
	for i := range l.Spec.Limits {
		item := &l.Spec.Limits[i]
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		if item.Default == nil {
			item.Default = make(corev1.ResourceList)
		}
		if item.DefaultRequest == nil {
			item.DefaultRequest = make(corev1.ResourceList)
		}
		fill(item.Default, item.Max)
		fill(item.DefaultRequest, item.Default)
		fill(item.DefaultRequest, item.Min)
	}
}

func validateLimitRange(l, _ *corev1.LimitRange) field.ErrorList {
	at := field.NewPath("spec", "limits")
	var errs field.ErrorList
	types := make(seen[corev1.LimitType], len(l.Spec.Limits))
	for i := range l.Spec.Limits {
		item, here := &l.Spec.Limits[i], at.Index(i)
		errs = append(errs, limitType(item.Type, here.Child("type"))...)
		errs = append(errs, types.add(item.Type, here.Child("type"))...)
		errs = append(errs, validateLimit(item, here)...)
	}
	return errs
}

func limitType(t corev1.LimitType, at *field.Path) field.ErrorList {
	errs := checkName(string(t), at, validation.IsQualifiedName)
	known := t == corev1.LimitTypePod || t == corev1.LimitTypeContainer || t == corev1.LimitTypePersistentVolumeClaim
	if len(errs) == 0 && !known && !strings.Contains(string(t), "/") {
		errs = append(errs, field.Invalid(at, t, "must be a standard limit type or fully qualified"))
	}
	return errs
}

func validateLimit(item *corev1.LimitRangeItem, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := make(map[corev1.ResourceName]bool)
	defaults, requests := item.Default, item.DefaultRequest
	if item.Type == corev1.LimitTypePod {
		for name, list := range sorted(map[string]corev1.ResourceList{"default": defaults, "defaultRequest": requests}) {
			if len(list) > 0 {
				errs = append(errs, field.Forbidden(at.Child(name), "may not be specified when `type` is 'Pod'"))
			}
		}
		defaults, requests = nil, nil
	}
	for _, part := range []struct {
		field string
		list  corev1.ResourceList
	}{{"max", item.Max}, {"min", item.Min}, {"default", defaults}, {"defaultRequest", requests}, {"maxLimitRequestRatio", item.MaxLimitRequestRatio}} {
		for name := range part.list {
			names[name] = true
			errs = append(errs, limitedResource(item.Type, name, at.Child(part.field).Key(string(name)))...)
		}
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := item.Min[corev1.ResourceStorage]
		_, most := item.Max[corev1.ResourceStorage]
		if !least && !most {
			errs = append(errs, field.Required(at.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		errs = append(errs, compareLimits(name, item, defaults, requests, at)...)
	}
	return errs
}

func limitedResource(t corev1.LimitType, name corev1.ResourceName, at *field.Path) field.ErrorList {
	errs := resourceName(name, at)
	if len(errs) == 0 && (t == corev1.LimitTypePod || t == corev1.LimitTypeContainer) && !containerResource(name) {
		errs = append(errs, field.Invalid(at, name, "must be a standard resource for containers"))
	}
	return errs
}

// compareLimits checks the order: min, default request, default, max.
func compareLimits(name corev1.ResourceName, item *corev1.LimitRangeItem, defaults, requests corev1.ResourceList, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	key := func(part string) *field.Path { return at.Child(part).Key(string(name)) }
	least, hasLeast := item.Min[name]
	most, hasMost := item.Max[name]
	limit, hasLimit := defaults[name]
	request, hasRequest := requests[name]
	ratio, hasRatio := item.MaxLimitRequestRatio[name]
	above := func(both bool, low, high resource.Quantity, lowName, highName, part string, value resource.Quantity) {
		if both && low.Cmp(high) > 0 {
			errs = append(errs, field.Invalid(key(part), value, fmt.Sprintf("%s value %s is greater than %s value %s", lowName, low.String(), highName, high.String())))
		}
	}
	above(hasLeast && hasMost, least, most, "min", "max", "min", least)
	above(hasRequest && hasLeast, least, request, "min", "default request", "defaultRequest", request)
	above(hasRequest && hasMost, request, most, "default request", "max", "defaultRequest", request)
	above(hasRequest && hasLimit, request, limit, "default request", "default limit", "defaultRequest", request)
	above(hasLimit && hasLeast, least, limit, "min", "default", "default", least)
	above(hasLimit && hasMost, limit, most, "default", "max", "default", most)
	if hasRatio && ratio.Cmp(resource.MustParse("1")) < 0 {
		errs = append(errs, field.Invalid(key("maxLimitRequestRatio"), ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String())))
	}
	if hasRatio && hasLeast && hasMost {
		if highest := most.AsApproximateFloat64() / least.AsApproximateFloat64(); ratio.AsApproximateFloat64() > highest {
			errs = append(errs, field.Invalid(key("maxLimitRequestRatio"), ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), highest)))
		}
	}
	whole := extended(name) || strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix)
	if whole && hasLimit && hasRequest && limit.Cmp(request) != 0 {
		errs = append(errs, field.Invalid(key("defaultRequest"), request, fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name)))
	}
	return errs
}
