// Package authz decides whether a user may do what they ask for. An [Authorizer] gets [Attributes] and answers with a
// [Decision]; an error means that it could not tell, and counts as a refusal.
//
// [RBAC] evaluates the Role, RoleBinding, ClusterRole and ClusterRoleBinding objects of a control plane, additively:
// what no rule allows is refused. Members of the group system:masters may do anything, whatever the objects say, so
// that a control plane without any can be administered. [Bootstrap] lists the roles and bindings that a Kubernetes
// cluster starts with.
//
// Authorizers are safe for concurrent use. They never change what they read, and keep nothing between calls: a new
// binding counts for the next request.
package authz
