package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// follow adds to built-in schemas the fields that their Go types have and they have not: those of a k8s.io/api that is newer than
// the data. A program may choose such a version, and its server then decodes those fields, so that whoever merges must know them.
// The fields are described as an application's are. name is the schema of t, which is built in.
func (b *builder) follow(t reflect.Type, name string) {
	if b.followed[t] {
		return
	}
	b.followed[t] = true
	data := b.builtin[name]
	if data == nil {
		return
	}
	var have struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	mustRead(name, data, &have)
	if have.Properties == nil {
		return // a type that writes itself in its own way
	}
	var newer *spec.Schema
	all := wireFields(t)
	for _, field := range slices.Sorted(maps.Keys(all)) { // in an order, so that a document is the same from run to run
		f := all[field]
		if have.Properties[field] != nil {
			b.followField(f.Type)
			continue
		}
		if newer == nil {
			newer = new(spec.Schema)
			mustRead(name, data, newer)
			b.newer[name], b.made[name] = true, newer
			delete(b.builtin, name)
		}
		p := b.value(f.Type, docsOf(t)[field])
		patchTags(&p, t, f)
		newer.Properties[field] = p
	}
}

// followField follows the type that a field is made of, if that is built in.
func (b *builder) followField(t reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && t.Name() != "" && !b.followed[t] {
		b.follow(t, typeName(t))
	}
}

// mustRead decodes data of this program, which is no input: a test reads all of it.
func mustRead(name string, data []byte, into any) {
	if err := json.Unmarshal(data, into); err != nil {
		panic(fmt.Sprintf("openapi: the data of this program: %s: %v", name, err))
	}
}

// wireFields are the fields of a struct on the wire, by name, with those of embedded structs.
func wireFields(t reflect.Type) map[string]reflect.StructField {
	out := map[string]reflect.StructField{}
	var add func(t reflect.Type)
	add = func(t reflect.Type) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, embedded := wireName(f)
			switch {
			case embedded != nil:
				add(embedded)
			case name != "":
				out[name] = f
			}
		}
	}
	add(t)
	return out
}
