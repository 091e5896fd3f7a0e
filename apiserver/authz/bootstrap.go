package authz

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func readVerbs() []string { return []string{"get", "list", "watch"} }
func writeVerbs() []string {
	return []string{"create", "update", "patch", "delete", "deletecollection"}
}
func allVerbs() []string { return append(readVerbs(), writeVerbs()...) }

// Bootstrap lists the roles and bindings that a cluster starts with: those for people (cluster-admin, admin, edit,
// view), for everybody (discovery, health, asking about oneself), and for the parts of a control plane that run elsewhere under
// their usual names. Create each that does not exist yet. The objects are the caller's.
func Bootstrap() []kind.Decoded {
	users := rbacv1.UserKind
	groups := rbacv1.GroupKind
	return []kind.Decoded{
		role("cluster-admin", rule(allOf(), allOf(), allOf()), paths([]string{"*"}, "*")),
		bind("cluster-admin", "cluster-admin", groups, authn.GroupMasters),

		role("admin", append(editRules(), rule([]string{"rbac.authorization.k8s.io"}, []string{"roles", "rolebindings"}, allVerbs()))...),
		role("edit", editRules()...),
		role("view", viewRules()...),

		role("system:discovery", paths([]string{"get"}, "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/readyz", "/openapi", "/openapi/*", "/version", "/version/")),
		bind("system:discovery", "system:discovery", groups, authn.GroupAuthenticated),
		role("system:public-info-viewer", paths([]string{"get"}, "/healthz", "/livez", "/readyz", "/version", "/version/")),
		bind("system:public-info-viewer", "system:public-info-viewer", groups, authn.GroupAuthenticated, authn.GroupUnauthenticated),
		role("system:basic-user",
			rule([]string{"authorization.k8s.io"}, []string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"}, []string{"create"}),
			rule([]string{"authentication.k8s.io"}, []string{"selfsubjectreviews"}, []string{"create"})),
		bind("system:basic-user", "system:basic-user", groups, authn.GroupAuthenticated),

		role("system:node", nodeRules()...),
		bind("system:node", "system:node", groups, authn.GroupNodes),
		role("system:node-proxier",
			rule([]string{""}, []string{"nodes", "services", "endpoints"}, readVerbs()),
			rule([]string{"discovery.k8s.io"}, []string{"endpointslices"}, readVerbs()),
			eventRule()),
		bind("system:node-proxier", "system:node-proxier", users, "system:kube-proxy"),
		role("system:kube-scheduler", schedulerRules()...),
		bind("system:kube-scheduler", "system:kube-scheduler", users, "system:kube-scheduler"),
		role("system:kube-controller-manager", rule(allOf(), allOf(), allVerbs())), // the garbage collector deletes objects of every kind
		bind("system:kube-controller-manager", "system:kube-controller-manager", users, "system:kube-controller-manager"),
	}
}

func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule([]string{""}, []string{"configmaps", "endpoints", "events", "pods", "pods/log", "pods/status", "services", "services/status", "serviceaccounts", "namespaces", "namespaces/status"}, readVerbs()),
		rule([]string{"apps"}, []string{"deployments", "deployments/scale", "deployments/status", "replicasets", "replicasets/scale", "replicasets/status"}, readVerbs()),
		rule([]string{"batch"}, []string{"jobs", "jobs/status"}, readVerbs()),
		rule([]string{"discovery.k8s.io"}, []string{"endpointslices"}, readVerbs()),
		rule([]string{"networking.k8s.io"}, []string{"ingresses", "ingresses/status"}, readVerbs()),
	}
}

// editRules include secrets, as upstream's do: who may edit pods could read them anyway.
func editRules() []rbacv1.PolicyRule {
	return append(viewRules(),
		rule([]string{""}, []string{"configmaps", "pods", "secrets", "services", "serviceaccounts", "events"}, writeVerbs()),
		rule([]string{""}, []string{"secrets"}, readVerbs()),
		rule([]string{""}, []string{"pods/exec", "pods/attach", "pods/portforward", "pods/eviction"}, []string{"get", "create"}),
		rule([]string{"apps"}, []string{"deployments", "deployments/scale", "replicasets", "replicasets/scale"}, writeVerbs()),
		rule([]string{"batch"}, []string{"jobs"}, writeVerbs()),
		rule([]string{"coordination.k8s.io"}, []string{"leases"}, allVerbs()),
		rule([]string{"networking.k8s.io"}, []string{"ingresses"}, writeVerbs()),
	)
}

// nodeRules are for every node agent; Nodes restricts each to its own node.
func nodeRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule([]string{""}, []string{"nodes"}, append(readVerbs(), "create", "update", "patch")),
		rule([]string{""}, []string{"nodes/status"}, []string{"update", "patch"}),
		rule([]string{""}, []string{"pods"}, append(readVerbs(), "delete")), // no create: agents have no static pods, and a pod may run anywhere
		rule([]string{""}, []string{"pods/status"}, []string{"update", "patch"}),
		rule([]string{""}, []string{"pods/eviction"}, []string{"create"}),
		rule([]string{""}, []string{"configmaps", "secrets", "services", "endpoints", "namespaces", "serviceaccounts"}, readVerbs()),
		rule([]string{""}, []string{"serviceaccounts/token"}, []string{"create"}),
		rule([]string{"discovery.k8s.io"}, []string{"endpointslices"}, readVerbs()),
		rule([]string{"coordination.k8s.io"}, []string{"leases"}, append(readVerbs(), "create", "update", "patch", "delete")),
		eventRule(),
	}
}

func schedulerRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule([]string{""}, []string{"nodes", "namespaces", "services"}, readVerbs()),
		rule([]string{""}, []string{"pods"}, append(readVerbs(), "delete")),
		rule([]string{""}, []string{"pods/binding", "bindings"}, []string{"create"}),
		rule([]string{""}, []string{"pods/status"}, []string{"update", "patch"}),
		rule([]string{"apps"}, []string{"replicasets"}, readVerbs()),
		rule([]string{"scheduling.k8s.io"}, []string{"priorityclasses"}, readVerbs()),
		rule([]string{"coordination.k8s.io"}, []string{"leases"}, []string{"create", "get", "update", "list", "watch"}),
		eventRule(),
	}
}

func eventRule() rbacv1.PolicyRule {
	return rule([]string{"", "events.k8s.io"}, []string{"events"}, []string{"create", "update", "patch"})
}

func allOf() []string { return []string{"*"} }

func rule(groups, resources, verbs []string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: groups, Resources: resources, Verbs: verbs}
}

func paths(verbs []string, urls ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, NonResourceURLs: urls}
}

func role(name string, rules ...rbacv1.PolicyRule) kind.Decoded {
	r := kind.ClusterRole.New()
	r.ObjectMeta = bootstrapped(name)
	r.Rules = rules
	return kind.Decoded{Kind: kind.ClusterRole.Kind(), Object: r}
}

func bind(name, role, subjectKind string, subjects ...string) kind.Decoded {
	b := kind.ClusterRoleBinding.New()
	b.ObjectMeta = bootstrapped(name)
	b.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	for _, s := range subjects {
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: subjectKind, Name: s})
	}
	return kind.Decoded{Kind: kind.ClusterRoleBinding.Kind(), Object: b}
}

func bootstrapped(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"}}
}
