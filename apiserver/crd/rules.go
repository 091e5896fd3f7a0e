package crd

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/cel-go/cel"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/strfmt"

	"github.com/keelson-dev/keelson/apiserver/expr"
)

// The variables of a rule: the value, and what it was before.
const (
	self    = "self"
	oldSelf = "oldSelf"
)

// ruleTree is the rules of a schema: those of one level, and the levels that have some below.
type ruleTree struct {
	node       *node
	whole      bool // the value has apiVersion, kind and metadata
	rules      []compiledRule
	properties map[string]*ruleTree
	additional *ruleTree
	items      *ruleTree
}

// compiledRule is a rule that can be evaluated, or why it cannot.
type compiledRule struct {
	ValidationRule
	program *expr.Program
	message *expr.Program // nil: none, or one that does not compile
	err     error
	msgErr  error
}

// compileRules makes the rules of a schema ready; nil when there are none.
func compileRules(env *expr.Env, n *node, root bool) *ruleTree {
	if n == nil || !n.hasRules() {
		return nil
	}
	t := &ruleTree{node: n, whole: root || n.embedded, items: compileRules(env, n.items, false), additional: compileRules(env, n.additional, false)}
	for _, name := range sortedKeys(n.properties) {
		if c := compileRules(env, n.properties[name], false); c != nil {
			if t.properties == nil {
				t.properties = map[string]*ruleTree{}
			}
			t.properties[name] = c
		}
	}
	if len(n.props.XValidations) > 0 {
		t.rules = compileLevel(env, n, typeOf(n, t.whole, self))
	}
	return t
}

// compileLevel makes the rules of one level ready.
func compileLevel(env *expr.Env, n *node, of *expr.Type) []compiledRule {
	out := make([]compiledRule, len(n.props.XValidations))
	for i, r := range n.props.XValidations {
		c := compiledRule{ValidationRule: r}
		if of == nil {
			c.err = errors.New("the schema has no type that a rule could be about")
			out[i] = c
			continue
		}
		o := expr.Options{
			Variables: map[string]*expr.Type{self: of, oldSelf: of},
			Optional:  map[string]bool{oldSelf: r.OptionalOldSelf != nil && *r.OptionalOldSelf},
		}
		c.program, c.err = env.Compile(r.Rule, o)
		if r.MessageExpression != "" && c.err == nil {
			o.Result = cel.StringType
			c.message, c.msgErr = env.Compile(r.MessageExpression, o)
			if c.msgErr != nil {
				c.msgErr = errors.New("messageExpression " + strings.Replace(c.msgErr.Error(), "cel expression must", "must", 1))
			}
		}
		out[i] = c
	}
	return out
}

// hasRules reports whether there are rules at this level or below.
func (n *node) hasRules() bool {
	if n == nil {
		return false
	}
	if len(n.props.XValidations) > 0 || n.items.hasRules() || n.additional.hasRules() {
		return true
	}
	for _, c := range n.properties {
		if c.hasRules() {
			return true
		}
	}
	return false
}

// The lengths of times in JSON. Source: k8s.io/apiserver, pkg/cel, limits.go.
const (
	minString   = 2
	minDuration = 3
	maxDuration = 32
	jsonDate    = 12
	minDatetime = 21
	maxDatetime = 32
	unbounded   = expr.MaxRequestBytes - 2
)

// typeOf is the type that a level has in rules; nil when it has none. Name is the object type's.
func typeOf(n *node, whole bool, name string) *expr.Type {
	if n == nil {
		return nil
	}
	chars := func() int64 {
		switch {
		case n.props.MaxLength != nil:
			return max(0, *n.props.MaxLength) * 4
		case len(n.props.Enum) > 0 && n.typ == "string":
			longest := 0
			for _, e := range n.props.Enum {
				longest = max(longest, len(e.Raw)-2)
			}
			return int64(longest)
		}
		return unbounded
	}
	if n.intOrString {
		return expr.Simple(cel.DynType, chars(), 1)
	}
	switch n.typ {
	case "array":
		elem := typeOf(n.items, n.items != nil && n.items.embedded, name+".items")
		if elem == nil {
			return nil
		}
		return expr.List(elem, limit(n.props.MaxItems))
	case "object":
		if n.additional != nil && !whole {
			elem := typeOf(n.additional, n.additional.embedded, name+".values")
			if elem == nil {
				return nil
			}
			return expr.Map(elem, limit(n.props.MaxProperties))
		}
		return objectType(n, whole, name)
	case "string":
		switch n.props.Format {
		case "byte":
			return expr.Simple(cel.BytesType, chars(), minString)
		case "duration":
			return expr.Simple(cel.DurationType, maxDuration, minDuration)
		case "date":
			return expr.Simple(cel.TimestampType, jsonDate, jsonDate)
		case "date-time":
			return expr.Simple(cel.TimestampType, maxDatetime, minDatetime)
		}
		return expr.Simple(cel.StringType, chars(), minString)
	case "boolean":
		return expr.Simple(cel.BoolType, 0, 4)
	case "number":
		return expr.Simple(cel.DoubleType, 0, 1)
	case "integer":
		return expr.Simple(cel.IntType, 0, 1)
	}
	return nil
}

func limit(n *int64) int64 {
	if n == nil {
		return -1
	}
	return max(0, *n)
}

func objectType(n *node, whole bool, name string) *expr.Type {
	fields := make(map[string]*expr.Type, len(n.properties))
	required := map[string]bool{}
	for _, r := range n.props.Required {
		required[r] = true
	}
	min := int64(2) // {}
	for field, c := range n.properties {
		t := typeOf(c, c.embedded, name+"."+field)
		if t == nil {
			continue
		}
		if escaped, ok := expr.Escape(field); ok {
			fields[escaped] = t
		}
		if required[field] && !c.hasDef {
			min += int64(len(field)) + t.Min() + 4
		}
	}
	if whole {
		text := expr.Simple(cel.StringType, unbounded, minString)
		fields["apiVersion"], fields["kind"] = text, text
		fields["metadata"] = expr.Object(name+".metadata", map[string]*expr.Type{"name": text, "generateName": text}, 2)
	}
	return expr.Object(name, fields, min)
}

// value is a JSON value as rules see it: fields by the names that rules give them, texts of some formats as what they say.
func celValue(n *node, v any, whole bool) any {
	if n == nil || n.intOrString {
		return v
	}
	switch v := v.(type) {
	case map[string]any:
		return celObject(n, v, whole)
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = celValue(n.items, v[i], n.items != nil && n.items.embedded)
		}
		return celList(n, out)
	case int64:
		if n.typ == "number" {
			return float64(v)
		}
	case string:
		return celText(n.props.Format, v)
	}
	return v
}

func celObject(n *node, object map[string]any, whole bool) any {
	out := make(map[string]any, len(object))
	if n.additional != nil && !whole {
		for name, v := range object {
			out[name] = celValue(n.additional, v, n.additional.embedded)
		}
		return out
	}
	for name, c := range n.properties {
		v, ok := object[name]
		if !ok {
			continue
		}
		if escaped, ok := expr.Escape(name); ok {
			out[escaped] = celValue(c, v, c.embedded)
		}
	}
	if whole {
		for _, name := range []string{"apiVersion", "kind"} {
			if v, ok := object[name]; ok {
				out[name] = v
			}
		}
		meta := map[string]any{}
		if given, ok := object["metadata"].(map[string]any); ok {
			for _, name := range []string{"name", "generateName"} {
				if v, ok := given[name]; ok {
					meta[name] = v
				}
			}
		}
		out["metadata"] = meta
	}
	return out
}

// celText is a text as its format says. One that does not fit stays text: validation by the schema has said so.
func celText(format, s string) any {
	switch format {
	case "byte":
		if data, err := base64.StdEncoding.DecodeString(s); err == nil {
			return data
		}
	case "duration":
		if d, err := strfmt.ParseDuration(s); err == nil {
			return d
		}
	case "date":
		if t, err := time.Parse(time.DateOnly, s); err == nil {
			return t
		}
	case "date-time":
		if t, err := strfmt.ParseDateTime(s); err == nil {
			return time.Time(t)
		}
	}
	return s
}

// ruleWalk is one validation of an object by rules.
type ruleWalk struct {
	budget int64
	errs   field.ErrorList
}

// validate evaluates the rules for an object; old is nil on create.
func (t *ruleTree) validate(object, old map[string]any) field.ErrorList {
	w := ruleWalk{budget: expr.ValueBudget}
	var before any
	if old != nil {
		before = old
	}
	w.value(t, nil, object, before, false)
	return w.errs
}

// value evaluates the rules for a value and what is in it. Old is what it was, nil when that is not known; same says that something it
// is in has not changed.
func (w *ruleWalk) value(t *ruleTree, at *field.Path, v, old any, same bool) {
	if t == nil || v == nil || w.budget < 0 {
		return
	}
	if old != nil {
		same = equality.Semantic.DeepEqual(v, old)
	}
	w.level(t, at, v, old, same)
	switch v := v.(type) {
	case map[string]any:
		before, _ := old.(map[string]any)
		if t.node.mapType == mapAtomic {
			before = nil
		}
		for _, name := range sortedKeys(v) {
			if c := t.properties[name]; c != nil {
				w.value(c, at.Child(name), v[name], before[name], same)
			} else if t.additional != nil && t.node.properties[name] == nil {
				w.value(t.additional, at.Key(name), v[name], before[name], same)
			}
		}
	case []any:
		byKey := map[string]any{}
		if before, ok := old.([]any); ok && t.node.listType == listMap {
			for _, each := range before {
				byKey[mapKey(t.node.keys, each)] = each
			}
		}
		for i, each := range v {
			w.value(t.items, at.Index(i), each, byKey[mapKey(t.node.keys, each)], same)
		}
	}
}

// level evaluates the rules of one level.
func (w *ruleWalk) level(t *ruleTree, at *field.Path, v, old any, same bool) {
	if len(t.rules) == 0 {
		return
	}
	shown := any(t.node.typ)
	now := celValue(t.node, v, t.whole)
	var before any
	if old != nil {
		before = celValue(t.node, old, t.whole)
	}
	for _, r := range t.rules {
		if w.budget < 0 {
			return
		}
		if r.err != nil {
			w.errs = append(w.errs, field.Invalid(at, shown, fmt.Sprintf("rule compile error: %v", r.err)))
			continue
		}
		optional, usesOld := r.OptionalOldSelf != nil && *r.OptionalOldSelf, r.program.Uses(oldSelf)
		if usesOld && old == nil && !optional || same && !usesOld {
			continue // there is nothing to compare with; or nothing has changed, so that the rule is not held against it
		}
		variables := map[string]any{self: now, oldSelf: before}
		if optional {
			variables[oldSelf] = expr.Optional(before)
		}
		ok, cost, err := r.program.Eval(context.Background(), variables)
		if w.budget -= cost; w.budget < 0 {
			w.errs = append(w.errs, field.Invalid(at, shown, "validation failed due to running out of cost budget, no further validation rules will be run"))
			return
		}
		switch {
		case errors.Is(err, expr.ErrCost):
			w.errs = append(w.errs, field.Invalid(at, shown, fmt.Sprintf("'%v': no further validation rules will be run due to call cost exceeds limit for rule: %v", errors.Unwrap(err), strings.TrimSpace(r.Rule))))
			w.budget = -1
			return
		case err != nil && strings.HasPrefix(err.Error(), "no such overload"):
			w.errs = append(w.errs, field.Invalid(at, shown, fmt.Sprintf("'%v': call arguments did not match a supported operator, function or macro signature for rule: %v", err, strings.TrimSpace(r.Rule))))
		case err != nil:
			w.errs = append(w.errs, field.Invalid(at, shown, fmt.Sprintf("%v evaluating rule: %v", err, strings.TrimSpace(r.Rule))))
		case ok != true:
			w.errs = append(w.errs, w.broken(t.node, r, at, v, variables))
		}
	}
}

// broken is the error for a rule that does not hold.
func (w *ruleWalk) broken(n *node, r compiledRule, at *field.Path, v any, variables map[string]any) *field.Error {
	detail := strings.TrimSpace(r.Message)
	if detail == "" {
		detail = "failed rule: " + strings.TrimSpace(r.Rule)
	}
	if r.message != nil {
		out, cost, err := r.message.Eval(context.Background(), variables)
		w.budget -= cost
		if text, ok := out.(string); ok && err == nil && strings.TrimSpace(text) != "" && !strings.ContainsAny(strings.TrimSpace(text), "\n\r") {
			detail = strings.TrimSpace(text)
		}
	}
	if r.FieldPath != "" {
		if path, err := rulePath(n.props, r.FieldPath); err == nil {
			at = path.below(at)
		}
	}
	if n.typ == "object" || n.typ == "array" {
		v = field.OmitValueType{}
	}
	reason := ""
	if r.Reason != nil {
		reason = *r.Reason
	}
	switch reason {
	case "FieldValueRequired":
		return field.Required(at, detail)
	case "FieldValueForbidden":
		return field.Forbidden(at, detail)
	case "FieldValueDuplicate":
		e := field.Duplicate(at, v)
		e.Detail = detail
		return e
	}
	return field.Invalid(at, v, detail)
}
