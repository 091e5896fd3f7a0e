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

// NewSet collects kinds. It completes each and refuses two with one name. The stored version of a kind with several need not be given:
// then it is not served.
func NewSet(kinds ...*Kind) (*Set, error) { return collect(nil, kinds) }

// Replace is the set without some of its kinds and with others instead. What is neither is the same *Kind in both sets.
func (s *Set) Replace(old, with []*Kind) (*Set, error) {
	kept := slices.DeleteFunc(s.All(), func(k *Kind) bool {
		return slices.ContainsFunc(old, func(o *Kind) bool { return o.GroupVersionKind() == k.GroupVersionKind() })
	})
	return collect(kept, with)
}

// collect makes a set of kinds that another set has completed, and of new ones.
func collect(kept, more []*Kind) (*Set, error) {
	n := len(kept) + len(more)
	s := &Set{byKind: make(map[schema.GroupVersionKind]*Kind, n), byResource: make(map[schema.GroupVersionResource]*Kind, n)}
	for _, k := range kept {
		if err := s.add(k); err != nil {
			return nil, err
		}
	}
	added := make([]*Kind, len(more))
	for i, in := range more {
		k := *in
		if err := k.Complete(); err != nil {
			return nil, err
		}
		if err := s.add(&k); err != nil {
			return nil, err
		}
		added[i] = &k
	}
	hidden := map[*Kind]*Kind{} // stored versions that are not served
	for _, k := range added {
		if k.Hub == nil {
			continue
		}
		hub := *k.Hub
		stored, ok := s.byKind[hub.Kind.GroupVersionKind()]
		if !ok {
			if stored = hidden[hub.Kind]; stored == nil {
				c := *hub.Kind
				if err := c.Complete(); err != nil {
					return nil, err
				}
				stored, hidden[hub.Kind] = &c, &c
			}
		}
		if stored.Hub != nil || stored.Namespaced != k.Namespaced {
			return nil, fmt.Errorf("kind %s: Hub: %s must be a stored version, with the same scope", k.GroupVersionKind(), stored.GroupVersionKind())
		}
		hub.Kind = stored
		k.Hub = &hub
		k.inherit()
	}
	return s, nil
}

func (s *Set) add(k *Kind) error {
	if _, ok := s.byKind[k.GroupVersionKind()]; ok {
		return fmt.Errorf("kind %s is given twice", k.GroupVersionKind())
	}
	if _, ok := s.byResource[k.GroupVersionResource()]; ok {
		return fmt.Errorf("resource %s is given twice", k.GroupVersionResource())
	}
	s.kinds = append(s.kinds, k)
	s.byKind[k.GroupVersionKind()] = k
	s.byResource[k.GroupVersionResource()] = k
	return nil
}

// All lists the kinds in the order in which they were given, each version of a kind for itself.
func (s *Set) All() []*Kind { return slices.Clone(s.kinds) }

// Resources lists one served version of each kind: the stored one or, when that is not served, the one that Kubernetes would prefer.
// It is for who wants to see each object once.
func (s *Set) Resources() []*Kind {
	best := make(map[*Kind]*Kind, len(s.kinds))
	var out []*Kind
	for _, k := range s.kinds {
		stored := k.Stored()
		had, ok := best[stored]
		switch {
		case !ok:
			out = append(out, stored)
			best[stored] = k
		case k == stored || had != stored && CompareVersions(k.Version, had.Version) < 0:
			best[stored] = k
		}
	}
	for i, stored := range out {
		out[i] = best[stored]
	}
	return out
}

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
