package expr

import (
	"fmt"
	"net/url"
	"regexp"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
)

// formatRule is a named form of texts: it answers what is wrong with one.
type formatRule struct {
	name  string
	check func(string) []string
}

// formatRules are those that format.named knows. Source: k8s.io/apiserver, pkg/cel/library, format.
func formatRules() []formatRule {
	prefixed := func(f func(string, bool) []string) func(string) []string {
		return func(s string) []string { return f(s, true) }
	}
	one := func(text string, ok func(string) bool) func(string) []string {
		return func(s string) []string {
			if ok(s) {
				return nil
			}
			return []string{text}
		}
	}
	uuid := regexp.MustCompile(`(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$`)
	base64 := regexp.MustCompile(`^(?:[A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})?$`)
	return []formatRule{
		{"dns1123Label", validation.IsDNS1123Label},
		{"dns1123Subdomain", validation.IsDNS1123Subdomain},
		{"dns1035Label", validation.IsDNS1035Label},
		{"qualifiedName", validation.IsQualifiedName},
		{"dns1123LabelPrefix", prefixed(apivalidation.NameIsDNSLabel)},
		{"dns1123SubdomainPrefix", prefixed(apivalidation.NameIsDNSSubdomain)},
		{"dns1035LabelPrefix", prefixed(apivalidation.NameIsDNS1035Label)},
		{"labelValue", validation.IsValidLabelValue},
		{"uri", func(s string) []string {
			if _, err := url.ParseRequestURI(s); err != nil {
				return []string{err.Error()}
			}
			return nil
		}},
		{"uuid", one("does not match the UUID format", uuid.MatchString)},
		{"byte", one("invalid base64", base64.MatchString)},
		{"date", one("invalid date", func(s string) bool { _, err := time.Parse(time.DateOnly, s); return err == nil })},
		{"datetime", one("invalid datetime", func(s string) bool { _, err := time.Parse(time.RFC3339Nano, s); return err == nil })},
	}
}

// formats are format.named, format.dns1123Label() and the like, and validate.
func formats() cel.EnvOption {
	t := cel.ObjectType("kubernetes.NamedFormat")
	value := func(r formatRule) ref.Val {
		return opaque[formatRule]{r, t, func(a, b formatRule) bool { return a.name == b.name }}
	}
	rules := formatRules()
	lib := library{
		cel.Types(t),
		cel.Function("format.named", cel.Overload("format-named", []*cel.Type{cel.StringType}, cel.OptionalType(t), cel.UnaryBinding(onText(func(s string) ref.Val {
			for _, r := range rules {
				if r.name == s {
					return types.OptionalOf(value(r))
				}
			}
			return types.OptionalNone
		})))),
		cel.Function("validate", cel.MemberOverload("format-validate", []*cel.Type{t, cel.StringType}, cel.OptionalType(cel.ListType(cel.StringType)), cel.BinaryBinding(func(f, s ref.Val) ref.Val {
			r, ok := f.(opaque[formatRule])
			text, isText := s.(types.String)
			if !ok || !isText {
				return noOverload(s)
			}
			if wrong := r.v.check(string(text)); len(wrong) > 0 {
				return types.OptionalOf(types.NewStringList(types.DefaultTypeAdapter, wrong))
			}
			return types.OptionalNone
		}))),
	}
	for _, r := range rules {
		name := fmt.Sprintf("format.%s", r.name)
		lib = append(lib, cel.Function(name, cel.Overload("format-"+r.name, nil, t, cel.FunctionBinding(func(...ref.Val) ref.Val { return value(r) }))))
	}
	return cel.Lib(lib)
}
