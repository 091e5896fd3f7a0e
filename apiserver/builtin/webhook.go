package builtin

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// maxMatchConditions bounds the expressions of one webhook or policy. Source: k8s.io/api, admissionregistration/v1.
const maxMatchConditions = 64

func validatingWebhooks() behaviour[*admissionv1.ValidatingWebhookConfiguration] {
	type config = admissionv1.ValidatingWebhookConfiguration
	return behaviour[*config]{
		defaults: func(c *config) {
			for i := range c.Webhooks {
				h := &c.Webhooks[i]
				defaultWebhook(&h.FailurePolicy, &h.MatchPolicy, &h.NamespaceSelector, &h.ObjectSelector, &h.TimeoutSeconds, h.Rules, h.ClientConfig.Service)
			}
		},
		generation: kind.GenerationAlways,
		validate: func(c, _ *config) field.ErrorList {
			var errs field.ErrorList
			names := make(seen[string], len(c.Webhooks))
			for i := range c.Webhooks {
				h, at := &c.Webhooks[i], field.NewPath("webhooks").Index(i)
				errs = append(errs, validateWebhook(hook{h.Name, h.ClientConfig, h.Rules, h.FailurePolicy, h.MatchPolicy, h.NamespaceSelector, h.ObjectSelector,
					h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions, h.MatchConditions}, at)...)
				if h.Name != "" {
					errs = append(errs, names.add(h.Name, at.Child("name"))...)
				}
			}
			return errs
		},
		columns: []kind.Column{
			nameColumn(),
			number("Webhooks", "How many it has", func(c *config, _ time.Time) any { return int64(len(c.Webhooks)) }),
			ageColumn(),
		},
	}
}

func mutatingWebhooks() behaviour[*admissionv1.MutatingWebhookConfiguration] {
	type config = admissionv1.MutatingWebhookConfiguration
	return behaviour[*config]{
		defaults: func(c *config) {
			for i := range c.Webhooks {
				h := &c.Webhooks[i]
				defaultWebhook(&h.FailurePolicy, &h.MatchPolicy, &h.NamespaceSelector, &h.ObjectSelector, &h.TimeoutSeconds, h.Rules, h.ClientConfig.Service)
				setPtr(&h.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
			}
		},
		generation: kind.GenerationAlways,
		validate: func(c, _ *config) field.ErrorList {
			var errs field.ErrorList
			names := make(seen[string], len(c.Webhooks))
			for i := range c.Webhooks {
				h, at := &c.Webhooks[i], field.NewPath("webhooks").Index(i)
				errs = append(errs, validateWebhook(hook{h.Name, h.ClientConfig, h.Rules, h.FailurePolicy, h.MatchPolicy, h.NamespaceSelector, h.ObjectSelector,
					h.SideEffects, h.TimeoutSeconds, h.AdmissionReviewVersions, h.MatchConditions}, at)...)
				if h.ReinvocationPolicy != nil {
					errs = append(errs, supported(*h.ReinvocationPolicy, at.Child("reinvocationPolicy"), admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
				}
				if h.Name != "" {
					errs = append(errs, names.add(h.Name, at.Child("name"))...)
				}
			}
			return errs
		},
		columns: []kind.Column{
			nameColumn(),
			number("Webhooks", "How many it has", func(c *config, _ time.Time) any { return int64(len(c.Webhooks)) }),
			ageColumn(),
		},
	}
}

func defaultWebhook(failure **admissionv1.FailurePolicyType, match **admissionv1.MatchPolicyType, namespaces, objects **metav1.LabelSelector, timeout **int32, rules []admissionv1.RuleWithOperations, service *admissionv1.ServiceReference) {
	setPtr(failure, admissionv1.Fail)
	setPtr(match, admissionv1.Equivalent)
	setPtr(namespaces, metav1.LabelSelector{})
	setPtr(objects, metav1.LabelSelector{})
	setPtr(timeout, 10)
	for i := range rules {
		setPtr(&rules[i].Scope, admissionv1.AllScopes)
	}
	if service != nil {
		setPtr(&service.Port, 443)
	}
}

// hook is what both kinds of webhooks have in common.
type hook struct {
	name       string
	client     admissionv1.WebhookClientConfig
	rules      []admissionv1.RuleWithOperations
	failure    *admissionv1.FailurePolicyType
	match      *admissionv1.MatchPolicyType
	namespaces *metav1.LabelSelector
	objects    *metav1.LabelSelector
	effects    *admissionv1.SideEffectClass
	timeout    *int32
	versions   []string
	conditions []admissionv1.MatchCondition
}

func validateWebhook(h hook, at *field.Path) field.ErrorList {
	errs := validation.IsFullyQualifiedName(at.Child("name"), h.name)
	for i := range h.rules {
		errs = append(errs, validateOperations(&h.rules[i], at.Child("rules").Index(i))...)
	}
	errs = append(errs, validatePolicies(h.failure, h.match, at)...)
	effects := []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}
	if h.effects == nil {
		errs = append(errs, field.Required(at.Child("sideEffects"), fmt.Sprintf("must specify one of %s, %s", effects[0], effects[1])))
	} else {
		errs = append(errs, supported(*h.effects, at.Child("sideEffects"), effects...)...)
	}
	if h.timeout != nil && (*h.timeout < 1 || *h.timeout > 30) {
		errs = append(errs, field.Invalid(at.Child("timeoutSeconds"), *h.timeout, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, validateSelectors(h.namespaces, h.objects, at)...)
	errs = append(errs, validateHookClient(h.client, at.Child("clientConfig"))...)
	errs = append(errs, validateReviewVersions(h.versions, at.Child("admissionReviewVersions"))...)
	return append(errs, validateMatchConditions(h.conditions, at.Child("matchConditions"))...)
}

func validatePolicies(failure *admissionv1.FailurePolicyType, match *admissionv1.MatchPolicyType, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if failure != nil {
		errs = append(errs, supported(*failure, at.Child("failurePolicy"), admissionv1.Fail, admissionv1.Ignore)...)
	}
	if match != nil {
		errs = append(errs, supported(*match, at.Child("matchPolicy"), admissionv1.Equivalent, admissionv1.Exact)...)
	}
	return errs
}

func validateSelectors(namespaces, objects *metav1.LabelSelector, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if namespaces != nil {
		errs = append(errs, wellFormed(namespaces, at.Child("namespaceSelector"))...)
	}
	if objects != nil {
		errs = append(errs, wellFormed(objects, at.Child("objectSelector"))...)
	}
	return errs
}

func validateHookClient(c admissionv1.WebhookClientConfig, at *field.Path) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(at, "exactly one of url or service is required")}
	case c.URL != nil:
		return hookURL(*c.URL, at.Child("url"))
	}
	return serviceReference(c.Service.Namespace, c.Service.Name, c.Service.Path, c.Service.Port, at.Child("service"))
}

func hookURL(text string, at *field.Path) field.ErrorList {
	const form = "; desired format: https://host[/path]"
	u, err := url.Parse(text)
	if err != nil {
		return field.ErrorList{field.Required(at, "url must be a valid URL: "+err.Error()+form)}
	}
	var errs field.ErrorList
	if u.Scheme != "https" {
		errs = append(errs, field.Invalid(at, u.Scheme, "'https' is the only allowed URL scheme"+form))
	}
	if u.Host == "" {
		errs = append(errs, field.Invalid(at, u.Host, "host must be specified"+form))
	}
	if u.User != nil {
		errs = append(errs, field.Invalid(at, u.User.String(), "user information is not permitted in the URL"))
	}
	if u.Fragment != "" {
		errs = append(errs, field.Invalid(at, u.Fragment, "fragments are not permitted in the URL"))
	}
	if u.RawQuery != "" {
		errs = append(errs, field.Invalid(at, u.RawQuery, "query parameters are not permitted in the URL"))
	}
	return errs
}

// serviceReference checks where a Service is reached; path and port may be left out.
func serviceReference(namespace, name string, path *string, port *int32, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(at.Child("name"), "service name is required"))
	}
	if namespace == "" {
		errs = append(errs, field.Required(at.Child("namespace"), "service namespace is required"))
	}
	if port != nil {
		for _, msg := range validation.IsValidPortNum(int(*port)) {
			errs = append(errs, field.Invalid(at.Child("port"), *port, "port is not valid: "+msg))
		}
	}
	if path == nil {
		return errs
	}
	here := at.Child("path")
	switch p := *path; {
	case p == "/":
	case p == "":
		errs = append(errs, field.Invalid(here, p, "must start with a '/'"))
	case p[0] != '/':
		errs = append(errs, field.Invalid(here, p, "must start with a '/'"))
	default:
		for i, step := range strings.Split(strings.TrimSuffix(p[1:], "/"), "/") {
			if step == "" {
				errs = append(errs, field.Invalid(here, p, fmt.Sprintf("segment[%d] may not be empty", i)))
				continue
			}
			for _, msg := range validation.IsDNS1123Subdomain(step) {
				errs = append(errs, field.Invalid(here, p, fmt.Sprintf("segment[%d]: %s", i, msg)))
			}
		}
	}
	return errs
}

func validateReviewVersions(versions []string, at *field.Path) field.ErrorList {
	const known = "v1, v1beta1"
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "must specify one of "+known)}
	}
	var errs field.ErrorList
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
			continue
		}
		errs = append(errs, checkName(v, at.Index(i), dns1035Label)...)
	}
	if !slices.Contains(versions, "v1") && !slices.Contains(versions, "v1beta1") {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+known))
	}
	return errs
}

// validateMatchConditions checks the form; whether an expression compiles is for who evaluates it.
func validateMatchConditions(list []admissionv1.MatchCondition, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(list) > maxMatchConditions {
		errs = append(errs, field.TooMany(at, len(list), maxMatchConditions))
	}
	names := make(seen[string], len(list))
	for i, c := range list {
		here := at.Index(i)
		if strings.TrimSpace(c.Expression) == "" {
			errs = append(errs, field.Required(here.Child("expression"), ""))
		}
		errs = append(errs, needName(c.Name, here.Child("name"), validation.IsQualifiedName)...)
		if c.Name != "" {
			errs = append(errs, names.add(c.Name, here.Child("name"))...)
		}
	}
	return errs
}

func validateOperations(r *admissionv1.RuleWithOperations, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(at.Child("operations"), ""))
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionv1.OperationAll) {
		errs = append(errs, field.Invalid(at.Child("operations"), r.Operations, "if '*' is present, must not specify other operations"))
	}
	for i, o := range r.Operations {
		errs = append(errs, supported(o, at.Child("operations").Index(i), admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update)...)
	}
	alone := func(list []string, name, what string) {
		if len(list) == 0 {
			errs = append(errs, field.Required(at.Child(name), ""))
		}
		if len(list) > 1 && slices.Contains(list, "*") {
			errs = append(errs, field.Invalid(at.Child(name), list, "if '*' is present, must not specify other "+what))
		}
	}
	alone(r.APIGroups, "apiGroups", "API groups")
	alone(r.APIVersions, "apiVersions", "API versions")
	for i, v := range r.APIVersions {
		if v == "" {
			errs = append(errs, field.Required(at.Child("apiVersions").Index(i), ""))
		}
	}
	errs = append(errs, validateRuleResources(r.Resources, at.Child("resources"))...)
	if r.Scope != nil {
		errs = append(errs, supported(*r.Scope, at.Child("scope"), admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)...)
	}
	return errs
}

func validateRuleResources(list []string, at *field.Path) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	wholeOf, everyOf := make(map[string]bool), make(map[string]bool)
	whole, single := false, false
	for i, name := range list {
		if name == "" {
			errs = append(errs, field.Required(at.Index(i), ""))
			continue
		}
		single = single || name == "*"
		resource, sub, ok := strings.Cut(name, "/")
		if !ok {
			whole = whole || name != "*"
			continue
		}
		if wholeOf[resource] {
			errs = append(errs, field.Invalid(at.Index(i), name, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, name)))
		}
		if everyOf[sub] {
			errs = append(errs, field.Invalid(at.Index(i), name, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, name)))
		}
		wholeOf[resource] = wholeOf[resource] || sub == "*"
		everyOf[sub] = everyOf[sub] || resource == "*"
	}
	if len(list) > 1 && slices.Contains(list, "*/*") {
		errs = append(errs, field.Invalid(at, list, "if '*/*' is present, must not specify other resources"))
	}
	if single && whole {
		errs = append(errs, field.Invalid(at, list, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}
