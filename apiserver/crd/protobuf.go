package crd

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxProtobufDepth bounds how deep messages are nested: schemas are recursive, and a body is a stranger's.
const maxProtobufDepth = 256

var errTooDeep = errors.New("messages are nested too deep")

// message is what types of k8s.io/apimachinery bring along.
type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// Marshal gives the protobuf form, in which client-go's clients send definitions. It follows the struct tags.
func (d *CustomResourceDefinition) Marshal() ([]byte, error) {
	return appendMessage(nil, reflect.ValueOf(d).Elem())
}

// Unmarshal reads the protobuf form.
func (d *CustomResourceDefinition) Unmarshal(data []byte) error {
	return readMessage(data, reflect.ValueOf(d).Elem(), 0)
}

// tagged is a struct field with its number and wire type.
type tagged struct {
	index  int
	number protowire.Number
	wire   protowire.Type
}

// fieldsOf reads the tags of a struct: protobuf:"bytes,2,opt,name=spec".
func fieldsOf(t reflect.Type) []tagged {
	var out []tagged
	for i := range t.NumField() {
		parts := strings.SplitN(t.Field(i).Tag.Get("protobuf"), ",", 3)
		if len(parts) < 2 {
			continue
		}
		number, err := strconv.ParseInt(parts[1], 10, 32)
		if err != nil {
			continue
		}
		f := tagged{index: i, number: protowire.Number(number), wire: protowire.BytesType}
		switch parts[0] {
		case "varint":
			f.wire = protowire.VarintType
		case "fixed64":
			f.wire = protowire.Fixed64Type
		}
		out = append(out, f)
	}
	return out
}

func appendMessage(out []byte, v reflect.Value) ([]byte, error) {
	if m, ok := v.Addr().Interface().(message); ok && v.Type() != reflect.TypeFor[CustomResourceDefinition]() {
		data, err := m.Marshal()
		return append(out, data...), err
	}
	var err error
	for _, f := range fieldsOf(v.Type()) {
		if out, err = appendField(out, f, v.Field(f.index)); err != nil {
			return nil, fmt.Errorf("%s: %w", v.Type().Field(f.index).Name, err)
		}
	}
	return out, nil
}

func appendField(out []byte, f tagged, v reflect.Value) ([]byte, error) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return out, nil
		}
		return appendOne(out, f, v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if v.Len() == 0 {
				return out, nil
			}
			return appendOne(out, f, v)
		}
		var err error
		for i := range v.Len() {
			if out, err = appendOne(out, f, v.Index(i)); err != nil {
				return nil, err
			}
		}
		return out, nil
	case reflect.Map:
		return appendMap(out, f, v)
	case reflect.Struct:
		return appendOne(out, f, v)
	}
	if v.IsZero() {
		return out, nil
	}
	return appendOne(out, f, v)
}

// appendMap writes a map as protobuf has it: messages with a key and a value, here in the order of the keys.
func appendMap(out []byte, f tagged, v reflect.Value) ([]byte, error) {
	keys := make([]string, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		keys = append(keys, it.Key().String())
	}
	slices.Sort(keys)
	for _, k := range keys {
		value := reflect.New(v.Type().Elem()).Elem()
		value.Set(v.MapIndex(reflect.ValueOf(k)))
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), k)
		entry, err := appendOne(entry, tagged{number: 2, wire: protowire.BytesType}, value)
		if err != nil {
			return nil, err
		}
		out = protowire.AppendBytes(protowire.AppendTag(out, f.number, protowire.BytesType), entry)
	}
	return out, nil
}

// appendOne writes one value with its tag.
func appendOne(out []byte, f tagged, v reflect.Value) ([]byte, error) {
	out = protowire.AppendTag(out, f.number, f.wire)
	switch v.Kind() {
	case reflect.String:
		return protowire.AppendString(out, v.String()), nil
	case reflect.Bool:
		return protowire.AppendVarint(out, protowire.EncodeBool(v.Bool())), nil
	case reflect.Int32, reflect.Int64:
		return protowire.AppendVarint(out, uint64(v.Int())), nil
	case reflect.Float64:
		return protowire.AppendFixed64(out, math.Float64bits(v.Float())), nil
	case reflect.Slice:
		return protowire.AppendBytes(out, v.Bytes()), nil
	case reflect.Struct:
		addressable := reflect.New(v.Type()).Elem()
		addressable.Set(v)
		data, err := appendMessage(nil, addressable)
		if err != nil {
			return nil, err
		}
		return protowire.AppendBytes(out, data), nil
	}
	return nil, fmt.Errorf("a %v has no protobuf form", v.Type())
}

func readMessage(data []byte, v reflect.Value, depth int) error {
	if depth > maxProtobufDepth {
		return errTooDeep
	}
	if m, ok := v.Addr().Interface().(message); ok && v.Type() != reflect.TypeFor[CustomResourceDefinition]() {
		return m.Unmarshal(data)
	}
	fields := fieldsOf(v.Type())
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		if n = protowire.ConsumeFieldValue(number, wire, data); n < 0 {
			return protowire.ParseError(n)
		}
		value := data[:n]
		data = data[n:]
		i := slices.IndexFunc(fields, func(f tagged) bool { return f.number == number })
		if i < 0 {
			continue // of a later version
		}
		if fields[i].wire != wire {
			return fmt.Errorf("field %d of %v has wire type %d, want %d", number, v.Type(), wire, fields[i].wire)
		}
		if err := readField(value, v.Field(fields[i].index), depth); err != nil {
			return err
		}
	}
	return nil
}

func readField(data []byte, v reflect.Value, depth int) error {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return readOne(data, v.Elem(), depth)
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			one := reflect.New(v.Type().Elem()).Elem()
			if err := readOne(data, one, depth); err != nil {
				return err
			}
			v.Set(reflect.Append(v, one))
			return nil
		}
	case reflect.Map:
		return readMapEntry(data, v, depth)
	}
	return readOne(data, v, depth)
}

func readMapEntry(data []byte, v reflect.Value, depth int) error {
	entry, n := protowire.ConsumeBytes(data)
	if n < 0 {
		return protowire.ParseError(n)
	}
	key := ""
	value := reflect.New(v.Type().Elem()).Elem()
	for len(entry) > 0 {
		number, wire, n := protowire.ConsumeTag(entry)
		if n < 0 {
			return protowire.ParseError(n)
		}
		entry = entry[n:]
		if n = protowire.ConsumeFieldValue(number, wire, entry); n < 0 {
			return protowire.ParseError(n)
		}
		if wire == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(entry)
			switch number {
			case 1:
				key = string(content)
			case 2:
				if err := readMessage(content, value, depth+1); err != nil {
					return err
				}
			}
		}
		entry = entry[n:]
	}
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	v.SetMapIndex(reflect.ValueOf(key), value)
	return nil
}

// readOne reads one value, whose wire type has been checked.
func readOne(data []byte, v reflect.Value, depth int) error {
	switch v.Kind() {
	case reflect.Bool, reflect.Int32, reflect.Int64:
		n, size := protowire.ConsumeVarint(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if v.Kind() == reflect.Bool {
			v.SetBool(n != 0)
		} else if v.Kind() == reflect.Int32 {
			v.SetInt(int64(int32(n)))
		} else {
			v.SetInt(int64(n))
		}
		return nil
	case reflect.Float64:
		n, size := protowire.ConsumeFixed64(data)
		if size < 0 {
			return protowire.ParseError(size)
		}
		v.SetFloat(math.Float64frombits(n))
		return nil
	}
	content, n := protowire.ConsumeBytes(data)
	if n < 0 {
		return protowire.ParseError(n)
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(content))
	case reflect.Slice:
		v.SetBytes(slices.Clone(content))
	case reflect.Struct:
		return readMessage(content, v, depth+1)
	default:
		return fmt.Errorf("a %v has no protobuf form", v.Type())
	}
	return nil
}
