package crd

import (
	"fmt"
	"slices"
)

// maxUnknown bounds how many unknown fields are told about; all are removed.
const maxUnknown = 100

func isMeta(name string) bool { return name == "apiVersion" || name == "kind" || name == "metadata" }

// pruner removes what a schema does not know.
type pruner struct{ unknown []string }

// prune removes from an object what the schema does not know, and answers the paths of that, sorted.
func prune(object map[string]any, root *node) []string {
	var p pruner
	p.object(object, root, "", true)
	slices.Sort(p.unknown)
	return p.unknown
}

func (p *pruner) record(path string) {
	if len(p.unknown) < maxUnknown {
		p.unknown = append(p.unknown, path)
	}
}

func (p *pruner) value(v any, n *node, path string) {
	switch v := v.(type) {
	case map[string]any:
		p.object(v, n, path, n != nil && n.embedded)
	case []any:
		p.list(v, n, path)
	}
}

// object prunes one object; whole says that it has apiVersion, kind and metadata, which are no business of the schema.
func (p *pruner) object(object map[string]any, n *node, path string, whole bool) {
	for name, v := range object {
		if whole && isMeta(name) {
			continue
		}
		at := name
		if path != "" {
			at = path + "." + name
		}
		switch {
		case n != nil && n.properties[name] != nil:
			p.value(v, n.properties[name], at)
		case n != nil && n.open:
			p.value(v, n.additional, at)
		case n != nil && n.preserve:
		default:
			p.record(at)
			delete(object, name)
		}
	}
}

func (p *pruner) list(list []any, n *node, path string) {
	var items *node
	if n != nil {
		items = n.items
		if n.preserve && items == nil {
			return
		}
	}
	for i, v := range list {
		p.value(v, items, fmt.Sprintf("%s[%d]", path, i))
	}
}

// applyDefaults fills in what is missing, and null where null is not allowed: it removes those nulls that have no default.
func applyDefaults(v any, n *node) {
	if n == nil {
		return
	}
	switch v := v.(type) {
	case map[string]any:
		for name, p := range n.properties {
			if !p.hasDef {
				continue
			}
			if had, ok := v[name]; !ok || had == nil && !p.nullable {
				v[name] = copyValue(p.def)
			}
		}
		for name, had := range v {
			c := n.child(name)
			if had == nil && c != nil && !c.nullable {
				if !c.hasDef {
					delete(v, name)
					continue
				}
				had = copyValue(c.def)
				v[name] = had
			}
			applyDefaults(had, c)
		}
	case []any:
		for i := range v {
			if v[i] == nil && n.items != nil && !n.items.nullable && n.items.hasDef {
				v[i] = copyValue(n.items.def)
			}
			applyDefaults(v[i], n.items)
		}
	}
}

// copyValue copies a JSON value.
func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = copyValue(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = copyValue(e)
		}
		return out
	}
	return v
}
