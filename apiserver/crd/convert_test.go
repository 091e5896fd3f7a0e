package crd_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"context"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/crd"
)

// twoVersions is a definition whose v2 calls mode style. Conversion is the YAML of spec.conversion.
func twoVersions(conversion string) string {
	one := games("")
	two := strings.NewReplacer("name: v1\n", "name: v2\n", "storage: true", "storage: false", ".spec.mode", ".spec.style", "mode:", "style:").Replace(one[strings.Index(one, "  - name: v1\n"):])
	return strings.Replace(one, "scope: Namespaced", "scope: Namespaced\n  conversion: "+conversion, 1) + two
}

const allV2 = "/apis/example.com/v2/namespaces/default/games"

// webhook converts between mode and style; mischief may change its answer.
func webhook(t *testing.T, calls *atomic.Int64, mischief func(*crd.ConversionReview)) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var review crd.ConversionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = &crd.ConversionResponse{UID: review.Request.UID}
		review.Response.Result.Status = "Success"
		for _, raw := range review.Request.Objects {
			from, to := "mode", "style"
			if review.Request.DesiredAPIVersion == "example.com/v1" {
				from, to = to, from
			}
			text := strings.Replace(string(raw), `"`+from+`":`, `"`+to+`":`, 1)
			var obj map[string]any
			if err := json.Unmarshal([]byte(text), &obj); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			obj["apiVersion"] = review.Request.DesiredAPIVersion
			if meta, ok := obj["metadata"].(map[string]any); ok { // field management converts what has none
				meta["labels"] = map[string]any{"converted": "yes"}
				meta["generation"] = 99
			}
			data, _ := json.Marshal(obj)
			review.Response.ConvertedObjects = append(review.Response.ConvertedObjects, data)
		}
		review.Request = nil
		if mischief != nil {
			mischief(&review)
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(s.Close)
	return s
}

func bundle(s *httptest.Server) string {
	return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

func TestConversionByWebhook(t *testing.T) {
	var calls atomic.Int64
	hook := webhook(t, &calls, nil)
	p := start(t, crd.Config{})
	p.define(twoVersions(`{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: "` + hook.URL + `/convert", caBundle: ` + bundle(hook) + `}}}`))
	p.ok("POST", allV2, strings.Replace(game("a", "{style: team}"), "/v1", "/v2", 1))
	p.ok("POST", all, game("b", "{mode: team}"))
	v1 := p.ok("GET", all+"/a", "")
	require.Equal(t, "team", v1["spec"].(map[string]any)["mode"])
	require.Equal(t, map[string]any{"converted": "yes"}, v1["metadata"].(map[string]any)["labels"])
	require.Equal(t, 1.0, v1["metadata"].(map[string]any)["generation"], "only labels and annotations are the webhook's")

	before := calls.Load()
	list := p.ok("GET", allV2, "")
	require.Len(t, list["items"], 2)
	require.Equal(t, "team", list["items"].([]any)[1].(map[string]any)["spec"].(map[string]any)["style"])
	p.ok("GET", allV2, "")
	require.LessOrEqual(t, calls.Load()-before, int64(1), "objects are converted together, and once")

	k, ok := p.server.Kinds().ByResource(gvr("v2"))
	require.True(t, ok)
	view, err := client.Open(t.Context(), p.client, &client.Request{Verb: client.List, Kind: k})
	require.NoError(t, err)
	defer func() { require.NoError(t, view.Watcher.Close()) }()
	p.ok("PATCH", all+"/b", `{spec: {mode: duel}}`, "Content-Type", "application/merge-patch+json")
	e, err := view.Watcher.Next(t.Context())
	require.NoError(t, err)
	data, err := json.Marshal(e.Object)
	require.NoError(t, err)
	require.Contains(t, string(data), `"style":"duel"`)
}

func TestWebhooksThatFail(t *testing.T) {
	for name, c := range map[string]struct {
		mischief func(*crd.ConversionReview)
		want     string
	}{
		"says so": {func(r *crd.ConversionReview) {
			r.Response.Result.Status, r.Response.Result.Message = "Failure", "not today"
		}, "not today"},
		"other uid":   {func(r *crd.ConversionReview) { r.Response.UID = "x" }, `the answer is for request "x"`},
		"too few":     {func(r *crd.ConversionReview) { r.Response.ConvertedObjects = nil }, "1 objects became 0"},
		"no response": {func(r *crd.ConversionReview) { r.Response = nil }, "the answer has no response"},
		"renames": {func(r *crd.ConversionReview) {
			r.Response.ConvertedObjects[0] = json.RawMessage(`{"metadata":{"name":"z"}}`)
		}, "must stay as they are"},
		"other kind": {func(r *crd.ConversionReview) {
			r.Response.ConvertedObjects[0] = json.RawMessage(`{"apiVersion":"v1","kind":"Pod"}`)
		}, "wrong kind"},
		"no object":    {func(r *crd.ConversionReview) { r.Response.ConvertedObjects[0] = json.RawMessage(`[]`) }, "object 0"},
		"other review": {func(r *crd.ConversionReview) { r.APIVersion = "v1" }, "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview"},
	} {
		t.Run(name, func(t *testing.T) {
			var calls atomic.Int64
			hook := webhook(t, &calls, c.mischief)
			p := start(t, crd.Config{})
			p.define(twoVersions(`{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {url: "` + hook.URL + `", caBundle: ` + bundle(hook) + `}}}`))
			p.ok("POST", all, game("a", "{}"))
			require.Contains(t, p.bad(500, "GET", allV2+"/a", ""), c.want)
			p.ok("GET", all+"/a", "")
		})
	}
}

func TestWebhookBehindAService(t *testing.T) {
	var calls atomic.Int64
	hook := webhook(t, &calls, nil)
	var asked atomic.Value
	p := start(t, crd.Config{
		Resolve: func(_ context.Context, namespace, name string, port int32) (string, error) {
			asked.Store(namespace + "/" + name)
			require.Equal(t, int32(443), port)
			return hook.Listener.Addr().String(), nil
		},
		Dial: (&net.Dialer{}).DialContext,
	})
	p.define(twoVersions(`{strategy: Webhook, webhook: {conversionReviewVersions: [v1], clientConfig: {service: {namespace: hooks, name: convert}, caBundle: ` + bundle(hook) + `}}}`))
	p.ok("POST", all, game("a", "{}"))
	require.Contains(t, p.bad(500, "GET", allV2+"/a", ""), "convert.hooks.svc", "the certificate must be for the Service's name")
	require.Equal(t, "hooks/convert", asked.Load())
}

func TestConversionNone(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(strings.Replace(twoVersions("{strategy: None}"), "served: true", "served: true\n    deprecated: true", 1))
	made := p.ok("POST", all, game("a", "{mode: team, replicas: 3}"))
	require.Contains(t, made["$warnings"], "example.com/v1 Game is deprecated; use example.com/v2 Game")
	got := p.ok("GET", allV2+"/a", "")
	require.Equal(t, map[string]any{"style": "duel", "replicas": 3.0}, got["spec"])
	require.Empty(t, got["$warnings"])
	require.Equal(t, "example.com/v2", p.ok("GET", "/apis/example.com", "")["preferredVersion"].(map[string]any)["groupVersion"])
}

func TestApplyWithTwoVersions(t *testing.T) {
	p := start(t, crd.Config{})
	p.define(twoVersions("{strategy: None}"))
	p.ok("POST", all+"?fieldManager=creator", game("a", "{mode: team, replicas: 3}"))
	code, out := p.send("PATCH", all+"/a?fieldManager=me", game("a", "{replicas: 3}"), "Content-Type", "application/apply-patch+yaml")
	require.Equal(t, 200, code, "%v", out)
	p.ok("PATCH", all+"/a/scale?fieldManager=scaler", `{spec: {replicas: 5}}`, "Content-Type", "application/merge-patch+json")
	code, out = p.send("PATCH", allV2+"/a?fieldManager=you", strings.Replace(game("a", "{style: duel}"), "/v1", "/v2", 1), "Content-Type", "application/apply-patch+yaml")
	require.Equal(t, 200, code, "%v", out)
	code, out = p.send("PATCH", all+"/a?fieldManager=me&force=true", game("a", "{replicas: 4}"), "Content-Type", "application/apply-patch+yaml")
	require.Equal(t, 200, code, "%v", out)
}
