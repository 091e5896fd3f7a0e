package builtin

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func services() behaviour[*corev1.Service] {
	return behaviour[*corev1.Service]{
		defaults:       defaultService,
		prepare:        prepareService,
		name:           dns1035Label,
		validate:       validateService,
		validateStatus: validateServiceStatus,
		warnings:       serviceWarnings,
		status:         true,
		claims:         serviceClaims,
		fields: map[string]func(*corev1.Service) string{
			"spec.clusterIP": func(s *corev1.Service) string { return s.Spec.ClusterIP },
			"spec.type":      func(s *corev1.Service) string { return string(s.Spec.Type) },
		},
		columns: []kind.Column{
			nameColumn(),
			column("Type", "How the service is reached", func(s *corev1.Service, _ time.Time) any { return string(s.Spec.Type) }),
			column("Cluster-IP", "Address inside the cluster", func(s *corev1.Service, _ time.Time) any { return orNone(s.Spec.ClusterIP) }),
			column("External-IP", "Addresses from outside", func(s *corev1.Service, _ time.Time) any { return externalAddress(s) }),
			column("Port(s)", "Ports, with node ports behind the colon", func(s *corev1.Service, _ time.Time) any { return servicePorts(s.Spec.Ports) }),
			ageColumn(),
			wide("Selector", "Which pods it leads to", func(s *corev1.Service, _ time.Time) any {
				return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: s.Spec.Selector})
			}),
		},
	}
}

func defaultService(svc *corev1.Service) {
	s := &svc.Spec
	set(&s.Type, corev1.ServiceTypeClusterIP)
	set(&s.SessionAffinity, corev1.ServiceAffinityNone)
	switch s.SessionAffinity {
	case corev1.ServiceAffinityNone:
		s.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		setPtr(&s.SessionAffinityConfig, corev1.SessionAffinityConfig{})
		setPtr(&s.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
		setPtr(&s.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		set(&p.Protocol, corev1.ProtocolTCP)
		if unsetPort(p.TargetPort) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
	if reachableFromOutside(s) {
		set(&s.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if s.Type == corev1.ServiceTypeLoadBalancer {
		setPtr(&s.AllocateLoadBalancerNodePorts, true)
	}
	if !needsClusterIP(s) {
		return
	}
	setPtr(&s.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
	// Either of the two fields stands for both: an old client writes one, a new client the list.
	if s.ClusterIP != "" && len(s.ClusterIPs) == 0 {
		s.ClusterIPs = []string{s.ClusterIP}
	}
	if s.ClusterIP == "" && len(s.ClusterIPs) > 0 {
		s.ClusterIP = s.ClusterIPs[0]
	}
	setPtr(&s.IPFamilyPolicy, corev1.IPFamilyPolicySingleStack)
	if len(s.IPFamilies) == 0 {
		s.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
		if strings.Contains(s.ClusterIP, ":") {
			s.IPFamilies[0] = corev1.IPv6Protocol
		}
	}
}

// needsClusterIP says whether the type is one that has cluster IPs, or None in their place.
func needsClusterIP(s *corev1.ServiceSpec) bool { return s.Type != corev1.ServiceTypeExternalName }

// needsNodePorts says whether each port is also opened on every node.
func needsNodePorts(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeNodePort ||
		s.Type == corev1.ServiceTypeLoadBalancer && (s.AllocateLoadBalancerNodePorts == nil || *s.AllocateLoadBalancerNodePorts)
}

func reachableFromOutside(s *corev1.ServiceSpec) bool {
	switch s.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(s.ExternalIPs) > 0
	}
	return false
}

func prepareService(svc, old *corev1.Service) {
	if old == nil {
		svc.Status = corev1.ServiceStatus{}
		return
	}
	svc.Status = *old.Status.DeepCopy()
	carryService(&svc.Spec, &old.Spec)
}

// carryService takes over what the server allocated and a client left out. Doing it twice is doing it once: plugins that
// allocate do it too, so that they see what is really missing.
func carryService(now, before *corev1.ServiceSpec) {
	if needsClusterIP(now) && needsClusterIP(before) {
		keepClusterIPs(now, before)
	}
	if needsNodePorts(now) && needsNodePorts(before) {
		keepNodePorts(now, before)
		if now.HealthCheckNodePort == 0 && now.ExternalTrafficPolicy == before.ExternalTrafficPolicy {
			now.HealthCheckNodePort = before.HealthCheckNodePort
		}
	}
	dropForeignFields(now, before)
}

// keepClusterIPs carries over what a client left empty, as clients do that write manifests rather than what they read.
func keepClusterIPs(now, before *corev1.ServiceSpec) {
	if now.ClusterIP == "" && len(now.ClusterIPs) == 0 {
		now.ClusterIP, now.ClusterIPs = before.ClusterIP, slices.Clone(before.ClusterIPs)
		now.IPFamilies = slices.Clone(before.IPFamilies)
		return
	}
	// An old client that changes clusterIP does not know of the list.
	if now.ClusterIP != before.ClusterIP && slices.Equal(now.ClusterIPs, before.ClusterIPs) && len(now.ClusterIPs) > 0 {
		now.ClusterIPs = []string{now.ClusterIP}
	}
}

func keepNodePorts(now, before *corev1.ServiceSpec) {
	type key struct {
		protocol corev1.Protocol
		port     int32
	}
	held := make(map[key]int32, len(before.Ports))
	used := make(map[int32]bool, len(now.Ports))
	for _, p := range before.Ports {
		held[key{p.Protocol, p.Port}] = p.NodePort
	}
	for _, p := range now.Ports {
		used[p.NodePort] = true
	}
	for i := range now.Ports {
		p := &now.Ports[i]
		if n := held[key{p.Protocol, p.Port}]; p.NodePort == 0 && !used[n] {
			p.NodePort = n
		}
	}
}

// dropForeignFields clears what belonged to the old type of a service and means nothing for the new one, unless the
// client changed it: then it is meant, and validation speaks.
func dropForeignFields(now, before *corev1.ServiceSpec) {
	if needsClusterIP(before) && !needsClusterIP(now) {
		if now.ClusterIP == before.ClusterIP {
			now.ClusterIP, now.ClusterIPs = "", nil
		}
		now.IPFamilies, now.IPFamilyPolicy, now.InternalTrafficPolicy = nil, nil, nil
	}
	if needsNodePorts(before) && !needsNodePorts(now) {
		was := make(map[int32]bool, len(before.Ports))
		for _, p := range before.Ports {
			was[p.NodePort] = true
		}
		for i := range now.Ports {
			if was[now.Ports[i].NodePort] {
				now.Ports[i].NodePort = 0
			}
		}
	}
	if reachableFromOutside(before) && !reachableFromOutside(now) {
		if now.ExternalTrafficPolicy == before.ExternalTrafficPolicy {
			now.ExternalTrafficPolicy = ""
		}
		if now.HealthCheckNodePort == before.HealthCheckNodePort {
			now.HealthCheckNodePort = 0
		}
	}
	if before.Type == corev1.ServiceTypeLoadBalancer && now.Type != corev1.ServiceTypeLoadBalancer {
		now.AllocateLoadBalancerNodePorts = nil
		if deref(now.LoadBalancerClass) == deref(before.LoadBalancerClass) {
			now.LoadBalancerClass = nil
		}
	}
}

// ClusterIPClaim names a Service's address, which it holds for itself alone.
func ClusterIPClaim(address string) string { return "clusterip/" + address }

// NodePortClaim names a port that is open on every node, for one protocol.
func NodePortClaim(protocol corev1.Protocol, port int32) string {
	return fmt.Sprintf("nodeport/%s/%d", protocol, port)
}

func serviceClaims(svc *corev1.Service) []string {
	var claims []string
	add := func(claim string) {
		if !slices.Contains(claims, claim) { // two ports of one service may share a node port across protocols only
			claims = append(claims, claim)
		}
	}
	if needsClusterIP(&svc.Spec) {
		for _, ip := range svc.Spec.ClusterIPs {
			if ip != "" && ip != corev1.ClusterIPNone {
				add(ClusterIPClaim(ip))
			}
		}
	}
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			add(NodePortClaim(p.Protocol, p.NodePort))
		}
	}
	if n := svc.Spec.HealthCheckNodePort; n != 0 {
		add(NodePortClaim(corev1.ProtocolTCP, n))
	}
	return claims
}

func externalAddress(s *corev1.Service) string {
	ips := s.Spec.ExternalIPs
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return orNone(s.Spec.ExternalName)
	case corev1.ServiceTypeLoadBalancer:
		var all []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				all = append(all, in.IP)
			} else if in.Hostname != "" {
				all = append(all, in.Hostname)
			}
		}
		if all = append(all, ips...); len(all) == 0 {
			return "<pending>"
		}
		return strings.Join(all, ",")
	}
	return orNone(strings.Join(ips, ","))
}

func servicePorts(ports []corev1.ServicePort) string {
	parts := make([]string, len(ports))
	for i, p := range ports {
		parts[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			parts[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return orNone(strings.Join(parts, ","))
}
