package kind

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	yamlconv "sigs.k8s.io/yaml"
)

// ErrUnknownKind is the sentinel for a kind that is not in a set.
var ErrUnknownKind = errors.New("unknown kind")

// Set is a fixed collection of kinds, looked up by what manifests and URLs say. It is safe for concurrent use.
type Set struct {
	kinds      []*Kind
	byKind     map[schema.GroupVersionKind]*Kind
	byResource map[schema.GroupVersionResource]*Kind
}

// NewSet collects kinds. It completes each and refuses two with one name.
func NewSet(kinds ...*Kind) (*Set, error) {
	s := &Set{
		byKind:     make(map[schema.GroupVersionKind]*Kind, len(kinds)),
		byResource: make(map[schema.GroupVersionResource]*Kind, len(kinds)),
	}
	for _, in := range kinds {
		k := *in
		if err := k.Complete(); err != nil {
			return nil, err
		}
		if _, ok := s.byKind[k.GroupVersionKind()]; ok {
			return nil, fmt.Errorf("kind %s is given twice", k.GroupVersionKind())
		}
		if _, ok := s.byResource[k.GroupVersionResource()]; ok {
			return nil, fmt.Errorf("resource %s is given twice", k.GroupVersionResource())
		}
		s.kinds = append(s.kinds, &k)
		s.byKind[k.GroupVersionKind()] = &k
		s.byResource[k.GroupVersionResource()] = &k
	}
	return s, nil
}

// All lists the kinds in the order in which they were given.
func (s *Set) All() []*Kind { return slices.Clone(s.kinds) }

// ByKind finds a kind by what a manifest says.
func (s *Set) ByKind(gvk schema.GroupVersionKind) (*Kind, bool) {
	k, ok := s.byKind[gvk]
	return k, ok
}

// ByResource finds a kind by what a URL says.
func (s *Set) ByResource(gvr schema.GroupVersionResource) (*Kind, bool) {
	k, ok := s.byResource[gvr]
	return k, ok
}

// Find gives the set's own description of k's resource: the one that carries behaviour.
func (s *Set) Find(k *Kind) (*Kind, bool) { return s.ByResource(k.GroupVersionResource()) }

// Decoded is one object of a manifest with its kind.
type Decoded struct {
	Kind   *Kind
	Object Instance
}

// DecodeManifest reads a stream of YAML documents or JSON objects, strictly: unknown and duplicate fields are
// errors. Empty documents are skipped. The error says which document it is about, counted from 1.
func (s *Set) DecodeManifest(manifest []byte) ([]Decoded, error) {
	var out []Decoded
	docs := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(manifest)))
	defer func() { _ = docs.Close() }()
	for n := 1; ; n++ {
		doc, err := readDocument(docs)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifest document %d: %w", n, err)
		}
		d, err := s.decodeDocument(doc)
		if err != nil {
			return nil, fmt.Errorf("manifest document %d: %w", n, err)
		}
		if d.Object != nil {
			out = append(out, d)
		}
	}
}

func (s *Set) decodeDocument(doc []byte) (Decoded, error) {
	data, err := yamlconv.YAMLToJSONStrict(doc)
	if err != nil {
		return Decoded{}, err
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || string(trimmed) == "null" {
		return Decoded{}, nil
	}
	var id struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, &id); err != nil {
		return Decoded{}, err
	}
	if id.Kind == "" || id.APIVersion == "" {
		return Decoded{}, errors.New("apiVersion and kind are required, such as apiVersion: apps/v1, kind: Deployment")
	}
	k, ok := s.ByKind(schema.FromAPIVersionAndKind(id.APIVersion, id.Kind))
	if !ok {
		return Decoded{}, fmt.Errorf("%w: %s %s is not served here", ErrUnknownKind, id.APIVersion, id.Kind)
	}
	obj, err := k.DecodeJSON(data, true)
	if err != nil {
		return Decoded{}, err
	}
	return Decoded{k, obj}, nil
}

// readDocument reads one YAML document whole: the decoder hands it out in pieces when the buffer is short.
func readDocument(r io.Reader) ([]byte, error) {
	buf := make([]byte, 64<<10)
	var doc []byte
	for {
		n, err := r.Read(buf)
		doc = append(doc, buf[:n]...)
		if !errors.Is(err, io.ErrShortBuffer) {
			return doc, err
		}
	}
}
