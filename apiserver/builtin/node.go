package builtin

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	roleLabelPrefix = "node-role.kubernetes.io/"
	roleLabel       = "kubernetes.io/role"
)

func nodes() behaviour[*corev1.Node] {
	info := func(name, description string, get func(*corev1.NodeSystemInfo) string) kind.Column {
		return wide(name, description, func(n *corev1.Node, _ time.Time) any {
			if v := get(&n.Status.NodeInfo); v != "" {
				return v
			}
			return unknown
		})
	}
	return behaviour[*corev1.Node]{
		defaults: func(n *corev1.Node) {
			if n.Status.Allocatable == nil && n.Status.Capacity != nil {
				n.Status.Allocatable = n.Status.Capacity.DeepCopy()
			}
		},
		prepare: func(n, old *corev1.Node) {
			if old != nil { // a new node may come with its status: agents register themselves in one write
				n.Status = *old.Status.DeepCopy()
			}
		},
		validate:       validateNode,
		validateStatus: validateNodeStatus,
		status:         true,
		fields: map[string]func(*corev1.Node) string{
			"spec.unschedulable": func(n *corev1.Node) string { return boolean(n.Spec.Unschedulable) },
		},
		columns: []kind.Column{
			nameColumn(),
			column("Status", "Whether it is ready and takes pods", func(n *corev1.Node, _ time.Time) any { return nodeState(n) }),
			column("Roles", "Roles from its labels", func(n *corev1.Node, _ time.Time) any { return nodeRoles(n) }),
			ageColumn(),
			column("Version", "Version of its agent", func(n *corev1.Node, _ time.Time) any { return n.Status.NodeInfo.KubeletVersion }),
			wide("Internal-IP", "Address inside the cluster", func(n *corev1.Node, _ time.Time) any { return nodeAddress(n, corev1.NodeInternalIP) }),
			wide("External-IP", "Address from outside", func(n *corev1.Node, _ time.Time) any { return nodeAddress(n, corev1.NodeExternalIP) }),
			info("OS-Image", "Operating system", func(i *corev1.NodeSystemInfo) string { return i.OSImage }),
			info("Kernel-Version", "Kernel", func(i *corev1.NodeSystemInfo) string { return i.KernelVersion }),
			info("Container-Runtime", "Runtime and its version", func(i *corev1.NodeSystemInfo) string { return i.ContainerRuntimeVersion }),
		},
	}
}

func validateNode(n, old *corev1.Node) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	errs = append(errs, validateTaints(n.Spec.Taints, spec.Child("taints"))...)
	cidrs := spec.Child("podCIDRs")
	for i, c := range n.Spec.PodCIDRs {
		errs = append(errs, validation.IsValidCIDR(cidrs.Index(i), c)...)
	}
	if len(n.Spec.PodCIDRs) > 0 && n.Spec.PodCIDR != n.Spec.PodCIDRs[0] {
		errs = append(errs, field.Invalid(cidrs.Index(0), n.Spec.PodCIDRs[0], "must be the same as spec.podCIDR"))
	}
	if len(n.Spec.PodCIDRs) > 1 {
		a, errA := netip.ParsePrefix(n.Spec.PodCIDRs[0])
		b, errB := netip.ParsePrefix(n.Spec.PodCIDRs[1])
		if errA == nil && errB == nil && a.Addr().Is4() == b.Addr().Is4() || len(n.Spec.PodCIDRs) > 2 {
			errs = append(errs, field.Invalid(cidrs, n.Spec.PodCIDRs, "may specify no more than one CIDR for each IP family"))
		}
	}
	if old == nil {
		return append(errs, validateNodeStatus(n, nil)...)
	}
	if len(old.Spec.PodCIDRs) > 0 && !slices.Equal(old.Spec.PodCIDRs, n.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(cidrs, "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && old.Spec.ProviderID != n.Spec.ProviderID {
		errs = append(errs, field.Forbidden(spec.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	return errs
}

func validateNodeStatus(n, _ *corev1.Node) field.ErrorList {
	status := field.NewPath("status")
	errs := validateQuantities(n.Status.Capacity, status.Child("capacity"))
	errs = append(errs, validateQuantities(n.Status.Allocatable, status.Child("allocatable"))...)
	twice := make(seen[corev1.NodeAddress], len(n.Status.Addresses))
	for i, a := range n.Status.Addresses {
		if _, ok := twice[a]; ok {
			errs = append(errs, field.Duplicate(status.Child("addresses").Index(i), a))
		}
		twice[a] = struct{}{}
	}
	return errs
}

func validateTaints(taints []corev1.Taint, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	twice := make(seen[string], len(taints))
	for i, t := range taints {
		here := at.Index(i)
		errs = append(errs, needName(t.Key, here.Child("key"), validation.IsQualifiedName)...)
		for _, msg := range validation.IsValidLabelValue(t.Value) {
			errs = append(errs, field.Invalid(here.Child("value"), t.Value, msg))
		}
		errs = append(errs, oneOf(t.Effect, here.Child("effect"), corev1.TaintEffectNoExecute, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule)...)
		errs = append(errs, twice.add(t.Key+":"+string(t.Effect), here)...)
	}
	return errs
}

func nodeState(n *corev1.Node) string {
	state := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		if state = "NotReady"; c.Status == corev1.ConditionTrue {
			state = "Ready"
		}
	}
	if n.Spec.Unschedulable {
		state += ",SchedulingDisabled"
	}
	return state
}

func nodeRoles(n *corev1.Node) string {
	var roles []string
	for key, value := range n.Labels {
		if role, ok := strings.CutPrefix(key, roleLabelPrefix); ok && role != "" {
			roles = append(roles, role)
		} else if key == roleLabel && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return orNone(strings.Join(slices.Compact(roles), ","))
}

func nodeAddress(n *corev1.Node, t corev1.NodeAddressType) string {
	for _, a := range n.Status.Addresses {
		if a.Type == t {
			return a.Address
		}
	}
	return none
}
