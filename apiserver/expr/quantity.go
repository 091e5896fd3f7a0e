package expr

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"k8s.io/apimachinery/pkg/api/resource"
)

// quantities are quantity, isQuantity, and their comparison and arithmetic.
func quantities() cel.EnvOption {
	type q = *resource.Quantity
	t := cel.ObjectType("kubernetes.Quantity")
	self, pair, withInt := []*cel.Type{t}, []*cel.Type{t, t}, []*cel.Type{t, cel.IntType}
	value := func(v resource.Quantity) ref.Val {
		return opaque[q]{&v, t, func(a, b q) bool { return a.Cmp(*b) == 0 }}
	}
	int64s := func(f func(a resource.Quantity, b resource.Quantity) resource.Quantity) func(a, b ref.Val) ref.Val {
		return func(a, b ref.Val) ref.Val {
			x, ok := a.(opaque[q])
			n, isInt := b.(types.Int)
			if !ok || !isInt {
				return noOverload(b)
			}
			return value(f(x.v.DeepCopy(), *resource.NewQuantity(int64(n), resource.DecimalExponent)))
		}
	}
	add := func(a, b resource.Quantity) resource.Quantity { a.Add(b); return a }
	sub := func(a, b resource.Quantity) resource.Quantity { a.Sub(b); return a }
	both := func(f func(a, b resource.Quantity) resource.Quantity) func(a, b ref.Val) ref.Val {
		return onBoth(func(a, b q) ref.Val { return value(f(a.DeepCopy(), b.DeepCopy())) })
	}
	return cel.Lib(library{
		cel.Types(t),
		cel.Function("quantity", cel.Overload("string_to_quantity", []*cel.Type{cel.StringType}, t, cel.UnaryBinding(onText(func(s string) ref.Val {
			v, err := resource.ParseQuantity(s)
			if err != nil {
				return types.WrapErr(err)
			}
			return value(v)
		})))),
		cel.Function("isQuantity", cel.Overload("is_quantity_string", []*cel.Type{cel.StringType}, cel.BoolType, cel.UnaryBinding(onText(func(s string) ref.Val {
			_, err := resource.ParseQuantity(s)
			return types.Bool(err == nil)
		})))),
		cel.Function("sign", cel.MemberOverload("quantity_sign", self, cel.IntType, cel.UnaryBinding(on(func(v q) ref.Val { return types.Int(v.Sign()) })))),
		cel.Function("isGreaterThan", cel.MemberOverload("quantity_is_greater_than", pair, cel.BoolType, cel.BinaryBinding(onBoth(func(a, b q) ref.Val { return types.Bool(a.Cmp(*b) > 0) })))),
		cel.Function("isLessThan", cel.MemberOverload("quantity_is_less_than", pair, cel.BoolType, cel.BinaryBinding(onBoth(func(a, b q) ref.Val { return types.Bool(a.Cmp(*b) < 0) })))),
		cel.Function("compareTo", cel.MemberOverload("quantity_compare_to", pair, cel.IntType, cel.BinaryBinding(onBoth(func(a, b q) ref.Val { return types.Int(a.Cmp(*b)) })))),
		cel.Function("asApproximateFloat", cel.MemberOverload("quantity_get_float", self, cel.DoubleType, cel.UnaryBinding(on(func(v q) ref.Val { return types.Double(v.AsApproximateFloat64()) })))),
		cel.Function("asInteger", cel.MemberOverload("quantity_get_int", self, cel.IntType, cel.UnaryBinding(on(func(v q) ref.Val {
			n, ok := v.AsInt64()
			if !ok {
				return types.NewErr("cannot convert value to integer")
			}
			return types.Int(n)
		})))),
		cel.Function("isInteger", cel.MemberOverload("quantity_is_integer", self, cel.BoolType, cel.UnaryBinding(on(func(v q) ref.Val {
			_, ok := v.AsInt64()
			return types.Bool(ok)
		})))),
		cel.Function("add", cel.MemberOverload("quantity_add", pair, t, cel.BinaryBinding(both(add))), cel.MemberOverload("quantity_add_int", withInt, t, cel.BinaryBinding(int64s(add)))),
		cel.Function("sub", cel.MemberOverload("quantity_sub", pair, t, cel.BinaryBinding(both(sub))), cel.MemberOverload("quantity_sub_int", withInt, t, cel.BinaryBinding(int64s(sub)))),
	})
}
