package client

import "sync/atomic"

// Form is one of the encodings that Forms keeps.
type Form uint8

// The forms. Metadata alone is a meta.k8s.io/v1 PartialObjectMetadata.
const (
	FormJSON         Form = iota // the whole object, with apiVersion and kind
	FormProtobuf                 // the whole object in its envelope, when its stored bytes can't serve
	FormMetadataJSON             // metadata alone
	forms
)

// Forms are the encodings of one object, kept beside it so that each is made once whoever sends it. They belong to one version
// of one object, which never changes. What is kept may be dropped at any time by who bounds it, and is made again. A nil Forms
// keeps nothing. It is safe for concurrent use.
type Forms struct {
	stored []byte
	exact  atomic.Uint32
	kept   [forms]atomic.Pointer[[]byte]
}

const (
	unknown uint32 = iota
	isExact
	isOther
)

// Init sets the bytes under which the object is stored, in kind.Kind's encoding, without its resourceVersion. It is called before
// anybody else has the Forms.
func (f *Forms) Init(stored []byte) { f.stored = stored }

// Stored gives the stored bytes, or nil when there are none or they are known to say something else than the object does, as those of an
// older release may, whose defaults were fewer. checked is false while nobody has compared them.
func (f *Forms) Stored() (data []byte, checked bool) {
	if f == nil {
		return nil, true
	}
	switch f.exact.Load() {
	case isExact:
		return f.stored, true
	case isOther:
		return nil, true
	}
	return f.stored, f.stored == nil
}

// Checked notes whether the stored bytes are the object's.
func (f *Forms) Checked(same bool) {
	if f == nil {
		return
	}
	if same {
		f.exact.Store(isExact)
	} else {
		f.exact.Store(isOther)
	}
}

// Kept is where a form is kept; nil for a nil Forms. The bytes are read-only.
func (f *Forms) Kept(form Form) *atomic.Pointer[[]byte] {
	if f == nil || form >= forms {
		return nil
	}
	return &f.kept[form]
}
