package wire

import (
	"container/list"
	"sync"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// DefaultFormBytes is how much of encoded objects is kept when the configuration does not say.
const DefaultFormBytes = 32 << 20

// forms keeps the encoded forms of objects, so that an event that a thousand clients watch is encoded once. Objects
// are known by identity: they are shared and never change, and as long as a form is kept its object is too, so that
// no other can be taken for it. It holds at most a number of bytes and drops what was put in first. A nil one keeps
// nothing.
type forms struct {
	limit int64

	mu    sync.Mutex
	held  int64
	byKey map[formKey]*list.Element
	order *list.List // of formEntry, oldest first
}

type formKey struct {
	object kind.Instance
	media  string
}

type formEntry struct {
	key  formKey
	data []byte
}

// newForms makes a cache; one with a limit below 1 keeps nothing.
func newForms(limit int64) *forms {
	return &forms{limit: limit, byKey: map[formKey]*list.Element{}, order: list.New()}
}

// get gives an object's form, encoding it when it is not there. Two callers at once may both encode. The bytes are
// shared and read-only.
func (f *forms) get(obj kind.Instance, media string, encode func() ([]byte, error)) ([]byte, error) {
	if f == nil {
		return encode()
	}
	key := formKey{obj, media}
	if data, ok := f.find(key); ok {
		return data, nil
	}
	data, err := encode()
	if err == nil {
		f.put(key, data)
	}
	return data, err
}

func (f *forms) find(key formKey) ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := f.byKey[key]
	if !ok {
		return nil, false
	}
	return e.Value.(formEntry).data, true
}

func (f *forms) put(key formKey, data []byte) {
	size := int64(len(data))
	if size > f.limit {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.byKey[key]; ok {
		return
	}
	f.byKey[key] = f.order.PushBack(formEntry{key, data})
	for f.held += size; f.held > f.limit; {
		e := f.order.Remove(f.order.Front()).(formEntry)
		delete(f.byKey, e.key)
		f.held -= int64(len(e.data))
	}
}

// json is an object in JSON. Shared objects are not written to.
func (f *forms) json(k *kind.Kind, obj kind.Instance) ([]byte, error) {
	return f.get(obj, mediaJSON, func() ([]byte, error) {
		if obj.GetObjectKind().GroupVersionKind() != k.GroupVersionKind() {
			return k.EncodeJSON(k.Copy(obj))
		}
		return k.EncodeJSON(obj)
	})
}

// protobuf is an object in its protobuf envelope.
func (f *forms) protobuf(k *kind.Kind, obj kind.Instance) ([]byte, error) {
	return f.get(obj, mediaProtobuf, func() ([]byte, error) { return k.EncodeProtobuf(obj) })
}
