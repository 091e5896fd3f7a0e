package builtin

import (
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Bounds and defaults of priority and fairness. Source: k8s.io/api, flowcontrol/v1; KEP 1040.
const (
	exempt        = "exempt" // the level and the schema of requests that never wait
	maxPrecedence = 10000
	maxQueues     = 10 * 1000 * 1000
)

func flowSchemas() behaviour[*flowcontrolv1.FlowSchema] {
	type schema = flowcontrolv1.FlowSchema
	return behaviour[*schema]{
		defaults: func(f *schema) { set(&f.Spec.MatchingPrecedence, 1000) },
		validate: func(f, _ *schema) field.ErrorList { return validateFlowSchema(f) },
		status:   true,
		columns: []kind.Column{
			nameColumn(),
			text("PriorityLevel", "Level of the requests that match", func(f *schema) string { return f.Spec.PriorityLevelConfiguration.Name }),
			column("MatchingPrecedence", "The schema with the lowest number is taken", func(f *schema, _ time.Time) any { return int64(f.Spec.MatchingPrecedence) }),
			text("DistinguisherMethod", "What parts requests into flows", func(f *schema) string {
				if f.Spec.DistinguisherMethod == nil {
					return none
				}
				return string(f.Spec.DistinguisherMethod.Type)
			}),
			ageColumn(),
			text("MissingPL", "Whether its level does not exist", func(f *schema) string {
				for _, c := range f.Status.Conditions {
					if c.Type == flowcontrolv1.FlowSchemaConditionDangling {
						return string(c.Status)
					}
				}
				return "?"
			}),
		},
	}
}

func validateFlowSchema(f *flowcontrolv1.FlowSchema) field.ErrorList {
	at, s := field.NewPath("spec"), &f.Spec
	var errs field.ErrorList
	precedence := at.Child("matchingPrecedence")
	switch n := s.MatchingPrecedence; {
	case n <= 0:
		errs = append(errs, field.Invalid(precedence, n, "must be a positive value"))
	case n > maxPrecedence:
		errs = append(errs, field.Invalid(precedence, n, fmt.Sprintf("must not be greater than %d", maxPrecedence)))
	case n == 1 && f.Name != exempt:
		errs = append(errs, field.Invalid(precedence, n, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if m := s.DistinguisherMethod; m != nil {
		errs = append(errs, supported(m.Type, at.Child("distinguisherMethod", "type"), flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType)...)
	}
	level := at.Child("priorityLevelConfiguration", "name")
	if s.PriorityLevelConfiguration.Name == "" {
		errs = append(errs, field.Required(level, "must reference a priority level"))
	}
	errs = append(errs, mayName(s.PriorityLevelConfiguration.Name, level, dnsSubdomain)...)
	for i := range s.Rules {
		errs = append(errs, validateFlowRule(&s.Rules[i], at.Child("rules").Index(i))...)
	}
	return errs
}

func validateFlowRule(r *flowcontrolv1.PolicyRulesWithSubjects, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	for i, s := range r.Subjects {
		here := at.Child("subjects").Index(i)
		given := []struct {
			kind flowcontrolv1.SubjectKind
			name string
			is   bool
		}{{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil}, {flowcontrolv1.SubjectKindUser, "user", s.User != nil}, {flowcontrolv1.SubjectKindGroup, "group", s.Group != nil}}
		errs = append(errs, supported(s.Kind, here.Child("kind"), flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser)...)
		for _, g := range given {
			switch {
			case g.kind == s.Kind && !g.is:
				errs = append(errs, field.Required(here.Child(g.name), fmt.Sprintf("%s is required when subject kind is '%s'", g.name, g.kind)))
			case g.kind != s.Kind && g.is:
				errs = append(errs, field.Forbidden(here.Child(g.name), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", g.name, g.kind)))
			}
		}
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	need := func(list []string, at *field.Path, what string) {
		if len(list) == 0 {
			errs = append(errs, field.Required(at, what+" must contain at least one value"))
		}
	}
	for i, rule := range r.ResourceRules {
		here := at.Child("resourceRules").Index(i)
		need(rule.Verbs, here.Child("verbs"), "verbs")
		need(rule.APIGroups, here.Child("apiGroups"), "resource rules must supply at least one api group; apiGroups")
		need(rule.Resources, here.Child("resources"), "resources")
		if len(rule.Namespaces) == 0 && !rule.ClusterScope {
			errs = append(errs, field.Required(here.Child("namespaces"), "resource rules that are not cluster scoped must supply at least one namespace"))
		}
	}
	for i, rule := range r.NonResourceRules {
		here := at.Child("nonResourceRules").Index(i)
		need(rule.Verbs, here.Child("verbs"), "verbs")
		need(rule.NonResourceURLs, here.Child("nonResourceURLs"), "nonResourceURLs")
	}
	return errs
}

func priorityLevels() behaviour[*flowcontrolv1.PriorityLevelConfiguration] {
	type level = flowcontrolv1.PriorityLevelConfiguration
	queuing := func(get func(*flowcontrolv1.QueuingConfiguration) int32) func(*level, time.Time) any {
		return func(l *level, _ time.Time) any {
			if l.Spec.Limited == nil || l.Spec.Limited.LimitResponse.Queuing == nil {
				return none
			}
			return get(l.Spec.Limited.LimitResponse.Queuing)
		}
	}
	return behaviour[*level]{
		defaults: defaultPriorityLevel,
		validate: func(l, _ *level) field.ErrorList { return validatePriorityLevel(l) },
		status:   true,
		columns: []kind.Column{
			nameColumn(),
			text("Type", "Limited or exempt", func(l *level) string { return string(l.Spec.Type) }),
			column("NominalConcurrencyShares", "Its part of the server", func(l *level, _ time.Time) any {
				if l.Spec.Limited == nil {
					return none
				}
				return deref(l.Spec.Limited.NominalConcurrencyShares)
			}),
			column("Queues", "How many queues", queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.Queues })),
			column("HandSize", "How many a flow may use", queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.HandSize })),
			column("QueueLengthLimit", "How many requests wait in one", queuing(func(q *flowcontrolv1.QueuingConfiguration) int32 { return q.QueueLengthLimit })),
			ageColumn(),
		},
	}
}

func defaultPriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	if e := l.Spec.Exempt; e != nil {
		setPtr(&e.NominalConcurrencyShares, 0)
		setPtr(&e.LendablePercent, 0)
	}
	if n := l.Spec.Limited; n != nil {
		setPtr(&n.NominalConcurrencyShares, 30)
		setPtr(&n.LendablePercent, 0)
		if q := n.LimitResponse.Queuing; q != nil {
			set(&q.HandSize, 8)
			set(&q.Queues, 64)
			set(&q.QueueLengthLimit, 50)
		}
	}
}

func validatePriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	at, s := field.NewPath("spec"), &l.Spec
	var errs field.ErrorList
	if (l.Name == exempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		errs = append(errs, field.Invalid(at.Child("type"), s.Type, "must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if s.Limited != nil {
			errs = append(errs, field.Forbidden(at.Child("limited"), "must be nil if the type is not Limited"))
		}
		if e := s.Exempt; e != nil {
			errs = append(errs, shares(e.NominalConcurrencyShares, e.LendablePercent, at.Child("exempt"))...)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if s.Exempt != nil {
			errs = append(errs, field.Forbidden(at.Child("exempt"), "must be nil if the type is Limited"))
		}
		if s.Limited == nil {
			errs = append(errs, field.Required(at.Child("limited"), "must not be empty when type is Limited"))
		} else {
			errs = append(errs, validateLimited(s.Limited, at.Child("limited"))...)
		}
	default:
		errs = append(errs, oneOf(s.Type, at.Child("type"), flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)...)
	}
	return errs
}

func shares(nominal, lendable *int32, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if deref(nominal) < 0 {
		errs = append(errs, field.Invalid(at.Child("nominalConcurrencyShares"), *nominal, "must be a non-negative integer"))
	}
	if n := deref(lendable); n < 0 || n > 100 {
		errs = append(errs, field.Invalid(at.Child("lendablePercent"), n, "must be between 0 and 100, inclusive"))
	}
	return errs
}

func validateLimited(l *flowcontrolv1.LimitedPriorityLevelConfiguration, at *field.Path) field.ErrorList {
	errs := shares(l.NominalConcurrencyShares, l.LendablePercent, at)
	if l.BorrowingLimitPercent != nil && *l.BorrowingLimitPercent < 0 {
		errs = append(errs, field.Invalid(at.Child("borrowingLimitPercent"), *l.BorrowingLimitPercent, "if specified, must be a non-negative integer"))
	}
	here := at.Child("limitResponse")
	q := l.LimitResponse.Queuing
	switch l.LimitResponse.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if q != nil {
			errs = append(errs, field.Forbidden(here.Child("queuing"), "must be nil if limited.limitResponse.type is not Limited"))
		}
		return errs
	case flowcontrolv1.LimitResponseTypeQueue:
	default:
		return append(errs, oneOf(l.LimitResponse.Type, here.Child("type"), flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)...)
	}
	queuing := here.Child("queuing")
	if q == nil {
		return append(errs, field.Required(queuing, "must not be empty if limited.limitResponse.type is Limited"))
	}
	if q.QueueLengthLimit <= 0 {
		errs = append(errs, field.Invalid(queuing.Child("queueLengthLimit"), q.QueueLengthLimit, "must be positive"))
	}
	switch {
	case q.Queues <= 0:
		errs = append(errs, field.Invalid(queuing.Child("queues"), q.Queues, "must be positive"))
	case q.Queues > maxQueues:
		errs = append(errs, field.Invalid(queuing.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues)))
	}
	switch {
	case q.HandSize <= 0:
		errs = append(errs, field.Invalid(queuing.Child("handSize"), q.HandSize, "must be positive"))
	case q.HandSize > q.Queues:
		errs = append(errs, field.Invalid(queuing.Child("handSize"), q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	}
	return errs
}
