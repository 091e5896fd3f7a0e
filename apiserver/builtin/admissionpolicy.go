package builtin

import (
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func paramKind(k *admissionv1.ParamKind) string {
	if k == nil {
		return unset
	}
	return k.APIVersion + "/" + k.Kind
}

// paramRef names the parameters; whether they have a namespace can't be seen from here, hence the asterisk.
func paramRef(r *admissionv1.ParamRef) string {
	switch {
	case r == nil:
		return unset
	case r.Name != "" && r.Namespace != "":
		return r.Namespace + "/" + r.Name
	case r.Name != "":
		return "*/" + r.Name
	case r.Selector != nil:
		return r.Selector.String()
	}
	return unset
}

func validatingPolicies() behaviour[*admissionv1.ValidatingAdmissionPolicy] {
	type policy = admissionv1.ValidatingAdmissionPolicy
	return behaviour[*policy]{
		defaults: func(p *policy) {
			setPtr(&p.Spec.FailurePolicy, admissionv1.Fail)
			defaultMatch(p.Spec.MatchConstraints)
		},
		validate: func(p, _ *policy) field.ErrorList { return validateValidatingPolicy(&p.Spec) },
		status:   true,
		columns: []kind.Column{
			nameColumn(),
			number("Validations", "How many expressions it has", func(p *policy, _ time.Time) any { return int64(len(p.Spec.Validations)) }),
			text("ParamKind", "Kind of its parameters", func(p *policy) string { return paramKind(p.Spec.ParamKind) }),
			ageColumn(),
		},
	}
}

func validatingPolicyBindings() behaviour[*admissionv1.ValidatingAdmissionPolicyBinding] {
	type binding = admissionv1.ValidatingAdmissionPolicyBinding
	return behaviour[*binding]{
		defaults:   func(b *binding) { defaultMatch(b.Spec.MatchResources) },
		generation: kind.GenerationAlways,
		validate: func(b, _ *binding) field.ErrorList {
			at := field.NewPath("spec")
			errs := validateBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, at)
			return append(errs, validateActions(b.Spec.ValidationActions, at.Child("validationActions"))...)
		},
		columns: bindingTo(func(b *binding) (string, *admissionv1.ParamRef) { return b.Spec.PolicyName, b.Spec.ParamRef }),
	}
}

func mutatingPolicies() behaviour[*admissionv1.MutatingAdmissionPolicy] {
	type policy = admissionv1.MutatingAdmissionPolicy
	return behaviour[*policy]{
		defaults: func(p *policy) {
			setPtr(&p.Spec.FailurePolicy, admissionv1.Fail)
			defaultMatch(p.Spec.MatchConstraints)
		},
		generation: kind.GenerationAlways,
		validate:   func(p, _ *policy) field.ErrorList { return validateMutatingPolicy(&p.Spec) },
		columns: []kind.Column{
			nameColumn(),
			number("Mutations", "How many it makes", func(p *policy, _ time.Time) any { return int64(len(p.Spec.Mutations)) }),
			text("ParamKind", "Kind of its parameters", func(p *policy) string { return paramKind(p.Spec.ParamKind) }),
			ageColumn(),
		},
	}
}

func mutatingPolicyBindings() behaviour[*admissionv1.MutatingAdmissionPolicyBinding] {
	type binding = admissionv1.MutatingAdmissionPolicyBinding
	return behaviour[*binding]{
		defaults:   func(b *binding) { defaultMatch(b.Spec.MatchResources) },
		generation: kind.GenerationAlways,
		validate: func(b, _ *binding) field.ErrorList {
			at := field.NewPath("spec")
			errs := validateBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, at)
			return append(errs, mutatingOperations(b.Spec.MatchResources, at.Child("matchResources", "resourceRules", "operations"))...)
		},
		columns: bindingTo(func(b *binding) (string, *admissionv1.ParamRef) { return b.Spec.PolicyName, b.Spec.ParamRef }),
	}
}

func bindingTo[T kind.Instance](get func(T) (string, *admissionv1.ParamRef)) []kind.Column {
	return []kind.Column{
		nameColumn(),
		text("PolicyName", "The policy that it puts to use", func(b T) string { name, _ := get(b); return name }),
		text("ParamRef", "The parameters", func(b T) string { _, ref := get(b); return paramRef(ref) }),
		ageColumn(),
	}
}

func defaultMatch(m *admissionv1.MatchResources) {
	if m == nil {
		return
	}
	setPtr(&m.MatchPolicy, admissionv1.Equivalent)
	setPtr(&m.NamespaceSelector, metav1.LabelSelector{})
	setPtr(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			setPtr(&rules[i].Scope, admissionv1.AllScopes)
		}
	}
}

func validateValidatingPolicy(s *admissionv1.ValidatingAdmissionPolicySpec) field.ErrorList {
	at := field.NewPath("spec")
	errs := validateConstraints(s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions, s.Variables, at)
	const either = "validations or auditAnnotations must contain at least one item"
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		errs = append(errs, field.Required(at.Child("validations"), either), field.Required(at.Child("auditAnnotations"), either))
	}
	for i, v := range s.Validations {
		here := at.Child("validations").Index(i)
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(here.Child("expression"), "expression is not specified"))
		}
		if v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
			errs = append(errs, field.Invalid(here.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified"))
		}
		if v.Reason != nil {
			errs = append(errs, supported(*v.Reason, here.Child("reason"), metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnauthorized)...)
		}
	}
	keys := make(seen[string], len(s.AuditAnnotations))
	for i, a := range s.AuditAnnotations {
		here := at.Child("auditAnnotations").Index(i)
		errs = append(errs, needName(a.Key, here.Child("key"), validation.IsQualifiedName)...)
		if strings.TrimSpace(a.ValueExpression) == "" {
			errs = append(errs, field.Required(here.Child("valueExpression"), "valueExpression is not specified"))
		}
		errs = append(errs, keys.add(a.Key, here.Child("key"))...)
	}
	return errs
}

func validateMutatingPolicy(s *admissionv1.MutatingAdmissionPolicySpec) field.ErrorList {
	at := field.NewPath("spec")
	errs := validateConstraints(s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions, s.Variables, at)
	errs = append(errs, mutatingOperations(s.MatchConstraints, at.Child("matchConstraints", "resourceRules", "operations"))...)
	if len(s.Mutations) == 0 {
		errs = append(errs, field.Required(at.Child("mutations"), "mutations must contain at least one item"))
	}
	for i, m := range s.Mutations {
		here := at.Child("mutations").Index(i)
		switch m.PatchType {
		case admissionv1.PatchTypeApplyConfiguration:
			if m.ApplyConfiguration == nil || strings.TrimSpace(m.ApplyConfiguration.Expression) == "" {
				errs = append(errs, field.Required(here.Child("applyConfiguration"), "must be specified when patchType is ApplyConfiguration"))
			}
		case admissionv1.PatchTypeJSONPatch:
			if m.JSONPatch == nil || strings.TrimSpace(m.JSONPatch.Expression) == "" {
				errs = append(errs, field.Required(here.Child("jsonPatch"), "must be specified when patchType is JSONPatch"))
			}
		default:
			errs = append(errs, oneOf(m.PatchType, here.Child("patchType"), admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)...)
		}
	}
	return append(errs, oneOf(s.ReinvocationPolicy, at.Child("reinvocationPolicy"), admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
}

func validateConstraints(failure *admissionv1.FailurePolicyType, param *admissionv1.ParamKind, match *admissionv1.MatchResources, conditions []admissionv1.MatchCondition, variables []admissionv1.Variable, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if failure == nil {
		errs = append(errs, field.Required(at.Child("failurePolicy"), ""))
	}
	errs = append(errs, validatePolicies(failure, nil, at)...)
	if param != nil {
		errs = append(errs, validateParamKind(param, at.Child("paramKind"))...)
	}
	constraints := at.Child("matchConstraints")
	if match == nil {
		errs = append(errs, field.Required(constraints, ""))
	} else {
		errs = append(errs, validateMatch(match, constraints)...)
		if len(match.ResourceRules) == 0 {
			errs = append(errs, field.Required(constraints.Child("resourceRules"), ""))
		}
	}
	errs = append(errs, validateMatchConditions(conditions, at.Child("matchConditions"))...)
	for i, v := range variables {
		here := at.Child("variables").Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(here.Child("name"), "name is not specified"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(here.Child("expression"), "expression is not specified"))
		}
	}
	return errs
}

func validateParamKind(p *admissionv1.ParamKind, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	here := at.Child("apiVersion")
	if p.APIVersion == "" {
		errs = append(errs, field.Required(here, ""))
	} else if gv, err := schema.ParseGroupVersion(p.APIVersion); err != nil {
		errs = append(errs, field.Invalid(here, p.APIVersion, err.Error()))
	} else {
		errs = append(errs, mayName(gv.Group, here, dnsSubdomain)...)
		errs = append(errs, checkName(gv.Version, here, dns1035Label)...)
	}
	if p.Kind == "" {
		return append(errs, field.Required(at.Child("kind"), ""))
	}
	if msgs := dns1035Label(strings.ToLower(p.Kind)); len(msgs) > 0 {
		errs = append(errs, field.Invalid(at.Child("kind"), p.Kind, "may have mixed case, but should otherwise match: "+strings.Join(msgs, ",")))
	}
	return errs
}

func validateMatch(m *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	errs := validatePolicies(nil, m.MatchPolicy, at)
	errs = append(errs, validateSelectors(m.NamespaceSelector, m.ObjectSelector, at)...)
	for name, rules := range sorted(map[string][]admissionv1.NamedRuleWithOperations{"resourceRules": m.ResourceRules, "excludeResourceRules": m.ExcludeResourceRules}) {
		for i := range rules {
			here := at.Child(name).Index(i)
			names := make(seen[string], len(rules[i].ResourceNames))
			for j, n := range rules[i].ResourceNames {
				errs = append(errs, checkName(n, here.Child("resourceNames").Index(j), pathSegment)...)
				errs = append(errs, names.add(n, here.Child("resourceNames").Index(j))...)
			}
			errs = append(errs, validateOperations(&rules[i].RuleWithOperations, here)...)
		}
	}
	return errs
}

// mutatingOperations are those after which there is an object to change.
func mutatingOperations(m *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	for i := range m.ResourceRules {
		for _, o := range m.ResourceRules[i].Operations {
			errs = append(errs, supported(o, at, admissionv1.Create, admissionv1.Update)...)
		}
	}
	return errs
}

func validateBinding(policy string, ref *admissionv1.ParamRef, match *admissionv1.MatchResources, at *field.Path) field.ErrorList {
	errs := needName(policy, at.Child("policyName"), dnsSubdomain)
	if ref != nil {
		errs = append(errs, validateParamRef(ref, at.Child("paramRef"))...)
	}
	return append(errs, validateMatch(match, at.Child("matchResources"))...)
}

func validateParamRef(r *admissionv1.ParamRef, at *field.Path) field.ErrorList {
	const exclusive = "name and selector are mutually exclusive"
	errs := mayName(r.Name, at.Child("name"), pathSegment)
	if r.Selector != nil {
		errs = append(errs, wellFormed(r.Selector, at.Child("selector"))...)
	}
	switch {
	case r.Name != "" && r.Selector != nil:
		errs = append(errs, field.Forbidden(at.Child("name"), exclusive), field.Forbidden(at.Child("selector"), exclusive))
	case r.Name == "" && r.Selector == nil:
		errs = append(errs, field.Required(at, "one of name or selector must be specified"))
	}
	return append(errs, oneOf(deref(r.ParameterNotFoundAction), at.Child("parameterNotFoundAction"), admissionv1.DenyAction, admissionv1.AllowAction)...)
}

func validateActions(list []admissionv1.ValidationAction, at *field.Path) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(at, "at least one validation action is required")}
	}
	var errs field.ErrorList
	twice := make(seen[admissionv1.ValidationAction], len(list))
	for i, a := range list {
		errs = append(errs, supported(a, at.Index(i), admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)...)
		errs = append(errs, twice.add(a, at.Index(i))...)
	}
	if slices.Contains(list, admissionv1.Deny) && slices.Contains(list, admissionv1.Warn) {
		errs = append(errs, field.Invalid(at, list, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	return errs
}
