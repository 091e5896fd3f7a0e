package builtin

import (
	"context"
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// PortRange is a range of ports, both ends included. The zero value is 30000-32767, as in Kubernetes.
type PortRange struct{ First, Last int32 }

func (p PortRange) String() string { return fmt.Sprintf("%d-%d", p.First, p.Last) }

func (p PortRange) contains(n int32) bool { return n >= p.First && n <= p.Last }

// NodePorts gives each port of a NodePort or LoadBalancer Service a port of the range on every node, and refuses requested
// ones outside it. c must be able to list Services of all namespaces. As with [ClusterIPs], the store has the last word.
func NodePorts(ports PortRange, c client.Client) admission.Plugin {
	if ports == (PortRange{}) {
		ports = PortRange{30000, 32767}
	}
	return admission.Plugin{
		Name: "NodePorts",
		Mutate: func(ctx context.Context, r *admission.Request) error {
			svc, ok := serviceOf(r)
			if !ok || !wantsPorts(&svc.Spec) {
				return nil
			}
			used, err := usedPorts(ctx, c, svc)
			if err != nil {
				return err
			}
			if !assignPorts(&svc.Spec, ports, used) {
				return admission.Forbidden(r, fmt.Sprintf("all node ports of the range %s are taken", ports))
			}
			return nil
		},
		Validate: func(ctx context.Context, r *admission.Request) error {
			svc, ok := serviceOf(r)
			if !ok {
				return nil
			}
			held := make(map[string]bool)
			if old, ok := r.Old.(*corev1.Service); ok && old != nil {
				for _, claim := range serviceClaims(old) {
					held[claim] = true
				}
			}
			var used map[string]bool
			for i, p := range svc.Spec.Ports {
				claim := NodePortClaim(p.Protocol, p.NodePort)
				if p.NodePort == 0 || held[claim] {
					continue
				}
				at := field.NewPath("spec", "ports").Index(i).Child("nodePort")
				if !ports.contains(p.NodePort) {
					return invalidService(svc, field.Invalid(at, p.NodePort, "provided port is not in the valid range. The range of valid ports is "+ports.String()))
				}
				if used == nil {
					var err error
					if used, err = usedPorts(ctx, c, svc); err != nil {
						return err
					}
				}
				if used[claim] {
					return invalidService(svc, field.Invalid(at, p.NodePort, "provided port is already allocated"))
				}
			}
			return nil
		},
	}
}

// usedPorts are the claims of all services but svc.
func usedPorts(ctx context.Context, c client.Client, svc *corev1.Service) (map[string]bool, error) {
	page, err := client.For(c, kind.Service).List(ctx)
	if err != nil {
		return nil, err
	}
	used := make(map[string]bool)
	for _, other := range page.Items {
		if other.Namespace == svc.Namespace && other.Name == svc.Name {
			continue
		}
		for _, claim := range serviceClaims(other) {
			used[claim] = true
		}
	}
	return used, nil
}

// wantsHealthPort says whether a load balancer asks each node for whether it has endpoints.
func wantsHealthPort(s *corev1.ServiceSpec) bool {
	return s.Type == corev1.ServiceTypeLoadBalancer && s.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func wantsPorts(s *corev1.ServiceSpec) bool {
	if wantsHealthPort(s) && s.HealthCheckNodePort == 0 {
		return true
	}
	for _, p := range s.Ports {
		if p.NodePort == 0 && needsNodePorts(s) {
			return true
		}
	}
	return false
}

// assignPorts fills the node ports that are missing. Ports that differ in protocol alone share a number, where it is free.
func assignPorts(s *corev1.ServiceSpec, ports PortRange, used map[string]bool) bool {
	shared := make(map[int32]int32, len(s.Ports))
	for _, p := range s.Ports {
		if p.NodePort != 0 {
			shared[p.Port] = p.NodePort
			used[NodePortClaim(p.Protocol, p.NodePort)] = true
		}
	}
	pick := func(protocol corev1.Protocol, preferred int32) int32 {
		if preferred != 0 && !used[NodePortClaim(protocol, preferred)] {
			used[NodePortClaim(protocol, preferred)] = true
			return preferred
		}
		n := ports.Last - ports.First + 1
		if n <= 0 {
			return 0
		}
		start := rand.Int32N(n)
		for i := range n {
			port := ports.First + (start+i)%n
			if claim := NodePortClaim(protocol, port); !used[claim] {
				used[claim] = true
				return port
			}
		}
		return 0
	}
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.NodePort != 0 || !needsNodePorts(s) {
			continue
		}
		if p.NodePort = pick(p.Protocol, shared[p.Port]); p.NodePort == 0 {
			return false
		}
		shared[p.Port] = p.NodePort
	}
	if wantsHealthPort(s) && s.HealthCheckNodePort == 0 {
		s.HealthCheckNodePort = pick(corev1.ProtocolTCP, 0)
		return s.HealthCheckNodePort != 0
	}
	return true
}
