package expr

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/ext"
	"github.com/google/cel-go/interpreter"
)

// What rules may cost, in units of CEL's cost model. Source: k8s.io/apiserver, pkg/apis/cel.
const (
	PerCallLimit   = 1_000_000  // one evaluation
	ValueBudget    = 10_000_000 // all evaluations for one object
	RuleEstimate   = 10_000_000 // one rule, as estimated from the schema
	SchemaEstimate = 100_000_000

	interruptEvery = 100 // iterations of a comprehension
)

// ErrCost is the sentinel for an evaluation that was ended because it cost too much.
var ErrCost = errors.New("the rule cost more than it may")

// Env compiles expressions.
type Env struct{ base *cel.Env }

// NewEnv makes an environment.
func NewEnv() (*Env, error) {
	base, err := cel.NewEnv(
		cel.HomogeneousAggregateLiterals(), cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true),
		cel.CrossTypeNumericComparisons(true), cel.OptionalTypes(),
		cel.CostEstimatorOptions(checker.PresenceTestHasCost(false)),
		cel.ASTValidators(cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateRegexLiterals(), cel.ValidateHomogeneousAggregateLiterals()),
		ext.Strings(ext.StringsVersion(2)), ext.Sets(), ext.TwoVarComprehensions(), ext.Lists(ext.ListsVersion(3)), ext.Network(),
		lists(), regexes(), urls(), quantities(), formats(), semvers(),
	)
	if err != nil {
		return nil, fmt.Errorf("expr: %w", err)
	}
	return &Env{base}, nil
}

// Options vary the compilation of an expression.
type Options struct {
	Variables map[string]*Type    // what the expression may name
	Optional  map[string]bool     // those of them that are optional values
	Result    *cel.Type           // what it must give; nil is bool
	WithLimit func(limit *uint64) // may lower PerCallLimit; nil keeps it
}

// Program is a compiled expression. It is safe for concurrent use.
type Program struct {
	program cel.Program
	names   map[string]bool

	Estimate uint64 // what it can cost at most
}

// Compile compiles an expression. The error's text is for its author.
func (e *Env) Compile(text string, o Options) (*Program, error) {
	var opts []cel.EnvOption
	var roots []*Type
	for name, t := range o.Variables {
		ct := t.cel
		if o.Optional[name] {
			ct = types.NewOptionalType(ct)
		}
		opts = append(opts, cel.Variable(name, ct))
		roots = append(roots, t)
	}
	opts = append(opts, cel.CustomTypeProvider(newProvider(e.base.CELTypeProvider(), roots...)))
	env, err := e.base.Extend(opts...)
	if err != nil {
		return nil, err
	}
	ast, issues := env.Compile(text)
	if issues != nil && issues.Err() != nil {
		return nil, fmt.Errorf("compilation failed: %s", issues.String())
	}
	want := o.Result
	if want == nil {
		want = cel.BoolType
	}
	if !ast.OutputType().IsExactType(want) {
		return nil, fmt.Errorf("cel expression must evaluate to a %s", want)
	}
	limit := uint64(PerCallLimit)
	if o.WithLimit != nil {
		o.WithLimit(&limit)
	}
	costs := estimator{variables: o.Variables}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize, cel.OptTrackCost), cel.CostLimit(limit), cel.CostTracking(costs),
		cel.CostTrackerOptions(interpreter.PresenceTestHasCost(false)), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, fmt.Errorf("program instantiation failed: %w", err)
	}
	estimate, err := env.EstimateCost(ast, costs)
	if err != nil {
		return nil, fmt.Errorf("cost estimation failed: %w", err)
	}
	p := &Program{program: program, names: map[string]bool{}, Estimate: estimate.Max}
	for _, r := range ast.NativeRep().ReferenceMap() {
		p.names[r.Name] = true
	}
	return p, nil
}

// Uses reports whether the expression names a variable.
func (p *Program) Uses(name string) bool { return p.names[name] }

// Eval evaluates the expression: its value in Go and what it cost. An error that is ErrCost ended it because of the limit.
func (p *Program) Eval(ctx context.Context, variables map[string]any) (any, int64, error) {
	out, details, err := p.program.ContextEval(ctx, variables)
	cost := int64(0)
	if details != nil && details.ActualCost() != nil {
		cost = int64(min(*details.ActualCost(), 1<<62))
	}
	if err != nil {
		if strings.Contains(err.Error(), "actual cost limit exceeded") {
			err = fmt.Errorf("%w: %w", ErrCost, err)
		}
		return nil, cost, err
	}
	return out.Value(), cost, nil
}

// Optional is a value for a variable that is optional; nil is none.
func Optional(v any) any {
	if v == nil {
		return types.OptionalNone
	}
	return types.OptionalOf(types.DefaultTypeAdapter.NativeToValue(v))
}
