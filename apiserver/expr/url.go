package expr

import (
	"net/url"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// urls are url, isURL and the parts of a URL.
func urls() cel.EnvOption {
	t := cel.ObjectType("kubernetes.URL")
	self := []*cel.Type{t}
	part := func(name, id string, get func(*url.URL) string) cel.EnvOption {
		return cel.Function(name, cel.MemberOverload(id, self, cel.StringType, cel.UnaryBinding(on(func(u *url.URL) ref.Val { return types.String(get(u)) }))))
	}
	equal := func(a, b *url.URL) bool { return a.String() == b.String() }
	return cel.Lib(library{
		cel.Types(t),
		cel.Function("url", cel.Overload("string_to_url", []*cel.Type{cel.StringType}, t, cel.UnaryBinding(onText(func(s string) ref.Val {
			u, err := parseURL(s)
			if err != nil {
				return types.NewErr("URL parse error during conversion from string: %v", err)
			}
			return opaque[*url.URL]{u, t, equal}
		})))),
		cel.Function("isURL", cel.Overload("is_url_string", []*cel.Type{cel.StringType}, cel.BoolType, cel.UnaryBinding(onText(func(s string) ref.Val {
			_, err := parseURL(s)
			return types.Bool(err == nil)
		})))),
		part("getScheme", "url_get_scheme", func(u *url.URL) string { return u.Scheme }),
		part("getHost", "url_get_host", func(u *url.URL) string { return u.Host }),
		part("getHostname", "url_get_hostname", (*url.URL).Hostname),
		part("getPort", "url_get_port", (*url.URL).Port),
		part("getEscapedPath", "url_get_escaped_path", (*url.URL).EscapedPath),
		cel.Function("getQuery", cel.MemberOverload("url_get_query", self, cel.MapType(cel.StringType, cel.ListType(cel.StringType)),
			cel.UnaryBinding(on(func(u *url.URL) ref.Val {
				return types.DefaultTypeAdapter.NativeToValue(map[string][]string(u.Query()))
			})))),
	})
}

// parseURL takes absolute URLs and absolute paths.
func parseURL(s string) (*url.URL, error) { return url.ParseRequestURI(s) }
