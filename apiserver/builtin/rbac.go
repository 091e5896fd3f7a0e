package builtin

import (
	"fmt"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Names of RBAC objects may hold colons (system:node) and nearly anything else that fits into a path.

func roles() behaviour[*rbacv1.Role] {
	return behaviour[*rbacv1.Role]{
		name:     pathSegment,
		validate: func(r, _ *rbacv1.Role) field.ErrorList { return validateRules(r.Rules, true) },
		columns:  []kind.Column{nameColumn(), createdColumn()},
	}
}

func clusterRoles() behaviour[*rbacv1.ClusterRole] {
	return behaviour[*rbacv1.ClusterRole]{
		name: pathSegment,
		validate: func(r, _ *rbacv1.ClusterRole) field.ErrorList {
			errs := validateRules(r.Rules, false)
			if r.AggregationRule == nil {
				return errs
			}
			at := field.NewPath("aggregationRule", "clusterRoleSelectors")
			if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
				errs = append(errs, field.Required(at, "at least one selector of cluster roles"))
			}
			for i := range r.AggregationRule.ClusterRoleSelectors {
				errs = append(errs, metav1validation.ValidateLabelSelector(&r.AggregationRule.ClusterRoleSelectors[i], metav1validation.LabelSelectorValidationOptions{}, at.Index(i))...)
			}
			return errs
		},
		columns: []kind.Column{nameColumn(), createdColumn()},
	}
}

func roleBindings() behaviour[*rbacv1.RoleBinding] {
	return behaviour[*rbacv1.RoleBinding]{
		defaults: func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		name:     pathSegment,
		validate: func(b, old *rbacv1.RoleBinding) field.ErrorList {
			errs := validateRoleRef(b.RoleRef, "Role", "ClusterRole")
			errs = append(errs, validateSubjects(b.Subjects, true)...)
			if old != nil && b.RoleRef != old.RoleRef {
				errs = append(errs, field.Invalid(field.NewPath("roleRef"), b.RoleRef, "cannot change roleRef"))
			}
			return errs
		},
		columns: bindingColumns(func(b *rbacv1.RoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) { return b.RoleRef, b.Subjects }),
	}
}

func clusterRoleBindings() behaviour[*rbacv1.ClusterRoleBinding] {
	return behaviour[*rbacv1.ClusterRoleBinding]{
		defaults: func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		name:     pathSegment,
		validate: func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
			errs := validateRoleRef(b.RoleRef, "ClusterRole")
			errs = append(errs, validateSubjects(b.Subjects, false)...)
			if old != nil && b.RoleRef != old.RoleRef {
				errs = append(errs, field.Invalid(field.NewPath("roleRef"), b.RoleRef, "cannot change roleRef"))
			}
			return errs
		},
		columns: bindingColumns(func(b *rbacv1.ClusterRoleBinding) (rbacv1.RoleRef, []rbacv1.Subject) { return b.RoleRef, b.Subjects }),
	}
}

func defaultBinding(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
	set(&ref.APIGroup, rbacv1.GroupName)
	for i := range subjects {
		if k := subjects[i].Kind; k == rbacv1.UserKind || k == rbacv1.GroupKind {
			set(&subjects[i].APIGroup, rbacv1.GroupName)
		}
	}
}

func validateRules(rules []rbacv1.PolicyRule, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i, r := range rules {
		at := field.NewPath("rules").Index(i)
		if len(r.Verbs) == 0 {
			errs = append(errs, field.Required(at.Child("verbs"), "verbs must contain at least one value"))
		}
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs"))
			}
			if len(r.APIGroups)+len(r.Resources)+len(r.ResourceNames) > 0 {
				errs = append(errs, field.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs"))
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			errs = append(errs, field.Required(at.Child("apiGroups"), "resource rules must supply at least one api group"))
		}
		if len(r.Resources) == 0 {
			errs = append(errs, field.Required(at.Child("resources"), "resource rules must supply at least one resource"))
		}
	}
	return errs
}

func validateRoleRef(ref rbacv1.RoleRef, kinds ...string) field.ErrorList {
	at := field.NewPath("roleRef")
	var errs field.ErrorList
	if ref.APIGroup != rbacv1.GroupName {
		errs = append(errs, field.NotSupported(at.Child("apiGroup"), ref.APIGroup, []string{rbacv1.GroupName}))
	}
	errs = append(errs, oneOf(ref.Kind, at.Child("kind"), kinds...)...)
	return append(errs, needName(ref.Name, at.Child("name"), pathSegment)...)
}

func validateSubjects(subjects []rbacv1.Subject, namespaced bool) field.ErrorList {
	var errs field.ErrorList
	for i, s := range subjects {
		at := field.NewPath("subjects").Index(i)
		if s.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		group := rbacv1.GroupName
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			group = ""
			errs = append(errs, mayName(s.Name, at.Child("name"), dnsSubdomain)...)
			if !namespaced && s.Namespace == "" {
				errs = append(errs, field.Required(at.Child("namespace"), ""))
			}
		case rbacv1.UserKind, rbacv1.GroupKind:
		default:
			errs = append(errs, oneOf(s.Kind, at.Child("kind"), rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind)...)
			continue
		}
		if s.APIGroup != group {
			errs = append(errs, field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{group}))
		}
	}
	return errs
}

func bindingColumns[T kind.Instance](get func(T) (rbacv1.RoleRef, []rbacv1.Subject)) []kind.Column {
	subjects := func(of string) func(T, time.Time) any {
		return func(obj T, _ time.Time) any {
			_, list := get(obj)
			var names []string
			for _, s := range list {
				switch {
				case s.Kind != of:
				case of == rbacv1.ServiceAccountKind:
					names = append(names, s.Namespace+"/"+s.Name)
				default:
					names = append(names, s.Name)
				}
			}
			return strings.Join(names, ", ")
		}
	}
	return []kind.Column{
		nameColumn(),
		column("Role", "What is granted", func(obj T, _ time.Time) any {
			ref, _ := get(obj)
			return fmt.Sprintf("%s/%s", ref.Kind, ref.Name)
		}),
		ageColumn(),
		wide("Users", "Users who have it", subjects(rbacv1.UserKind)),
		wide("Groups", "Groups that have it", subjects(rbacv1.GroupKind)),
		wide("ServiceAccounts", "Service accounts that have it", subjects(rbacv1.ServiceAccountKind)),
	}
}
