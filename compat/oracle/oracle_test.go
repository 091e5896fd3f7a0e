package oracle

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/runtime/process"
)

var (
	peer   = flag.String("kube-apiserver", "", "compare with this program; without it the recorded answers are compared with")
	record = flag.Bool("record", false, "record the program's answers")
	show   = flag.String("show", "", "print the differences of the requests that match")
	keep   = flag.Bool("keep", false, "write what differs now into "+opened+" and "+page)
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
	before, now, used := readOpen(t), map[string]bool{}, map[int]bool{}
	for _, r := range requests {
		w, ok := want[r.name]
		require.True(t, ok, "there is no answer of kube-apiserver to %q: record them with -record", r.name)
		var found []difference
		compare(r.name, "", value(t, w), value(t, got[r.name]), &found)
		for _, d := range found {
			if *show != "" && regexp.MustCompile(*show).MatchString(d.request) {
				t.Log(d)
			}
			if i := meant(d); i >= 0 {
				used[i] = true
				continue
			}
			now[d.place()] = true
			if !before[d.place()] && !*keep {
				t.Error(d)
			}
		}
	}
	for i, m := range differences {
		if !used[i] {
			t.Errorf("the difference of %s at %s is there no longer: remove it from the list", m.request, m.at)
		}
	}
	open := slices.Sorted(maps.Keys(now))
	text := compatibility(requests, want, got, open, used)
	if *keep {
		require.NoError(t, os.WriteFile(opened, []byte(strings.Join(open, "\n")+"\n"), 0o644))
		require.NoError(t, os.WriteFile(page, []byte(text), 0o644))
		return
	}
	written, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, string(written), text, "docs/compatibility.md is old: run with -keep")
	for place := range before {
		if !now[place] {
			t.Errorf("%s: the difference is there no longer: run with -keep", place)
		}
	}
}

// opened are the differences that are not mended yet, a line each. There may be fewer, and no others.
const opened = "testdata/open.txt"

func readOpen(t *testing.T) map[string]bool {
	data, err := os.ReadFile(opened)
	require.NoError(t, err)
	out := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		out[strings.TrimSuffix(line, "\n")] = true
	}
	return out
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
	return settle("", v)
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
