package builtin

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateService(svc, old *corev1.Service) field.ErrorList {
	spec, s := field.NewPath("spec"), &svc.Spec
	errs := oneOf(s.Type, spec.Child("type"), corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	headless := s.ClusterIP == corev1.ClusterIPNone
	if len(s.Ports) == 0 && !headless && s.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(spec.Child("ports"), ""))
	}
	switch s.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		if headless {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), s.ClusterIP, "may not be set to 'None' for "+string(s.Type)+" services"))
		}
	case corev1.ServiceTypeExternalName:
		errs = append(errs, needName(s.ExternalName, spec.Child("externalName"), dnsSubdomain)...)
		if len(s.ClusterIPs) > 0 || s.ClusterIP != "" {
			errs = append(errs, field.Forbidden(spec.Child("clusterIPs"), "may not be set for ExternalName services"))
		}
	}
	errs = append(errs, metav1validation.ValidateLabels(s.Selector, spec.Child("selector"))...)
	errs = append(errs, oneOf(s.SessionAffinity, spec.Child("sessionAffinity"), corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)...)
	if c := s.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		if n := *c.ClientIP.TimeoutSeconds; n <= 0 || n > 86400 {
			errs = append(errs, field.Invalid(spec.Child("sessionAffinityConfig", "clientIP", "timeoutSeconds"), n, "must be greater than 0 and less than 86400"))
		}
	}
	errs = append(errs, validateServicePorts(s, spec.Child("ports"))...)
	errs = append(errs, validateClusterIPs(s, spec)...)
	errs = append(errs, validateTraffic(s, spec)...)
	for i, ip := range s.ExternalIPs {
		at := spec.Child("externalIPs").Index(i)
		bad := validation.IsValidIP(at, ip)
		if len(bad) == 0 {
			bad = validateEndpointIP(ip, at, Options{})
		}
		errs = append(errs, bad...)
	}
	for i, cidr := range s.LoadBalancerSourceRanges {
		errs = append(errs, validation.IsValidCIDR(spec.Child("loadBalancerSourceRanges").Index(i), cidr)...)
	}
	if old != nil {
		errs = append(errs, validateServiceUpdate(s, &old.Spec, spec)...)
	}
	return errs
}

func validateServicePorts(s *corev1.ServiceSpec, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	names, pairs, nodePorts := make(seen[string]), make(seen[string]), make(seen[string])
	for i, p := range s.Ports {
		here := at.Index(i)
		if p.Name == "" && len(s.Ports) > 1 {
			errs = append(errs, field.Required(here.Child("name"), ""))
		}
		if p.Name != "" {
			errs = append(errs, checkName(p.Name, here.Child("name"), dnsLabel)...)
			errs = append(errs, names.add(p.Name, here.Child("name"))...)
		}
		errs = append(errs, portNumber(p.Port, here.Child("port"))...)
		errs = append(errs, protocol(p.Protocol, here.Child("protocol"))...)
		errs = append(errs, targetPort(p.TargetPort, here.Child("targetPort"))...)
		errs = append(errs, pairs.add(fmt.Sprintf("%d/%s", p.Port, p.Protocol), here)...)
		if app := deref(p.AppProtocol); app != "" {
			errs = append(errs, checkName(app, here.Child("appProtocol"), validation.IsQualifiedName)...)
		}
		if p.NodePort == 0 {
			continue
		}
		if s.Type != corev1.ServiceTypeNodePort && s.Type != corev1.ServiceTypeLoadBalancer {
			errs = append(errs, field.Forbidden(here.Child("nodePort"), "may not be used when `type` is '"+string(s.Type)+"'"))
		}
		errs = append(errs, portNumber(p.NodePort, here.Child("nodePort"))...)
		errs = append(errs, nodePorts.add(fmt.Sprintf("%d/%s", p.NodePort, p.Protocol), here.Child("nodePort"))...)
	}
	return errs
}

func validateClusterIPs(s *corev1.ServiceSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	at := spec.Child("clusterIPs")
	if len(s.ClusterIPs) > 0 && s.ClusterIP != s.ClusterIPs[0] {
		errs = append(errs, field.Invalid(at, s.ClusterIPs, "first value must match `clusterIP`"))
	}
	if len(s.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(at, s.ClusterIPs, "may only hold up to 2 values"))
	}
	for i, ip := range s.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			if len(s.ClusterIPs) > 1 {
				errs = append(errs, field.Invalid(at, s.ClusterIPs, "'None' must be the first and only value"))
			}
			continue
		}
		bad := validation.IsValidIP(at.Index(i), ip)
		if len(bad) == 0 && i < len(s.IPFamilies) {
			bad = family(ip, s.IPFamilies[i] == corev1.IPv6Protocol, at.Index(i))
		}
		errs = append(errs, bad...)
	}
	families := make(seen[corev1.IPFamily], 2)
	for i, f := range s.IPFamilies {
		errs = append(errs, oneOf(f, spec.Child("ipFamilies").Index(i), corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		errs = append(errs, families.add(f, spec.Child("ipFamilies").Index(i))...)
	}
	if s.IPFamilyPolicy != nil {
		errs = append(errs, oneOf(*s.IPFamilyPolicy, spec.Child("ipFamilyPolicy"), corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)...)
		if *s.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack && len(s.IPFamilies) > 1 {
			errs = append(errs, field.Invalid(spec.Child("ipFamilyPolicy"), *s.IPFamilyPolicy, "must be RequireDualStack or PreferDualStack when multiple 'ipFamilies' are specified"))
		}
	}
	return errs
}

func validateTraffic(s *corev1.ServiceSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if reachableFromOutside(s) {
		errs = append(errs, oneOf(s.ExternalTrafficPolicy, spec.Child("externalTrafficPolicy"), corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	} else if s.ExternalTrafficPolicy != "" {
		errs = append(errs, field.Invalid(spec.Child("externalTrafficPolicy"), s.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	if s.HealthCheckNodePort != 0 && (s.Type != corev1.ServiceTypeLoadBalancer || s.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal) {
		errs = append(errs, field.Invalid(spec.Child("healthCheckNodePort"), s.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	}
	if s.InternalTrafficPolicy != nil {
		errs = append(errs, oneOf(*s.InternalTrafficPolicy, spec.Child("internalTrafficPolicy"), corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	}
	if s.Type != corev1.ServiceTypeLoadBalancer {
		if s.AllocateLoadBalancerNodePorts != nil {
			errs = append(errs, field.Forbidden(spec.Child("allocateLoadBalancerNodePorts"), "may only be used when `type` is 'LoadBalancer'"))
		}
		if s.LoadBalancerClass != nil {
			errs = append(errs, field.Forbidden(spec.Child("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'"))
		}
	}
	if t := s.TrafficDistribution; t != nil {
		errs = append(errs, oneOf(*t, spec.Child("trafficDistribution"), corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameNode, corev1.ServiceTrafficDistributionPreferSameZone)...)
	}
	return errs
}

// validateServiceUpdate keeps a service's address: clients hold on to it. It may be given up with the type.
func validateServiceUpdate(now, before *corev1.ServiceSpec, spec *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !needsClusterIP(now) || !needsClusterIP(before) {
		return nil
	}
	if before.ClusterIP != "" && now.ClusterIP != before.ClusterIP {
		errs = append(errs, field.Invalid(spec.Child("clusterIPs").Index(0), now.ClusterIP, "may not change once set"))
	}
	if before.LoadBalancerClass != nil && now.Type == corev1.ServiceTypeLoadBalancer && before.Type == corev1.ServiceTypeLoadBalancer {
		errs = append(errs, immutable(now.LoadBalancerClass, before.LoadBalancerClass, spec.Child("loadBalancerClass"))...)
	}
	return errs
}

func validateServiceStatus(svc, _ *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("status", "loadBalancer", "ingress")
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer && len(svc.Status.LoadBalancer.Ingress) > 0 {
		errs = append(errs, field.Forbidden(at, "may only be used when `spec.type` is \"LoadBalancer\""))
	}
	for i, in := range svc.Status.LoadBalancer.Ingress {
		if in.IP != "" {
			errs = append(errs, validation.IsValidIP(at.Index(i).Child("ip"), in.IP)...)
		}
		errs = append(errs, mayName(in.Hostname, at.Index(i).Child("hostname"), dnsSubdomain)...)
	}
	return errs
}

func serviceWarnings(svc, _ *corev1.Service) []string {
	var out []string
	if svc.Spec.Type == corev1.ServiceTypeExternalName && len(svc.Spec.Selector) > 0 {
		out = append(out, "spec.selector: ignored when `type` is 'ExternalName'")
	}
	if svc.Spec.ClusterIP == corev1.ClusterIPNone && svc.Spec.SessionAffinity != corev1.ServiceAffinityNone {
		out = append(out, "spec.sessionAffinity: ignored for headless services")
	}
	return out
}

// family reports an address of the other IP family.
func family(text string, six bool, at *field.Path) field.ErrorList {
	ip, err := netip.ParseAddr(text)
	if err != nil || ip.Is6() == six {
		return nil
	}
	want := "must be an IPv4 address"
	if six {
		want = "must be an IPv6 address"
	}
	return field.ErrorList{field.Invalid(at, text, want)}
}
