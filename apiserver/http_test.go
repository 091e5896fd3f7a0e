package apiserver_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// front is a server behind a real socket, and what tests ask it.
type front struct {
	t   *testing.T
	s   *apiserver.Server
	c   client.Client
	url string
	to  *http.Client
}

func serveHTTP(t *testing.T) *front {
	s, c := start(t, func(cfg *apiserver.Config) { cfg.AllowAnonymous = true })
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return &front{t, s, c, server.URL, server.Client()}
}

// open sends a GET whose answer the caller reads.
func (f *front) open(path string, headers ...string) *http.Response {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.url+path, nil)
	require.NoError(f.t, err)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := f.to.Do(req)
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// get reads a whole answer in JSON and returns its code.
func (f *front) get(path string, into any, headers ...string) int {
	f.t.Helper()
	resp := f.open(path, headers...)
	data, err := io.ReadAll(resp.Body)
	require.NoError(f.t, err)
	require.NoError(f.t, json.Unmarshal(data, into), string(data))
	return resp.StatusCode
}

func (f *front) pods(names ...string) {
	f.t.Helper()
	for _, name := range names {
		_, err := client.For(f.c, pods).Create(f.t.Context(), newPod(name, "app", name))
		require.NoError(f.t, err)
	}
}

// revision is the store's newest.
func (f *front) revision() int64 {
	f.t.Helper()
	now, err := f.s.Store().Revision(f.t.Context())
	require.NoError(f.t, err)
	return now
}

func podNames(l *corev1.PodList) (out []string) {
	for i := range l.Items {
		out = append(out, l.Items[i].Name)
	}
	return out
}

// TestListVersions holds the rules of resourceVersion, its match, limit and continue (kubernetes.io/docs/reference/using-api/api-concepts).
func TestListVersions(t *testing.T) {
	f := serveHTTP(t)
	f.pods("a", "b", "c")
	then := f.revision()
	f.pods("d")
	now := f.revision()
	for query, want := range map[string]struct {
		names string
		rv    int64
		more  bool
	}{
		"":                                      {"a b c d", now, false},
		"resourceVersion=0":                     {"a b c d", now, false},
		"limit=2":                               {"a b", now, true},
		"limit=2&resourceVersion=0":             {"a b c d", now, false}, // as from upstream's cache
		fmt.Sprintf("resourceVersion=%d", then): {"a b c d", now, false},
		fmt.Sprintf("resourceVersion=%d&resourceVersionMatch=NotOlderThan", then):         {"a b c d", now, false},
		fmt.Sprintf("resourceVersion=%d&resourceVersionMatch=NotOlderThan&limit=3", then): {"a b c", now, true},
		fmt.Sprintf("resourceVersion=%d&resourceVersionMatch=Exact", then):                {"a b c", then, false},
		fmt.Sprintf("resourceVersion=%d&resourceVersionMatch=Exact&limit=2", then):        {"a b", then, true},
		fmt.Sprintf("resourceVersion=%d&limit=2", then):                                   {"a b", then, true}, // the older way to say exactly
		"fieldSelector=metadata.name%3Dc":                                                 {"c", now, false},
		"labelSelector=app+in+(a,d)":                                                      {"a d", now, false},
		"labelSelector=app!%3Da&limit=2":                                                  {"b c", now, true},
	} {
		t.Run(query, func(t *testing.T) {
			var l corev1.PodList
			require.Equal(t, 200, f.get("/api/v1/namespaces/default/pods?"+query, &l))
			require.Equal(t, want.names, strings.Join(podNames(&l), " "))
			require.Equal(t, fmt.Sprint(want.rv), l.ResourceVersion)
			require.Equal(t, want.more, l.Continue != "")
			selects := strings.Contains(query, "Selector")
			require.Equal(t, want.more && !selects, l.RemainingItemCount != nil, "the number of what is left is not known with a selector")
			if want.more {
				var rest corev1.PodList
				require.Equal(t, 200, f.get("/api/v1/namespaces/default/pods?"+onlySelectors(query)+"&continue="+url.QueryEscape(l.Continue), &rest))
				require.Equal(t, l.ResourceVersion, rest.ResourceVersion)
				if !selects {
					require.EqualValues(t, len(rest.Items), *l.RemainingItemCount)
				}
			}
		})
	}
}

func onlySelectors(query string) string {
	q, _ := url.ParseQuery(query)
	out := url.Values{}
	for _, name := range []string{"labelSelector", "fieldSelector"} {
		if v := q.Get(name); v != "" {
			out.Set(name, v)
		}
	}
	return out.Encode()
}

// TestListRefusals holds what clients decide by: code, reason, cause.
func TestListRefusals(t *testing.T) {
	f := serveHTTP(t)
	f.pods("a", "b", "c")
	old := f.revision()
	var page corev1.PodList
	require.Equal(t, 200, f.get("/api/v1/namespaces/default/pods?limit=1", &page))
	f.pods("d")
	now := f.revision()
	require.NoError(t, f.s.Store().Compact(t.Context(), now))
	for _, tt := range []struct {
		query, message string
		code           int32
		reason         metav1.StatusReason
	}{
		{"resourceVersion=x", "decimal", 400, metav1.StatusReasonBadRequest},
		{"resourceVersion=007", "leading zeros", 400, metav1.StatusReasonBadRequest},
		{"resourceVersion=-1", "", 400, metav1.StatusReasonBadRequest},
		{"resourceVersion=99999999999999999999999", "", 400, metav1.StatusReasonBadRequest},
		{"resourceVersionMatch=Exact", "forbidden unless resourceVersion is provided", 422, metav1.StatusReasonInvalid},
		{"resourceVersionMatch=Newest&resourceVersion=1", "Unsupported value", 422, metav1.StatusReasonInvalid},
		{"resourceVersionMatch=Exact&resourceVersion=0", `forbidden for resourceVersion "0"`, 422, metav1.StatusReasonInvalid},
		{"resourceVersionMatch=Exact&resourceVersion=1&continue=x", "forbidden when continue is provided", 422, metav1.StatusReasonInvalid},
		{"sendInitialEvents=true", "forbidden for list", 422, metav1.StatusReasonInvalid},
		{"continue=x", "continue key is not valid", 400, metav1.StatusReasonBadRequest},
		{"continue=eyJ2IjoibWV0YS5rOHMuaW8vdjIiLCJydiI6MSwic3RhcnQiOiJhIn0", "does not recognize this encoded version", 400, metav1.StatusReasonBadRequest},
		{"continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0", "incorrect encoded start resourceVersion", 400, metav1.StatusReasonBadRequest},
		{"continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIifQ", "encoded start key empty", 400, metav1.StatusReasonBadRequest},
		{"continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi9zZWNyZXRzLyJ9", "../../secrets/", 400, metav1.StatusReasonBadRequest},
		{"resourceVersion=1&continue=" + page.Continue, "specifying resource version is not allowed when using continue", 400, metav1.StatusReasonBadRequest},
		{fmt.Sprintf("resourceVersion=%d&resourceVersionMatch=Exact", old-1), "too old", 410, metav1.StatusReasonExpired},
		{"fieldSelector=spec.nothing%3Dx", "field label not supported: spec.nothing", 400, metav1.StatusReasonBadRequest},
	} {
		t.Run(tt.query, func(t *testing.T) {
			var s metav1.Status
			require.EqualValues(t, tt.code, f.get("/api/v1/namespaces/default/pods?"+tt.query, &s))
			require.Equal(t, tt.code, s.Code)
			require.Equal(t, tt.reason, s.Reason)
			require.Contains(t, s.Message, tt.message)
		})
	}
	t.Run("the future", func(t *testing.T) {
		for _, query := range []string{"", "&resourceVersionMatch=NotOlderThan", "&resourceVersionMatch=Exact", "&watch=true", "&limit=1"} {
			var s metav1.Status
			resp := f.open(fmt.Sprintf("/api/v1/pods?resourceVersion=%d%s", now+1000, query))
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&s))
			require.Equal(t, 504, resp.StatusCode, query)
			require.Equal(t, metav1.StatusReasonTimeout, s.Reason)
			require.Equal(t, fmt.Sprintf("Timeout: Too large resource version: %d, current: %d", now+1000, f.revision()), s.Message)
			require.Equal(t, metav1.CauseTypeResourceVersionTooLarge, s.Details.Causes[0].Type)
			require.EqualValues(t, 1, s.Details.RetryAfterSeconds)
			require.Equal(t, "1", resp.Header.Get("Retry-After"))
		}
	})
	t.Run("a page that comes too late", func(t *testing.T) {
		var s metav1.Status
		require.Equal(t, 410, f.get("/api/v1/namespaces/default/pods?limit=1&continue="+page.Continue, &s))
		require.Equal(t, metav1.StatusReasonExpired, s.Reason)
		require.Contains(t, s.Message, "inconsistent list")
		require.NotEmpty(t, s.Continue, "the rest can be had as it is now")
		var rest corev1.PodList
		require.Equal(t, 200, f.get("/api/v1/namespaces/default/pods?limit=2&continue="+s.Continue, &rest))
		require.Equal(t, []string{"b", "c"}, podNames(&rest))
		require.Equal(t, fmt.Sprint(now), rest.ResourceVersion)
		require.Equal(t, 200, f.get("/api/v1/namespaces/default/pods?continue="+rest.Continue, &rest))
		require.Equal(t, []string{"d"}, podNames(&rest))
	})
}

// event is a watch event as it is in the stream.
type event struct {
	Type   string
	Object json.RawMessage
}

// frames reads a stream of events in JSON or protobuf, each as "TYPE name" or what the object is.
func frames(t *testing.T, resp *http.Response, n int) (out []string) {
	t.Helper()
	require.Equal(t, 200, resp.StatusCode)
	in := bufio.NewReader(resp.Body)
	describe := func(eventType string, annotations map[string]string, name string) string {
		if eventType == "BOOKMARK" {
			return strings.TrimSpace("BOOKMARK " + annotations[metav1.InitialEventsAnnotationKey])
		}
		return eventType + " " + name
	}
	for len(out) < n {
		if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
			line, err := in.ReadBytes('\n')
			require.NoError(t, err)
			var e event
			require.NoError(t, json.Unmarshal(line, &e), string(line))
			var table metav1.Table
			require.NoError(t, json.Unmarshal(e.Object, &table))
			var o metav1.PartialObjectMetadata
			if table.Kind == "Table" {
				require.Len(t, table.Rows, 1)
				require.Equal(t, len(out) == 0, len(table.ColumnDefinitions) > 0, "headings come once")
				if len(table.Rows[0].Object.Raw) == 0 {
					o.Name = fmt.Sprint(table.Rows[0].Cells[0])
				} else {
					require.NoError(t, json.Unmarshal(table.Rows[0].Object.Raw, &o))
				}
			} else {
				require.NoError(t, json.Unmarshal(e.Object, &o))
			}
			out = append(out, describe(e.Type, o.Annotations, o.Name))
			continue
		}
		require.Equal(t, "application/vnd.kubernetes.protobuf;stream=watch", resp.Header.Get("Content-Type"))
		var size [4]byte
		_, err := io.ReadFull(in, size[:])
		require.NoError(t, err)
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		_, err = io.ReadFull(in, frame)
		require.NoError(t, err)
		var e metav1.WatchEvent
		require.NoError(t, e.Unmarshal(frame))
		raw, gvk, err := kind.OpenEnvelope(e.Object.Raw)
		require.NoError(t, err)
		var o metav1.PartialObjectMetadata
		if gvk.Kind == "Pod" {
			var p corev1.Pod
			require.NoError(t, p.Unmarshal(raw))
			o.ObjectMeta = p.ObjectMeta
		} else {
			require.Equal(t, "PartialObjectMetadata", gvk.Kind)
			require.NoError(t, o.Unmarshal(raw))
		}
		out = append(out, describe(e.Type, o.Annotations, o.Name))
	}
	return out
}

// TestWatchForms holds that each form of a watch list tells the same, to its last bookmark and beyond.
func TestWatchForms(t *testing.T) {
	f := serveHTTP(t)
	f.pods("a", "b")
	const table = "application/json;as=Table;v=v1;g=meta.k8s.io"
	for name, tt := range map[string]struct{ accept, query, encoding string }{
		"JSON":               {"application/json", "", "identity"},
		"JSON gzip":          {"application/json", "", "gzip"},
		"protobuf":           {"application/vnd.kubernetes.protobuf", "", "identity"},
		"metadata":           {"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "", "identity"},
		"metadata protobuf":  {"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "", "identity"},
		"table":              {table, "", "identity"},
		"table with objects": {table, "&includeObject=Object", "identity"},
		"table without":      {table, "&includeObject=None", "identity"},
		"selected":           {"application/json", "&labelSelector=app%21%3Db&fieldSelector=metadata.namespace%3Ddefault", "identity"},
	} {
		t.Run(name, func(t *testing.T) {
			headers := []string{"Accept: " + tt.accept}
			if tt.encoding == "identity" {
				headers = append(headers, "Accept-Encoding: identity")
			}
			resp := f.open("/api/v1/namespaces/default/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"+tt.query, headers...)
			require.Equal(t, tt.encoding == "gzip", resp.Uncompressed)
			want := []string{"ADDED a", "ADDED b", "BOOKMARK true"}
			if name == "selected" {
				want = []string{"ADDED a", "BOOKMARK true"}
			}
			in := resp
			got := frames(t, in, len(want))
			require.Equal(t, want, got)
		})
	}
	t.Run("going on", func(t *testing.T) {
		resp := f.open("/api/v1/namespaces/default/pods?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true", "Accept: application/json")
		in := bufio.NewReader(resp.Body)
		require.True(t, resp.Uncompressed, "it was compressed on the way")
		f.pods("c")
		for _, want := range []string{`"name":"a"`, `"name":"b"`, `"BOOKMARK"`, `"name":"c"`} {
			line, err := in.ReadString('\n')
			require.NoError(t, err)
			require.Contains(t, line, want)
		}
	})
}

// TestWatchPaths holds the older paths of watches, of collections and of one object.
func TestWatchPaths(t *testing.T) {
	f := serveHTTP(t)
	f.pods("a", "b")
	require.Equal(t, []string{"ADDED a", "ADDED b"}, frames(t, f.open("/api/v1/watch/namespaces/default/pods"), 2))
	require.Equal(t, []string{"ADDED a", "ADDED b"}, frames(t, f.open("/api/v1/watch/pods"), 2))
	require.Equal(t, []string{"ADDED b"}, frames(t, f.open("/api/v1/watch/namespaces/default/pods/b"), 1))
	var s metav1.Status
	require.Equal(t, 400, f.get("/api/v1/watch/namespaces/default/pods/b?fieldSelector=metadata.name%3Da", &s))
	require.Equal(t, 404, f.get("/api/v1/watch/namespaces/default/pods/b/status", &s))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url+"/api/v1/watch/pods", strings.NewReader("{}"))
	require.NoError(t, err)
	resp, err := f.to.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, 405, resp.StatusCode)
}

// TestWatchRefusals holds that a watch that can't begin says so before its stream.
func TestWatchRefusals(t *testing.T) {
	f := serveHTTP(t)
	f.pods("a", "b")
	// Another server over the same store knows nothing of what was before it.
	later, err := apiserver.New(f.s.Store(), apiserver.Config{Kinds: testKinds(), AllowAnonymous: true})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- later.Run(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	require.NoError(t, later.Ready(t.Context()))
	server := httptest.NewServer(later)
	defer server.Close()
	old := &front{t, later, f.c, server.URL, server.Client()}
	var s metav1.Status
	require.Equal(t, 410, old.get(fmt.Sprintf("/api/v1/pods?watch=true&resourceVersion=%d", f.revision()-1), &s))
	require.Equal(t, metav1.StatusReasonExpired, s.Reason)
	require.Equal(t, fmt.Sprintf("too old resource version: %d (%d)", f.revision()-1, f.revision()), s.Message)
	resp := old.open(fmt.Sprintf("/api/v1/pods?watch=true&resourceVersion=%d", f.revision()-1), "Accept: application/vnd.kubernetes.protobuf")
	require.Equal(t, 410, resp.StatusCode)
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	raw, gvk, err := kind.OpenEnvelope(data)
	require.NoError(t, err)
	require.Equal(t, "Status", gvk.Kind)
	s = metav1.Status{}
	require.NoError(t, s.Unmarshal(raw))
	require.Equal(t, metav1.StatusReasonExpired, s.Reason)

	require.Equal(t, 406, f.open("/api/v1/pods?watch=true", "Accept: application/yaml").StatusCode)
	s = metav1.Status{}
	require.Equal(t, 406, f.get("/api/v1/pods?watch=true", &s, "Accept: application/cbor"))
	require.Equal(t, "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch", s.Message)
}

// TestAnswersAreNamed holds the headers that every answer has.
func TestAnswersAreNamed(t *testing.T) {
	f := serveHTTP(t)
	for _, path := range []string{"/api/v1/pods", "/api/v1/nothing", "/nothing", "/version", "/healthz", "/apis", "/api/v1/pods?limit=x"} {
		resp := f.open(path)
		require.Len(t, resp.Header.Get("Audit-Id"), 36, path)
		require.NotEmpty(t, resp.Header.Get("Cache-Control"), path)
		require.Equal(t, "mine", f.open(path, "Audit-Id: mine").Header.Get("Audit-Id"), path)
	}
	resp := f.open("/nothing")
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "404 404 page not found\n", fmt.Sprint(resp.StatusCode, " ", string(body)))
	require.Equal(t, "text/plain; charset=utf-8", resp.Header.Get("Content-Type"))
}

// TestScaleHasItsOwnForm holds that a subresource is not answered with what is kept of the whole object.
func TestScaleHasItsOwnForm(t *testing.T) {
	f := serveHTTP(t)
	_, err := client.For(f.c, fleets).Create(t.Context(), newFleet("lobby", 4))
	require.NoError(t, err)
	const path = "/apis/games.example.com/v1/namespaces/default/fleets/lobby"
	for range 2 {
		var whole struct{ Kind string }
		require.Equal(t, 200, f.get(path, &whole))
		require.Equal(t, "Fleet", whole.Kind)
		var scale autoscalingv1.Scale
		require.Equal(t, 200, f.get(path+"/scale", &scale))
		require.Equal(t, "Scale", scale.Kind)
		require.EqualValues(t, 4, scale.Spec.Replicas)
	}
}
