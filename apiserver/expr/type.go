package expr

import (
	"strings"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
)

// MaxRequestBytes bounds what a value can be when its schema does not.
const MaxRequestBytes = 3 << 20

// Type is the type of a value in rules, and how large the value can be at most.
type Type struct {
	cel    *cel.Type
	max    int64 // characters, elements or entries
	min    int64 // bytes of the smallest value in JSON
	elem   *Type // of a list, or a map's values
	fields map[string]*Type
	name   string // of an object's type
}

// Simple makes a type without parts: max bounds characters or bytes, min is the length of its shortest form in JSON.
func Simple(t *cel.Type, max, min int64) *Type { return &Type{cel: t, max: max, min: min} }

// List makes the type of lists; a negative max is what fits into a request.
func List(elem *Type, max int64) *Type {
	if max < 0 {
		max = (MaxRequestBytes - 2) / (elem.min + 1)
	}
	return &Type{cel: cel.ListType(elem.cel), max: max, min: 2, elem: elem}
}

// Map makes the type of maps from strings; a negative max is what fits into a request.
func Map(elem *Type, max int64) *Type {
	if max < 0 {
		max = (MaxRequestBytes - 2) / (elem.min + 6)
	}
	return &Type{cel: cel.MapType(cel.StringType, elem.cel), max: max, min: 2, elem: elem}
}

// Object makes the type of objects with fields, by their escaped names. Name must be its own in a rule.
func Object(name string, fields map[string]*Type, min int64) *Type {
	return &Type{cel: cel.ObjectType(name), name: name, fields: fields, max: MaxRequestBytes / 4, min: min}
}

// CEL is the type as cel-go knows it.
func (t *Type) CEL() *cel.Type { return t.cel }

// Elem is the type of a list's elements or of a map's values.
func (t *Type) Elem() *Type { return t.elem }

// Fields are those of an object.
func (t *Type) Fields() map[string]*Type { return t.fields }

// Min is the length in bytes of the smallest value in JSON.
func (t *Type) Min() int64 { return t.min }

// Cardinality is how often the type can be in a request at most.
func (t *Type) Cardinality() uint64 { return uint64(MaxRequestBytes / (t.min + 1)) }

// provider tells the compiler the fields of object types.
type provider struct {
	types.Provider
	objects map[string]*Type
}

func newProvider(base types.Provider, roots ...*Type) *provider {
	p := &provider{Provider: base, objects: map[string]*Type{}}
	for _, t := range roots {
		p.add(t)
	}
	return p
}

func (p *provider) add(t *Type) {
	if t == nil || t.name != "" && p.objects[t.name] != nil {
		return
	}
	if t.name != "" {
		p.objects[t.name] = t
	}
	p.add(t.elem)
	for _, f := range t.fields {
		p.add(f)
	}
}

// FindStructType tells an object's type.
func (p *provider) FindStructType(name string) (*types.Type, bool) {
	if t, ok := p.objects[name]; ok {
		return types.NewTypeTypeWithParam(t.cel), true
	}
	return p.Provider.FindStructType(name)
}

// FindStructFieldNames tells an object's fields.
func (p *provider) FindStructFieldNames(name string) ([]string, bool) {
	t, ok := p.objects[name]
	if !ok {
		return p.Provider.FindStructFieldNames(name)
	}
	var out []string
	for f := range t.fields {
		out = append(out, f)
	}
	return out, true
}

// FindStructFieldType tells a field's type. Its value is looked up in the object at run time.
func (p *provider) FindStructFieldType(name, field string) (*types.FieldType, bool) {
	t, ok := p.objects[name]
	if !ok {
		return p.Provider.FindStructFieldType(name, field)
	}
	f, ok := t.fields[field]
	if !ok {
		return nil, false
	}
	return &types.FieldType{Type: f.cel}, true
}

// NewValue refuses to make objects: rules only look at them.
func (p *provider) NewValue(name string, fields map[string]ref.Val) ref.Val {
	if _, ok := p.objects[name]; ok {
		return types.NewErr("objects of type %s cannot be made in a rule", name)
	}
	return p.Provider.NewValue(name, fields)
}

// reserved are the words of the language that no field can be called. Source: the CEL specification, "Syntax".
var reserved = strings.Fields("true false null in as break const continue else for function if import let loop package namespace return var void while")

// Escape is a field's name as rules write it; false when they cannot: names are letters, digits and _, the characters - . / are
// written out, and words of the language are put between underscores.
func Escape(name string) (string, bool) {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return "", false
	}
	for _, word := range reserved {
		if name == word {
			return "__" + name + "__", true
		}
	}
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '_' && i+1 < len(name) && name[i+1] == '_':
			b.WriteString("__underscores__")
			i++
		case c == '-':
			b.WriteString("__dash__")
		case c == '.':
			b.WriteString("__dot__")
		case c == '/':
			b.WriteString("__slash__")
		case c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			b.WriteByte(c)
		default:
			return "", false
		}
	}
	return b.String(), true
}
