package endpointslice

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/controller"
)

// wanted reports whether a pod may be an endpoint at all; its addresses decide the rest.
func wanted(p *corev1.Pod) bool {
	return !controller.PodEnded(p) && (p.Status.PodIP != "" || len(p.Status.PodIPs) > 0)
}

func ready(p *corev1.Pod) bool {
	_, ready := controller.PodReady(p)
	return ready
}

// familyOf is the address type of an address; empty when it is none.
func familyOf(ip string) discoveryv1.AddressType {
	addr, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return ""
	case addr.Is4() || addr.Is4In6():
		return discoveryv1.AddressTypeIPv4
	}
	return discoveryv1.AddressTypeIPv6
}

// families are the address types of a Service's slices, the primary one first. A Service that does not say takes
// after its cluster IP or, headless, after the first pod's first address.
func families(svc *corev1.Service, pods []*corev1.Pod) []discoveryv1.AddressType {
	var out []discoveryv1.AddressType
	for _, f := range svc.Spec.IPFamilies {
		out = append(out, discoveryv1.AddressType(f))
	}
	if len(out) > 0 {
		return out
	}
	if f := familyOf(svc.Spec.ClusterIP); f != "" {
		return []discoveryv1.AddressType{f}
	}
	for _, p := range pods {
		if f := familyOf(p.Status.PodIP); f != "" {
			return []discoveryv1.AddressType{f}
		}
	}
	return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
}

// addressIn is a pod's first address of a family, or empty.
func addressIn(p *corev1.Pod, family discoveryv1.AddressType) string {
	for _, ip := range p.Status.PodIPs {
		if familyOf(ip.IP) == family {
			return ip.IP
		}
	}
	if familyOf(p.Status.PodIP) == family {
		return p.Status.PodIP
	}
	return ""
}

func headless(svc *corev1.Service) bool { return svc.Spec.ClusterIP == corev1.ClusterIPNone }

func hostname(svc *corev1.Service, p *corev1.Pod) string {
	if p.Spec.Subdomain == svc.Name {
		return p.Spec.Hostname
	}
	return ""
}

// resolve gives the ports of a pod that a Service's traffic goes to. A named port that the pod does not have is left
// out.
func resolve(svc *corev1.Service, p *corev1.Pod) []discoveryv1.EndpointPort {
	out := []discoveryv1.EndpointPort{}
	for i := range svc.Spec.Ports {
		sp := &svc.Spec.Ports[i]
		number := targetPort(sp, p)
		if number == 0 {
			continue
		}
		name, protocol := sp.Name, protocolOf(sp.Protocol)
		out = append(out, discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number, AppProtocol: sp.AppProtocol})
	}
	return out
}

func protocolOf(p corev1.Protocol) corev1.Protocol {
	if p == "" {
		return corev1.ProtocolTCP
	}
	return p
}

func targetPort(sp *corev1.ServicePort, p *corev1.Pod) int32 {
	if sp.TargetPort.Type == intstr.Int {
		if n := sp.TargetPort.IntVal; n != 0 {
			return n
		}
		return sp.Port
	}
	for i := range p.Spec.Containers {
		if n := namedPort(&p.Spec.Containers[i], sp); n != 0 {
			return n
		}
	}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue // only sidecars run as long as the pod
		}
		if n := namedPort(c, sp); n != 0 {
			return n
		}
	}
	return 0
}

func namedPort(c *corev1.Container, sp *corev1.ServicePort) int32 {
	for _, port := range c.Ports {
		if port.Name == sp.TargetPort.StrVal && protocolOf(port.Protocol) == protocolOf(sp.Protocol) {
			return port.ContainerPort
		}
	}
	return 0
}

// portKey is equal for equal sets of ports, whatever their order.
func portKey(ports []discoveryv1.EndpointPort) string {
	keys := make([]string, 0, len(ports))
	for _, p := range ports {
		keys = append(keys, fmt.Sprintf("%s|%s|%d|%s", value(p.Name), value(p.Protocol), value(p.Port), value(p.AppProtocol)))
	}
	slices.Sort(keys)
	return strings.Join(keys, ",")
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
