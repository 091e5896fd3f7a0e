package authz_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
)

// objects is a Lookup over what Bootstrap and a test put in.
type objects struct {
	roles        map[string]*rbacv1.Role // by namespace/name
	clusterRoles map[string]*rbacv1.ClusterRole
	bindings     map[string][]*rbacv1.RoleBinding // by namespace
	cluster      []*rbacv1.ClusterRoleBinding
	broken       error
}

func newObjects() *objects {
	o := &objects{roles: map[string]*rbacv1.Role{}, clusterRoles: map[string]*rbacv1.ClusterRole{}, bindings: map[string][]*rbacv1.RoleBinding{}}
	for _, d := range authz.Bootstrap() {
		switch obj := d.Object.(type) {
		case *rbacv1.ClusterRole:
			o.clusterRoles[obj.Name] = obj
		case *rbacv1.ClusterRoleBinding:
			o.cluster = append(o.cluster, obj)
		}
	}
	return o
}

func (o *objects) Role(_ context.Context, namespace, name string) (*rbacv1.Role, error) {
	if r, ok := o.roles[namespace+"/"+name]; ok {
		return r, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "roles"}, name)
}

func (o *objects) ClusterRole(_ context.Context, name string) (*rbacv1.ClusterRole, error) {
	if r, ok := o.clusterRoles[name]; ok {
		return r, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "clusterroles"}, name)
}

func (o *objects) RoleBindings(_ context.Context, namespace string) ([]*rbacv1.RoleBinding, error) {
	return o.bindings[namespace], o.broken
}

func (o *objects) ClusterRoleBindings(context.Context) ([]*rbacv1.ClusterRoleBinding, error) {
	return o.cluster, o.broken
}

func (o *objects) bind(namespace string, ref rbacv1.RoleRef, subjects ...rbacv1.Subject) {
	b := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: ref.Name}, RoleRef: ref, Subjects: subjects}
	o.bindings[namespace] = append(o.bindings[namespace], b)
}

func ExampleRBAC() {
	o := newObjects()
	o.bind("shop", rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}, rbacv1.Subject{Kind: "User", Name: "ann"})
	who := authz.RBAC(o)
	for _, verb := range []string{"list", "delete"} {
		d, err := who.Authorize(context.Background(), authz.Attributes{
			User: authn.User{Name: "ann"}, Verb: verb, Version: "v1", Resource: "pods", Namespace: "shop",
		})
		fmt.Println(verb, d.Allowed, d.Reason, err)
	}
	// Output:
	// list true RBAC: allowed by RoleBinding shop/view of ClusterRole view <nil>
	// delete false  <nil>
}

func TestRBAC(t *testing.T) {
	o := newObjects()
	user := func(name string) rbacv1.Subject { return rbacv1.Subject{Kind: "User", Name: name} }
	o.roles["shop/one"] = &rbacv1.Role{Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{"mine"}},
		{Verbs: []string{"*"}, APIGroups: []string{"apps"}, Resources: []string{"*/scale"}},
	}}
	o.bind("shop", rbacv1.RoleRef{Kind: "Role", Name: "one"}, user("ann"), rbacv1.Subject{Kind: "ServiceAccount", Name: "bot"})
	o.bind("shop", rbacv1.RoleRef{Kind: "ClusterRole", Name: "edit"}, rbacv1.Subject{Kind: "Group", Name: "devs"})
	o.bind("shop", rbacv1.RoleRef{Kind: "Role", Name: "gone"}, user("ann"))
	who := authz.RBAC(o)

	ann, dev, node := authn.User{Name: "ann"}, authn.User{Name: "eve", Groups: []string{"devs"}}, authn.User{Name: "system:node:a", Groups: []string{authn.GroupNodes}}
	for name, tc := range map[string]struct {
		a    authz.Attributes
		want bool
	}{
		"named":                    {authz.Attributes{User: ann, Verb: "get", Resource: "secrets", Namespace: "shop", Name: "mine"}, true},
		"another name":             {authz.Attributes{User: ann, Verb: "get", Resource: "secrets", Namespace: "shop", Name: "other"}, false},
		"no name":                  {authz.Attributes{User: ann, Verb: "get", Resource: "secrets", Namespace: "shop"}, false},
		"another namespace":        {authz.Attributes{User: ann, Verb: "get", Resource: "secrets", Namespace: "bank", Name: "mine"}, false},
		"another verb":             {authz.Attributes{User: ann, Verb: "delete", Resource: "secrets", Namespace: "shop", Name: "mine"}, false},
		"subresource wildcard":     {authz.Attributes{User: ann, Verb: "patch", Group: "apps", Resource: "deployments", Subresource: "scale", Namespace: "shop"}, true},
		"not the object itself":    {authz.Attributes{User: ann, Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "shop"}, false},
		"not another group":        {authz.Attributes{User: ann, Verb: "patch", Group: "batch", Resource: "jobs", Subresource: "scale", Namespace: "shop"}, false},
		"service account":          {authz.Attributes{User: authn.User{Name: "system:serviceaccount:shop:bot"}, Verb: "get", Resource: "secrets", Namespace: "shop", Name: "mine"}, true},
		"of another namespace":     {authz.Attributes{User: authn.User{Name: "system:serviceaccount:bank:bot"}, Verb: "get", Resource: "secrets", Namespace: "shop", Name: "mine"}, false},
		"group":                    {authz.Attributes{User: dev, Verb: "create", Resource: "pods", Namespace: "shop"}, true},
		"group, exec":              {authz.Attributes{User: dev, Verb: "create", Resource: "pods", Subresource: "exec", Namespace: "shop"}, true},
		"group, all namespaces":    {authz.Attributes{User: dev, Verb: "list", Resource: "pods"}, false},
		"masters":                  {authz.Attributes{User: authn.System("x"), Verb: "any", Resource: "thing"}, true},
		"node status":              {authz.Attributes{User: node, Verb: "patch", Resource: "nodes", Subresource: "status", Name: "a"}, true},
		"node deletes no service":  {authz.Attributes{User: node, Verb: "delete", Resource: "services", Namespace: "shop"}, false},
		"scheduler binds":          {authz.Attributes{User: authn.User{Name: "system:kube-scheduler"}, Verb: "create", Resource: "pods", Subresource: "binding", Namespace: "shop"}, true},
		"discovery":                {authz.Attributes{User: authn.Authenticated(ann), Verb: "get", Path: "/apis/apps/v1"}, true},
		"discovery, anonymous":     {authz.Attributes{User: authn.Anonymous(), Verb: "get", Path: "/apis/apps/v1"}, false},
		"health, anonymous":        {authz.Attributes{User: authn.Anonymous(), Verb: "get", Path: "/healthz"}, true},
		"a longer path":            {authz.Attributes{User: authn.Anonymous(), Verb: "get", Path: "/healthz/x"}, false},
		"a path is no resource":    {authz.Attributes{User: dev, Verb: "get", Path: "/pods"}, false},
		"a resource is no path":    {authz.Attributes{User: authn.Authenticated(ann), Verb: "get", Resource: "/healthz"}, false},
		"anybody about themselves": {authz.Attributes{User: authn.Authenticated(ann), Verb: "create", Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := who.Authorize(t.Context(), tc.a)
			require.NoError(t, err)
			require.Equal(t, tc.want, d.Allowed, d.Reason)
		})
	}

	rules, err := authz.RulesFor(t.Context(), o, ann, "shop")
	require.NoError(t, err)
	require.Len(t, rules, 2)

	o.broken = errors.New("cannot read")
	d, err := who.Authorize(t.Context(), authz.Attributes{User: ann, Verb: "get", Resource: "pods"})
	require.ErrorIs(t, err, o.broken)
	require.False(t, d.Allowed)
}

func TestUnion(t *testing.T) {
	no := authz.Func(func(context.Context, authz.Attributes) (authz.Decision, error) {
		return authz.Decision{Reason: "no"}, nil
	})
	bad := authz.Func(func(context.Context, authz.Attributes) (authz.Decision, error) {
		return authz.Decision{Allowed: true}, errors.New("broken")
	})
	d, err := authz.Union(bad, no, authz.AllowAll()).Authorize(t.Context(), authz.Attributes{})
	require.NoError(t, err)
	require.True(t, d.Allowed)
	d, err = authz.Union(no).Authorize(t.Context(), authz.Attributes{})
	require.NoError(t, err)
	require.Equal(t, authz.Decision{Reason: "no"}, d)
	d, err = authz.Union(bad, no).Authorize(t.Context(), authz.Attributes{})
	require.EqualError(t, err, "broken")
	require.False(t, d.Allowed)
}
