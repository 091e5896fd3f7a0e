package crd_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/crd"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// nested is a schema that is deep.
func nested(depth int) string {
	return "x: " + strings.Repeat("{type: object, properties: {x: ", depth) + "{type: string}" + strings.Repeat("}}", depth)
}

func TestHostileSchemas(t *testing.T) {
	p := start(t, crd.Config{})
	many := &strings.Builder{}
	for i := range 1100 {
		fmt.Fprintf(many, "f%d: {type: integer, x-kubernetes-validations: [{rule: self > %d}]}\n", i, i)
	}
	for name, c := range map[string]struct{ schema, want string }{
		"deep":       {nested(150), "at most"},
		"wide":       {"x: {type: string, allOf: [" + strings.Repeat("{}, ", 21_000) + "{}]}", "at most"},
		"rules":      {many.String(), "Too many: 1"},
		"recursion":  {"x: {$ref: '#/definitions/x'}", "$ref is not supported"},
		"pattern":    {"x: {type: string, pattern: '" + strings.Repeat("(a{0,1000}){0,1000}", 3) + "'}", "must be a valid regular expression"},
		"expression": {"x: {type: string, x-kubernetes-validations: [{rule: '" + strings.Repeat("(", 5000) + "self" + strings.Repeat(")", 5000) + " == 1'}]}", "compilation failed"},
	} {
		t.Run(name, func(t *testing.T) { require.Contains(t, p.bad(422, "POST", definitions, games(c.schema)), c.want) })
	}
}

// TestSlowPattern: RE2 takes time in proportion to the text, whatever the pattern.
func TestSlowPattern(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(games("x: {type: string, pattern: '^(a+)+$'}"))
	p.bad(422, "POST", all, game("a", "{x: "+strings.Repeat("a", 20_000)+"b}"))
}

func TestProtobuf(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(games("list: {type: array, maxItems: 2, items: {type: integer, minimum: 0.5}}"))
	k := crd.Type().Kind()
	get := func(accept string) []byte {
		req, err := http.NewRequestWithContext(t.Context(), "GET", p.web.URL+definitions+"/games.example.com", nil)
		require.NoError(t, err)
		req.Header.Set("Accept", accept)
		resp, err := p.web.Client().Do(req)
		require.NoError(t, err)
		defer func() { require.NoError(t, resp.Body.Close()) }()
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode, string(data))
		return data
	}
	pb := get("application/vnd.kubernetes.protobuf")
	require.True(t, bytes.HasPrefix(pb, []byte(kind.ProtobufPrefix)))
	a, err := k.Decode(pb)
	require.NoError(t, err)
	b, err := k.Decode(get("application/json"))
	require.NoError(t, err)
	x, err := json.Marshal(a)
	require.NoError(t, err)
	y, err := json.Marshal(b)
	require.NoError(t, err)
	require.JSONEq(t, string(y), string(x))

	d := a.(*crd.CustomResourceDefinition)
	d.Labels = map[string]string{"sent": "as-protobuf"}
	data, err := k.EncodeProtobuf(d)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), "PUT", p.web.URL+definitions+"/games.example.com", bytes.NewReader(data))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/vnd.kubernetes.protobuf")
	resp, err := p.web.Client().Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 200, resp.StatusCode)
	require.Contains(t, string(get("application/json")), `"sent":"as-protobuf"`)
}

func FuzzProtobuf(f *testing.F) {
	d := crd.Type().New()
	d.Spec.Versions = []crd.DefinitionVersion{{Name: "v1", Schema: &crd.Validation{OpenAPIV3Schema: &crd.JSONSchemaProps{
		Properties: map[string]crd.JSONSchemaProps{"a": {Type: "string", Enum: []crd.JSON{{Raw: []byte(`"x"`)}}}}, Required: []string{"a"},
	}}}}
	data, err := d.Marshal()
	require.NoError(f, err)
	f.Add(data)
	f.Add([]byte{0x12, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &crd.CustomResourceDefinition{}
		if d.Unmarshal(data) != nil {
			return
		}
		again, err := d.Marshal()
		require.NoError(t, err)
		e := &crd.CustomResourceDefinition{}
		require.NoError(t, e.Unmarshal(again))
		twice, err := e.Marshal()
		require.NoError(t, err)
		require.Equal(t, again, twice)
	})
}
