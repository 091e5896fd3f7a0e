package builtin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Bounds of an autoscaler's behaviour. Source: k8s.io/api, autoscaling/v2.
const (
	maxScalingPeriod       = 1800 // seconds
	maxStabilizationWindow = 3600 // seconds
	defaultUtilization     = 80   // percent of the requested CPU
)

func horizontalPodAutoscalers() behaviour[*autoscalingv2.HorizontalPodAutoscaler] {
	type hpa = autoscalingv2.HorizontalPodAutoscaler
	return behaviour[*hpa]{
		defaults:       defaultAutoscaler,
		validate:       validateAutoscaler,
		validateStatus: validateAutoscalerStatus,
		status:         true,
		columns: []kind.Column{
			nameColumn(),
			text("Reference", "What it scales", func(a *hpa) string { return a.Spec.ScaleTargetRef.Kind + "/" + a.Spec.ScaleTargetRef.Name }),
			text("Targets", "What is measured, of what is wanted", func(a *hpa) string { return autoscalerMetrics(a) }),
			text("MinPods", "Fewest pods", func(a *hpa) string {
				if a.Spec.MinReplicas == nil {
					return unset
				}
				return integer(int64(*a.Spec.MinReplicas))
			}),
			column("MaxPods", "Most pods", func(a *hpa, _ time.Time) any { return int64(a.Spec.MaxReplicas) }),
			column("Replicas", "Pods now", func(a *hpa, _ time.Time) any { return int64(a.Status.CurrentReplicas) }),
			ageColumn(),
		},
	}
}

func defaultAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) {
	s := &a.Spec
	setPtr(&s.MinReplicas, 1)
	if len(s.Metrics) == 0 {
		percent := int32(defaultUtilization)
		s.Metrics = []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
		}}}
	}
	if s.Behavior == nil {
		return
	}
	setPtr(&s.Behavior.ScaleUp, autoscalingv2.HPAScalingRules{})
	setPtr(&s.Behavior.ScaleDown, autoscalingv2.HPAScalingRules{})
	up, down := s.Behavior.ScaleUp, s.Behavior.ScaleDown
	setPtr(&up.StabilizationWindowSeconds, 0)
	setPtr(&up.SelectPolicy, autoscalingv2.MaxChangePolicySelect)
	if up.Policies == nil {
		up.Policies = []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
			{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
		}
	}
	setPtr(&down.SelectPolicy, autoscalingv2.MaxChangePolicySelect) // its window is the controller's to choose
	if down.Policies == nil {
		down.Policies = []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}}
	}
}

func validateAutoscaler(a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	at, s := field.NewPath("spec"), &a.Spec
	var errs field.ErrorList
	if n := deref(s.MinReplicas); n < 0 {
		errs = append(errs, field.Invalid(at.Child("minReplicas"), n, "must be greater than or equal to 0"))
	}
	switch n := s.MaxReplicas; {
	case n == 0:
		errs = append(errs, field.Required(at.Child("maxReplicas"), "must be set and greater than 0"))
	case n < 0:
		errs = append(errs, field.Invalid(at.Child("maxReplicas"), n, "must be greater than or equal to 1"))
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		errs = append(errs, field.Invalid(at.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, validateScaleTarget(s.ScaleTargetRef, false, at.Child("scaleTargetRef"))...)
	outside := false
	for i := range s.Metrics {
		m := &s.Metrics[i]
		errs = append(errs, validateMetric(m, at.Child("metrics").Index(i))...)
		outside = outside || m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !outside {
		errs = append(errs, field.Forbidden(at.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas"))
	}
	if s.Behavior != nil {
		errs = append(errs, validateScalingRules(s.Behavior.ScaleUp, at.Child("behavior", "scaleUp"))...)
		errs = append(errs, validateScalingRules(s.Behavior.ScaleDown, at.Child("behavior", "scaleDown"))...)
	}
	return errs
}

func validateAutoscalerStatus(a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	at := field.NewPath("status")
	return counts(at, map[string]int32{"currentReplicas": a.Status.CurrentReplicas, "desiredReplicas": a.Status.DesiredReplicas})
}

func validateScaleTarget(ref autoscalingv2.CrossVersionObjectReference, coreToo bool, at *field.Path) field.ErrorList {
	errs := needName(ref.Kind, at.Child("kind"), pathSegment)
	errs = append(errs, needName(ref.Name, at.Child("name"), pathSegment)...)
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	switch {
	case err != nil:
		errs = append(errs, field.Invalid(at.Child("apiVersion"), ref.APIVersion, err.Error()))
	case gv.Group == "" && !coreToo && ref.Kind != "ReplicationController":
		errs = append(errs, field.Invalid(at.Child("apiVersion"), ref.APIVersion, "apiVersion must specify API group"))
	}
	return errs
}

func validateScalingRules(r *autoscalingv2.HPAScalingRules, at *field.Path) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if n := deref(r.StabilizationWindowSeconds); n < 0 {
		errs = append(errs, field.Invalid(at.Child("stabilizationWindowSeconds"), n, "must be greater than or equal to zero"))
	} else if n > maxStabilizationWindow {
		errs = append(errs, field.Invalid(at.Child("stabilizationWindowSeconds"), n, fmt.Sprintf("must be less than or equal to %d", maxStabilizationWindow)))
	}
	if r.SelectPolicy != nil {
		errs = append(errs, supported(*r.SelectPolicy, at.Child("selectPolicy"), autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)...)
	}
	if len(r.Policies) == 0 {
		errs = append(errs, field.Required(at.Child("policies"), "must specify at least one Policy"))
	}
	for i, p := range r.Policies {
		here := at.Child("policies").Index(i)
		errs = append(errs, supported(p.Type, here.Child("type"), autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)...)
		if p.Value <= 0 {
			errs = append(errs, field.Invalid(here.Child("value"), p.Value, "must be greater than zero"))
		}
		if p.PeriodSeconds <= 0 {
			errs = append(errs, field.Invalid(here.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero"))
		}
		if p.PeriodSeconds > maxScalingPeriod {
			errs = append(errs, field.Invalid(here.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", maxScalingPeriod)))
		}
	}
	if r.Tolerance != nil && r.Tolerance.Sign() < 0 {
		errs = append(errs, field.Invalid(at.Child("tolerance"), quantityText(*r.Tolerance), apivalidation.IsNegativeErrorMsg))
	}
	return errs
}

// validateMetric wants the one source that the type names.
func validateMetric(m *autoscalingv2.MetricSpec, at *field.Path) field.ErrorList {
	const either = "must set either a target raw value or a target utilization"
	target := func(name string) *field.Path { return at.Child(name, "target") }
	sources := []struct {
		t     autoscalingv2.MetricSourceType
		name  string
		given bool
		check func() field.ErrorList
	}{
		{autoscalingv2.ObjectMetricSourceType, "object", m.Object != nil, func() field.ErrorList {
			errs := validateScaleTarget(m.Object.DescribedObject, true, at.Child("object", "describedObject"))
			errs = append(errs, validateMetricName(m.Object.Metric.Name, at.Child("object", "metric", "name"))...)
			errs = append(errs, validateMetricTarget(&m.Object.Target, target("object"))...)
			if m.Object.Target.Value == nil && m.Object.Target.AverageValue == nil {
				errs = append(errs, field.Required(target("object").Child("averageValue"), "must set either a target value or averageValue"))
			}
			return errs
		}},
		{autoscalingv2.ExternalMetricSourceType, "external", m.External != nil, func() field.ErrorList {
			t := &m.External.Target
			errs := validateMetricName(m.External.Metric.Name, at.Child("external", "metric", "name"))
			errs = append(errs, validateMetricTarget(t, target("external"))...)
			switch {
			case t.Value == nil && t.AverageValue == nil:
				errs = append(errs, field.Required(target("external").Child("averageValue"), "must set either a target value for metric or a per-pod target"))
			case t.Value != nil && t.AverageValue != nil:
				errs = append(errs, field.Forbidden(target("external").Child("value"), "may not set both a target value for metric and a per-pod target"))
			}
			return errs
		}},
		{autoscalingv2.PodsMetricSourceType, "pods", m.Pods != nil, func() field.ErrorList {
			errs := validateMetricName(m.Pods.Metric.Name, at.Child("pods", "metric", "name"))
			errs = append(errs, validateMetricTarget(&m.Pods.Target, target("pods"))...)
			if m.Pods.Target.AverageValue == nil {
				errs = append(errs, field.Required(target("pods").Child("averageValue"), "must specify a positive target averageValue"))
			}
			return errs
		}},
		{autoscalingv2.ResourceMetricSourceType, "resource", m.Resource != nil, func() field.ErrorList {
			return validateResourceMetric(m.Resource.Name, &m.Resource.Target, either, at.Child("resource"))
		}},
		{autoscalingv2.ContainerResourceMetricSourceType, "containerResource", m.ContainerResource != nil, func() field.ErrorList {
			here := at.Child("containerResource")
			errs := validateResourceMetric(m.ContainerResource.Name, &m.ContainerResource.Target, either, here)
			if m.ContainerResource.Container == "" {
				return append(errs, field.Required(here.Child("container"), "must specify a container"))
			}
			return append(errs, checkName(m.ContainerResource.Container, here.Child("container"), dnsLabel)...)
		}},
	}
	var errs field.ErrorList
	if m.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric source type"))
	} else {
		errs = append(errs, supported(m.Type, at.Child("type"), autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
			autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType)...)
	}
	for _, s := range sources {
		switch {
		case s.t == m.Type && !s.given:
			errs = append(errs, field.Required(at.Child(s.name), "must populate information for the given metric source"))
		case s.t == m.Type:
			errs = append(errs, s.check()...)
		case s.given:
			errs = append(errs, field.Forbidden(at.Child(s.name), "must populate the given metric source only"))
		}
	}
	return errs
}

func validateResourceMetric(name corev1.ResourceName, t *autoscalingv2.MetricTarget, either string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(at.Child("name"), "must specify a resource name"))
	}
	here := at.Child("target")
	errs = append(errs, validateMetricTarget(t, here)...)
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		errs = append(errs, field.Required(here.Child("averageUtilization"), either))
	case t.AverageUtilization != nil && t.AverageValue != nil:
		errs = append(errs, field.Forbidden(here.Child("averageValue"), "may not set both a target raw value and a target utilization"))
	}
	return errs
}

func validateMetricName(name string, at *field.Path) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "must specify a metric name")}
	}
	return checkName(name, at, pathSegment)
}

func validateMetricTarget(t *autoscalingv2.MetricTarget, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	types := []autoscalingv2.MetricTargetType{autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType}
	switch {
	case t.Type == "":
		errs = append(errs, field.Required(at.Child("type"), "must specify a metric target type"))
	case !slices.Contains(types, t.Type):
		errs = append(errs, field.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue"))
	}
	if t.Value != nil && t.Value.Sign() <= 0 {
		errs = append(errs, field.Invalid(at.Child("value"), quantityText(*t.Value), "must be positive"))
	}
	if t.AverageValue != nil && t.AverageValue.Sign() <= 0 {
		errs = append(errs, field.Invalid(at.Child("averageValue"), quantityText(*t.AverageValue), "must be positive"))
	}
	if t.AverageUtilization != nil && *t.AverageUtilization < 1 {
		errs = append(errs, field.Invalid(at.Child("averageUtilization"), *t.AverageUtilization, "must be greater than 0"))
	}
	return errs
}

// autoscalerMetrics shows the first two targets with what was measured last: cpu: 40%/80%.
func autoscalerMetrics(a *autoscalingv2.HorizontalPodAutoscaler) string {
	const most = 2
	if len(a.Spec.Metrics) == 0 {
		return none
	}
	var parts []string
	for i := range a.Spec.Metrics {
		var status *autoscalingv2.MetricStatus
		if i < len(a.Status.CurrentMetrics) {
			status = &a.Status.CurrentMetrics[i]
		}
		parts = append(parts, autoscalerMetric(&a.Spec.Metrics[i], status))
	}
	if len(parts) <= most {
		return strings.Join(parts, ", ")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(parts[:most], ", "), len(parts)-most)
}

func autoscalerMetric(m *autoscalingv2.MetricSpec, status *autoscalingv2.MetricStatus) string {
	if status == nil {
		status = &autoscalingv2.MetricStatus{}
	}
	quantity := func(q *resource.Quantity, otherwise string) string {
		if q == nil {
			return otherwise
		}
		return quantityText(*q)
	}
	averaged := func(t *autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
		if current == nil {
			current = &autoscalingv2.MetricValueStatus{}
		}
		if t.AverageValue != nil {
			return quantity(current.AverageValue, unknown) + "/" + quantityText(*t.AverageValue) + " (avg)"
		}
		return quantity(current.Value, unknown) + "/" + quantity(t.Value, unknown)
	}
	percent := func(name corev1.ResourceName, t *autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
		if current == nil {
			current = &autoscalingv2.MetricValueStatus{}
		}
		if t.AverageValue != nil {
			return fmt.Sprintf("%s: %s/%s", name, quantity(current.AverageValue, unknown), quantityText(*t.AverageValue))
		}
		have, want := unknown, "<auto>"
		if current.AverageUtilization != nil {
			have = fmt.Sprintf("%d%%", *current.AverageUtilization)
		}
		if t.AverageUtilization != nil {
			want = fmt.Sprintf("%d%%", *t.AverageUtilization)
		}
		return fmt.Sprintf("%s: %s/%s", name, have, want)
	}
	switch {
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.External != nil {
			current = &status.External.Current
		}
		return averaged(&m.External.Target, current)
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.Object != nil {
			current = &status.Object.Current
		}
		return averaged(&m.Object.Target, current)
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		have := unknown
		if status.Pods != nil {
			have = quantity(status.Pods.Current.AverageValue, unknown)
		}
		return have + "/" + quantity(m.Pods.Target.AverageValue, unknown)
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.Resource != nil {
			current = &status.Resource.Current
		}
		return percent(m.Resource.Name, &m.Resource.Target, current)
	case m.Type == autoscalingv2.ContainerResourceMetricSourceType && m.ContainerResource != nil:
		var current *autoscalingv2.MetricValueStatus
		if status.ContainerResource != nil {
			current = &status.ContainerResource.Current
		}
		return percent(m.ContainerResource.Name, &m.ContainerResource.Target, current)
	}
	return "<unknown type>"
}
