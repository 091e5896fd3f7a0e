// Package expr is the CEL of Kubernetes: the language of rules in CustomResourceDefinitions and in admission policies, with its function
// libraries, the types of a schema, and the limits of what a rule may cost.
//
//	env, err := expr.NewEnv()
//	t := expr.TypeOf(...)                      // from a schema
//	rule, err := env.Compile("self.replicas <= 5", t, expr.Options{})
//	ok, cost, err := rule.Eval(ctx, map[string]any{"self": value})
//
// An [Env] takes some milliseconds to make and is shared; it is safe for concurrent use. Nothing is kept outside of it.
//
// Beside the standard macros and functions there are those that Kubernetes 1.37 has: strings, sets, lists, two-variable comprehensions,
// optionals, regular expressions (find, findAll), URLs, quantities, IP addresses and CIDRs, formats, and semantic versions.
package expr
