package expr

import (
	"regexp"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// regexes are find and findAll. The syntax is RE2's, which takes time in proportion to the text.
func regexes() cel.EnvOption {
	return cel.Lib(library{
		cel.Function("find", cel.MemberOverload("string_find_string", []*cel.Type{cel.StringType, cel.StringType}, cel.StringType, cel.BinaryBinding(func(s, p ref.Val) ref.Val {
			text, re, bad := pattern(s, p)
			if bad != nil {
				return bad
			}
			return types.String(re.FindString(text))
		}))),
		cel.Function("findAll",
			cel.MemberOverload("string_find_all_string", []*cel.Type{cel.StringType, cel.StringType}, cel.ListType(cel.StringType),
				cel.BinaryBinding(func(s, p ref.Val) ref.Val { return findAll(s, p, -1) })),
			cel.MemberOverload("string_find_all_string_int", []*cel.Type{cel.StringType, cel.StringType, cel.IntType}, cel.ListType(cel.StringType),
				cel.FunctionBinding(func(args ...ref.Val) ref.Val {
					n, ok := args[2].(types.Int)
					if !ok {
						return noOverload(args[2])
					}
					return findAll(args[0], args[1], int(n))
				}))),
	})
}

func pattern(s, p ref.Val) (string, *regexp.Regexp, ref.Val) {
	text, ok := s.(types.String)
	if !ok {
		return "", nil, noOverload(s)
	}
	expression, ok := p.(types.String)
	if !ok {
		return "", nil, noOverload(p)
	}
	re, err := regexp.Compile(string(expression))
	if err != nil {
		return "", nil, types.NewErr("Illegal regex: %v", err)
	}
	return string(text), re, nil
}

func findAll(s, p ref.Val, n int) ref.Val {
	text, re, bad := pattern(s, p)
	if bad != nil {
		return bad
	}
	return types.NewStringList(types.DefaultTypeAdapter, re.FindAllString(text, n))
}
