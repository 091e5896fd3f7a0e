package wire

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// goTypes are what the checks of protobuf bodies want to know of Go types, found out once for each. The zero value knows none.
type goTypes struct{ known sync.Map } // reflect.Type to *goType

// goType is what there is to check in a type's values.
type goType struct {
	// messages are the fields of a struct that are messages in protobuf, by their number there: their types, without pointers and
	// slices.
	messages map[protowire.Number]reflect.Type
	// fields are the indexes of a struct's fields that can hold text.
	fields []int
	// text is whether a value of the type can hold text.
	text bool
}

func (g *goTypes) of(t reflect.Type) *goType {
	if known, found := g.known.Load(t); found {
		return known.(*goType)
	}
	return g.find(t, map[reflect.Type]bool{})
}

// find looks into a type. Of types that it is in the middle of, which contain themselves, it says that they can hold text: that
// costs time where it is wrong.
func (g *goTypes) find(t reflect.Type, within map[reflect.Type]bool) *goType {
	if known, found := g.known.Load(t); found {
		return known.(*goType)
	}
	if within[t] {
		return &goType{text: true}
	}
	within[t] = true
	defer delete(within, t)
	found := &goType{}
	switch t.Kind() {
	case reflect.String, reflect.Interface:
		found.text = true
	case reflect.Pointer, reflect.Slice:
		found.text = t.Elem().Kind() != reflect.Uint8 && g.find(t.Elem(), within).text
	case reflect.Map:
		found.text = g.find(t.Key(), within).text || g.find(t.Elem(), within).text
	case reflect.Struct:
		found.messages = messageFields(t)
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && g.find(f.Type, within).text {
				found.fields = append(found.fields, i)
			}
		}
		found.text = len(found.fields) > 0
	}
	g.known.Store(t, found)
	return found
}

// messageFields reads the struct tags that generated types have: protobuf:"bytes,2,rep,name=containers".
func messageFields(t reflect.Type) map[protowire.Number]reflect.Type {
	found := map[protowire.Number]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		parts := strings.SplitN(f.Tag.Get("protobuf"), ",", 3)
		if len(parts) < 2 || parts[0] != "bytes" {
			continue
		}
		inner := f.Type
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		number, err := strconv.ParseInt(parts[1], 10, 32)
		if err == nil && inner.Kind() == reflect.Struct {
			found[protowire.Number(number)] = inner
		}
	}
	return found
}

// checkProtobuf refuses protobuf that would take far more memory than its bytes, by the Go type that it is to be decoded into.
func (g *goTypes) checkProtobuf(into reflect.Type, raw []byte) error {
	left := maxStructures
	return g.checkMessage(into, raw, &left, 0)
}

func (g *goTypes) checkMessage(t reflect.Type, raw []byte, left *int, depth int) error {
	if *left--; *left < 0 {
		return errTooMany
	}
	if depth > maxNesting {
		return errTooDeep
	}
	fields := g.of(t).messages
	for len(raw) > 0 {
		number, wireType, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil // malformed: for the decoder to say
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(number, wireType, raw); n < 0 {
			return nil
		}
		if wireType == protowire.BytesType && len(fields) > 0 {
			if inner, ok := fields[number]; ok {
				content, _ := protowire.ConsumeBytes(raw)
				if err := g.checkMessage(inner, content, left, depth+1); err != nil {
					return err
				}
			}
		}
		raw = raw[n:]
	}
	return nil
}

// checkStrings refuses text that is not UTF-8, which protobuf decoders let through: JSON could not carry it, and a name
// with it would be another one after it was stored. It looks into every exported field of v.
func (g *goTypes) checkStrings(v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return errNotText
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return g.checkStrings(v.Elem())
		}
	case reflect.Struct:
		for _, i := range g.of(v.Type()).fields {
			if err := g.checkStrings(v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice:
		if !g.of(v.Type()).text {
			return nil
		}
		for i := range v.Len() {
			if err := g.checkStrings(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		if !g.of(v.Type()).text {
			return nil
		}
		for it := v.MapRange(); it.Next(); {
			if err := g.checkStrings(it.Key()); err != nil {
				return err
			}
			if err := g.checkStrings(it.Value()); err != nil {
				return err
			}
		}
	}
	return nil
}
