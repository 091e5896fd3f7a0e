package builtin

import "github.com/keelson-dev/keelson/apiserver/kind"

// Options vary the behaviour. The zero value is what Kubernetes does.
type Options struct {
	// EmbeddedNetwork allows addresses in 127.0.0.0/8 for endpoints. False refuses them, as upstream does: a proxy that
	// forwards to its own loopback would expose what listens there.
	EmbeddedNetwork bool
}

// Kinds are all built-in kinds with the behaviour of Kubernetes. The caller owns the slice.
func Kinds() []*kind.Kind { return KindsWith(Options{}) }

// KindsWith is Kinds with some rules changed.
func KindsWith(o Options) []*kind.Kind {
	return []*kind.Kind{
		configMaps().of(kind.ConfigMap),
		endpoints(o).of(kind.Endpoints),
		events().of(kind.Event),
		namespaces().of(kind.Namespace),
		nodes().of(kind.Node),
		pods().of(kind.Pod),
		secrets().of(kind.Secret),
		services().of(kind.Service),
		serviceAccounts().of(kind.ServiceAccount),
		deployments().of(kind.Deployment),
		replicaSets().of(kind.ReplicaSet),
		jobs().of(kind.Job),
		leases().of(kind.Lease),
		endpointSlices(o).of(kind.EndpointSlice),
		ingresses().of(kind.Ingress),
		ingressClasses().of(kind.IngressClass),
		priorityClasses().of(kind.PriorityClass),
		roles().of(kind.Role),
		roleBindings().of(kind.RoleBinding),
		clusterRoles().of(kind.ClusterRole),
		clusterRoleBindings().of(kind.ClusterRoleBinding),
	}
}
