package kind

import (
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
)

// The built-in kinds that Keelson's own parts act on: identity only, which is all a client needs. Treat them as
// constants; package builtin gives them behaviour for a server.
var (
	ConfigMap      = core[*corev1.ConfigMap](Kind{Name: "ConfigMap", ShortNames: []string{"cm"}, Namespaced: true})
	Endpoints      = core[*corev1.Endpoints](Kind{Name: "Endpoints", ListName: "EndpointsList", Plural: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"}, Namespaced: true})
	Event          = core[*corev1.Event](Kind{Name: "Event", ShortNames: []string{"ev"}, Namespaced: true})
	Namespace      = core[*corev1.Namespace](Kind{Name: "Namespace", ShortNames: []string{"ns"}})
	Node           = core[*corev1.Node](Kind{Name: "Node", ShortNames: []string{"no"}})
	Pod            = core[*corev1.Pod](Kind{Name: "Pod", ShortNames: []string{"po"}, Categories: all, Namespaced: true})
	Secret         = core[*corev1.Secret](Kind{Name: "Secret", Namespaced: true})
	Service        = core[*corev1.Service](Kind{Name: "Service", ShortNames: []string{"svc"}, Categories: all, Namespaced: true})
	ServiceAccount = core[*corev1.ServiceAccount](Kind{Name: "ServiceAccount", ShortNames: []string{"sa"}, Namespaced: true})

	Deployment = v1[*appsv1.Deployment]("apps", Kind{Name: "Deployment", ShortNames: []string{"deploy"}, Categories: all, Namespaced: true})
	ReplicaSet = v1[*appsv1.ReplicaSet]("apps", Kind{Name: "ReplicaSet", ShortNames: []string{"rs"}, Categories: all, Namespaced: true})

	Job           = v1[*batchv1.Job]("batch", Kind{Name: "Job", Categories: all, Namespaced: true})
	Lease         = v1[*coordinationv1.Lease]("coordination.k8s.io", Kind{Name: "Lease", Namespaced: true})
	EndpointSlice = v1[*discoveryv1.EndpointSlice]("discovery.k8s.io", Kind{Name: "EndpointSlice", Namespaced: true})
	Ingress       = v1[*networkingv1.Ingress]("networking.k8s.io", Kind{Name: "Ingress", ShortNames: []string{"ing"}, Namespaced: true})
	IngressClass  = v1[*networkingv1.IngressClass]("networking.k8s.io", Kind{Name: "IngressClass"})
	PriorityClass = v1[*schedulingv1.PriorityClass]("scheduling.k8s.io", Kind{Name: "PriorityClass", ShortNames: []string{"pc"}})

	Role               = v1[*rbacv1.Role]("rbac.authorization.k8s.io", Kind{Name: "Role", Namespaced: true})
	RoleBinding        = v1[*rbacv1.RoleBinding]("rbac.authorization.k8s.io", Kind{Name: "RoleBinding", Namespaced: true})
	ClusterRole        = v1[*rbacv1.ClusterRole]("rbac.authorization.k8s.io", Kind{Name: "ClusterRole"})
	ClusterRoleBinding = v1[*rbacv1.ClusterRoleBinding]("rbac.authorization.k8s.io", Kind{Name: "ClusterRoleBinding"})
)

var all = []string{"all"}

func core[T Instance](k Kind) Type[T] { return v1[T]("", k) }

func v1[T Instance](group string, k Kind) Type[T] {
	k.Group, k.Version = group, "v1"
	return Must(Describe[T](k))
}
