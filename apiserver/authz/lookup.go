package authz

import (
	"context"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Lookup reads the objects that RBAC evaluates. What it returns is shared and read-only. A role that does not exist is
// an error; bindings to it grant nothing.
type Lookup interface {
	Role(ctx context.Context, namespace, name string) (*rbacv1.Role, error)
	ClusterRole(ctx context.Context, name string) (*rbacv1.ClusterRole, error)
	RoleBindings(ctx context.Context, namespace string) ([]*rbacv1.RoleBinding, error)
	ClusterRoleBindings(ctx context.Context) ([]*rbacv1.ClusterRoleBinding, error)
}

// FromClient looks up through a client, accepting whatever its cache holds; the client of a server in the same process
// sees its own writes at once.
func FromClient(c client.Client) Lookup { return lookup{c} }

type lookup struct{ c client.Client }

// cached accepts any version of the data, so that authorizing never waits for the store.
func cached(r *client.Request) { r.List.ResourceVersion = "0" }

func (l lookup) Role(ctx context.Context, namespace, name string) (*rbacv1.Role, error) {
	return client.For(l.c, kind.Role).Get(ctx, namespace, name, cached)
}

func (l lookup) ClusterRole(ctx context.Context, name string) (*rbacv1.ClusterRole, error) {
	return client.For(l.c, kind.ClusterRole).Get(ctx, metav1.NamespaceNone, name, cached)
}

func (l lookup) RoleBindings(ctx context.Context, namespace string) ([]*rbacv1.RoleBinding, error) {
	page, err := client.For(l.c, kind.RoleBinding).List(ctx, client.InNamespace(namespace), cached)
	return page.Items, err
}

func (l lookup) ClusterRoleBindings(ctx context.Context) ([]*rbacv1.ClusterRoleBinding, error) {
	page, err := client.For(l.c, kind.ClusterRoleBinding).List(ctx, cached)
	return page.Items, err
}
