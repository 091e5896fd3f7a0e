package expr_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/expr"
)

func env(t testing.TB) *expr.Env {
	t.Helper()
	e, err := expr.NewEnv()
	require.NoError(t, err)
	return e
}

func ExampleEnv() {
	env, err := expr.NewEnv()
	if err != nil {
		fmt.Println(err)
		return
	}
	replicas := expr.Simple(cel.IntType, 0, 1)
	self := expr.Object("game", map[string]*expr.Type{"replicas": replicas}, 2)
	rule, err := env.Compile("self.replicas <= 5", expr.Options{Variables: map[string]*expr.Type{"self": self}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ok, _, err := rule.Eval(context.Background(), map[string]any{"self": map[string]any{"replicas": int64(7)}})
	fmt.Println(ok, err)
	_, err = env.Compile("self.replicsa <= 5", expr.Options{Variables: map[string]*expr.Type{"self": self}})
	fmt.Println(err)
	// Output:
	// false <nil>
	// compilation failed: ERROR: <input>:1:5: undefined field 'replicsa'
	//  | self.replicsa <= 5
	//  | ....^
}

// TestFunctions evaluates expressions that are true by the documentation of Kubernetes' libraries.
func TestFunctions(t *testing.T) {
	e := env(t)
	for _, text := range []string{
		`[1, 2, 2].isSorted() && !['b', 'a'].isSorted() && [].isSorted()`,
		`[1, 3].sum() == 4 && [1.5, 0.5].sum() == 2.0 && [duration('1s'), duration('2s')].sum() == duration('3s')`,
		`[3, 1, 2].min() == 1 && ['a', 'c'].max() == 'c'`,
		`[1, 2, 2].indexOf(2) == 1 && [1, 2, 2].lastIndexOf(2) == 2 && ['a'].indexOf('b') == -1`,
		`"abc 123".find('[0-9]+') == '123' && "1 2 3".findAll('[0-9]') == ['1', '2', '3'] && "1 2 3".findAll('[0-9]', 1) == ['1']`,
		`"abc".matches('^a.c$') && "a,b".split(',') == ['a', 'b'] && "ABC".lowerAscii() == 'abc' && "%d".format([7]) == '7'`,
		`url('https://a:80/b%20c?x=1&x=2').getHost() == 'a:80' && url('https://a:80/b%20c').getEscapedPath() == '/b%20c' && url('https://a:80').getPort() == '80'`,
		`url('https://a/?x=1&x=2').getQuery()['x'] == ['1', '2'] && isURL('https://a') && !isURL('../x') && url('https://a').getScheme() == 'https'`,
		`url('https://[::1]:80/').getHostname() == '::1' && url('https://a') == url('https://a')`,
		`quantity('1Ki').isGreaterThan(quantity('1k')) && quantity('200M').compareTo(quantity('0.2G')) == 0 && !isQuantity('ten')`,
		`quantity('50k').asInteger() == 50000 && quantity('50k').add(20).asInteger() == 50020 && quantity('1').sub(quantity('2')).sign() == -1`,
		`quantity('1.5').asApproximateFloat() == 1.5 && !quantity('1.5').isInteger() && quantity('1000m') == quantity('1')`,
		`ip('127.0.0.1').isLoopback() && ip('::1').family() == 6 && isIP('10.0.0.1') && !isIP('10.0.0.256') && ip.isCanonical('2001:db8::1')`,
		`cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.0.0.1/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8`,
		`!format.dns1123Label().validate('Bad_Name').value().isSorted() || true`,
		`format.dns1123Label().validate('good') == optional.none() && format.named('uuid').hasValue() && !format.named('none').hasValue()`,
		`format.date().validate('2021-01-01') == optional.none() && format.byte().validate('not base64').hasValue()`,
		`semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true).minor() == 2 && !isSemver('v1.2') && semver('1.0.0-rc.1').compareTo(semver('1.0.0')) == -1`,
		`sets.contains([1, 2], [2]) && sets.intersects([1], [1, 2])`,
		`[1, 2].all(i, v, i < v) && {'a': 1}.transformList(k, v, k) == ['a']`,
		`[1, 2, 1].distinct() == [1, 2] && [3, 1].sort() == [1, 3]`,
		`1 < 1.5 && optional.of(1).orValue(2) == 1`,
	} {
		p, err := e.Compile(text, expr.Options{})
		require.NoError(t, err, text)
		ok, cost, err := p.Eval(t.Context(), map[string]any{})
		require.NoError(t, err, text)
		require.Equal(t, true, ok, text)
		require.Positive(t, cost, text)
	}
}

func TestFunctionsThatFail(t *testing.T) {
	e := env(t)
	for text, want := range map[string]string{
		`[1].filter(x, x > 1).min() == 1`:    "min called on empty list",
		`quantity('x').sign() == 0`:          "quantities must match",
		`url('x y') == url('x')`:             "URL parse error",
		`quantity('1.5').asInteger() == 1`:   "cannot convert value to integer",
		`semver('1') == semver('1')`:         "not a semantic version",
		`'a'.find('(') == ''`:                "Illegal regex",
		`[9223372036854775807, 1].sum() > 0`: "overflow",
	} {
		p, err := e.Compile(text, expr.Options{})
		require.NoError(t, err, text)
		_, _, err = p.Eval(t.Context(), map[string]any{})
		require.ErrorContains(t, err, want, text)
	}
}

func TestCosts(t *testing.T) {
	e := env(t)
	word := expr.Simple(cel.StringType, 10, 2)
	vars := func(list *expr.Type) expr.Options {
		return expr.Options{Variables: map[string]*expr.Type{"self": list}}
	}
	bounded, err := e.Compile("self.all(x, self.all(y, x == y))", vars(expr.List(word, 10)))
	require.NoError(t, err)
	require.Less(t, bounded.Estimate, uint64(expr.RuleEstimate))
	open, err := e.Compile("self.all(x, self.all(y, x.contains(y)))", vars(expr.List(word, -1)))
	require.NoError(t, err)
	require.Greater(t, open.Estimate, uint64(expr.SchemaEstimate))
	long := strings.Repeat("a", 20_000)
	many := []any{long, long, long}
	_, cost, err := open.Eval(t.Context(), map[string]any{"self": many})
	require.ErrorIs(t, err, expr.ErrCost)
	require.Greater(t, cost, int64(expr.PerCallLimit))
}

func TestTypes(t *testing.T) {
	e := env(t)
	for text, want := range map[string]string{
		"1 + 1":          "cel expression must evaluate to a bool",
		"self.a == 1":    "no matching overload",
		"self.nope":      "undefined field 'nope'",
		"nobody == 1":    "undeclared reference to 'nobody'",
		"x{a: 1} == 1":   "undeclared reference",
		"'a'.matches(')": "Syntax error",
	} {
		_, err := e.Compile(text, expr.Options{Variables: map[string]*expr.Type{
			"self": expr.Object("t", map[string]*expr.Type{"a": expr.Simple(cel.StringType, 5, 2)}, 2),
		}})
		require.ErrorContains(t, err, want, text)
	}
	p, err := e.Compile("'x' + self.a", expr.Options{Result: cel.StringType, Variables: map[string]*expr.Type{
		"self": expr.Object("t", map[string]*expr.Type{"a": expr.Simple(cel.StringType, 5, 2)}, 2),
	}})
	require.NoError(t, err)
	out, _, err := p.Eval(t.Context(), map[string]any{"self": map[string]any{"a": "y"}})
	require.NoError(t, err)
	require.Equal(t, "xy", out)
	require.True(t, p.Uses("self"))
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a-b": "a__dash__b", "a.b/c": "a__dot__b__slash__c", "namespace": "__namespace__", "a__b": "a__underscores__b", "in": "__in__",
	} {
		got, ok := expr.Escape(in)
		require.True(t, ok, in)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"", "1a", "a b", "é"} {
		_, ok := expr.Escape(bad)
		require.False(t, ok, bad)
	}
}

func BenchmarkNewEnv(b *testing.B) {
	for b.Loop() {
		if _, err := expr.NewEnv(); err != nil {
			b.Fatal(err)
		}
	}
}
