package expr

import (
	"fmt"
	"reflect"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// opaque is a value of one of the types that rules know by name only.
type opaque[T any] struct {
	v     T
	of    *cel.Type
	equal func(a, b T) bool
}

// ConvertToNative gives the Go value.
func (o opaque[T]) ConvertToNative(t reflect.Type) (any, error) {
	if reflect.TypeFor[T]().AssignableTo(t) {
		return o.v, nil
	}
	return nil, fmt.Errorf("a %s is no %v", o.of.TypeName(), t)
}

// ConvertToType converts to the type itself, and to the type's type.
func (o opaque[T]) ConvertToType(t ref.Type) ref.Val {
	switch t.TypeName() {
	case o.of.TypeName():
		return o
	case types.TypeType.TypeName():
		return o.of
	}
	return types.NewErr("type conversion error from '%s' to '%s'", o.of.TypeName(), t.TypeName())
}

// Equal compares with another value of the type.
func (o opaque[T]) Equal(other ref.Val) ref.Val {
	p, ok := other.(opaque[T])
	if !ok {
		return types.False
	}
	return types.Bool(o.equal(o.v, p.v))
}

// Type is the value's type.
func (o opaque[T]) Type() ref.Type { return o.of }

// Value is the Go value.
func (o opaque[T]) Value() any { return o.v }

// noOverload is what a function answers to arguments that the compiler could not check.
func noOverload(args ...ref.Val) ref.Val {
	if len(args) == 0 {
		return types.NewErr("no such overload")
	}
	return types.MaybeNoSuchOverloadErr(args[0])
}

// text is a function of one text.
func onText(f func(string) ref.Val) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		s, ok := v.(types.String)
		if !ok {
			return noOverload(v)
		}
		return f(string(s))
	}
}

// on is a function of one opaque value.
func on[T any](f func(T) ref.Val) func(ref.Val) ref.Val {
	return func(v ref.Val) ref.Val {
		o, ok := v.(opaque[T])
		if !ok {
			return noOverload(v)
		}
		return f(o.v)
	}
}

// onBoth is a function of two opaque values of a type.
func onBoth[T any](f func(a, b T) ref.Val) func(a, b ref.Val) ref.Val {
	return func(a, b ref.Val) ref.Val {
		x, ok := a.(opaque[T])
		if !ok {
			return noOverload(a)
		}
		y, ok := b.(opaque[T])
		if !ok {
			return noOverload(b)
		}
		return f(x.v, y.v)
	}
}

// library is a collection of functions as one option.
type library []cel.EnvOption

// CompileOptions declares the functions.
func (l library) CompileOptions() []cel.EnvOption { return l }

// ProgramOptions are none.
func (library) ProgramOptions() []cel.ProgramOption { return nil }
