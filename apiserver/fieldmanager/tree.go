package fieldmanager

import (
	"errors"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// tree is a set of paths, as metadata.managedFields write it: a path element, whether the path that ends here is in the set,
// and what is below. Elements are in their serialized form (f:name, k:{"name":"web"}, v:"x") and, of one tree, in fieldpath's order.
type tree struct {
	element string
	member  bool
	gone    bool // while two objects are compared: the path is in the old one only
	below   []*tree
}

// removed is the set of paths that are gone.
func (t *tree) removed() *tree {
	out := &tree{element: t.element, member: t.gone}
	for _, b := range t.below {
		if r := b.removed(); r.member || len(r.below) > 0 {
			out.below = append(out.below, r)
		}
	}
	return out
}

// plainText reports whether a text is written into JSON as it is, so that its serialized form needs no quoting.
func plainText(s string) bool {
	for i := range len(s) {
		if b := s[i]; b < 0x20 || b >= 0x7f || b == '"' || b == '\\' || b == '<' || b == '>' || b == '&' {
			return false
		}
	}
	return true
}

// compareElements is fieldpath's order. The common forms are compared as they stand.
func compareElements(a, b string) int {
	if strings.HasPrefix(a, "f:") && strings.HasPrefix(b, "f:") {
		return strings.Compare(a, b)
	}
	if x, ok := onlyString(a); ok {
		if y, ok := onlyString(b); ok && a[:len(a)-len(x)] == b[:len(b)-len(y)] {
			return strings.Compare(strings.TrimRight(x, `"}`), strings.TrimRight(y, `"}`))
		}
	}
	x, errX := fieldpath.DeserializePathElement(a)
	y, errY := fieldpath.DeserializePathElement(b)
	if errX != nil || errY != nil {
		return strings.Compare(a, b)
	}
	return x.Compare(y)
}

// onlyString finds the end of an element from its only value on, which is a plain string without quotes or braces.
func onlyString(e string) (string, bool) {
	head, end := `v:"`, `"`
	if strings.HasPrefix(e, "k:") {
		head, end = `":"`, `"}`
	}
	i := strings.Index(e, head)
	if i < 0 || !strings.HasSuffix(e, end) {
		return "", false
	}
	rest := e[i+len(head):]
	return rest, len(rest) >= len(end) && !strings.ContainsAny(rest[:len(rest)-len(end)], `"}\`)
}

// find answers nil when there is no such element.
func (t *tree) find(element string) *tree {
	for _, b := range t.below {
		if b.element == element {
			return b
		}
	}
	return nil
}

// sort puts the elements in order, all the way down.
func (t *tree) sort() {
	if !slices.IsSortedFunc(t.below, compareTrees) {
		slices.SortFunc(t.below, compareTrees)
	}
	for _, b := range t.below {
		b.sort()
	}
}

func compareTrees(a, b *tree) int { return compareElements(a.element, b.element) }

// empty reports whether no path is in the set.
func (t *tree) empty() bool {
	return t == nil || !t.member && !slices.ContainsFunc(t.below, func(b *tree) bool { return !b.empty() })
}

// maxFind is how many elements are looked through one by one.
const maxFind = 16

// index finds elements quickly, in long lists.
func (t *tree) index() func(string) *tree {
	if len(t.below) <= maxFind {
		return t.find
	}
	byElement := make(map[string]*tree, len(t.below))
	for _, b := range t.below {
		byElement[b.element] = b
	}
	return func(e string) *tree { return byElement[e] }
}

// meets reports whether the sets have a path in common.
func (t *tree) meets(other *tree) bool {
	if t.member && other.member {
		return true
	}
	find := t.index()
	for _, b := range other.below {
		if own := find(b.element); own != nil && own.meets(b) {
			return true
		}
	}
	return false
}

// holds reports whether every path of other is in t.
func (t *tree) holds(other *tree) bool {
	if other.member && !t.member {
		return false
	}
	find := t.index()
	for _, b := range other.below {
		if own := find(b.element); own == nil && !b.empty() || own != nil && !own.holds(b) {
			return false
		}
	}
	return true
}

// remove takes the paths of other out of t.
func (t *tree) remove(other *tree) {
	if other.member {
		t.member = false
	}
	find := t.index()
	for _, b := range other.below {
		if own := find(b.element); own != nil {
			own.remove(b)
		}
	}
	t.below = slices.DeleteFunc(t.below, (*tree).empty)
}

// add puts the paths of other into t. What is below other may become part of t.
func (t *tree) add(other *tree) {
	t.member = t.member || other.member
	find := t.index()
	var fresh []*tree
	for _, b := range other.below {
		if own := find(b.element); own != nil {
			own.add(b)
		} else if !b.empty() {
			fresh = append(fresh, b)
		}
	}
	if len(fresh) > 0 {
		t.below = append(t.below, fresh...)
		slices.SortFunc(t.below, compareTrees)
	}
}

// json writes the set as fieldpath does.
func (t *tree) json(out []byte) []byte {
	out = append(out, '{')
	first := true
	for _, b := range t.below {
		if b.empty() {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(out, '"')
		for i := range len(b.element) {
			if c := b.element[i]; c == '"' || c == '\\' {
				out = append(out, '\\')
			}
			out = append(out, b.element[i])
		}
		out = append(out, '"', ':')
		out = b.content(out)
	}
	return append(out, '}')
}

// content writes what is below an element: the element itself as ".", unless it is all there is.
func (t *tree) content(out []byte) []byte {
	start := len(out)
	out = t.json(out)
	if t.member && len(out)-start > len("{}") {
		out = slices.Insert(out, start+1, []byte(`".":{},`)...)
	}
	return out
}

var errNotPlain = errors.New("the field set is not in the plain form")

// parse reads a set in the plain form that json writes. Others, with spaces or other escapes, are errNotPlain: they are rare, and
// left to fieldpath.
func parse(raw []byte) (*tree, error) {
	t := &tree{}
	rest, err := t.parse(raw, 0)
	if err != nil || len(rest) > 0 {
		return nil, errNotPlain
	}
	return t, nil
}

func (t *tree) parse(in []byte, depth int) ([]byte, error) {
	if len(in) < 2 || in[0] != '{' || depth > maxSetDepth {
		return nil, errNotPlain
	}
	if in[1] == '}' {
		t.member = true
		return in[2:], nil
	}
	for {
		in = in[1:]
		if len(in) == 0 || in[0] != '"' {
			return nil, errNotPlain
		}
		element, rest, ok := unquote(in[1:])
		if !ok || len(rest) < 3 || rest[0] != ':' {
			return nil, errNotPlain
		}
		in = rest[1:]
		if element == "." {
			if in[0] != '{' || in[1] != '}' {
				return nil, errNotPlain
			}
			t.member = true
			in = in[2:]
		} else {
			b := &tree{element: element}
			var err error
			if in, err = b.parse(in, depth+1); err != nil {
				return nil, err
			}
			t.below = append(t.below, b)
		}
		switch {
		case len(in) == 0:
			return nil, errNotPlain
		case in[0] == '}':
			return in[1:], nil
		case in[0] != ',':
			return nil, errNotPlain
		}
	}
}

// unquote reads up to the closing quote. It knows the escapes of quotes and backslashes.
func unquote(in []byte) (string, []byte, bool) {
	escaped := false
	for i := 0; i < len(in); i++ {
		switch b := in[i]; {
		case b == '"':
			text := string(in[:i])
			if escaped {
				text = unescape(in[:i])
			}
			return text, in[i+1:], true
		case b == '\\':
			if i++; i >= len(in) || in[i] != '"' && in[i] != '\\' {
				return "", nil, false
			}
			escaped = true
		case b < 0x20 || b >= 0x7f:
			return "", nil, false
		}
	}
	return "", nil, false
}

func unescape(in []byte) string {
	out := make([]byte, 0, len(in))
	for i := 0; i < len(in); i++ {
		if in[i] == '\\' {
			i++
		}
		out = append(out, in[i])
	}
	return string(out)
}
