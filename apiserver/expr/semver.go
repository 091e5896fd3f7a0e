package expr

import (
	"errors"
	"regexp"
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/util/version"
)

var errSemver = errors.New("not a semantic version: want MAJOR.MINOR.PATCH")

// semvers are semver, isSemver, and their comparison and parts.
func semvers() cel.EnvOption {
	type v = *version.Version
	t := cel.ObjectType("kubernetes.Semver")
	self, pair := []*cel.Type{t}, []*cel.Type{t, t}
	compare := func(a, b v) int {
		switch {
		case a.LessThan(b):
			return -1
		case b.LessThan(a):
			return 1
		}
		return 0
	}
	value := func(p v) ref.Val { return opaque[v]{p, t, func(a, b v) bool { return compare(a, b) == 0 }} }
	// The whole of semver.org's grammar, which apimachinery reads more leniently.
	strict := regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)
	parse := func(s string, normalize bool) (v, error) {
		if normalize {
			s = normalized(s)
		}
		if !strict.MatchString(s) {
			return nil, errSemver
		}
		return version.ParseSemantic(s)
	}
	with := func(f func(string, bool) ref.Val) func(a, b ref.Val) ref.Val {
		return func(a, b ref.Val) ref.Val {
			s, ok := a.(types.String)
			n, isBool := b.(types.Bool)
			if !ok || !isBool {
				return noOverload(a)
			}
			return f(string(s), bool(n))
		}
	}
	to := func(s string, normalize bool) ref.Val {
		p, err := parse(s, normalize)
		if err != nil {
			return types.WrapErr(err)
		}
		return value(p)
	}
	is := func(s string, normalize bool) ref.Val {
		_, err := parse(s, normalize)
		return types.Bool(err == nil)
	}
	part := func(name string, get func(v) uint) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload("semver_"+name, self, cel.IntType, cel.UnaryBinding(on(func(p v) ref.Val { return types.Int(get(p)) }))))
	}
	text, textAndBool := []*cel.Type{cel.StringType}, []*cel.Type{cel.StringType, cel.BoolType}
	return cel.Lib(library{
		cel.Types(t),
		cel.Function("semver", cel.Overload("string_to_semver", text, t, cel.UnaryBinding(onText(func(s string) ref.Val { return to(s, false) }))),
			cel.Overload("string_bool_to_semver", textAndBool, t, cel.BinaryBinding(with(to)))),
		cel.Function("isSemver", cel.Overload("is_semver_string", text, cel.BoolType, cel.UnaryBinding(onText(func(s string) ref.Val { return is(s, false) }))),
			cel.Overload("is_semver_string_bool", textAndBool, cel.BoolType, cel.BinaryBinding(with(is)))),
		cel.Function("isGreaterThan", cel.MemberOverload("semver_is_greater_than", pair, cel.BoolType, cel.BinaryBinding(onBoth(func(a, b v) ref.Val { return types.Bool(compare(a, b) > 0) })))),
		cel.Function("isLessThan", cel.MemberOverload("semver_is_less_than", pair, cel.BoolType, cel.BinaryBinding(onBoth(func(a, b v) ref.Val { return types.Bool(compare(a, b) < 0) })))),
		cel.Function("compareTo", cel.MemberOverload("semver_compare_to", pair, cel.IntType, cel.BinaryBinding(onBoth(func(a, b v) ref.Val { return types.Int(compare(a, b)) })))),
		part("major", v.Major), part("minor", v.Minor), part("patch", v.Patch),
	})
}

// normalized takes away a leading v and leading zeros, and adds the parts that are missing.
func normalized(s string) string {
	s = strings.TrimPrefix(s, "v")
	numbers, rest := s, ""
	if i := strings.IndexAny(s, "-+"); i >= 0 {
		numbers, rest = s[:i], s[i:]
	}
	parts := strings.Split(numbers, ".")
	for i, p := range parts {
		if p = strings.TrimLeft(p, "0"); p == "" {
			p = "0"
		}
		parts[i] = p
	}
	for len(parts) < 3 {
		parts = append(parts, "0")
	}
	return strings.Join(parts, ".") + rest
}
