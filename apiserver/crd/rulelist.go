package crd

import (
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
)

// unordered is a list whose order means nothing to rules: one that is a set or a map. Source: KEP-2876, "lists of type set and map".
type unordered struct {
	traits.Lister
	keys []string // of a list that is a map, by the names that rules use; nil for a set
}

// celList is a list as rules see it.
func celList(n *node, list []any) any {
	switch n.listType {
	case listSet:
		return unordered{types.NewDynamicList(types.DefaultTypeAdapter, list), nil}
	case listMap:
		return unordered{types.NewDynamicList(types.DefaultTypeAdapter, list), n.keys}
	}
	return list
}

// Equal compares without regard to the order.
func (u unordered) Equal(other ref.Val) ref.Val {
	o, ok := other.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	if u.Size() != o.Size() {
		return types.False
	}
	for it := u.Iterator(); it.HasNext() == types.True; {
		if o.Contains(it.Next()) != types.True {
			return types.False
		}
	}
	return types.True
}

// Add is the union: elements of other that are there already, by value or by key, take the place of the old ones.
func (u unordered) Add(other ref.Val) ref.Val {
	o, ok := other.(traits.Lister)
	if !ok {
		return types.MaybeNoSuchOverloadErr(other)
	}
	var out []ref.Val
	for it := u.Iterator(); it.HasNext() == types.True; {
		out = append(out, it.Next())
	}
	n := len(out)
	for it := o.Iterator(); it.HasNext() == types.True; {
		next, placed := it.Next(), false
		for i := range n {
			if u.same(out[i], next) {
				out[i], placed = next, true
				break
			}
		}
		if !placed {
			out = append(out, next)
		}
	}
	return unordered{types.NewRefValList(types.DefaultTypeAdapter, out), u.keys}
}

func (u unordered) same(a, b ref.Val) bool {
	if u.keys == nil {
		return a.Equal(b) == types.True
	}
	x, ok := a.(traits.Mapper)
	if !ok {
		return false
	}
	y, ok := b.(traits.Mapper)
	if !ok {
		return false
	}
	for _, k := range u.keys {
		v, had := x.Find(types.String(k))
		w, has := y.Find(types.String(k))
		if had != has || had && v.Equal(w) != types.True {
			return false
		}
	}
	return true
}
