package crd_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/crd"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

// plane is a server with definitions, over HTTP and in the process.
type plane struct {
	t      *testing.T
	server *apiserver.Server
	client client.Client
	web    *httptest.Server
}

func start(t *testing.T, cfg crd.Config, more ...*kind.Kind) *plane {
	t.Helper()
	st, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	kinds := crd.New(cfg)
	var changed string
	s, err := apiserver.New(st, apiserver.Config{
		Kinds:          append([]*kind.Kind{crd.Type().Kind(), kind.Namespace.Kind(), kind.ConfigMap.Kind()}, more...),
		Definitions:    &apiserver.Definitions{Kind: crd.Type().Kind(), Kinds: kinds.Of, Same: kinds.Same},
		AllowAnonymous: true, DetectMutation: true, MutationDetected: func(what string) { changed = what },
	})
	require.NoError(t, err)
	p := &plane{t: t, server: s, client: s.Client(authn.System("test")), web: httptest.NewServer(s)}
	c, err := crd.NewController(s.Client(authn.System("crd")), kinds, nil)
	require.NoError(t, err)
	ctx, cancel := cancelable(t)
	done := make(chan error, 2)
	go func() { done <- s.Run(ctx) }()
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		p.web.CloseClientConnections()
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		p.web.Close()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		if changed != "" {
			t.Error(changed)
		}
	})
	require.NoError(t, s.Ready(t.Context()))
	return p
}

// send makes a request with a body in YAML and gives the answer's code and object.
func (p *plane) send(method, path, body string, header ...string) (int, map[string]any) {
	p.t.Helper()
	var data []byte
	var err error
	if body != "" {
		data, err = yaml.YAMLToJSON([]byte(body))
		require.NoError(p.t, err)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.web.URL+path, bytes.NewReader(data))
	require.NoError(p.t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := p.web.Client().Do(req)
	require.NoError(p.t, err)
	defer func() { require.NoError(p.t, resp.Body.Close()) }()
	data, err = io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	out := map[string]any{}
	require.NoError(p.t, json.Unmarshal(data, &out), string(data))
	out["$warnings"] = strings.Join(resp.Header.Values("Warning"), "\n")
	return resp.StatusCode, out
}

// ok is send for what must succeed.
func (p *plane) ok(method, path, body string, header ...string) map[string]any {
	p.t.Helper()
	code, out := p.send(method, path, body, header...)
	require.Less(p.t, code, 300, "%v", out)
	return out
}

// bad is send for what must fail; it gives the message.
func (p *plane) bad(want int, method, path, body string, header ...string) string {
	p.t.Helper()
	code, out := p.send(method, path, body, header...)
	require.Equal(p.t, want, code, "%v", out)
	text, _ := out["message"].(string)
	return text
}

const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// define creates a definition and waits until it is in force.
func (p *plane) define(manifest string) *crd.CustomResourceDefinition {
	p.t.Helper()
	out := p.ok("POST", definitions, manifest)
	name := out["metadata"].(map[string]any)["name"].(string)
	return p.waitFor(name, crd.Established)
}

func (p *plane) waitFor(name, condition string) *crd.CustomResourceDefinition {
	p.t.Helper()
	view, err := client.Open(p.t.Context(), p.client, &client.Request{Verb: client.List, Kind: crd.Type().Kind()})
	require.NoError(p.t, err)
	defer func() { require.NoError(p.t, view.Watcher.Close()) }()
	for _, obj := range view.Items {
		if d := obj.(*crd.CustomResourceDefinition); d.Name == name && holds(d, condition) {
			return d
		}
	}
	for {
		e, err := view.Watcher.Next(p.t.Context())
		require.NoError(p.t, err)
		if d, ok := e.Object.(*crd.CustomResourceDefinition); ok && d.Name == name && holds(d, condition) {
			return d
		}
	}
}

func holds(d *crd.CustomResourceDefinition, condition string) bool {
	for _, c := range d.Status.Conditions {
		if c.Type == condition && c.Status == "True" {
			return true
		}
	}
	return false
}

// games is a definition with what most have; schema is the indented properties of spec.
func games(spec string) string {
	indent := func(text, by string) string { return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by) }
	return `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: games.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: games, kind: Game, shortNames: [gm], categories: [play]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Mode, type: string, jsonPath: .spec.mode}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    selectableFields:
    - {jsonPath: .spec.mode}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              mode: {type: string, enum: [duel, team], default: duel}
              replicas: {type: integer, minimum: 0}
              ` + indent(spec, "              ") + `
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
`
}

const all = "/apis/example.com/v1/namespaces/default/games"

func game(name, spec string) string {
	return "apiVersion: example.com/v1\nkind: Game\nmetadata: {name: " + name + "}\nspec: " + spec
}

func TestServedAtOnce(t *testing.T) {
	p := start(t, crd.Config{})
	d := p.define(games("players: {type: array, items: {type: string}}"))
	require.Equal(t, "game", d.Spec.Names.Singular)
	require.Equal(t, "GameList", d.Status.AcceptedNames.ListKind)
	require.Equal(t, []string{"v1"}, d.Status.StoredVersions)

	made := p.ok("POST", all, game("a", "{replicas: 2, players: [x], nonsense: true}"))
	require.Contains(t, made["$warnings"], `unknown field \"spec.nonsense\"`)
	require.Equal(t, map[string]any{"mode": "duel", "replicas": 2.0, "players": []any{"x"}}, made["spec"])
	require.Equal(t, 1.0, made["metadata"].(map[string]any)["generation"])
	require.Contains(t, p.bad(400, "POST", all+"?fieldValidation=Strict", game("b", "{nonsense: true}")), `strict decoding error: unknown field "spec.nonsense"`)

	require.Contains(t, p.bad(422, "PUT", all+"/a", game("a", "{}")), "metadata.resourceVersion: Invalid value: 0: must be specified for an update")
	p.ok("PUT", all+"/a/status", `{apiVersion: example.com/v1, kind: Game, metadata: {name: a, resourceVersion: "`+made["metadata"].(map[string]any)["resourceVersion"].(string)+`"}, spec: {mode: team}, status: {replicas: 1, selector: "a=b", conditions: [{type: Ready, status: "True"}]}}`)
	got := p.ok("GET", all+"/a", "")
	require.Equal(t, "duel", got["spec"].(map[string]any)["mode"], "the status subresource leaves the spec alone")
	require.Equal(t, 1.0, got["status"].(map[string]any)["replicas"])
	require.Equal(t, 1.0, got["metadata"].(map[string]any)["generation"])

	table := p.ok("GET", all, "", "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	row := table["rows"].([]any)[0].(map[string]any)["cells"].([]any)
	require.Equal(t, []any{"a", "duel", "True", 2.0}, row[:4])

	scale := p.ok("GET", all+"/a/scale", "")
	require.Equal(t, "Scale", scale["kind"])
	require.Equal(t, "a=b", scale["status"].(map[string]any)["selector"])
	p.ok("PATCH", all+"/a/scale", `{spec: {replicas: 5}}`, "Content-Type", "application/merge-patch+json")
	got = p.ok("GET", all+"/a", "")
	require.Equal(t, 5.0, got["spec"].(map[string]any)["replicas"])
	require.Equal(t, 2.0, got["metadata"].(map[string]any)["generation"])

	require.Len(t, p.ok("GET", all+"?fieldSelector=spec.mode%3Dduel", "")["items"], 1)
	require.Empty(t, p.ok("GET", all+"?fieldSelector=spec.mode%3Dteam", "")["items"])
	kvs, err := p.server.Store().Range(t.Context(), store.RangeRequest{Key: []byte("/registry/example.com/games/default/a")})
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(kvs.KVs[0].Value), `{"apiVersion":"example.com/v1"`))

	discovered := p.ok("GET", "/apis/example.com/v1", "")
	require.Len(t, discovered["resources"], 3)
	doc := p.ok("GET", "/openapi/v3/apis/example.com/v1", "")
	require.Contains(t, doc["components"].(map[string]any)["schemas"], "com.example.v1.Game")
}

func TestDefinitionGoesWithItsObjects(t *testing.T) {
	p := start(t, crd.Config{})
	d := p.define(games(""))
	p.ok("POST", all, game("a", "{}"))
	held := p.ok("POST", all, "apiVersion: example.com/v1\nkind: Game\nmetadata: {name: held, finalizers: [example.com/hold]}\n")
	require.NotEmpty(t, held)
	gone := p.ok("DELETE", definitions+"/games.example.com", "")
	require.Contains(t, gone["metadata"].(map[string]any)["finalizers"], crd.CleanupFinalizer)
	d = p.waitFor(d.Name, crd.Terminating)
	require.NotNil(t, d.DeletionTimestamp)
	require.Contains(t, p.bad(405, "POST", all, game("late", "{}")), "create not allowed while custom resource definition is terminating")
	view, err := client.Open(t.Context(), p.client, &client.Request{Verb: client.List, Kind: crd.Type().Kind()})
	require.NoError(t, err)
	defer func() { require.NoError(t, view.Watcher.Close()) }()
	p.ok("PATCH", all+"/held", `{metadata: {finalizers: null}}`, "Content-Type", "application/merge-patch+json")
	for {
		e, err := view.Watcher.Next(t.Context())
		require.NoError(t, err)
		if e.Type == client.Deleted {
			break
		}
	}
	p.bad(404, "GET", all, "")
	kvs, err := p.server.Store().Range(t.Context(), store.RangeRequest{Key: []byte("/registry/example.com/"), End: store.PrefixEnd([]byte("/registry/example.com/"))})
	require.NoError(t, err)
	require.Empty(t, kvs.KVs)
}

func TestNamesThatAreTaken(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(games(""))
	other := strings.NewReplacer("games", "plays", "[gm]", "[pl]").Replace(games(""))
	p.ok("POST", definitions, other)
	view, err := client.Open(t.Context(), p.client, &client.Request{Verb: client.List, Kind: crd.Type().Kind()})
	require.NoError(t, err)
	defer func() { require.NoError(t, view.Watcher.Close()) }()
	find := func(d *crd.CustomResourceDefinition) bool {
		for _, c := range d.Status.Conditions {
			if d.Name == "plays.example.com" && c.Type == crd.NamesAccepted {
				require.Equal(t, "False", string(c.Status))
				require.Contains(t, c.Message, "is already in use")
				return true
			}
		}
		return false
	}
	for _, obj := range view.Items {
		if find(obj.(*crd.CustomResourceDefinition)) {
			return
		}
	}
	for {
		e, err := view.Watcher.Next(t.Context())
		require.NoError(t, err)
		if d, ok := e.Object.(*crd.CustomResourceDefinition); ok && find(d) {
			break
		}
	}
	p.bad(404, "GET", "/apis/example.com/v1/plays", "")
	p.ok("DELETE", definitions+"/games.example.com", "")
	p.waitFor("plays.example.com", crd.Established)
	require.Empty(t, p.ok("GET", "/apis/example.com/v1/plays", "")["items"])
}

func TestInProcess(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(games(""))
	k, ok := p.server.Kinds().ByKind(game2())
	require.True(t, ok)
	objects := client.For(p.client, kind.Untyped(k))
	_, err := objects.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "a", "namespace": "default"}, "spec": map[string]any{"replicas": -1},
	}})
	require.True(t, apierrors.IsInvalid(err))
	require.ErrorContains(t, err, "spec.replicas: Invalid value: -1: spec.replicas in body should be greater than or equal to 0")
}

func TestApply(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(games("slots: {type: array, x-kubernetes-list-type: map, x-kubernetes-list-map-keys: [name], items: {type: object, required: [name], properties: {name: {type: string}, size: {type: integer}}}}"))
	apply := func(manager, spec string) (int, map[string]any) {
		return p.send("PATCH", all+"/a?fieldManager="+manager, game("a", spec), "Content-Type", "application/apply-patch+yaml")
	}
	code, out := apply("one", "{slots: [{name: x, size: 1}]}")
	require.Equal(t, 201, code, "%v", out)
	code, out = apply("two", "{slots: [{name: z, size: 2}]}")
	require.Equal(t, 200, code, "%v", out)
	require.Len(t, out["spec"].(map[string]any)["slots"], 2, "lists are merged by their keys")
	code, out = apply("two", "{slots: [{name: x, size: 5}]}")
	require.Equal(t, 409, code, "%v", out)
	require.Contains(t, out["message"], `conflict with "one": .spec.slots[name="x"].size`)
}
