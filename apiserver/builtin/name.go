package builtin

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nameRule says what is wrong with a name; nothing means that it is good.
type nameRule func(name string) []string

// The forms of names. Objects that become part of a host name are labels, most others subdomains.
func dnsSubdomain(name string) []string { return validation.IsDNS1123Subdomain(name) }
func dnsLabel(name string) []string     { return validation.IsDNS1123Label(name) }
func dns1035Label(name string) []string { return validation.IsDNS1035Label(name) }
func pathSegment(name string) []string  { return path.IsValidPathSegmentName(name) }

// checkName reports what the rule says about a name.
func checkName(name string, at *field.Path, rule nameRule) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range rule(name) {
		errs = append(errs, field.Invalid(at, name, msg))
	}
	return errs
}

// needName reports an empty name, or what the rule says about another.
func needName(name string, at *field.Path, rule nameRule) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return checkName(name, at, rule)
}

// mayName is checkName for a name that may be left out.
func mayName(name string, at *field.Path, rule nameRule) field.ErrorList {
	if name == "" {
		return nil
	}
	return checkName(name, at, rule)
}

// oneOf reports a value that is not among those allowed.
func oneOf[S ~string](value S, at *field.Path, allowed ...S) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(at, value, allowed)}
}

// supported is oneOf for a value that must be there, whose absence is reported as any other wrong value.
func supported[S ~string](value S, at *field.Path, allowed ...S) field.ErrorList {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return field.ErrorList{field.NotSupported(at, value, allowed)}
}

// stringOneOf is oneOf in the words of older kinds: must be 'A' or 'B'.
func stringOneOf[S ~string](value S, at *field.Path, a, b S) field.ErrorList {
	switch value {
	case "":
		return field.ErrorList{field.Required(at, "")}
	case a, b:
		return nil
	}
	return field.ErrorList{field.Invalid(at, value, fmt.Sprintf("must be '%s' or '%s'", a, b))}
}

// notNegative reports a number below zero.
func notNegative[N ~int32 | ~int64 | ~int](n N, at *field.Path) field.ErrorList {
	if n >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(at, n, apivalidation.IsNegativeErrorMsg)}
}

// atLeast reports a number below a limit.
func atLeast[N ~int32 | ~int64 | ~int](n, limit N, at *field.Path) field.ErrorList {
	if n >= limit {
		return nil
	}
	return field.ErrorList{field.Invalid(at, n, "must be at least "+strconv.FormatInt(int64(limit), 10))}
}

// portNumber reports what is no port.
func portNumber(n int32, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, msg := range validation.IsValidPortNum(int(n)) {
		errs = append(errs, field.Invalid(at, n, msg))
	}
	return errs
}

// immutable reports a change.
func immutable(now, before any, at *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(now, before, at)
}

// seen finds what occurs twice.
type seen[K comparable] map[K]struct{}

func (s seen[K]) add(key K, at *field.Path) field.ErrorList {
	if _, ok := s[key]; ok {
		return field.ErrorList{field.Duplicate(at, key)}
	}
	s[key] = struct{}{}
	return nil
}

// same compares two values as the API does: an empty list or map is the same as none.
func same(a, b any) bool { return equality.Semantic.DeepEqual(a, b) }
