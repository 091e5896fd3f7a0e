package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// refPrefix begins references between schemas.
const refPrefix = "#/components/schemas/"

// builder collects schemas: of Go types, and built-in ones with everything that they refer to.
type builder struct {
	*library
	names   map[reflect.Type]string
	made    map[string]*spec.Schema    // from Go types
	builtin map[string]json.RawMessage // from the library
	gvks    map[string][]metav1.GroupVersionKind
	given   map[string]bool // those of kinds without a Go type

	followed map[reflect.Type]bool // see follow
	newer    map[string]bool       // built-in ones that have become made ones by that

	// known are the kinds that built-in schemas describe wherever they occur, such as the claim inside of a StatefulSet; nil: none.
	known map[string][]metav1.GroupVersionKind
}

func newBuilder() *builder {
	return &builder{
		library: &library{}, names: map[reflect.Type]string{}, made: map[string]*spec.Schema{},
		builtin: map[string]json.RawMessage{}, gvks: map[string][]metav1.GroupVersionKind{}, given: map[string]bool{}, followed: map[reflect.Type]bool{}, newer: map[string]bool{},
	}
}

// Schemas are the schemas of kinds and of everything that they are made of, by name. References are those of a v3 document. They
// are made anew at each call, some milliseconds for a kind of core/v1: who needs them often keeps them. A set of one kind gives
// no more than that kind needs; [Name] tells which of the schemas is the kind's own.
func Schemas(kinds *kind.Set) map[string]*spec.Schema {
	b := newBuilder()
	for _, k := range kinds.All() {
		b.kind(k)
	}
	return b.all()
}

// all are the collected schemas. The builder must not be used after that.
func (b *builder) all() map[string]*spec.Schema {
	out := b.made
	for name, data := range b.builtin {
		s := new(spec.Schema)
		mustRead(name, data, s)
		out[name] = s
	}
	for name, gvks := range b.gvks {
		list := make([]any, len(gvks))
		for i, gvk := range gvks {
			list[i] = map[string]any{"group": gvk.Group, "version": gvk.Version, "kind": gvk.Kind}
		}
		out[name].AddExtension(extensionGVK, list)
	}
	return out
}

const extensionGVK = "x-kubernetes-group-version-kind"

// components are the collected schemas in JSON.
func (b *builder) components() (map[string]json.RawMessage, error) {
	out := maps.Clone(b.builtin)
	for name, s := range b.made {
		data, err := json.Marshal(s)
		if err != nil {
			return nil, fmt.Errorf("openapi: schema %s: %w", name, err)
		}
		out[name] = data
	}
	for name, gvks := range b.gvks {
		data, err := json.Marshal(gvks)
		if err != nil {
			return nil, fmt.Errorf("openapi: schema %s: %w", name, err)
		}
		s := bytes.TrimSuffix(out[name], []byte("}"))
		with := slices.Concat(s, []byte(`,"`+extensionGVK+`":`), data, []byte("}"))
		if len(s) == 1 { // of an empty object
			with = slices.Concat(s, []byte(`"`+extensionGVK+`":`), data, []byte("}"))
		}
		out[name] = with
	}
	return out, nil
}

// take adds a built-in schema and what it refers to. It reports whether there is one.
func (b *builder) take(name string) bool {
	if _, ok := b.builtin[name]; ok || b.newer[name] {
		return true
	}
	s := b.find(name)
	if s == nil {
		return false
	}
	b.builtin[name] = s
	for _, gvk := range b.known[name] {
		b.addGVK(name, gvk.Group, gvk.Version, gvk.Kind)
	}
	for _, ref := range references(s) {
		b.take(ref)
	}
	return true
}

// has reports whether there is a schema of that name already.
func (b *builder) has(name string) bool { return b.made[name] != nil || b.builtin[name] != nil }

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
	name := b.object(k)
	list := strings.TrimSuffix(name, k.Name) + k.ListName
	if !b.take(list) && b.made[list] == nil {
		s := object("A list of " + k.Plural + ".")
		s.Properties["apiVersion"] = described(*spec.StringProperty(), typeMetaDoc["apiVersion"])
		s.Properties["kind"] = described(*spec.StringProperty(), typeMetaDoc["kind"])
		s.Properties["metadata"] = b.reference(listMetaType, "Standard list metadata.")
		s.Properties["items"] = described(*spec.ArrayProperty(spec.RefSchema(refPrefix + name)), "The objects.")
		s.Required = []string{"items"}
		b.made[list] = s
	}
	b.addGVK(list, k.Group, k.Version, k.ListName)
	return name, list
}

// object adds a kind's schema and gives its name.
func (b *builder) object(k *kind.Kind) string {
	name := Name(k)
	t := reflect.TypeOf(k.New()).Elem()
	switch {
	case k.Schema != nil || k.IsDynamic():
		if b.made[name] == nil {
			b.dynamic(k, name)
		}
	case b.take(name):
		b.names[t] = name
		b.follow(t, name)
	case b.made[name] == nil:
		if _, ok := b.names[t]; !ok { // one Go type may be behind two kinds
			b.names[t] = name
		}
		b.made[name] = &spec.Schema{} // taken, while types that refer to themselves are walked
		b.made[name] = b.structure(t)
	}
	b.addGVK(name, k.Group, k.Version, k.Name)
	return name
}

// addGVK notes that objects of a kind have the schema called name.
func (b *builder) addGVK(name, group, version, kind string) {
	gvk := metav1.GroupVersionKind{Group: group, Version: version, Kind: kind}
	if !slices.Contains(b.gvks[name], gvk) {
		b.gvks[name] = append(b.gvks[name], gvk)
	}
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
	ref := *spec.RefSchema(refPrefix + b.define(t))
	if description == "" {
		return ref
	}
	// Nothing may stand beside a $ref.
	return spec.Schema{SchemaProps: spec.SchemaProps{Description: description, AllOf: []spec.Schema{ref}}}
}

// define adds the schema of a named struct type and gives its name.
func (b *builder) define(t reflect.Type) string {
	if name, ok := b.names[t]; ok {
		return name
	}
	name := typeName(t)
	if b.take(name) {
		b.names[t] = name
		b.follow(t, name)
		return name
	}
	for n := 2; b.has(name); n++ { // local types of one name
		name = fmt.Sprintf("%s%d", typeName(t), n)
	}
	b.names[t] = name
	b.made[name] = &spec.Schema{} // taken, while types that refer to themselves are walked
	if s, ok := b.special(t); ok {
		b.made[name] = &s
	} else {
		b.made[name] = b.structure(t)
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
	return s
}

func (b *builder) fields(s *spec.Schema, t reflect.Type, docs map[string]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, embedded := wireName(f)
		if embedded != nil {
			inner := docsOf(embedded)
			if embedded == typeMetaType {
				inner = typeMetaDoc
			}
			b.fields(s, embedded, inner)
			continue
		}
		if name == "" {
			continue
		}
		p := b.value(f.Type, docs[name])
		patchTags(&p, t, f)
		s.Properties[name] = p
		if !strings.Contains(opts, "omitempty") && !strings.Contains(opts, "omitzero") && f.Type.Kind() != reflect.Pointer {
			s.Required = append(s.Required, name)
		}
	}
}

// wireName is a field's name on the wire, empty for a field that is not there, with the options of its tag. A struct whose fields
// stand among its owner's is embedded.
func wireName(f reflect.StructField) (name, opts string, embedded reflect.Type) {
	name, opts, _ = strings.Cut(f.Tag.Get("json"), ",")
	if name == "-" || !f.IsExported() && !f.Anonymous {
		return "", "", nil
	}
	if f.Anonymous && name == "" {
		et := f.Type
		if et.Kind() == reflect.Pointer {
			et = et.Elem()
		}
		if et.Kind() == reflect.Struct {
			return "", "", et
		}
	}
	if name == "" {
		name = f.Name
	}
	return name, opts, nil
}

// patchTags adds what is known about merging a field.
func patchTags(p *spec.Schema, owner reflect.Type, f reflect.StructField) {
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
	switch {
	case key != "" && strings.Contains(strategy, "merge"):
		p.AddExtension("x-kubernetes-list-type", "map")
		p.AddExtension("x-kubernetes-list-map-keys", []any{key})
	case strings.Contains(strategy, "merge") && f.Type.Elem().Kind() == reflect.String:
		p.AddExtension("x-kubernetes-list-type", "set")
	case strings.HasPrefix(owner.PkgPath(), "k8s.io/"):
		p.AddExtension("x-kubernetes-list-type", "atomic")
	}
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
	if one, ok := v.(interface{ OpenAPIV3OneOfTypes() []string }); ok {
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
