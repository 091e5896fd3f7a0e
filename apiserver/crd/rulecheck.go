package crd

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/expr"
)

// maxRules bounds the rules of one schema: each is compiled when the definition is written.
const maxRules = 1000

// ruleCheck is the check of a schema's rules when a definition is written: that they compile, and that they cannot cost too much.
type ruleCheck struct {
	env   *expr.Env
	errs  field.ErrorList
	total uint64
	costs []ruleCost
}

// ruleCost is what an expression can cost in one request.
type ruleCost struct {
	at   *field.Path
	cost uint64
}

// validateRules reports what is wrong with the rules of a schema.
func validateRules(env func() (*expr.Env, error), root *node, at *field.Path) field.ErrorList {
	if !root.hasRules() {
		return nil
	}
	if n := root.countRules(); n > maxRules {
		return field.ErrorList{field.TooMany(at, n, maxRules)}
	}
	e, err := env()
	if err != nil {
		return field.ErrorList{field.InternalError(at, err)}
	}
	c := ruleCheck{env: e}
	one := uint64(1)
	c.level(root, at, true, &one, nil)
	if c.total > expr.SchemaEstimate {
		slices.SortStableFunc(c.costs, func(a, b ruleCost) int {
			if a.cost > b.cost {
				return -1
			}
			return 1
		})
		for _, each := range c.costs[:min(len(c.costs), 4)] {
			c.errs = append(c.errs, field.Forbidden(each.at, "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"))
		}
		c.errs = append(c.errs, field.Forbidden(at, tooCostly("x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema", c.total, expr.SchemaEstimate)))
	}
	return c.errs
}

// level checks one level. Times is how often its value can be in an object, nil when that has no bound; lost is where above it values
// lose what they were before, nil when they do not.
func (c *ruleCheck) level(n *node, at *field.Path, root bool, times *uint64, lost *field.Path) {
	if n == nil || !n.hasRules() {
		return
	}
	if len(n.props.XValidations) > 0 {
		c.rules(n, at, root || n.embedded, times, lost)
	}
	below := lost
	if n.mapType == mapAtomic && below == nil {
		below = at
	}
	for _, name := range sortedKeys(n.properties) {
		c.level(n.properties[name], at.Child("properties").Key(name), false, times, below)
	}
	c.level(n.additional, at.Child("additionalProperties"), false, multiply(times, n.props.MaxProperties), below)
	if n.listType != listMap && lost == nil {
		lost = at
	}
	c.level(n.items, at.Child("items"), false, multiply(times, n.props.MaxItems), lost)
}

// countRules counts the rules at this level and below.
func (n *node) countRules() int {
	if n == nil {
		return 0
	}
	count := len(n.props.XValidations) + n.items.countRules() + n.additional.countRules()
	for _, c := range n.properties {
		count += c.countRules()
	}
	return count
}

func multiply(times *uint64, by *int64) *uint64 {
	if times == nil || by == nil || *by < 0 {
		return nil
	}
	n := product(*times, uint64(*by))
	return &n
}

// product is a*b, or the largest number.
func product(a, b uint64) uint64 {
	if high, low := bits.Mul64(a, b); high == 0 {
		return low
	}
	return math.MaxUint64
}

func (c *ruleCheck) rules(n *node, at *field.Path, whole bool, times *uint64, lost *field.Path) {
	of := typeOf(n, whole, self)
	cost := func(p *expr.Program) uint64 {
		if times != nil {
			return product(p.Estimate, *times)
		}
		return product(p.Estimate, of.Cardinality())
	}
	charge := func(at *field.Path, name string, n uint64) {
		if n > expr.RuleEstimate {
			c.errs = append(c.errs, field.Forbidden(at, tooCostly(name, n, expr.RuleEstimate)))
		}
		if c.total += n; c.total < n {
			c.total = math.MaxUint64
		}
		c.costs = append(c.costs, ruleCost{at, n})
	}
	for i, r := range compileLevel(c.env, n, of) {
		at := at.Child("x-kubernetes-validations").Index(i)
		if r.err != nil {
			c.errs = append(c.errs, field.Invalid(at.Child("rule"), r.ValidationRule, r.err.Error()))
			continue
		}
		charge(at.Child("rule"), "estimated rule cost", cost(r.program))
		if r.msgErr != nil {
			c.errs = append(c.errs, field.Invalid(at.Child("messageExpression"), r.ValidationRule, r.msgErr.Error()))
		} else if r.message != nil {
			charge(at.Child("messageExpression"), "estimated messageExpression cost", cost(r.message))
		}
		switch uses := r.program.Uses(oldSelf); {
		case uses && lost != nil:
			c.errs = append(c.errs, field.Invalid(at.Child("rule"), r.Rule, fmt.Sprintf("oldSelf cannot be used on the uncorrelatable portion of the schema within %v", lost)))
		case !uses && r.OptionalOldSelf != nil:
			c.errs = append(c.errs, field.Invalid(at.Child("optionalOldSelf"), *r.OptionalOldSelf, "may not be set if oldSelf is not used in rule"))
		}
	}
}

func tooCostly(name string, cost, limit uint64) string {
	by := float64(cost) / float64(limit)
	factor := fmt.Sprintf("%.1fx", by)
	switch {
	case by > 100:
		factor = "more than 100x"
	case by < 1.5:
		factor = fmt.Sprintf("%fx", by)
	}
	return fmt.Sprintf("%s exceeds budget by factor of %s (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)", name, factor)
}

// fieldSteps is a rule's fieldPath: fields, and keys of maps.
type fieldSteps []struct {
	name string
	key  bool
}

// rulePath reads a fieldPath such as .spec['a-b'] and follows it through the schema.
func rulePath(p *JSONSchemaProps, text string) (fieldSteps, error) {
	path, err := parsePath(text)
	if err != nil {
		return nil, err
	}
	var out fieldSteps
	for _, s := range path {
		if s.name == "" {
			return nil, errors.New("only names of fields are allowed")
		}
		child, isField := p.Properties[s.name]
		switch {
		case isField:
			p = &child
		case p.AdditionalProperties != nil && p.AdditionalProperties.Schema != nil:
			p = p.AdditionalProperties.Schema
		default:
			return nil, fmt.Errorf("%q does not refer to a valid field", s.name)
		}
		out = append(out, struct {
			name string
			key  bool
		}{s.name, !isField})
	}
	if len(out) == 0 {
		return nil, errors.New("the path is empty")
	}
	return out, nil
}

// below is the path in a value that is at.
func (s fieldSteps) below(at *field.Path) *field.Path {
	for _, each := range s {
		if each.key {
			at = at.Key(each.name)
		} else {
			at = at.Child(each.name)
		}
	}
	return at
}
