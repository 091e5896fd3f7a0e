package openapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"sync"

	openapi_v2 "github.com/google/gnostic-models/openapiv2"
	openapi_v3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Document is one document in both its encodings.
type Document struct {
	JSON     []byte
	Protobuf []byte // of the gnostic schema that Kubernetes clients use
	Hash     string // changes when the document does
}

// Documents are the documents of a fixed set of kinds.
type Documents struct {
	paths []string
	v3    map[string]func() (*Document, error)
	v2    func() (*Document, error)
	index func() ([]byte, error)
}

// New prepares the documents of kinds. version is the version of the API that they claim.
func New(kinds *kind.Set, version string) *Documents {
	d := &Documents{v3: map[string]func() (*Document, error){}}
	byPath := map[string][]*kind.Kind{}
	for _, k := range kinds.All() {
		p := Path(k.Group, k.Version)
		if byPath[p] == nil {
			d.paths = append(d.paths, p)
		}
		byPath[p] = append(byPath[p], k)
	}
	for p, group := range byPath {
		d.v3[p] = sync.OnceValues(func() (*Document, error) { return encodeV3(group, version) })
	}
	d.v2 = sync.OnceValues(func() (*Document, error) { return encodeV2(kinds, version) })
	d.index = sync.OnceValues(d.makeIndex)
	return d
}

// V3 is the document of a path such as api/v1 or apis/apps/v1, or nil when nothing is served there.
func (d *Documents) V3(path string) (*Document, error) {
	build, ok := d.v3[path]
	if !ok {
		return nil, nil
	}
	return build()
}

// V2 is the document of all kinds in the older format. It describes types and no operations.
func (d *Documents) V2() (*Document, error) { return d.v2() }

// Index lists the v3 documents, in JSON.
func (d *Documents) Index() ([]byte, error) { return d.index() }

func (d *Documents) makeIndex() ([]byte, error) {
	type item struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := make(map[string]item, len(d.paths))
	for _, p := range d.paths {
		doc, err := d.V3(p)
		if err != nil {
			return nil, err
		}
		paths[p] = item{URL: "/openapi/v3/" + p + "?hash=" + doc.Hash}
	}
	return json.Marshal(map[string]any{"paths": paths})
}

func encodeV3(kinds []*kind.Kind, version string) (*Document, error) {
	data, err := json.Marshal(document(kinds, version))
	if err != nil {
		return nil, fmt.Errorf("openapi: encode v3: %w", err)
	}
	parsed, err := openapi_v3.ParseDocument(data)
	if err != nil {
		return nil, fmt.Errorf("openapi: v3: %w", err)
	}
	return finish(data, parsed)
}

func encodeV2(kinds *kind.Set, version string) (*Document, error) {
	b := newBuilder(refV2)
	for _, k := range kinds.All() {
		b.kind(k)
	}
	definitions := make(spec.Definitions, len(b.schemas))
	for name, s := range b.schemas {
		definitions[name] = *s
	}
	data, err := json.Marshal(&spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger: "2.0", Info: info(version), Paths: &spec.Paths{Paths: map[string]spec.PathItem{}}, Definitions: definitions,
	}})
	if err != nil {
		return nil, fmt.Errorf("openapi: encode v2: %w", err)
	}
	parsed, err := openapi_v2.ParseDocument(data)
	if err != nil {
		return nil, fmt.Errorf("openapi: v2: %w", err)
	}
	return finish(data, parsed)
}

func finish(data []byte, parsed proto.Message) (*Document, error) {
	pb, err := proto.MarshalOptions{Deterministic: true}.Marshal(parsed)
	if err != nil {
		return nil, fmt.Errorf("openapi: encode protobuf: %w", err)
	}
	sum := sha256.Sum256(data)
	return &Document{JSON: data, Protobuf: pb, Hash: hex.EncodeToString(sum[:])}, nil
}
