package expr

import (
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// lists are isSorted, sum, min, max, indexOf and lastIndexOf.
func lists() cel.EnvOption {
	comparable := []*cel.Type{cel.IntType, cel.UintType, cel.DoubleType, cel.BoolType, cel.DurationType, cel.TimestampType, cel.StringType, cel.BytesType}
	var sorted, lowest, highest, sums []cel.FunctionOpt
	for _, t := range comparable {
		name, list := strings.ToLower(t.String()), []*cel.Type{cel.ListType(t)}
		if i := strings.LastIndexByte(name, '.'); i >= 0 {
			name = name[i+1:]
		}
		sorted = append(sorted, cel.MemberOverload("list_"+name+"_is_sorted_bool", list, cel.BoolType, cel.UnaryBinding(isSorted)))
		lowest = append(lowest, cel.MemberOverload("list_"+name+"_min_"+name, list, t, cel.UnaryBinding(extreme("min", types.IntNegOne))))
		highest = append(highest, cel.MemberOverload("list_"+name+"_max_"+name, list, t, cel.UnaryBinding(extreme("max", types.IntOne))))
	}
	for _, s := range []struct {
		t    *cel.Type
		zero ref.Val
	}{{cel.IntType, types.IntZero}, {cel.UintType, types.Uint(0)}, {cel.DoubleType, types.Double(0)}, {cel.DurationType, types.Duration{}}} {
		name := strings.ToLower(s.t.String())
		if i := strings.LastIndexByte(name, '.'); i >= 0 {
			name = name[i+1:]
		}
		sums = append(sums, cel.MemberOverload("list_"+name+"_sum_"+name, []*cel.Type{cel.ListType(s.t)}, s.t, cel.UnaryBinding(sum(s.zero))))
	}
	param := cel.TypeParamType("A")
	return cel.Lib(library{
		cel.Function("isSorted", sorted...), cel.Function("min", lowest...), cel.Function("max", highest...), cel.Function("sum", sums...),
		cel.Function("indexOf", cel.MemberOverload("list_a_index_of_int", []*cel.Type{cel.ListType(param), param}, cel.IntType, cel.BinaryBinding(indexOf(false)))),
		cel.Function("lastIndexOf", cel.MemberOverload("list_a_last_index_of_int", []*cel.Type{cel.ListType(param), param}, cel.IntType, cel.BinaryBinding(indexOf(true)))),
	})
}

func isSorted(v ref.Val) ref.Val {
	list, ok := v.(traits.Lister)
	if !ok {
		return noOverload(v)
	}
	var before traits.Comparer
	for it := list.Iterator(); it.HasNext() == types.True; {
		next := it.Next()
		c, ok := next.(traits.Comparer)
		if !ok {
			return noOverload(next)
		}
		if before != nil {
			if before.Compare(next) == types.IntOne {
				return types.False
			}
		}
		before = c
	}
	return types.True
}

// extreme is the element that compares to all others as way says.
func extreme(name string, way types.Int) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		list, ok := v.(traits.Lister)
		if !ok {
			return noOverload(v)
		}
		var best ref.Val
		for it := list.Iterator(); it.HasNext() == types.True; {
			next := it.Next()
			c, ok := next.(traits.Comparer)
			if !ok {
				return noOverload(next)
			}
			if best == nil || c.Compare(best) == way {
				best = next
			}
		}
		if best == nil {
			return types.NewErr("%s called on empty list", name)
		}
		return best
	}
}

func sum(zero ref.Val) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		list, ok := v.(traits.Lister)
		if !ok {
			return noOverload(v)
		}
		total := zero
		for it := list.Iterator(); it.HasNext() == types.True; {
			a, ok := total.(traits.Adder)
			if !ok {
				return total // an overflow
			}
			total = a.Add(it.Next())
		}
		return total
	}
}

func indexOf(last bool) func(list, item ref.Val) ref.Val {
	return func(v, item ref.Val) ref.Val {
		list, ok := v.(traits.Lister)
		if !ok {
			return noOverload(v)
		}
		n, ok := list.Size().(types.Int)
		if !ok {
			return noOverload(v)
		}
		for i := types.Int(0); i < n; i++ {
			at := i
			if last {
				at = n - 1 - i
			}
			if list.Get(at).Equal(item) == types.True {
				return at
			}
		}
		return types.Int(-1)
	}
}
