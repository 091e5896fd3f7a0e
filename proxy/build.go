package proxy

import (
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// labelServiceProxyName on a Service says that another proxy implements it.
const labelServiceProxyName = "service.kubernetes.io/service-proxy-name"

// Node is where the proxy runs, as far as choosing backends depends on it. The zero Node is no node: nothing is local.
type Node struct {
	Name string
	Zone string // label topology.kubernetes.io/zone; empty means unknown, and zone hints are ignored

	// Every stands for all nodes at once: each endpoint is local. It is for one proxy that serves several nodes of a
	// process, as in the embedded network.
	Every bool
}

// BuildTable is the table for a set of Services and their EndpointSlices, as seen from node. Slices of Services that
// are not given are ignored; the order of neither matters. It is pure and keeps nothing of its arguments.
func BuildTable(services []*corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node Node) Table {
	type key struct{ namespace, name string }
	of := make(map[key][]*discoveryv1.EndpointSlice, len(services))
	for _, s := range endpointSlices {
		k := key{s.Namespace, s.Labels[discoveryv1.LabelServiceName]}
		of[k] = append(of[k], s)
	}
	var t Table
	for _, svc := range services {
		t.Rules = append(t.Rules, buildRules(svc, of[key{svc.Namespace, svc.Name}], node)...)
	}
	slices.SortFunc(t.Rules, compareRules)
	return t
}

// buildRules are the rules of one Service, sorted.
func buildRules(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node Node) []Rule {
	if svc.Spec.Type == corev1.ServiceTypeExternalName || svc.Labels[labelServiceProxyName] != "" {
		return nil
	}
	cluster := clusterIPs(svc)
	if len(cluster) == 0 {
		return nil
	}
	external := externalIPs(svc)
	var rules []Rule
	for _, port := range svc.Spec.Ports {
		for _, v6 := range []bool{false, true} {
			r := Rule{
				Name:        ServicePortName{svc.Namespace, svc.Name, port.Name},
				Protocol:    port.Protocol,
				IPv6:        v6,
				ClusterIPs:  withPort(cluster, v6, port.Port),
				ExternalIPs: withPort(external, v6, port.Port),
			}
			if len(r.ClusterIPs) == 0 {
				continue
			}
			if r.Protocol == "" {
				r.Protocol = corev1.ProtocolTCP
			}
			if svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
				r.NodePort = uint16(port.NodePort)
			}
			if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
				r.Affinity = affinityTimeout(svc)
			}
			eps := endpointsOf(svc, &r, endpointSlices, node)
			for _, ep := range eps {
				r.Backends = append(r.Backends, ep.Backend)
			}
			r.ExternalLocal = svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
			internalLocal := svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
			r.Internal = choose(eps, internalLocal, node)
			if r.NodePort != 0 || len(r.ExternalIPs) > 0 {
				r.External = choose(eps, r.ExternalLocal, node)
			} else {
				r.ExternalLocal = false
			}
			rules = append(rules, r)
		}
	}
	slices.SortFunc(rules, compareRules)
	return rules
}

func clusterIPs(svc *corev1.Service) []netip.Addr {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	return parseIPs(ips)
}

func externalIPs(svc *corev1.Service) []netip.Addr {
	ips := slices.Clone(svc.Spec.ExternalIPs)
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, in := range svc.Status.LoadBalancer.Ingress {
			if in.IP != "" && (in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP) {
				ips = append(ips, in.IP)
			}
		}
	}
	return parseIPs(ips)
}

// parseIPs skips what is no address: "None", "" and what validation should have refused.
func parseIPs(ips []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range ips {
		if ip, err := netip.ParseAddr(s); err == nil {
			out = append(out, ip.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func withPort(ips []netip.Addr, v6 bool, port int32) []netip.AddrPort {
	var out []netip.AddrPort
	for _, ip := range ips {
		if ip.Is6() == v6 {
			out = append(out, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	return out
}

func affinityTimeout(svc *corev1.Service) time.Duration {
	c := svc.Spec.SessionAffinityConfig
	if c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
}

// endpoint is a backend with its hints.
type endpoint struct {
	Backend
	zones, nodes []string
}

// endpointsOf are the endpoints behind a rule, sorted, each address once. A slice says itself which port number a named
// port has, so that pods of one Service may differ in it.
func endpointsOf(svc *corev1.Service, r *Rule, endpointSlices []*discoveryv1.EndpointSlice, node Node) []endpoint {
	family := discoveryv1.AddressTypeIPv4
	if r.IPv6 {
		family = discoveryv1.AddressTypeIPv6
	}
	var out []endpoint
	for _, s := range endpointSlices {
		if s.AddressType != family {
			continue
		}
		port, ok := portIn(s, r)
		if !ok {
			continue
		}
		for i := range s.Endpoints {
			if ep, ok := endpointFrom(&s.Endpoints[i], port, svc, node); ok {
				out = append(out, ep)
			}
		}
	}
	// The same address may stand in two slices while a controller moves it: the state that serves more wins.
	slices.SortStableFunc(out, func(a, b endpoint) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return rank(b.Backend) - rank(a.Backend)
	})
	return slices.CompactFunc(out, func(a, b endpoint) bool { return a.Addr == b.Addr })
}

func rank(b Backend) int {
	switch {
	case b.Ready:
		return 2
	case b.Serving:
		return 1
	}
	return 0
}

func portIn(s *discoveryv1.EndpointSlice, r *Rule) (uint16, bool) {
	for _, p := range s.Ports {
		name, protocol := "", corev1.ProtocolTCP
		if p.Name != nil {
			name = *p.Name
		}
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		if name == r.Name.Port && protocol == r.Protocol && p.Port != nil && *p.Port > 0 && *p.Port < 1<<16 {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

func endpointFrom(ep *discoveryv1.Endpoint, port uint16, svc *corev1.Service, node Node) (endpoint, bool) {
	if len(ep.Addresses) == 0 {
		return endpoint{}, false
	}
	ip, err := netip.ParseAddr(ep.Addresses[0]) // the addresses of one endpoint are fungible: the first stands for it
	if err != nil {
		return endpoint{}, false
	}
	c := ep.Conditions
	b := Backend{Addr: netip.AddrPortFrom(ip.Unmap(), port)}
	b.Terminating = c.Terminating != nil && *c.Terminating
	b.Ready = c.Ready == nil || *c.Ready || svc.Spec.PublishNotReadyAddresses
	b.Serving = b.Ready
	if c.Serving != nil && !svc.Spec.PublishNotReadyAddresses {
		b.Serving = *c.Serving
	}
	b.Local = node.Every || node.Name != "" && ep.NodeName != nil && *ep.NodeName == node.Name
	out := endpoint{Backend: b}
	if ep.Hints != nil {
		for _, z := range ep.Hints.ForZones {
			out.zones = append(out.zones, z.Name)
		}
		for _, n := range ep.Hints.ForNodes {
			out.nodes = append(out.nodes, n.Name)
		}
	}
	return out, true
}

// choose picks the backends for new connections: the ready ones, restricted to this node or by hints, and without any
// ready one those that serve while they terminate.
func choose(eps []endpoint, local bool, node Node) []netip.AddrPort {
	pick := func(ok func(endpoint) bool) []endpoint {
		var out []endpoint
		for _, ep := range eps {
			if (!local || ep.Local) && ok(ep) {
				out = append(out, ep)
			}
		}
		return out
	}
	chosen := pick(func(ep endpoint) bool { return ep.Ready })
	if !local {
		chosen = hinted(chosen, node)
	}
	if len(chosen) == 0 {
		chosen = pick(func(ep endpoint) bool { return ep.Serving && ep.Terminating })
	}
	var out []netip.AddrPort
	for _, ep := range chosen {
		out = append(out, ep.Addr)
	}
	return out
}

// hinted restricts ready endpoints to those meant for this node, else for this zone. An endpoint without the hint, or
// no endpoint for us, means that the hints don't describe the present state, and all endpoints are used.
func hinted(eps []endpoint, node Node) []endpoint {
	filter := func(of func(endpoint) []string, want string) []endpoint {
		if want == "" {
			return nil
		}
		var out []endpoint
		for _, ep := range eps {
			names := of(ep)
			if len(names) == 0 {
				return nil
			}
			if slices.Contains(names, want) {
				out = append(out, ep)
			}
		}
		return out
	}
	if out := filter(func(ep endpoint) []string { return ep.nodes }, node.Name); len(out) > 0 {
		return out
	}
	if out := filter(func(ep endpoint) []string { return ep.zones }, node.Zone); len(out) > 0 {
		return out
	}
	return eps
}
