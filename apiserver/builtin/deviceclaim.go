package builtin

import (
	"fmt"
	"strings"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// maxDeviceNamePool bounds a pool's name, which may be a path of names. Source: k8s.io/api, resource/v1.
const maxDeviceNamePool = validation.DNS1123SubdomainMaxLength

func deviceClasses() behaviour[*resourcev1.DeviceClass] {
	return behaviour[*resourcev1.DeviceClass]{
		generation: kind.GenerationAlways,
		validate: func(c, _ *resourcev1.DeviceClass) field.ErrorList {
			at := field.NewPath("spec")
			errs := validateDeviceSelectors(c.Spec.Selectors, at.Child("selectors"))
			for i, cfg := range c.Spec.Config {
				errs = append(errs, validateDeviceConfig(cfg.Opaque, at.Child("config").Index(i))...)
			}
			return errs
		},
		columns: []kind.Column{nameColumn(), ageColumn()},
	}
}

func deviceTaintRules() behaviour[*resourcev1.DeviceTaintRule] {
	type rule = resourcev1.DeviceTaintRule
	return behaviour[*rule]{
		prepare: func(r, old *rule) {
			if r.Spec.Taint.TimeAdded != nil {
				return
			}
			if old != nil && old.Spec.Taint.Effect == r.Spec.Taint.Effect {
				r.Spec.Taint.TimeAdded = old.Spec.Taint.TimeAdded.DeepCopy()
				return
			}
			at := metav1.Now().Rfc3339Copy()
			r.Spec.Taint.TimeAdded = &at
		},
		status: true,
		validate: func(r, _ *rule) field.ErrorList {
			at := field.NewPath("spec", "taint")
			errs := needName(r.Spec.Taint.Key, at.Child("key"), validation.IsQualifiedName)
			errs = append(errs, mayName(r.Spec.Taint.Value, at.Child("value"), validation.IsValidLabelValue)...)
			return append(errs, oneOf(r.Spec.Taint.Effect, at.Child("effect"), resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone)...)
		},
		columns: []kind.Column{
			nameColumn(),
			text("Key", "Key of the taint", func(r *rule) string { return r.Spec.Taint.Key }),
			text("Value", "Value of the taint", func(r *rule) string { return r.Spec.Taint.Value }),
			text("Effect", "What it does to pods", func(r *rule) string { return string(r.Spec.Taint.Effect) }),
			column("TimeAdded", "Time since it was added", func(r *rule, now time.Time) any {
				if r.Spec.Taint.TimeAdded == nil {
					return ""
				}
				return age(*r.Spec.Taint.TimeAdded, now)
			}),
			ageColumn(),
		},
	}
}

func resourceClaims() behaviour[*resourcev1.ResourceClaim] {
	type claim = resourcev1.ResourceClaim
	return behaviour[*claim]{
		defaults: func(c *claim) { defaultDeviceClaim(&c.Spec.Devices) },
		validate: func(c, old *claim) field.ErrorList {
			if old != nil {
				return immutable(c.Spec, old.Spec, field.NewPath("spec"))
			}
			return validateDeviceClaim(&c.Spec.Devices, field.NewPath("spec", "devices"))
		},
		validateStatus: validateResourceClaimStatus,
		status:         true,
		generation:     kind.GenerationNever,
		columns: []kind.Column{
			nameColumn(),
			text("State", "Whether it is allocated and in use", func(c *claim) string {
				var states []string
				if c.DeletionTimestamp != nil {
					states = append(states, "deleted")
				}
				switch {
				case c.Status.Allocation != nil:
					states = append(states, "allocated")
					if len(c.Status.ReservedFor) > 0 {
						states = append(states, "reserved")
					}
				case c.DeletionTimestamp == nil:
					states = append(states, "pending")
				}
				return strings.Join(states, ",")
			}),
			ageColumn(),
		},
	}
}

func resourceClaimTemplates() behaviour[*resourcev1.ResourceClaimTemplate] {
	type template = resourcev1.ResourceClaimTemplate
	return behaviour[*template]{
		defaults: func(t *template) { defaultDeviceClaim(&t.Spec.Spec.Devices) },
		validate: func(t, old *template) field.ErrorList {
			if old != nil {
				return immutable(t.Spec, old.Spec, field.NewPath("spec"))
			}
			return validateDeviceClaim(&t.Spec.Spec.Devices, field.NewPath("spec", "spec", "devices"))
		},
		columns: []kind.Column{nameColumn(), ageColumn()},
	}
}

func resourceSlices() behaviour[*resourcev1.ResourceSlice] {
	type slice = resourcev1.ResourceSlice
	return behaviour[*slice]{
		generation: kind.GenerationAlways,
		validate:   validateResourceSlice,
		fields: map[string]func(*slice) string{
			"spec.nodeName": func(s *slice) string { return deref(s.Spec.NodeName) },
			"spec.driver":   func(s *slice) string { return s.Spec.Driver },
		},
		columns: []kind.Column{
			nameColumn(),
			text("Node", "Where the devices are", func(s *slice) string { return deref(s.Spec.NodeName) }),
			text("Driver", "Whose devices they are", func(s *slice) string { return s.Spec.Driver }),
			text("Pool", "Pool that they belong to", func(s *slice) string { return s.Spec.Pool.Name }),
			ageColumn(),
		},
	}
}

func defaultDeviceClaim(d *resourcev1.DeviceClaim) {
	fill := func(mode *resourcev1.DeviceAllocationMode, count *int64) {
		set(mode, resourcev1.DeviceAllocationModeExactCount)
		if *mode == resourcev1.DeviceAllocationModeExactCount {
			set(count, 1)
		}
	}
	for i := range d.Requests {
		if e := d.Requests[i].Exactly; e != nil {
			fill(&e.AllocationMode, &e.Count)
		}
		for j := range d.Requests[i].FirstAvailable {
			r := &d.Requests[i].FirstAvailable[j]
			fill(&r.AllocationMode, &r.Count)
		}
	}
}

func validateDeviceClaim(d *resourcev1.DeviceClaim, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	requests := at.Child("requests")
	if len(d.Requests) > resourcev1.DeviceRequestsMaxSize {
		errs = append(errs, field.TooMany(requests, len(d.Requests), resourcev1.DeviceRequestsMaxSize))
	}
	names := make(map[string]bool)
	for i := range d.Requests {
		r, here := &d.Requests[i], requests.Index(i)
		errs = append(errs, needName(r.Name, here.Child("name"), dnsLabel)...)
		if names[r.Name] {
			errs = append(errs, field.Duplicate(here, r.Name))
		}
		names[r.Name] = true
		switch {
		case r.Exactly == nil && len(r.FirstAvailable) == 0:
			errs = append(errs, field.Required(here, "exactly one of `exactly` or `firstAvailable` is required"))
		case r.Exactly != nil && len(r.FirstAvailable) > 0:
			errs = append(errs, field.Invalid(here, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
		case r.Exactly != nil:
			errs = append(errs, validateExactRequest(r.Exactly.DeviceClassName, r.Exactly.AllocationMode, r.Exactly.Count, r.Exactly.Selectors, here.Child("exactly"))...)
		default:
			twice := make(seen[string], len(r.FirstAvailable))
			for j := range r.FirstAvailable {
				sub, below := &r.FirstAvailable[j], here.Child("firstAvailable").Index(j)
				errs = append(errs, needName(sub.Name, below.Child("name"), dnsLabel)...)
				errs = append(errs, twice.add(sub.Name, below)...)
				names[r.Name+"/"+sub.Name] = true
				errs = append(errs, validateExactRequest(sub.DeviceClassName, sub.AllocationMode, sub.Count, sub.Selectors, below)...)
			}
		}
	}
	known := func(list []string, at *field.Path) {
		twice := make(seen[string], len(list))
		for i, name := range list {
			errs = append(errs, twice.add(name, at.Index(i))...)
			if !names[name] {
				errs = append(errs, field.Invalid(at.Index(i), name, "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"))
			}
		}
	}
	for i, c := range d.Constraints {
		here := at.Child("constraints").Index(i)
		known(c.Requests, here.Child("requests"))
		if c.MatchAttribute == nil && c.DistinctAttribute == nil {
			errs = append(errs, field.Required(here, "exactly one of matchAttribute or distinctAttribute is required"))
		}
	}
	for i, c := range d.Config {
		here := at.Child("config").Index(i)
		known(c.Requests, here.Child("requests"))
		errs = append(errs, validateDeviceConfig(c.Opaque, here)...)
	}
	return errs
}

func validateExactRequest(class string, mode resourcev1.DeviceAllocationMode, count int64, selectors []resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
	errs := needName(class, at.Child("deviceClassName"), dnsSubdomain)
	errs = append(errs, validateDeviceSelectors(selectors, at.Child("selectors"))...)
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			errs = append(errs, field.Invalid(at.Child("count"), count, fmt.Sprintf("must not be specified when allocationMode is '%s'", mode)))
		}
	case resourcev1.DeviceAllocationModeExactCount:
		if count <= 0 {
			errs = append(errs, field.Invalid(at.Child("count"), count, "must be greater than zero"))
		}
	default:
		errs = append(errs, supported(mode, at.Child("allocationMode"), resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)...)
	}
	return errs
}

func validateDeviceSelectors(list []resourcev1.DeviceSelector, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(list) > resourcev1.DeviceSelectorsMaxSize {
		errs = append(errs, field.TooMany(at, len(list), resourcev1.DeviceSelectorsMaxSize))
	}
	for i, s := range list {
		switch {
		case s.CEL == nil:
			errs = append(errs, field.Required(at.Index(i).Child("cel"), ""))
		case s.CEL.Expression == "":
			errs = append(errs, field.Required(at.Index(i).Child("cel", "expression"), ""))
		case len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength:
			errs = append(errs, field.TooLong(at.Index(i).Child("cel", "expression"), "", resourcev1.CELSelectorExpressionMaxLength))
		}
	}
	return errs
}

func validateDeviceConfig(c *resourcev1.OpaqueDeviceConfiguration, at *field.Path) field.ErrorList {
	if c == nil {
		return field.ErrorList{field.Required(at.Child("opaque"), "")}
	}
	errs := driverName(c.Driver, at.Child("opaque", "driver"))
	if len(c.Parameters.Raw) == 0 {
		errs = append(errs, field.Required(at.Child("opaque", "parameters"), ""))
	}
	return errs
}

func validateResourceClaimStatus(c, old *resourcev1.ResourceClaim) field.ErrorList {
	at, s := field.NewPath("status"), &c.Status
	var errs field.ErrorList
	reserved := at.Child("reservedFor")
	if len(s.ReservedFor) > resourcev1.ResourceClaimReservedForMaxSize {
		errs = append(errs, field.TooMany(reserved, len(s.ReservedFor), resourcev1.ResourceClaimReservedForMaxSize))
	}
	users := make(seen[string], len(s.ReservedFor))
	for i, r := range s.ReservedFor {
		here := reserved.Index(i)
		for name, value := range sorted(map[string]string{"resource": r.Resource, "name": r.Name, "uid": string(r.UID)}) {
			if value == "" {
				errs = append(errs, field.Required(here.Child(name), ""))
			}
		}
		errs = append(errs, users.add(string(r.UID), here.Child("uid"))...)
	}
	if len(s.ReservedFor) > 0 && s.Allocation == nil {
		errs = append(errs, field.Forbidden(reserved, "may not be specified when `allocated` is not set"))
	}
	if old == nil {
		return errs
	}
	if old.Status.Allocation != nil && s.Allocation != nil {
		errs = append(errs, immutable(s.Allocation, old.Status.Allocation, at.Child("allocation"))...)
	}
	if c.DeletionTimestamp != nil && len(s.ReservedFor) > len(old.Status.ReservedFor) {
		errs = append(errs, field.Forbidden(reserved, "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"))
	}
	return errs
}

func validateResourceSlice(s, old *resourcev1.ResourceSlice) field.ErrorList {
	at, spec := field.NewPath("spec"), &s.Spec
	errs := driverName(spec.Driver, at.Child("driver"))
	pool := at.Child("pool")
	switch name := spec.Pool.Name; {
	case name == "":
		errs = append(errs, field.Required(pool.Child("name"), ""))
	case len(name) > maxDeviceNamePool:
		errs = append(errs, field.TooLong(pool.Child("name"), name, maxDeviceNamePool))
	default:
		for part := range strings.SplitSeq(name, "/") {
			errs = append(errs, checkName(part, pool.Child("name"), dnsSubdomain)...)
		}
	}
	if n := spec.Pool.ResourceSliceCount; n <= 0 {
		errs = append(errs, field.Invalid(pool.Child("resourceSliceCount"), n, "must be greater than zero"))
	}
	if n := spec.Pool.Generation; n < 0 {
		errs = append(errs, field.Invalid(pool.Child("generation"), n, "must be greater than or equal to zero"))
	}
	if old != nil {
		errs = append(errs, immutable(spec.Pool.Name, old.Spec.Pool.Name, pool.Child("name"))...)
		errs = append(errs, immutable(spec.Driver, old.Spec.Driver, at.Child("driver"))...)
		errs = append(errs, immutable(spec.NodeName, old.Spec.NodeName, at.Child("nodeName"))...)
	}
	errs = append(errs, validateSliceNodes(spec, at)...)
	if spec.SharedCounters != nil && spec.Devices != nil {
		errs = append(errs, field.Invalid(at, "", "only one of `sharedCounters` or `devices` is allowed"))
	}
	if len(spec.Devices) > resourcev1.ResourceSliceMaxDevices {
		errs = append(errs, field.TooMany(at.Child("devices"), len(spec.Devices), resourcev1.ResourceSliceMaxDevices))
	}
	names := make(seen[string], len(spec.Devices))
	for i := range spec.Devices {
		here := at.Child("devices").Index(i)
		errs = append(errs, needName(spec.Devices[i].Name, here.Child("name"), dnsLabel)...)
		errs = append(errs, names.add(spec.Devices[i].Name, here)...)
	}
	return errs
}

// validateSliceNodes wants one way of saying from which nodes the devices can be used.
func validateSliceNodes(s *resourcev1.ResourceSliceSpec, at *field.Path) field.ErrorList {
	const one = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	var errs field.ErrorList
	var given []string
	if s.NodeName != nil && *s.NodeName == "" {
		errs = append(errs, field.Invalid(at.Child("nodeName"), "", "must be either unset or set to a non-empty string"))
	} else if s.NodeName != nil {
		given = append(given, "`nodeName`")
		errs = append(errs, checkName(*s.NodeName, at.Child("nodeName"), dnsSubdomain)...)
	}
	if s.NodeSelector != nil {
		given = append(given, "`nodeSelector`")
		errs = append(errs, validateNodeSelector(s.NodeSelector, at.Child("nodeSelector"))...)
		if len(s.NodeSelector.NodeSelectorTerms) != 1 {
			errs = append(errs, field.Invalid(at.Child("nodeSelector", "nodeSelectorTerms"), s.NodeSelector.NodeSelectorTerms, "must have exactly one node selector term"))
		}
	}
	for _, flag := range []struct {
		name  string
		value *bool
	}{{"allNodes", s.AllNodes}, {"perDeviceNodeSelection", s.PerDeviceNodeSelection}} {
		if flag.value != nil && *flag.value {
			given = append(given, "`"+flag.name+"`")
		} else if flag.value != nil {
			errs = append(errs, field.Invalid(at.Child(flag.name), false, "must be either unset or set to true"))
		}
	}
	switch len(given) {
	case 0:
		errs = append(errs, field.Required(at, one))
	case 1:
	default:
		errs = append(errs, field.Invalid(at, "{"+strings.Join(given, ", ")+"}", one+", but multiple fields are set"))
	}
	return errs
}
