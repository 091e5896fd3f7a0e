package authz

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/authn"
)

// RBAC decides by the roles and bindings that objects finds. It allows what any rule of any role bound to the user or to
// one of their groups allows. Objects that cannot be read grant nothing; the error is returned when nothing else allows.
func RBAC(objects Lookup) Authorizer { return rbac{objects} }

type rbac struct{ objects Lookup }

// Authorize decides.
func (r rbac) Authorize(ctx context.Context, a Attributes) (Decision, error) {
	if a.User.In(authn.GroupMasters) {
		return Decision{Allowed: true, Reason: "a member of " + authn.GroupMasters + " may do anything"}, nil
	}
	var failed []error
	for rule, because := range r.rules(ctx, a.User, a.Namespace, &failed) {
		if Allows(rule, a) {
			return Decision{Allowed: true, Reason: "RBAC: allowed by " + because}, nil
		}
	}
	return Decision{}, errors.Join(failed...)
}

// RulesFor answers the rules that apply to a user in a namespace, for those who ask what they may do.
func RulesFor(ctx context.Context, objects Lookup, user authn.User, namespace string) ([]rbacv1.PolicyRule, error) {
	if user.In(authn.GroupMasters) {
		return []rbacv1.PolicyRule{
			{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
			{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
		}, nil
	}
	var failed []error
	var out []rbacv1.PolicyRule
	for rule := range (rbac{objects}).rules(ctx, user, namespace, &failed) {
		out = append(out, *rule)
	}
	return out, errors.Join(failed...)
}

// rules yields each rule that applies to the user, with the binding and role that it comes from.
func (r rbac) rules(ctx context.Context, user authn.User, namespace string, failed *[]error) func(yield func(*rbacv1.PolicyRule, string) bool) {
	return func(yield func(*rbacv1.PolicyRule, string) bool) {
		each := func(binding, bindingNamespace string, ref rbacv1.RoleRef) bool {
			rules, err := r.role(ctx, bindingNamespace, ref)
			if err != nil {
				if !apierrors.IsNotFound(err) {
					*failed = append(*failed, err)
				}
				return true
			}
			for i := range rules {
				if !yield(&rules[i], binding+" of "+ref.Kind+" "+ref.Name) {
					return false
				}
			}
			return true
		}
		cluster, err := r.objects.ClusterRoleBindings(ctx)
		if err != nil {
			*failed = append(*failed, err)
		}
		for _, b := range cluster {
			if slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool { return isSubject(s, user, "") }) &&
				!each("ClusterRoleBinding "+b.Name, "", b.RoleRef) {
				return
			}
		}
		if namespace == "" {
			return
		}
		own, err := r.objects.RoleBindings(ctx, namespace)
		if err != nil {
			*failed = append(*failed, err)
		}
		for _, b := range own {
			if slices.ContainsFunc(b.Subjects, func(s rbacv1.Subject) bool { return isSubject(s, user, namespace) }) &&
				!each("RoleBinding "+b.Namespace+"/"+b.Name, namespace, b.RoleRef) {
				return
			}
		}
	}
}

// role answers the rules of what a binding refers to; namespace is empty for a cluster-wide binding.
func (r rbac) role(ctx context.Context, namespace string, ref rbacv1.RoleRef) ([]rbacv1.PolicyRule, error) {
	switch {
	case ref.Kind == "ClusterRole":
		role, err := r.objects.ClusterRole(ctx, ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	case ref.Kind == "Role" && namespace != "":
		role, err := r.objects.Role(ctx, namespace, ref.Name)
		if err != nil {
			return nil, err
		}
		return role.Rules, nil
	}
	return nil, fmt.Errorf("a binding refers to %q %q: want a ClusterRole, or a Role of the binding's namespace", ref.Kind, ref.Name)
}

func isSubject(s rbacv1.Subject, user authn.User, namespace string) bool {
	switch s.Kind {
	case rbacv1.UserKind:
		return s.Name == user.Name
	case rbacv1.GroupKind:
		return user.In(s.Name)
	case rbacv1.ServiceAccountKind:
		if s.Namespace != "" {
			namespace = s.Namespace
		}
		return namespace != "" && user.Name == "system:serviceaccount:"+namespace+":"+s.Name
	}
	return false
}

// Allows reports whether one rule allows a request.
func Allows(rule *rbacv1.PolicyRule, a Attributes) bool {
	if !has(rule.Verbs, a.Verb) {
		return false
	}
	if a.Path != "" {
		return slices.ContainsFunc(rule.NonResourceURLs, func(pattern string) bool {
			prefix, open := strings.CutSuffix(pattern, "*")
			return pattern == a.Path || open && strings.HasPrefix(a.Path, prefix)
		})
	}
	return has(rule.APIGroups, a.Group) && hasResource(rule.Resources, a.Resource, a.Subresource) &&
		(len(rule.ResourceNames) == 0 || a.Name != "" && slices.Contains(rule.ResourceNames, a.Name))
}

func has(list []string, value string) bool {
	return slices.Contains(list, value) || slices.Contains(list, rbacv1.VerbAll)
}

func hasResource(list []string, resource, subresource string) bool {
	whole := resource
	if subresource != "" {
		whole += "/" + subresource
	}
	return slices.ContainsFunc(list, func(r string) bool {
		return r == whole || r == rbacv1.ResourceAll || subresource != "" && r == "*/"+subresource
	})
}
