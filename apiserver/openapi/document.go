package openapi

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Path is the path of a kind's group and version, without a leading slash: api/v1 or apis/apps/v1.
func Path(group, version string) string {
	if group == "" {
		return "api/" + version
	}
	return "apis/" + group + "/" + version
}

// assemble writes the v3 document of a page. Built-in schemas go from the library's bytes into the document's, which is most of it
// and costs next to nothing.
func (p *page) assemble(b *builder, version string) ([]byte, error) {
	ps := &paths{b: b, all: map[string]*spec3.Path{}}
	ps.page(p)
	components, err := b.components()
	if err != nil {
		return nil, err
	}
	head, err := json.Marshal(struct {
		OpenAPI string       `json:"openapi"`
		Info    *spec.Info   `json:"info"`
		Paths   *spec3.Paths `json:"paths"`
	}{"3.0.0", info(version), &spec3.Paths{Paths: ps.all}})
	if err != nil {
		return nil, fmt.Errorf("openapi: encode v3: %w", err)
	}
	size := len(head) + 200
	for name, s := range components {
		size += len(name) + len(s) + 4
	}
	doc := append(make([]byte, 0, size), head[:len(head)-1]...)
	doc = append(doc, `,"components":{"schemas":{`...)
	for i, name := range slices.Sorted(maps.Keys(components)) {
		if i > 0 {
			doc = append(doc, ',')
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, fmt.Errorf("openapi: encode v3: %w", err)
		}
		doc = append(append(append(doc, quoted...), ':'), components[name]...)
	}
	return append(doc, `},"securitySchemes":{"BearerToken":{"type":"apiKey","description":"Bearer Token authentication","name":"authorization","in":"header"}}}}`...), nil
}

func info(version string) *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: version}}
}
