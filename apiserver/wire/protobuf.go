package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/apiserver/table"
)

// The tags of fields that are the same in all kinds, all of them length-delimited.
const (
	tagMetadata        = 1<<3 | 2 // of an object, of a list (its ListMeta), of PartialObjectMetadata
	tagItem            = 2<<3 | 2 // of a list
	tagResourceVersion = 6<<3 | 2 // of ObjectMeta
	tagRaw             = 2<<3 | 2 // of runtime.Unknown, the envelope
	tagEventType       = 1<<3 | 2 // of WatchEvent
	tagEventObject     = 2<<3 | 2
	tagExtension       = 1<<3 | 2 // of RawExtension
	fieldVersion       = 6
)

// message is an object's protobuf message in pieces: when it has a version, its metadata is before, the version and after.
type message struct {
	before, after []byte // of the metadata
	version       string
	rest          []byte // the fields after the metadata; all of them without a version
}

func (m message) metadataSize() int {
	return len(m.before) + 1 + sizeVarint(len(m.version)) + len(m.version) + len(m.after)
}

func (m message) size() int {
	if m.version == "" {
		return len(m.rest)
	}
	return field(m.metadataSize()) + len(m.rest)
}

func (m message) append(to []byte) []byte {
	if m.version != "" {
		to = m.appendMetadata(to)
	}
	return append(to, m.rest...)
}

// appendMetadata writes the metadata as a field.
func (m message) appendMetadata(to []byte) []byte {
	to = tagged(to, tagMetadata, m.metadataSize())
	to = append(to, m.before...)
	to = tagged(to, tagResourceVersion, len(m.version))
	to = append(to, m.version...)
	return append(to, m.after...)
}

// envelope is what stands around the messages of one kind: runtime.Unknown's fields.
type envelope struct{ head, tail []byte }

func newEnvelope(apiVersion, name string) (*envelope, error) {
	empty, err := kind.Envelope(apiVersion, name, []byte{})
	if err != nil {
		return nil, err
	}
	// With an empty message the envelope is the head, the message's tag and a length of zero, and the tail.
	u := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: apiVersion, Kind: name}}
	head := len(kind.ProtobufPrefix) + field(u.TypeMeta.Size())
	if len(empty) < head+2 || empty[head] != tagRaw || empty[head+1] != 0 {
		return nil, fmt.Errorf("protobuf envelope of %s %s: it is not written as expected", apiVersion, name)
	}
	return &envelope{head: empty[:head:head], tail: empty[head+2:]}, nil
}

func (e *envelope) size(message int) int { return len(e.head) + field(message) + len(e.tail) }

// begin writes what comes before a message of a size.
func (e *envelope) begin(to []byte, message int) []byte {
	return tagged(append(to, e.head...), tagRaw, message)
}

// append writes a message in its envelope.
func (e *envelope) append(to []byte, m message) []byte {
	return append(m.append(e.begin(to, m.size())), e.tail...)
}

// splice takes stored bytes of this kind apart, to put a version into the metadata. False means that they are not as expected, or have a
// version already.
func (e *envelope) splice(stored []byte, version string) (message, bool) {
	rest, ok := bytes.CutPrefix(stored, e.head)
	if !ok || version == "" {
		return message{}, false
	}
	if rest, ok = bytes.CutSuffix(rest, e.tail); !ok {
		return message{}, false
	}
	raw, rest, ok := delimited(rest, tagRaw)
	if !ok || len(rest) > 0 {
		return message{}, false
	}
	meta, rest, ok := delimited(raw, tagMetadata)
	if !ok {
		return message{}, false
	}
	for at := 0; at < len(meta); {
		number, wireType, n := protowire.ConsumeTag(meta[at:])
		if n < 0 {
			return message{}, false
		}
		size := protowire.ConsumeFieldValue(number, wireType, meta[at+n:])
		if size < 0 || number > fieldVersion {
			return message{}, false
		}
		if number == fieldVersion {
			return message{before: meta[:at:at], after: meta[at+n+size:], version: version, rest: rest}, size == 1 // an empty one
		}
		at += n + size
	}
	return message{}, false
}

// delimited reads a length-delimited field that data must begin with.
func delimited(data []byte, tag byte) (content, rest []byte, ok bool) {
	if len(data) == 0 || data[0] != tag {
		return nil, nil, false
	}
	size, n := binary.Uvarint(data[1:])
	if n <= 0 || size > uint64(len(data)-1-n) {
		return nil, nil, false
	}
	return data[1+n : 1+n+int(size)], data[1+n+int(size):], true
}

// tagged begins a length-delimited field.
func tagged(to []byte, tag byte, size int) []byte {
	return binary.AppendUvarint(append(to, tag), uint64(size))
}

// field is how long a length-delimited field with a tag of one byte is.
func field(content int) int { return 1 + sizeVarint(content) + content }

func sizeVarint(n int) int { return protowire.SizeVarint(uint64(n)) }

// metadataMessage is the message of a PartialObjectMetadata.
func metadataMessage(obj kind.Instance) (message, error) {
	data, err := table.Partial(obj).Marshal()
	if err != nil {
		return message{}, fmt.Errorf("encode metadata: %w", err)
	}
	return message{rest: data}, nil
}
