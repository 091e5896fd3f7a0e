package expr

import (
	"math"
	"strings"

	"github.com/google/cel-go/checker"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// Factors of CEL's cost model: reading a string costs a tenth of its length, and a regular expression four times less than its.
const (
	stringFactor = 0.1
	regexFactor  = 0.25
	maxNumber    = 64 // characters of a number, a truth value, a time
)

// estimator knows how large values can be, and what our own functions cost.
type estimator struct{ variables map[string]*Type }

// EstimateSize answers the bound that the schema gives.
func (e estimator) EstimateSize(n checker.AstNode) *checker.SizeEstimate {
	path := n.Path()
	if len(path) == 0 {
		return nil
	}
	t := e.variables[path[0]]
	for _, name := range path[1:] {
		if t == nil {
			return nil
		}
		switch name {
		case "@items", "@values":
			t = t.elem
		case "@keys":
			t = Simple(types.StringType, MaxRequestBytes, 2)
		default:
			t = t.fields[name]
		}
	}
	if t == nil || t.max == 0 {
		return nil
	}
	return &checker.SizeEstimate{Min: 0, Max: uint64(t.max)}
}

// EstimateCallCost answers what a call of one of our functions costs at most.
func (e estimator) EstimateCallCost(function, _ string, target *checker.AstNode, args []checker.AstNode) *checker.CallEstimate {
	size := func(n checker.AstNode) uint64 {
		if s := n.ComputedSize(); s != nil {
			return s.Max
		}
		if s := e.EstimateSize(n); s != nil {
			return s.Max
		}
		return MaxRequestBytes
	}
	var first uint64
	switch {
	case target != nil:
		first = size(*target)
	case len(args) > 0:
		first = size(args[0])
	}
	call := func(max uint64) *checker.CallEstimate {
		return &checker.CallEstimate{CostEstimate: checker.CostEstimate{Min: 1, Max: max}}
	}
	switch function {
	case "_==_", "_!=_":
		for _, a := range args { // types, and values that are opaque to rules, have a size that the language does not know
			if t := a.Type(); t != nil && (t.Kind() == types.TypeKind || t.Kind() == types.StructKind && strings.HasPrefix(t.TypeName(), "kubernetes.")) {
				return call(1 + maxNumber)
			}
		}
		return nil
	case "string":
		if len(args) != 1 || target != nil {
			return nil
		}
		out := call(scaled(first, stringFactor))
		out.ResultSize = &checker.SizeEstimate{Max: first + maxNumber}
		return out
	case "isSorted", "sum", "max", "min", "indexOf", "lastIndexOf":
		if target == nil {
			return nil
		}
		return call(max(1, first))
	case "find", "findAll":
		pattern := uint64(1)
		if len(args) > 0 {
			pattern = size(args[0])
		}
		out := call(scaled(scaled(first, stringFactor), regexFactor*float64(max(1, pattern))))
		out.ResultSize = &checker.SizeEstimate{Max: first}
		return out
	case "url", "isURL", "quantity", "isQuantity", "semver", "isSemver", "validate":
		if function == "validate" && len(args) > 0 {
			first = size(args[0])
		}
		return call(scaled(first, stringFactor))
	}
	return nil
}

// scaled is a size times a factor, at least 1 and without overflow.
func scaled(n uint64, by float64) uint64 {
	f := math.Ceil(float64(n) * by)
	if f >= math.MaxInt64 {
		return math.MaxInt64
	}
	return max(1, uint64(f))
}

// CallCost answers what a call of one of our functions has cost.
func (e estimator) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	var cost uint64
	switch function {
	case "isSorted", "sum", "max", "min", "indexOf", "lastIndexOf":
		if _, ok := args[0].(traits.Lister); !ok {
			return nil
		}
		cost = max(1, length(args[0]))
	case "find", "findAll":
		pattern := uint64(1)
		if len(args) > 1 {
			pattern = length(args[1])
		}
		cost = scaled(scaled(length(args[0])+1, stringFactor), regexFactor*float64(max(1, pattern)))
	case "url", "isURL", "quantity", "isQuantity", "semver", "isSemver":
		cost = scaled(length(args[0]), stringFactor)
	case "validate":
		cost = scaled(length(args[len(args)-1]), stringFactor)
	default:
		return nil
	}
	return &cost
}

func length(v ref.Val) uint64 {
	if s, ok := v.(traits.Sizer); ok {
		if n, ok := s.Size().(types.Int); ok {
			return uint64(n)
		}
	}
	return 1
}
