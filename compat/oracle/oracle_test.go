package oracle

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/runtime/process"
)

var (
	peer   = flag.String("kube-apiserver", "", "compare with this program; without it the recorded answers are compared with")
	record = flag.Bool("record", false, "record the program's answers")
)

func TestMain(m *testing.M) {
	process.Main()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

const recorded = "testdata/answers.json"

// TestOracle sends all requests, in their order, to both.
func TestOracle(t *testing.T) {
	requests := readRequests(t)
	want := map[string]answer{}
	if *peer != "" {
		client, base := startPeer(t, *peer)
		want = ask(t, client, base, requests)
		if *record {
			write(t, want)
		}
	} else {
		data, err := os.ReadFile(recorded)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(data, &want))
	}
	client, base := startKeelson(t)
	got := ask(t, client, base, requests)
	used := map[int]bool{}
	for _, r := range requests {
		w, ok := want[r.name]
		require.True(t, ok, "there is no answer of kube-apiserver to %q: record them with -record", r.name)
		var found []difference
		compare(r.name, "", value(t, w), value(t, got[r.name]), &found)
		for _, d := range found {
			if i := meant(d); i >= 0 {
				used[i] = true
				continue
			}
			t.Error(d)
		}
	}
	for i, m := range differences {
		if !used[i] {
			t.Errorf("the difference %q at %q is there no longer: remove it from the list", m.request, m.at)
		}
	}
}

// ask gives the answers by the requests' names.
func ask(t *testing.T, c *http.Client, base string, requests []request) map[string]answer {
	out := map[string]answer{}
	for _, r := range requests {
		out[r.name] = send(t, c, base, r)
	}
	return out
}

// value is an answer as JSON has it.
func value(t *testing.T, a answer) any {
	data, err := json.Marshal(a)
	require.NoError(t, err)
	var v any
	require.NoError(t, json.Unmarshal(data, &v))
	return v
}

func write(t *testing.T, answers map[string]answer) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	require.NoError(t, e.Encode(answers))
	require.NoError(t, os.WriteFile(recorded, out.Bytes(), 0o644))
	fmt.Println("recorded", len(answers), "answers")
}
