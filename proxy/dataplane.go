package proxy

import (
	"context"
	"errors"
	"slices"
)

// Dataplane carries out tables. The proxy calls Apply from one goroutine at a time.
type Dataplane interface {
	// Apply replaces what the last table said with what this one says, as one transaction: connections that the
	// change does not concern notice nothing. When single rules can't be carried out, the others are, and the error
	// is (or joins) a *RuleError for each. Any other error means that nothing is known to have changed. Apply of the
	// same table tries again what failed. It must not keep ctx.
	Apply(ctx context.Context, t Table) error

	// Close releases what the dataplane holds and joins its goroutines. For a dataplane in this process that ends every
	// connection; one in the kernel leaves its rules, so that traffic survives the agent.
	Close() error
}

// RuleError says that one rule could not be carried out, and why.
type RuleError struct {
	Rule ServicePortName
	Err  error
}

func (e *RuleError) Error() string { return "service port " + e.Rule.String() + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e *RuleError) Unwrap() error { return e.Err }

// RuleErrors splits an error of Apply into those of single rules, in rule order, and the rest, which is nil when all of
// the table's other rules hold.
func RuleErrors(err error) (rules []*RuleError, rest error) {
	var others []error
	collectErrors(err, &rules, &others)
	slices.SortStableFunc(rules, func(a, b *RuleError) int { return a.Rule.Compare(b.Rule) })
	return rules, errors.Join(others...)
}

func collectErrors(err error, rules *[]*RuleError, others *[]error) {
	switch e := err.(type) {
	case nil:
	case *RuleError:
		*rules = append(*rules, e)
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			collectErrors(inner, rules, others)
		}
	default:
		*others = append(*others, err)
	}
}
