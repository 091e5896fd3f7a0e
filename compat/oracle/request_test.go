package oracle

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// request is one of testdata/requests.txt: a line "### name", one with method and path, headers, an empty line, and the body,
// which is YAML that is sent as JSON unless Content-Type is given. The header Until is not sent: it has the request repeated until
// that is the answer's status.
type request struct {
	name, method, path string
	header             http.Header
	until              string
	body               []byte
}

// answer is what came back, without what differs from time to time.
type answer struct {
	Status   int      `json:"status"`
	Type     string   `json:"type"`
	Warnings []string `json:"warnings,omitempty"`
	Body     any      `json:"body,omitempty"`
}

func readRequests(t *testing.T) []request {
	data, err := os.ReadFile("testdata/requests.txt")
	require.NoError(t, err)
	var out []request
	seen := map[string]bool{}
	for _, part := range strings.Split(string(data), "\n### ")[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		require.False(t, seen[name], "%q stands there twice", name)
		seen[name] = true
		r := request{name: name, header: http.Header{}}
		lines := bufio.NewScanner(strings.NewReader(rest))
		require.True(t, lines.Scan(), name)
		var ok bool
		r.method, r.path, ok = strings.Cut(lines.Text(), " ")
		require.True(t, ok, "%s: %q is no method with a path", name, lines.Text())
		for lines.Scan() && lines.Text() != "" {
			key, value, ok := strings.Cut(lines.Text(), ": ")
			require.True(t, ok, "%s: %q is no header", name, lines.Text())
			r.header.Add(key, value)
		}
		r.until = r.header.Get("Until")
		r.header.Del("Until")
		_, body, _ := strings.Cut(rest, "\n\n")
		if r.body = []byte(strings.TrimSpace(body)); len(r.body) > 0 && r.header.Get("Content-Type") == "" {
			r.body, err = yaml.YAMLToJSON(r.body)
			require.NoError(t, err, name)
			r.header.Set("Content-Type", "application/json")
		}
		out = append(out, r)
	}
	return out
}

// patience is how long an answer is waited for.
const patience = 20 * time.Second

// send sends a request, and normalizes the answer.
func send(t *testing.T, c *http.Client, base string, r request) answer {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		a := sendOnce(t, c, base, r)
		if r.until == "" || r.until == strconv.Itoa(a.Status) || time.Now().After(end) {
			return a
		}
	}
}

func sendOnce(t *testing.T, c *http.Client, base string, r request) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), r.method, base+r.path, bytes.NewReader(r.body))
	require.NoError(t, err)
	req.Header = r.header.Clone()
	req.Header.Set("User-Agent", "oracle/1")
	resp, err := c.Do(req)
	require.NoError(t, err, r.name)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err, r.name)
	a := answer{Status: resp.StatusCode, Type: resp.Header.Get("Content-Type"), Warnings: resp.Header.Values("Warning")}
	a.Body = parse(body)
	return a
}

// parse makes of JSON its value, of a stream of it the list of values, and of all else the text.
func parse(body []byte) any {
	var values []any
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		var v any
		err := d.Decode(&v)
		if err == io.EOF {
			break
		}
		if err != nil {
			return settle("", string(body))
		}
		values = append(values, v)
	}
	switch len(values) {
	case 0:
		return nil
	case 1:
		return settle("", values[0])
	}
	return settle("", values)
}

var (
	uuids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	ages  = regexp.MustCompile(`^(\d+[dhms])+$`)
	times = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)
)

// settle replaces what differs between two runs of the same server: versions, identities, times, ages in tables, given addresses and ports.
func settle(key string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = settle(k, x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = settle(key, x)
		}
		return out
	case string:
		switch key {
		case "resourceVersion", "uid", "clusterIP", "clusterIPs", "continue", "hash", "serverRelativeURL", "storageVersionHash":
			if v != "" && v != "None" {
				return strings.ToUpper(key)
			}
		}
		if key == "cells" {
			v = ages.ReplaceAllString(v, "AGE")
		}
		return times.ReplaceAllString(uuids.ReplaceAllString(v, "UID"), "TIME")
	case float64:
		if key == "nodePort" && v > 0 {
			return "NODEPORT"
		}
	}
	return v
}

// difference is one place in which two answers differ.
type difference struct {
	request, at string
	want, got   any
}

// place is the request and the place in its answer.
func (d difference) place() string { return d.request + ": " + d.at }

func (d difference) String() string {
	return fmt.Sprintf("%s: %s: kube-apiserver %s, Keelson %s", d.request, d.at, text(d.want), text(d.got))
}

func text(v any) string {
	if v == nil {
		return "nothing"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// compare collects the differences between two values.
func compare(name, at string, want, got any, found *[]difference) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		for k := range w {
			compare(name, at+"."+k, w[k], g[k], found)
		}
		for k := range g {
			if _, ok := w[k]; !ok {
				*found = append(*found, difference{name, at + "." + k, nil, g[k]})
			}
		}
		return
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			break
		}
		for i := range w {
			compare(name, fmt.Sprintf("%s[%d]", at, i), w[i], g[i], found)
		}
		return
	}
	if text(want) != text(got) {
		*found = append(*found, difference{name, at, want, got})
	}
}
