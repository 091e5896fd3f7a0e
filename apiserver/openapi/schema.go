package openapi

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// The prefixes of references between schemas.
const (
	refV2 = "#/definitions/"
	refV3 = "#/components/schemas/"
)

// builder collects schemas of Go types.
type builder struct {
	ref     string
	names   map[reflect.Type]string
	schemas map[string]*spec.Schema
}

func newBuilder(ref string) *builder {
	return &builder{ref: ref, names: map[reflect.Type]string{}, schemas: map[string]*spec.Schema{}}
}

// Schemas are the schemas of kinds and of everything they are made of, by name. References are those of a v3 document.
func Schemas(kinds *kind.Set) map[string]*spec.Schema {
	b := newBuilder(refV3)
	for _, k := range kinds.All() {
		b.kind(k)
	}
	return b.schemas
}

// Name is the name of a kind's schema.
func Name(k *kind.Kind) string {
	obj := k.New()
	if m, ok := obj.(interface{ OpenAPIModelName() string }); ok {
		return m.OpenAPIModelName()
	}
	return kindName(k)
}

// kindName names a kind whose type does not name itself, as upstream does for custom resources: com.example.games.v1.Fleet.
func kindName(k *kind.Kind) string {
	parts := strings.Split(k.Group, ".")
	slices.Reverse(parts)
	return strings.Join(append(parts, k.Version, k.Name), ".")
}

// kind adds a kind's schema and its list's, and gives their names.
func (b *builder) kind(k *kind.Kind) (string, string) {
	t := reflect.TypeOf(k.New()).Elem()
	name := Name(k)
	if k.Schema != nil || k.IsDynamic() {
		b.dynamic(k, name)
	} else if _, ok := b.names[t]; !ok {
		b.names[t] = name
		b.schemas[name] = b.structure(t)
	} else if b.names[t] != name { // one Go type behind two kinds
		if _, ok := b.schemas[name]; !ok {
			b.schemas[name] = b.structure(t)
		}
	}
	addGVK(b.schemas[name], k.Group, k.Version, k.Name)
	list := strings.TrimSuffix(name, k.Name) + k.ListName
	if b.schemas[list] == nil {
		s := object("A list of " + k.Plural + ".")
		s.Properties["apiVersion"] = described(*spec.StringProperty(), typeMetaDoc["apiVersion"])
		s.Properties["kind"] = described(*spec.StringProperty(), typeMetaDoc["kind"])
		s.Properties["metadata"] = b.reference(listMetaType, "Standard list metadata.")
		s.Properties["items"] = described(*spec.ArrayProperty(spec.RefSchema(b.ref + name)), "The objects.")
		s.Required = []string{"items"}
		b.schemas[list] = s
	}
	addGVK(b.schemas[list], k.Group, k.Version, k.ListName)
	return name, list
}

func addGVK(s *spec.Schema, group, version, name string) {
	const key = "x-kubernetes-group-version-kind"
	gvk := map[string]any{"group": group, "version": version, "kind": name}
	all, _ := s.Extensions[key].([]any)
	for _, have := range all {
		if reflect.DeepEqual(have, gvk) {
			return
		}
	}
	s.AddExtension(key, append(all, gvk))
}

func object(description string) *spec.Schema {
	return &spec.Schema{SchemaProps: spec.SchemaProps{
		Type: []string{"object"}, Description: description, Properties: map[string]spec.Schema{},
	}}
}

func described(s spec.Schema, text string) spec.Schema {
	s.Description = text
	return s
}

// reference refers to the schema of a named struct type, which it adds.
func (b *builder) reference(t reflect.Type, description string) spec.Schema {
	name := b.define(t)
	ref := *spec.RefSchema(b.ref + name)
	if b.ref == refV2 || description == "" {
		ref.Description = description
		return ref
	}
	// In v3 nothing may stand beside a $ref.
	return spec.Schema{SchemaProps: spec.SchemaProps{Description: description, AllOf: []spec.Schema{ref}}}
}

// define adds the schema of a named struct type and gives its name.
func (b *builder) define(t reflect.Type) string {
	if name, ok := b.names[t]; ok {
		return name
	}
	name := typeName(t)
	for n := 2; b.schemas[name] != nil; n++ { // local types of one name
		name = fmt.Sprintf("%s%d", typeName(t), n)
	}
	b.names[t] = name
	b.schemas[name] = &spec.Schema{} // taken, while types that refer to themselves are walked
	if s, ok := b.special(t); ok {
		b.schemas[name] = &s
	} else {
		b.schemas[name] = b.structure(t)
	}
	return name
}

// typeName names the schema of a Go type: as the type itself says, or after its package.
func typeName(t reflect.Type) string {
	if m, ok := reflect.New(t).Interface().(interface{ OpenAPIModelName() string }); ok {
		return m.OpenAPIModelName()
	}
	path := strings.Split(t.PkgPath(), "/")
	host := strings.Split(path[0], ".")
	slices.Reverse(host)
	name := strings.Join(append(append(host, path[1:]...), t.Name()), ".")
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}

// structure is the schema of a struct type.
func (b *builder) structure(t reflect.Type) *spec.Schema {
	docs := docsOf(t)
	s := object(docs[""])
	b.fields(s, t, docs)
	slices.Sort(s.Required)
	if atomicStructs[t.Name()] && strings.HasPrefix(t.PkgPath(), "k8s.io/") {
		s.AddExtension("x-kubernetes-map-type", "atomic")
	}
	return s
}

func (b *builder) fields(s *spec.Schema, t reflect.Type, docs map[string]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if f.Anonymous && name == "" {
			et := f.Type
			if et.Kind() == reflect.Pointer {
				et = et.Elem()
			}
			if et.Kind() == reflect.Struct {
				inner := docsOf(et)
				if et == typeMetaType {
					inner = typeMetaDoc
				}
				b.fields(s, et, inner)
				continue
			}
		}
		if name == "" {
			name = f.Name
		}
		p := b.value(f.Type, docs[name])
		patchTags(&p, t, f, name)
		s.Properties[name] = p
		if !strings.Contains(opts, "omitempty") && !strings.Contains(opts, "omitzero") && f.Type.Kind() != reflect.Pointer {
			s.Required = append(s.Required, name)
		}
	}
}

// patchTags adds what is known about merging a field.
func patchTags(p *spec.Schema, owner reflect.Type, f reflect.StructField, name string) {
	strategy, key := f.Tag.Get("patchStrategy"), f.Tag.Get("patchMergeKey")
	if strategy != "" {
		p.AddExtension("x-kubernetes-patch-strategy", strategy)
	}
	if key != "" {
		p.AddExtension("x-kubernetes-patch-merge-key", key)
	}
	if f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() == reflect.Uint8 {
		return
	}
	keys := listKeys[owner.Name()+"."+name]
	if keys == nil && key != "" && strings.Contains(strategy, "merge") {
		keys = []string{key}
	}
	switch {
	case len(keys) > 0:
		p.AddExtension("x-kubernetes-list-type", "map")
		p.AddExtension("x-kubernetes-list-map-keys", toAny(keys))
	case strings.Contains(strategy, "merge") && f.Type.Elem().Kind() == reflect.String:
		p.AddExtension("x-kubernetes-list-type", "set")
	case strings.HasPrefix(owner.PkgPath(), "k8s.io/"):
		p.AddExtension("x-kubernetes-list-type", "atomic")
	}
}

func toAny(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

// value is the schema of a field's type.
func (b *builder) value(t reflect.Type, description string) spec.Schema {
	if t.Kind() == reflect.Pointer {
		return b.value(t.Elem(), description)
	}
	if t.Name() != "" && t.PkgPath() != "" {
		if s, ok := b.special(t); ok && t.Kind() != reflect.Struct {
			return described(s, description)
		}
		if t.Kind() == reflect.Struct {
			return b.reference(t, description)
		}
	}
	var s spec.Schema
	switch t.Kind() {
	case reflect.Bool:
		s = *spec.BooleanProperty()
	case reflect.Int32, reflect.Int16, reflect.Int8, reflect.Uint16, reflect.Uint8:
		s = *spec.Int32Property()
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint32, reflect.Uint64:
		s = *spec.Int64Property()
	case reflect.Float32, reflect.Float64:
		s = *spec.Float64Property()
	case reflect.String:
		s = *spec.StringProperty()
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			s = *spec.StrFmtProperty("byte")
			break
		}
		s = *spec.ArrayProperty(new(b.value(t.Elem(), "")))
	case reflect.Map:
		s = *spec.MapProperty(new(b.value(t.Elem(), "")))
	case reflect.Struct: // without a name
		s = *b.structure(t)
	default: // an interface: anything
		s.AddExtension("x-kubernetes-preserve-unknown-fields", true)
	}
	return described(s, description)
}

// special is the schema of a type that writes itself in its own way.
func (b *builder) special(t reflect.Type) (spec.Schema, bool) {
	v := reflect.New(t).Interface()
	var s spec.Schema
	s.Description = docsOf(t)[""]
	switch t.String() {
	case "runtime.RawExtension", "v1.FieldsV1":
		s.Type = []string{"object"}
		if t.String() == "runtime.RawExtension" {
			s.AddExtension("x-kubernetes-preserve-unknown-fields", true)
		}
		return s, true
	case "json.RawMessage":
		s.AddExtension("x-kubernetes-preserve-unknown-fields", true)
		return s, true
	case "time.Time":
		s.Type, s.Format = []string{"string"}, "date-time"
		return s, true
	}
	named, ok := v.(interface{ OpenAPISchemaType() []string })
	if !ok {
		return s, false
	}
	s.Type = named.OpenAPISchemaType()
	if f, ok := v.(interface{ OpenAPISchemaFormat() string }); ok {
		s.Format = f.OpenAPISchemaFormat()
	}
	if one, ok := v.(interface{ OpenAPIV3OneOfTypes() []string }); ok && b.ref == refV3 {
		s.Type = nil
		for _, each := range one.OpenAPIV3OneOfTypes() {
			s.OneOf = append(s.OneOf, spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{each}}})
		}
	}
	return s, true
}

// docsOf are the texts that a type of k8s.io/api carries, by field name; the type's own is under "".
func docsOf(t reflect.Type) map[string]string {
	if m, ok := reflect.New(t).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		return m.SwaggerDoc()
	}
	return nil
}
