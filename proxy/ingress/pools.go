package ingress

import (
	"context"
	"errors"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/proxy"
)

// buildPools finds the endpoints of each backend that routes name. A pool that did not change is kept with its turn.
func buildPools(r *Routes, services []*corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, old *state) map[Backend]*pool {
	byName := make(map[types.NamespacedName]*corev1.Service, len(services))
	for _, svc := range services {
		byName[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}] = svc
	}
	table := proxy.BuildTable(services, endpointSlices, proxy.Node{})
	pools := map[Backend]*pool{}
	for _, b := range r.backends() {
		svc := byName[types.NamespacedName{Namespace: b.Namespace, Name: b.Service}]
		if pools[b] != nil || svc == nil {
			continue
		}
		for _, port := range svc.Spec.Ports {
			if b.PortName != "" && port.Name != b.PortName || b.PortName == "" && port.Port != b.PortNumber {
				continue
			}
			addrs := []netip.AddrPort(nil)
			if rule, ok := table.Find(proxy.ServicePortName{Namespace: b.Namespace, Name: b.Service, Port: port.Name}); ok {
				addrs = rule.Internal
			}
			pools[b] = &pool{addrs: addrs}
			if old != nil && old.pools[b] != nil && slices.Equal(old.pools[b].addrs, addrs) {
				pools[b] = old.pools[b]
			}
			break
		}
	}
	return pools
}

// backends is every backend that a request may go to, with repetitions.
func (r *Routes) backends() []Backend {
	var out []Backend
	for _, routes := range r.byHost {
		for _, route := range routes {
			out = append(out, route.Backend)
		}
	}
	if r.fallback != nil {
		out = append(out, *r.fallback)
	}
	return out
}

// publish writes our address to the status of the Ingresses that don't have it yet.
func (s *Server) publish(ctx context.Context) error {
	if s.cfg.PublishAddress == "" {
		return nil
	}
	want := networkingv1.IngressLoadBalancerIngress{Hostname: s.cfg.PublishAddress}
	if _, err := netip.ParseAddr(s.cfg.PublishAddress); err == nil {
		want = networkingv1.IngressLoadBalancerIngress{IP: s.cfg.PublishAddress}
	}
	has := func(ing *networkingv1.Ingress) bool {
		got := ing.Status.LoadBalancer.Ingress
		return len(got) == 1 && got[0].IP == want.IP && got[0].Hostname == want.Hostname
	}
	var errs []error
	for _, ing := range s.state.Load().routes.served {
		if has(ing) {
			continue
		}
		_, err := client.For(s.client, kind.Ingress).MutateStatus(ctx, ing.Namespace, ing.Name, func(now *networkingv1.Ingress) error {
			if !has(now) {
				now.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{want}
			}
			return nil
		})
		if err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
