package proxytest

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Service is a ClusterIP Service in namespace default. Each port is name:number, or name:number/UDP; adjust changes the
// rest.
func Service(name, clusterIP string, ports []string, adjust ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: clusterIP, ClusterIPs: []string{clusterIP}},
	}
	for _, p := range ports {
		n, number, protocol := parsePort(p)
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: n, Port: number, Protocol: protocol})
	}
	for _, f := range adjust {
		f(svc)
	}
	return svc
}

// Slice is an EndpointSlice of a Service in namespace default, named service-suffix. Ports are written as for Service;
// each endpoint is an address and, after spaces, any of: notready, serving, terminating, node=NAME, zone=NAME (a hint),
// host=NAME.
func Slice(service, suffix string, ports, endpoints []string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: service + "-" + suffix, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, p := range ports {
		n, number, protocol := parsePort(p)
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &n, Port: &number, Protocol: &protocol})
	}
	for _, e := range endpoints {
		words := strings.Fields(e)
		if ip, err := netip.ParseAddr(words[0]); err == nil && ip.Is6() {
			s.AddressType = discoveryv1.AddressTypeIPv6
		}
		ready, serving, terminating := true, true, false
		ep := discoveryv1.Endpoint{Addresses: words[:1]}
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			switch key {
			case "notready":
				ready, serving = false, false
			case "serving":
				serving = true
			case "terminating":
				ready, terminating = false, true
			case "node":
				ep.NodeName = &value
			case "host":
				ep.Hostname = &value
			case "zone":
				ep.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: value}}}
			}
		}
		ep.Conditions = discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
		s.Endpoints = append(s.Endpoints, ep)
	}
	return s
}

func parsePort(s string) (name string, number int32, protocol corev1.Protocol) {
	protocol = corev1.ProtocolTCP
	if rest, p, ok := strings.Cut(s, "/"); ok {
		s, protocol = rest, corev1.Protocol(p)
	}
	name, digits, _ := strings.Cut(s, ":")
	_, _ = fmt.Sscan(digits, &number)
	return name, number, protocol
}
