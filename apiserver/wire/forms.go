package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/table"
)

// DefaultFormBytes is how much of encoded objects is kept when the configuration does not say.
const DefaultFormBytes = 64 << 20

// forms makes the encodings of objects and bounds what is kept of them. They are kept beside the objects (client.Forms), so that a
// reader of one takes no lock. When there is too much, some that chance picks are dropped: a list that is larger than
// the bound finds a part of itself then, where dropping the oldest would leave it nothing.
type forms struct {
	limit int64

	mu   sync.Mutex
	held int64
	all  []kept
}

type kept struct {
	at   *atomic.Pointer[[]byte]
	data *[]byte
}

// newForms makes a cache; one with a limit below 1 keeps nothing.
func newForms(limit int64) *forms {
	return &forms{limit: limit}
}

// get gives a form, encoding it when it is not there. Two callers at once may both encode. The bytes are shared and read-only.
func (f *forms) get(of *client.Forms, form client.Form, encode func() ([]byte, error)) ([]byte, error) {
	at := of.Kept(form)
	if at == nil {
		return encode()
	}
	if data := at.Load(); data != nil {
		return *data, nil
	}
	data, err := encode()
	if err == nil {
		f.keep(at, data)
	}
	return data, err
}

func (f *forms) keep(at *atomic.Pointer[[]byte], data []byte) {
	size := int64(len(data))
	if size > f.limit {
		return
	}
	if !at.CompareAndSwap(nil, &data) {
		return // another caller was faster
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.held+size > f.limit { // there are others: this one fits
		i, last := rand.IntN(len(f.all)), len(f.all)-1
		drop := f.all[i]
		f.all[i], f.all[last] = f.all[last], kept{}
		f.all = f.all[:last]
		f.held -= int64(len(*drop.data))
		drop.at.CompareAndSwap(drop.data, nil)
	}
	f.all = append(f.all, kept{at, &data})
	f.held += size
}

// json is an object in compact JSON. Shared objects are not written to.
func (f *forms) json(k *kind.Kind, obj kind.Instance, of *client.Forms) ([]byte, error) {
	return f.get(of, client.FormJSON, func() ([]byte, error) {
		if obj.GetObjectKind().GroupVersionKind() != k.GroupVersionKind() {
			obj = k.Copy(obj)
		}
		return k.EncodeJSON(obj)
	})
}

// metadataJSON is an object's metadata alone, in JSON, as version says (of meta.k8s.io).
func (f *forms) metadataJSON(obj kind.Instance, of *client.Forms, version string) ([]byte, error) {
	if version != "v1" {
		of = nil // what is kept is v1
	}
	return f.get(of, client.FormMetadataJSON, func() ([]byte, error) {
		p := table.Partial(obj)
		p.APIVersion = metaVersion(version)
		data, err := json.Marshal(p)
		if err != nil {
			return nil, fmt.Errorf("encode metadata: %w", err)
		}
		return data, nil
	})
}

// protobuf is an object's message in protobuf, for the kind's envelope. The stored bytes serve where they are the object's, with its
// version put in.
func (f *forms) protobuf(e *envelope, k *kind.Kind, obj kind.Instance, of *client.Forms) (message, error) {
	stored, checked := of.Stored()
	if stored != nil {
		if m, ok := e.splice(stored, obj.GetResourceVersion()); ok {
			if checked {
				return m, nil
			}
			data, err := k.EncodeProtobuf(obj)
			if err != nil {
				return message{}, err
			}
			same := bytes.Equal(data, e.append(nil, m))
			of.Checked(same)
			if same {
				return m, nil
			}
		} else {
			of.Checked(false)
		}
	}
	data, err := f.get(of, client.FormProtobuf, func() ([]byte, error) { return k.EncodeProtobuf(obj) })
	if err != nil {
		return message{}, err
	}
	raw, _, err := kind.OpenEnvelope(data)
	return message{rest: raw}, err
}
