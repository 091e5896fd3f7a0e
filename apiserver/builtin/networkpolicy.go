package builtin

import (
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func networkPolicies() behaviour[*networkingv1.NetworkPolicy] {
	return behaviour[*networkingv1.NetworkPolicy]{
		defaults:   defaultNetworkPolicy,
		validate:   validateNetworkPolicy,
		generation: kind.GenerationAlways,
		columns: []kind.Column{
			nameColumn(),
			text("Pod-Selector", "Which pods it is about", func(p *networkingv1.NetworkPolicy) string { return metav1.FormatLabelSelector(&p.Spec.PodSelector) }),
			ageColumn(),
		},
	}
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	if len(p.Spec.PolicyTypes) == 0 {
		p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(p.Spec.Egress) > 0 {
			p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	for _, rule := range p.Spec.Ingress {
		for i := range rule.Ports {
			setPtr(&rule.Ports[i].Protocol, corev1.ProtocolTCP)
		}
	}
	for _, rule := range p.Spec.Egress {
		for i := range rule.Ports {
			setPtr(&rule.Ports[i].Protocol, corev1.ProtocolTCP)
		}
	}
}

func validateNetworkPolicy(p, _ *networkingv1.NetworkPolicy) field.ErrorList {
	at, s := field.NewPath("spec"), &p.Spec
	errs := wellFormed(&s.PodSelector, at.Child("podSelector"))
	for i, rule := range s.Ingress {
		here := at.Child("ingress").Index(i)
		errs = append(errs, validatePolicyRule(rule.Ports, rule.From, here, here.Child("from"))...)
	}
	for i, rule := range s.Egress {
		here := at.Child("egress").Index(i)
		errs = append(errs, validatePolicyRule(rule.Ports, rule.To, here, here.Child("to"))...)
	}
	types := at.Child("policyTypes")
	if len(s.PolicyTypes) > 2 {
		return append(errs, field.Invalid(types, s.PolicyTypes, "may not specify more than two policyTypes"))
	}
	for i, t := range s.PolicyTypes {
		errs = append(errs, supported(t, types.Index(i), networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
	}
	return errs
}

func validatePolicyRule(ports []networkingv1.NetworkPolicyPort, peers []networkingv1.NetworkPolicyPeer, at, peersAt *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, p := range ports {
		errs = append(errs, validatePolicyPort(p, at.Child("ports").Index(i))...)
	}
	for i, peer := range peers {
		errs = append(errs, validatePolicyPeer(peer, peersAt.Index(i))...)
	}
	return errs
}

func validatePolicyPort(p networkingv1.NetworkPolicyPort, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.Protocol != nil {
		errs = append(errs, supported(*p.Protocol, at.Child("protocol"), corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
	end := at.Child("endPort")
	switch {
	case p.Port == nil && p.EndPort != nil:
		errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is not specified"))
	case p.Port == nil:
	case p.Port.Type == intstr.String:
		if p.EndPort != nil {
			errs = append(errs, field.Invalid(end, *p.EndPort, "may not be specified when `port` is non-numeric"))
		}
		errs = append(errs, checkName(p.Port.StrVal, at.Child("port"), validation.IsValidPortName)...)
	default:
		errs = append(errs, portNumber(p.Port.IntVal, at.Child("port"))...)
		if p.EndPort != nil {
			if *p.EndPort < p.Port.IntVal {
				errs = append(errs, field.Invalid(end, *p.EndPort, "must be greater than or equal to `port`"))
			}
			errs = append(errs, portNumber(*p.EndPort, end)...)
		}
	}
	return errs
}

func validatePolicyPeer(p networkingv1.NetworkPolicyPeer, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if p.PodSelector != nil {
		errs = append(errs, wellFormed(p.PodSelector, at.Child("podSelector"))...)
	}
	if p.NamespaceSelector != nil {
		errs = append(errs, wellFormed(p.NamespaceSelector, at.Child("namespaceSelector"))...)
	}
	if p.IPBlock != nil {
		errs = append(errs, validateIPBlock(p.IPBlock, at.Child("ipBlock"))...)
		if p.PodSelector != nil || p.NamespaceSelector != nil {
			errs = append(errs, field.Forbidden(at, "may not specify both ipBlock and another peer"))
		}
	} else if p.PodSelector == nil && p.NamespaceSelector == nil {
		errs = append(errs, field.Required(at, "must specify a peer"))
	}
	return errs
}

func validateIPBlock(b *networkingv1.IPBlock, at *field.Path) field.ErrorList {
	if b.CIDR == "" {
		return field.ErrorList{field.Required(at.Child("cidr"), "")}
	}
	errs := validation.IsValidCIDR(at.Child("cidr"), b.CIDR)
	whole, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return errs
	}
	for i, text := range b.Except {
		here := at.Child("except").Index(i)
		errs = append(errs, validation.IsValidCIDR(here, text)...)
		part, err := netip.ParsePrefix(text)
		if err == nil && (!whole.Contains(part.Addr()) || whole.Bits() >= part.Bits()) {
			errs = append(errs, field.Invalid(here, text, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}

func ipAddresses() behaviour[*networkingv1.IPAddress] {
	return behaviour[*networkingv1.IPAddress]{
		name: ipName,
		validate: func(a, old *networkingv1.IPAddress) field.ErrorList {
			at := field.NewPath("spec", "parentRef")
			if old != nil {
				return immutable(a.Spec.ParentRef, old.Spec.ParentRef, at)
			}
			ref := a.Spec.ParentRef
			if ref == nil {
				return field.ErrorList{field.Required(at, "")}
			}
			errs := mayName(ref.Group, at.Child("group"), dnsSubdomain)
			errs = append(errs, needName(ref.Resource, at.Child("resource"), pathSegment)...)
			errs = append(errs, needName(ref.Name, at.Child("name"), pathSegment)...)
			return append(errs, mayName(ref.Namespace, at.Child("namespace"), pathSegment)...)
		},
		columns: []kind.Column{
			nameColumn(),
			text("ParentRef", "Who has the address", func(a *networkingv1.IPAddress) string {
				ref := a.Spec.ParentRef
				if ref == nil {
					return none
				}
				parts := []string{strings.ToLower(strings.TrimSuffix(ref.Resource+"."+ref.Group, "."))}
				if ref.Namespace != "" {
					parts = append(parts, ref.Namespace)
				}
				return strings.Join(append(parts, ref.Name), "/")
			}),
			ageColumn(),
		},
	}
}

// ipName wants an address in its only canonical form.
func ipName(name string) []string {
	var out []string
	for _, e := range validation.IsValidIP(nil, name) {
		out = append(out, e.Detail)
	}
	return out
}

func serviceCIDRs() behaviour[*networkingv1.ServiceCIDR] {
	return behaviour[*networkingv1.ServiceCIDR]{
		validate:   validateServiceCIDR,
		status:     true,
		generation: kind.GenerationNever,
		columns: []kind.Column{
			nameColumn(),
			text("CIDRs", "Ranges of the addresses of Services", func(c *networkingv1.ServiceCIDR) string { return strings.Join(c.Spec.CIDRs, ",") }),
			ageColumn(),
		},
	}
}

func validateServiceCIDR(c, old *networkingv1.ServiceCIDR) field.ErrorList {
	at := field.NewPath("spec", "cidrs")
	list := c.Spec.CIDRs
	if old != nil {
		before := old.Spec.CIDRs
		if len(list) != len(before) && !(len(before) == 1 && len(list) == 2) { // a second family may be added
			return field.ErrorList{field.Invalid(at, list, "field is immutable")}
		}
		var errs field.ErrorList
		for i := range before {
			if list[i] != before[i] {
				errs = append(errs, field.Invalid(at.Index(i), list[i], "field is immutable"))
			}
		}
		if len(errs) > 0 {
			return errs
		}
	}
	switch {
	case len(list) == 0:
		return field.ErrorList{field.Required(at, "at least one CIDR required")}
	case len(list) > 2:
		return field.ErrorList{field.Invalid(at, list, "may only hold up to 2 values")}
	}
	var errs field.ErrorList
	families := make(map[bool]int, 2)
	for i, text := range list {
		errs = append(errs, validation.IsValidCIDR(at.Index(i), text)...)
		if p, err := netip.ParsePrefix(text); err == nil {
			families[p.Addr().Is4()]++
		}
	}
	if families[true] > 1 || families[false] > 1 {
		errs = append(errs, field.Invalid(at, list, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
	}
	return errs
}
