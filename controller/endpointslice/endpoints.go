package endpointslice

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

const (
	endpointsManagedBy = "endpoints.kubernetes.io/managed-by" // label that says who writes an Endpoints object
	endpointsManager   = "endpoint-controller"
	maxAddresses       = 1000 // how many addresses an Endpoints object lists; the rest is only in slices
)

// endpointsOf is the Endpoints object of a Service in its primary family. old, which may be nil, is kept in what is
// not ours.
func endpointsOf(svc *corev1.Service, pods []*corev1.Pod, old *corev1.Endpoints) *corev1.Endpoints {
	out := kind.Endpoints.New()
	if old != nil {
		out = kind.Endpoints.Copy(old)
	}
	out.Namespace, out.Name = svc.Namespace, svc.Name
	out.Labels = mirrored(svc)
	out.Labels[endpointsManagedBy] = endpointsManager
	if !controller.OwnedBy(out, svc) {
		controller.SetOwner(svc, out, kind.Service.Kind())
	}
	subsets, truncated := subsets(svc, pods)
	out.Subsets = subsets
	switch {
	case truncated && out.Annotations[corev1.EndpointsOverCapacity] != "truncated":
		annotations := map[string]string{}
		maps.Copy(annotations, out.Annotations)
		annotations[corev1.EndpointsOverCapacity] = "truncated"
		out.Annotations = annotations
	case !truncated:
		delete(out.Annotations, corev1.EndpointsOverCapacity)
	}
	return out
}

// subsets lists the pods' addresses by their ports, ready ones first in what is cut off at the limit.
func subsets(svc *corev1.Service, pods []*corev1.Pod) (out []corev1.EndpointSubset, truncated bool) {
	family := families(svc, pods)[0]
	isReady := func(p *corev1.Pod) bool { return svc.Spec.PublishNotReadyAddresses || ready(p) }
	var in []*corev1.Pod
	for _, p := range pods {
		if wanted(p) && addressIn(p, family) != "" && (p.DeletionTimestamp == nil || svc.Spec.PublishNotReadyAddresses) {
			in = append(in, p)
		}
	}
	if len(in) > maxAddresses {
		slices.SortStableFunc(in, func(a, b *corev1.Pod) int {
			switch ra, rb := isReady(a), isReady(b); {
			case ra == rb:
				return 0
			case ra:
				return -1
			}
			return 1
		})
		in, truncated = in[:maxAddresses], true
	}
	byPorts := map[string]*corev1.EndpointSubset{}
	for _, p := range in {
		ports := resolve(svc, p)
		if len(ports) == 0 && len(svc.Spec.Ports) > 0 {
			continue // none of the named ports is the pod's
		}
		key := portKey(ports)
		s := byPorts[key]
		if s == nil {
			s = &corev1.EndpointSubset{Ports: endpointPorts(ports)}
			byPorts[key] = s
		}
		a := corev1.EndpointAddress{
			IP: addressIn(p, family), Hostname: hostname(svc, p),
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		}
		if node := p.Spec.NodeName; node != "" {
			a.NodeName = &node
		}
		if isReady(p) {
			s.Addresses = append(s.Addresses, a)
		} else {
			s.NotReadyAddresses = append(s.NotReadyAddresses, a)
		}
	}
	byAddress := func(a, b corev1.EndpointAddress) int {
		return cmp.Or(cmp.Compare(a.IP, b.IP), cmp.Compare(a.TargetRef.UID, b.TargetRef.UID))
	}
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		s := byPorts[key]
		slices.SortFunc(s.Addresses, byAddress)
		slices.SortFunc(s.NotReadyAddresses, byAddress)
		out = append(out, *s)
	}
	return out, truncated
}

func endpointPorts(in []discoveryv1.EndpointPort) []corev1.EndpointPort {
	var out []corev1.EndpointPort
	for _, p := range in {
		out = append(out, corev1.EndpointPort{Name: value(p.Name), Port: value(p.Port), Protocol: value(p.Protocol), AppProtocol: p.AppProtocol})
	}
	return out
}
