package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"

	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// shelfBytes bounds the compressed documents that are kept. All of Kubernetes' own, in both versions and both encodings, are
// below 4 MB.
const shelfBytes = 8 << 20

// Form is an encoding of a document.
type Form uint8

// The forms of a document.
const (
	JSON     Form = iota
	Protobuf      // of the gnostic schema, which Kubernetes' clients use
)

// Document is one document. It is built when it is first asked for, and kept compressed, as most clients want it. It is safe for
// concurrent use.
type Document struct {
	build  func(*library) ([]byte, error)    // in JSON
	encode func(data []byte) ([]byte, error) // from JSON into protobuf
	shelf  *shelf

	mu  sync.Mutex
	sum string // empty until it is asked for
}

// Hash changes when the document does.
func (d *Document) Hash() (string, error) { return d.hash(&library{}) }

// hash is Hash with a library that others have read in.
func (d *Document) hash(l *library) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sum == "" {
		data, err := d.build(l)
		if err != nil {
			return "", err
		}
		d.sum = fmt.Sprintf("%X", sha512.Sum512(data))
	}
	return d.sum, nil
}

// Gzip is the document, compressed. The bytes are shared and read-only.
func (d *Document) Gzip(f Form) ([]byte, error) {
	return d.shelf.get(shelfKey{d, f}, func() ([]byte, error) {
		data, err := d.build(&library{})
		if err == nil && f == Protobuf {
			data, err = d.encode(data)
		}
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(data); err != nil {
			return nil, fmt.Errorf("openapi: compress: %w", err)
		}
		if err := z.Close(); err != nil {
			return nil, fmt.Errorf("openapi: compress: %w", err)
		}
		return bytes.Clone(b.Bytes()), nil // without what the buffer has to spare
	})
}

// Bytes is the document as it is.
func (d *Document) Bytes(f Form) ([]byte, error) {
	data, err := d.Gzip(f)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("openapi: decompress: %w", err)
	}
	out, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("openapi: decompress: %w", err)
	}
	return out, nil
}

// Documents are the documents of a fixed set of kinds.
type Documents struct {
	version string
	reviews []*kind.Kind
	shelf   *shelf
	pages   map[string]*page
	v3      map[string]*Document
	v2      *Document
	index   func() ([]byte, error)
}

// New prepares the documents of kinds. version is the version of the API that they claim. Reviews are kinds that are only ever
// created, to be answered, and are not in the set.
func New(kinds *kind.Set, version string, reviews ...*kind.Kind) *Documents {
	d := &Documents{version: version, reviews: reviews, shelf: newShelf(shelfBytes), v3: map[string]*Document{}}
	d.prepare(kinds, nil)
	return d
}

// Follow are the documents of other kinds, for a server whose kinds change. Those of groups and versions in which nothing has
// changed are taken over as they are.
func (d *Documents) Follow(kinds *kind.Set) *Documents {
	next := &Documents{version: d.version, reviews: d.reviews, shelf: d.shelf, v3: map[string]*Document{}}
	next.prepare(kinds, d)
	wanted := map[*Document]bool{next.v2: true}
	for _, doc := range next.v3 {
		wanted[doc] = true
	}
	d.shelf.keep(func(doc *Document) bool { return wanted[doc] })
	return next
}

func (d *Documents) prepare(kinds *kind.Set, before *Documents) {
	d.pages = pagesOf(kinds.All(), d.reviews)
	known := sync.OnceValue(func() map[string][]metav1.GroupVersionKind { return namesOf(kinds.All()) })
	builder := func(l *library) *builder {
		b := newBuilder()
		b.library, b.known = l, known()
		return b
	}
	for at, p := range d.pages {
		if before != nil && before.pages[at].same(p) {
			d.v3[at] = before.v3[at]
			continue
		}
		d.v3[at] = &Document{shelf: d.shelf, encode: encodeV3, build: func(l *library) ([]byte, error) { return p.assemble(builder(l), d.version) }}
	}
	d.v2 = &Document{shelf: d.shelf, encode: encodeV2, build: func(l *library) ([]byte, error) { return assembleV2(builder(l), d.pages, d.version) }}
	d.index = sync.OnceValues(d.makeIndex)
}

// V3 is the document of a path such as api/v1 or apis/apps/v1, or nil when nothing is served there.
func (d *Documents) V3(path string) *Document { return d.v3[path] }

// V2 is the document of all kinds in the older format.
func (d *Documents) V2() *Document { return d.v2 }

// Index lists the v3 documents, in JSON. The bytes are shared and read-only.
func (d *Documents) Index() ([]byte, error) { return d.index() }

// URL is where a v3 document is found, with the hash that lets clients keep it.
func URL(path, hash string) string { return "/openapi/v3/" + path + "?hash=" + hash }

func (d *Documents) makeIndex() ([]byte, error) {
	type item struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := make(map[string]item, len(d.v3))
	shared := &library{}
	for _, p := range slices.Sorted(maps.Keys(d.v3)) {
		hash, err := d.v3[p].hash(shared)
		if err != nil {
			return nil, err
		}
		paths[p] = item{URL(p, hash)}
	}
	return json.Marshal(map[string]any{"paths": paths})
}

func encodeV3(data []byte) ([]byte, error) {
	parsed, err := openapi_v3.ParseDocument(data)
	if err != nil {
		return nil, fmt.Errorf("openapi: v3: %w", err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
}
