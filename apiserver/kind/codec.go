package kind

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

// ProtobufPrefix starts the envelope in which built-in kinds are stored and sent (a runtime.Unknown follows).
// Source: k8s.io/apimachinery, serializer/protobuf.
const ProtobufPrefix = "k8s\x00"

// ErrWrongKind is the sentinel for data that is an object, but of another kind than asked.
var ErrWrongKind = errors.New("wrong kind")

// StrictError lists unknown and duplicate fields that strict decoding found. The object beside it is usable.
type StrictError struct{ Problems []error }

func (e *StrictError) Error() string { return "strict decoding: " + errors.Join(e.Problems...).Error() }

// Unwrap gives the single problems.
func (e *StrictError) Unwrap() []error { return e.Problems }

type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

// Protobuf reports whether objects of the kind have a protobuf form.
func (k *Kind) Protobuf() bool {
	_, ok := k.New().(message)
	return ok
}

// Encode gives the stored form: the protobuf envelope where the kind has one, else JSON.
func (k *Kind) Encode(obj Instance) ([]byte, error) {
	if _, ok := obj.(message); ok {
		return k.EncodeProtobuf(obj)
	}
	return k.EncodeJSON(obj)
}

// EncodeProtobuf gives the protobuf envelope; the error says so when the kind has no such form.
func (k *Kind) EncodeProtobuf(obj Instance) ([]byte, error) {
	m, ok := obj.(message)
	if !ok {
		return nil, fmt.Errorf("%s: %T has no protobuf form, use JSON", k, obj)
	}
	raw, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("%s: encode protobuf: %w", k, err)
	}
	return Envelope(k.APIVersion(), k.Name, raw)
}

// Envelope wraps an encoded protobuf message in the form that built-in kinds are stored and sent in.
func Envelope(apiVersion, name string, raw []byte) ([]byte, error) {
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: name}, Raw: raw}
	out := make([]byte, len(ProtobufPrefix)+u.Size())
	copy(out, ProtobufPrefix)
	if _, err := u.MarshalTo(out[len(ProtobufPrefix):]); err != nil {
		return nil, fmt.Errorf("encode protobuf envelope of %s %s: %w", apiVersion, name, err)
	}
	return out, nil
}

// EncodeJSON gives compact JSON with apiVersion and kind.
func (k *Kind) EncodeJSON(obj Instance) ([]byte, error) {
	k.Stamp(obj)
	var v any = obj
	if u, ok := obj.(*unstructured.Unstructured); ok {
		v = u.Object // whose own marshalling would do it twice
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%s: encode JSON: %w", k, err)
	}
	return b, nil
}

// Decode reads either encoding, told apart by the envelope's prefix.
func (k *Kind) Decode(data []byte) (Instance, error) {
	if bytes.HasPrefix(data, []byte(ProtobufPrefix)) {
		return k.DecodeProtobuf(data)
	}
	return k.DecodeJSON(data, false)
}

// DecodeProtobuf reads the protobuf envelope.
func (k *Kind) DecodeProtobuf(data []byte) (Instance, error) {
	obj := k.New()
	m, ok := obj.(message)
	if !ok {
		return nil, fmt.Errorf("%s: %T has no protobuf form, send JSON", k, obj)
	}
	raw, gvk, err := OpenEnvelope(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k, err)
	}
	if gvk.Kind != "" && gvk != k.GroupVersionKind() {
		return nil, fmt.Errorf("%w: got %s, want %s", ErrWrongKind, gvk, k.GroupVersionKind())
	}
	if err := m.Unmarshal(raw); err != nil {
		return nil, fmt.Errorf("%s: decode protobuf: %w", k, err)
	}
	k.Stamp(obj)
	return obj, nil
}

// OpenEnvelope splits a protobuf envelope into the message and the kind that it says it is.
func OpenEnvelope(data []byte) ([]byte, schema.GroupVersionKind, error) {
	rest, ok := bytes.CutPrefix(data, []byte(ProtobufPrefix))
	if !ok {
		return nil, schema.GroupVersionKind{}, errors.New("decode protobuf: the data does not start with the Kubernetes envelope (k8s\\0)")
	}
	var u runtime.Unknown
	if err := u.Unmarshal(rest); err != nil {
		return nil, schema.GroupVersionKind{}, fmt.Errorf("decode protobuf envelope: %w", err)
	}
	return u.Raw, schema.FromAPIVersionAndKind(u.APIVersion, u.Kind), nil
}

// DecodeJSON reads JSON. With strict, unknown and duplicate fields are returned as a *StrictError beside the object,
// which is valid without them. An object that names another kind is ErrWrongKind; one that names none is taken.
func (k *Kind) DecodeJSON(data []byte, strict bool) (Instance, error) {
	obj := k.New()
	var problems []error
	var err error
	if _, ok := obj.(*unstructured.Unstructured); ok {
		obj, problems, err = k.decodeDynamic(data, strict)
	} else if strict {
		problems, err = kjson.UnmarshalStrict(data, obj)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(data, obj)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: decode JSON: %w", k, err)
	}
	if gvk := obj.GetObjectKind().GroupVersionKind(); gvk.Kind != "" && gvk != k.GroupVersionKind() {
		return nil, fmt.Errorf("%w: got %s, want %s", ErrWrongKind, gvk, k.GroupVersionKind())
	}
	k.Stamp(obj)
	if len(problems) > 0 {
		return obj, &StrictError{problems}
	}
	return obj, nil
}

// StatusOf returns the addressable Status field of an object, or an invalid Value when it has none.
func StatusOf(obj Instance) reflect.Value {
	v := reflect.ValueOf(obj)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.Elem().FieldByName("Status")
}
