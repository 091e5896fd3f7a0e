package crd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	kjson "sigs.k8s.io/json"
)

// keeps is the naive model of pruning: it answers whether the schema as it was written knows the value at a path, one step after the
// other, without any of the pruner's ways.
func keeps(p *JSONSchemaProps, path []string, root bool) bool {
	if len(path) == 0 {
		return true
	}
	step, rest := path[0], path[1:]
	preserved := p != nil && p.XPreserveUnknownFields != nil && *p.XPreserveUnknownFields
	if strings.HasPrefix(step, "[") {
		if p == nil || p.Items == nil || p.Items.Schema == nil {
			return preserved || keeps(nil, rest, false)
		}
		return keeps(p.Items.Schema, rest, false)
	}
	if (root || p != nil && p.XEmbeddedResource) && (step == "apiVersion" || step == "kind" || step == "metadata") {
		return true
	}
	if p == nil {
		return false
	}
	if c, ok := p.Properties[step]; ok {
		return keeps(&c, rest, false)
	}
	if a := p.AdditionalProperties; a != nil && (a.Allows || a.Schema != nil) {
		return keeps(a.Schema, rest, false)
	}
	return preserved
}

// paths are those of everything in a value but the value itself.
func paths(v any, at []string) (out [][]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, c := range v {
			p := append(slices.Clone(at), name)
			out = append(append(out, p), paths(c, p)...)
		}
	case []any:
		for i, c := range v {
			p := append(slices.Clone(at), fmt.Sprintf("[%d]", i))
			out = append(append(out, p), paths(c, p)...)
		}
	}
	return out
}

func FuzzPrune(f *testing.F) {
	f.Add([]byte(`{"type":"object","properties":{"a":{"type":"object","properties":{"b":{"type":"string"}}}}}`), []byte(`{"a":{"b":1,"c":2},"d":[{}]}`))
	f.Add([]byte(`{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"a":{"type":"object"}}}`), []byte(`{"a":{"b":1},"c":{"d":1}}`))
	f.Add([]byte(`{"properties":{"l":{"items":{"properties":{"x":{}}}},"m":{"additionalProperties":{"properties":{"y":{}}}}}}`), []byte(`{"l":[{"x":1,"z":2}],"m":{"k":{"y":1,"z":2}}}`))
	f.Add([]byte(`{"properties":{"e":{"x-kubernetes-embedded-resource":true,"properties":{"spec":{}}}}}`), []byte(`{"e":{"kind":"A","metadata":{"name":"x"},"spec":{"a":1},"b":2}}`))
	f.Fuzz(func(t *testing.T, schema, value []byte) {
		var p JSONSchemaProps
		if json.Unmarshal(schema, &p) != nil || len(schema) > 4096 || len(value) > 4096 {
			return
		}
		root, err := compile(&p)
		if err != nil {
			return
		}
		var object map[string]any
		if kjson.UnmarshalCaseSensitivePreserveInts(value, &object) != nil || object == nil {
			return
		}
		was := paths(object, nil)
		prune(object, root)
		var left []string
		for _, path := range paths(object, nil) {
			left = append(left, fmt.Sprintf("%q", path))
		}
		var want []string
		for _, path := range was {
			kept := true
			for i := range path {
				kept = kept && keeps(&p, path[:i+1], true)
			}
			if kept {
				want = append(want, fmt.Sprintf("%q", path))
			}
		}
		require.ElementsMatch(t, want, left)
	})
}

func TestUnknownFieldsAreToldInOrder(t *testing.T) {
	root, err := compile(&JSONSchemaProps{Type: "object", Properties: map[string]JSONSchemaProps{
		"spec": {Type: "object", Properties: map[string]JSONSchemaProps{"list": {Type: "array", Items: &SchemaOrArray{Schema: &JSONSchemaProps{Type: "object"}}}}},
	}})
	require.NoError(t, err)
	object := map[string]any{
		"metadata": map[string]any{"anything": true}, "b": 1, "a": 2,
		"spec": map[string]any{"x": 1, "list": []any{map[string]any{"y": 1}}},
	}
	require.Equal(t, []string{"a", "b", "spec.list[0].y", "spec.x"}, prune(object, root))
}

func TestPaths(t *testing.T) {
	object := map[string]any{"a": map[string]any{"b.c": "dotted", "l": []any{
		map[string]any{"type": "Ready", "status": "True", "n": int64(1)}, map[string]any{"type": "Other", "status": "False", "n": int64(5)},
	}}}
	for path, want := range map[string]any{
		`.a.l[0].status`: "True", `.a.l[-1].status`: "False", `.a.l[?(@.type=="Ready")].status`: "True", `.a.l[?(@.n > 2)].type`: "Other",
		`.a.l[?(@.type!='Ready')].n`: int64(5), `.a['b.c']`: "dotted", `.a.b\.c`: "dotted", `.a.l[*].type`: "Ready", `{.a.l[1].type}`: "Other", `.a.l[?(@.nope)].n`: nil, `.x.y`: nil,
	} {
		p, err := parsePath(path)
		require.NoError(t, err, path)
		found := p.find(object)
		if want == nil {
			require.Empty(t, found, path)
			continue
		}
		require.NotEmpty(t, found, path)
		require.Equal(t, want, found[0], path)
	}
	for _, bad := range []string{"a", ".a[", ".a[?(x)]", "..a", ".a..b", ".a['x]", ".a[x]", ".a[?(@.x==)]", strings.Repeat(".a", 1000)} {
		_, err := parsePath(bad)
		require.Error(t, err, bad)
	}
}

func FuzzParsePath(f *testing.F) {
	f.Add(`.a.l[?(@.type=="Ready")].status`)
	f.Add(`['x'][0][*]`)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePath(text)
		if err == nil {
			p.find(map[string]any{"a": []any{map[string]any{"type": "Ready"}, int64(1)}})
		}
	})
}

func TestAlternativesSpeakOfWhatExists(t *testing.T) {
	one := int64(1)
	p := &JSONSchemaProps{Type: "object", OneOf: []JSONSchemaProps{{Required: []string{"a"}, Properties: map[string]JSONSchemaProps{"a": {MinLength: &one}}}}}
	errs := checkStructural(p, nil)
	require.Len(t, errs, 1)
	require.Equal(t, "properties[a]: Required value: because it is defined in oneOf[0].properties[a]", strings.TrimPrefix(errs[0].Error(), "<nil>."))
	p.Properties = map[string]JSONSchemaProps{"a": {Type: "string"}}
	require.Empty(t, checkStructural(p, nil))
}
