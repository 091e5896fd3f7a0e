package wire

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	yamlnode "sigs.k8s.io/yaml/goyaml.v3"
)

// A few bytes of a body can stand for a structure of a kilobyte: "{}," in JSON, two bytes of protobuf, an alias in
// YAML. So beside its size a body's number of structures is bounded.
const (
	maxStructures = 1 << 15
	maxDepth      = 10_000 // what encoding/json allows
	maxNesting    = 256    // of protobuf messages; no kind comes near
)

var (
	errNotText   = errors.New("the body is not valid UTF-8")
	errTooMany   = fmt.Errorf("the body has more than %d objects and lists", maxStructures)
	errTooDeep   = errors.New("the body is nested too deeply")
	errExpands   = fmt.Errorf("the document's aliases stand for more than %d bytes", maxBody)
	errDocuments = errors.New("the body has more than one document")
)

// checkJSON refuses JSON that is no text or that would take far more memory than its bytes. Its syntax is for the decoder.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errNotText
	}
	structures, depth, quoted := 0, 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if structures++; structures > maxStructures {
				return errTooMany
			}
			if depth++; depth > maxDepth {
				return errTooDeep
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// checkYAML refuses YAML that is no text, that has several documents, of which all but the first would be lost, or
// whose aliases make much of little.
func checkYAML(data []byte) error {
	if !utf8.Valid(data) {
		return errNotText
	}
	text := string(data)
	if strings.Count(text, "{")+strings.Count(text, "[") > maxStructures {
		return errTooMany
	}
	several := strings.Contains(text, "\n---") || strings.Contains(text, "\n...")
	if !several && !(strings.Contains(text, "&") && strings.Contains(text, "*")) {
		return nil
	}
	decoder := yamlnode.NewDecoder(strings.NewReader(text))
	var first, second yamlnode.Node
	if err := decoder.Decode(&first); err != nil {
		return nil // the decoder that follows says what is wrong
	}
	if err := decoder.Decode(&second); err == nil && len(second.Content) > 0 && second.Content[0].Tag != "!!null" {
		return errDocuments
	}
	if _, ok := expanded(&first, map[*yamlnode.Node]int{}); !ok {
		return errExpands
	}
	return nil
}

// expanded is how many bytes a node stands for at least, with its aliases replaced. It is false above the limit, and
// for a node that contains itself.
func expanded(n *yamlnode.Node, known map[*yamlnode.Node]int) (int, bool) {
	if n.Kind == yamlnode.AliasNode {
		n = n.Alias
	}
	if size, ok := known[n]; ok {
		return size, size >= 0
	}
	known[n] = -1 // while it is being counted
	size := len(n.Value) + 2
	for _, child := range n.Content {
		more, ok := expanded(child, known)
		if size += more; !ok || size > maxBody {
			return 0, false
		}
	}
	known[n] = size
	return size, true
}

// protobufLimits counts the messages in a protobuf body by the Go type that it is to be decoded into.
type protobufLimits struct {
	left   int
	fields map[reflect.Type]map[protowire.Number]reflect.Type // those that are messages
}

func checkProtobuf(into reflect.Type, raw []byte) error {
	l := protobufLimits{left: maxStructures, fields: map[reflect.Type]map[protowire.Number]reflect.Type{}}
	return l.check(into, raw, 0)
}

func (l *protobufLimits) check(t reflect.Type, raw []byte, depth int) error {
	if l.left--; l.left < 0 {
		return errTooMany
	}
	if depth > maxNesting {
		return errTooDeep
	}
	fields := l.messages(t)
	for len(raw) > 0 {
		number, wireType, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil // malformed: for the decoder to say
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(number, wireType, raw); n < 0 {
			return nil
		}
		if inner, ok := fields[number]; ok && wireType == protowire.BytesType {
			content, _ := protowire.ConsumeBytes(raw)
			if err := l.check(inner, content, depth+1); err != nil {
				return err
			}
		}
		raw = raw[n:]
	}
	return nil
}

// messages reads the struct tags that generated types have: protobuf:"bytes,2,rep,name=containers".
func (l *protobufLimits) messages(t reflect.Type) map[protowire.Number]reflect.Type {
	if known, ok := l.fields[t]; ok {
		return known
	}
	found := map[protowire.Number]reflect.Type{}
	l.fields[t] = found
	if t.Kind() != reflect.Struct {
		return found
	}
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

// checkStrings refuses text that is not UTF-8, which protobuf decoders let through: JSON could not carry it, and a name
// with it would be another one after it was stored. It looks into every exported field of v.
func checkStrings(v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if !utf8.ValidString(v.String()) {
			return errNotText
		}
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			return checkStrings(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			if err := checkStrings(v.Field(i)); err != nil {
				return err
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return nil
		}
		for i := range v.Len() {
			if err := checkStrings(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := errors.Join(checkStrings(it.Key()), checkStrings(it.Value())); err != nil {
				return err
			}
		}
	}
	return nil
}
