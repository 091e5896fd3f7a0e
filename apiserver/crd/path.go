package crd

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
)

// maxPath bounds the text of a JSONPath.
const maxPath = 1024

// jsonPath is a parsed JSONPath, of the kind that printer columns have: .spec.replicas, .status.conditions[?(@.type=="Ready")].status,
// .spec.containers[*].image, .metadata.annotations.example\.com/owner.
type jsonPath []step

// step goes from some values to values in them.
type step struct {
	name   string  // a field
	index  *int    // an element; negative counts from the end
	all    bool    // every element
	filter *filter // those elements that pass
}

// filter compares a value in an element with a constant.
type filter struct {
	path     jsonPath
	operator string // empty: it is there
	value    any
}

// parsePath reads a JSONPath.
func parsePath(text string) (jsonPath, error) {
	if len(text) > maxPath {
		return nil, fmt.Errorf("the path has %d characters, at most %d are read", len(text), maxPath)
	}
	text = strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}"), "$")
	var out jsonPath
	for text != "" {
		var s step
		var err error
		switch text[0] {
		case '.':
			if strings.HasPrefix(text, "..") {
				return nil, errors.New("recursive descent (..) is not supported")
			}
			s, text = parseName(text[1:])
			if s.name == "" && !s.all && (text != "" || len(out) > 0) && !strings.HasPrefix(text, "[") {
				return nil, errors.New("a name is missing after a dot")
			}
			if s.name == "" && !s.all {
				continue // "." alone, or ".["
			}
		case '[':
			if s, text, err = parseBracket(text[1:]); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("want . or [, got %q", text[0])
		}
		out = append(out, s)
	}
	return out, nil
}

// parseName reads a field's name up to the next dot or bracket; a backslash takes the next character as it is.
func parseName(text string) (step, string) {
	var b strings.Builder
	i := 0
	for ; i < len(text) && text[i] != '.' && text[i] != '['; i++ {
		if text[i] == '\\' && i+1 < len(text) {
			i++
		}
		b.WriteByte(text[i])
	}
	if b.String() == "*" {
		return step{all: true}, text[i:]
	}
	return step{name: b.String()}, text[i:]
}

func parseBracket(text string) (step, string, error) {
	end := closing(text)
	if end < 0 {
		return step{}, "", errors.New("a bracket is not closed")
	}
	inner, rest := strings.TrimSpace(text[:end]), text[end+1:]
	switch {
	case inner == "*" || inner == ":" || inner == "":
		return step{all: true}, rest, nil
	case strings.HasPrefix(inner, "?(") && strings.HasSuffix(inner, ")"):
		f, err := parseFilter(strings.TrimSpace(inner[2 : len(inner)-1]))
		return step{filter: f}, rest, err
	case inner[0] == '\'' || inner[0] == '"':
		name, err := unquote(inner)
		return step{name: name}, rest, err
	}
	n, err := strconv.Atoi(inner)
	if err != nil {
		return step{}, "", fmt.Errorf("[%s]: want an index, a name in quotes, * or a filter", inner)
	}
	return step{index: &n}, rest, nil
}

// closing finds the bracket that ends what text is in, outside of quotes.
func closing(text string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quote != 0 && b == '\\':
			i++
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == '\'' || b == '"':
			quote = b
		case b == '[':
			depth++
		case b == ']' && depth == 0:
			return i
		case b == ']':
			depth--
		}
	}
	return -1
}

func parseFilter(text string) (*filter, error) {
	left, operator, right := splitOperator(text)
	path, ok := strings.CutPrefix(strings.TrimSpace(left), "@")
	if !ok {
		return nil, fmt.Errorf("filter %q: want a path that begins with @ on the left", text)
	}
	f := &filter{operator: operator}
	var err error
	if f.path, err = parsePath(path); err != nil || operator == "" {
		return f, err
	}
	right = strings.TrimSpace(right)
	switch {
	case right == "":
		return nil, fmt.Errorf("filter %q: want a value on the right", text)
	case right[0] == '\'' || right[0] == '"':
		f.value, err = unquote(right)
		return f, err
	case right == "true" || right == "false":
		f.value = right == "true"
		return f, nil
	}
	if n, err := strconv.ParseInt(right, 10, 64); err == nil {
		f.value = n
		return f, nil
	}
	if f.value, err = strconv.ParseFloat(right, 64); err != nil {
		return nil, fmt.Errorf("filter %q: %q is no value", text, right)
	}
	return f, nil
}

func splitOperator(text string) (left, operator, right string) {
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		switch b := text[i]; {
		case quote != 0 && b == '\\':
			i++
		case quote != 0:
			if b == quote {
				quote = 0
			}
		case b == '\'' || b == '"':
			quote = b
		case strings.IndexByte("=!<>", b) >= 0:
			n := 1
			if i+1 < len(text) && text[i+1] == '=' {
				n = 2
			}
			return text[:i], text[i : i+n], text[i+n:]
		}
	}
	return text, "", ""
}

func unquote(text string) (string, error) {
	if len(text) < 2 || text[len(text)-1] != text[0] {
		return "", fmt.Errorf("%s: a quote is not closed", text)
	}
	return strings.NewReplacer(`\`+text[:1], text[:1], `\\`, `\`).Replace(text[1 : len(text)-1]), nil
}

// find answers the values that the path leads to.
func (p jsonPath) find(v any) []any {
	found := []any{v}
	for _, s := range p {
		var next []any
		for _, each := range found {
			next = s.from(each, next)
		}
		found = next
	}
	return found
}

func (s step) from(v any, out []any) []any {
	switch v := v.(type) {
	case map[string]any:
		if s.all {
			for _, name := range sortedKeys(v) {
				out = append(out, v[name])
			}
		} else if c, ok := v[s.name]; ok && s.index == nil && s.filter == nil {
			out = append(out, c)
		}
	case []any:
		switch {
		case s.all:
			out = append(out, v...)
		case s.index != nil:
			i := *s.index
			if i < 0 {
				i += len(v)
			}
			if i >= 0 && i < len(v) {
				out = append(out, v[i])
			}
		case s.filter != nil:
			for _, each := range v {
				if s.filter.passes(each) {
					out = append(out, each)
				}
			}
		}
	}
	return out
}

func (f *filter) passes(v any) bool {
	found := f.path.find(v)
	if len(found) == 0 {
		return false
	}
	got := found[0]
	switch f.operator {
	case "":
		return true
	case "==", "=":
		return same(got, f.value)
	case "!=":
		return !same(got, f.value)
	}
	a, aok := asFloat(got)
	b, bok := asFloat(f.value)
	switch {
	case !aok || !bok:
		return false
	case f.operator == "<":
		return a < b
	case f.operator == "<=":
		return a <= b
	case f.operator == ">":
		return a > b
	}
	return a >= b
}

func same(a, b any) bool {
	x, xok := asFloat(a)
	y, yok := asFloat(b)
	if xok && yok {
		return x == y
	}
	return equality.Semantic.DeepEqual(a, b)
}

func asFloat(v any) (float64, bool) {
	switch n := v.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// text is a value as a column of text shows it.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any, []any:
		data, err := json.Marshal(v)
		if err != nil {
			return ""
		}
		return string(data)
	}
	return fmt.Sprint(v)
}

// set puts a value where a path of names leads, making the objects on the way.
func set(object map[string]any, names []string, value any) {
	for _, name := range names[:len(names)-1] {
		next, ok := object[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			object[name] = next
		}
		object = next
	}
	object[names[len(names)-1]] = value
}

// get reads what a path of names leads to.
func get(object map[string]any, names []string) (any, bool) {
	var v any = object
	for _, name := range names {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[name]; !ok {
			return nil, false
		}
	}
	return v, true
}

// names are the fields of a simple path such as .spec.replicas.
func names(path string) []string { return strings.Split(strings.TrimPrefix(path, "."), ".") }
