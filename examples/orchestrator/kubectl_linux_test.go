package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what kubectl prints into the transcripts instead of comparing it")

// TestKubectl plays the transcripts of testdata against one cluster of two nodes, each in a namespace of its own that bears
// its name; the one that takes nodes out of use comes last. In a transcript a line that begins with "$ " is a shell command,
// continued after a backslash; what follows until the next one or an empty line is what it prints, with what differs
// from run to run masked, and [n] when it ends with exit status n. Other lines are headings. Run with -update after a
// change, and read the difference.
func TestKubectl(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	k := m.kubectl()
	p := m.start("--nodes", "2")
	k.do("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
	scripts, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	const last = "testdata/nodes.txt"
	require.Contains(t, scripts, last)
	t.Run("together", func(t *testing.T) {
		for _, script := range scripts {
			if script != last {
				t.Run(filepath.Base(script), func(t *testing.T) {
					t.Parallel()
					playFile(t, k, script)
				})
			}
		}
		t.Run("follow", func(t *testing.T) {
			t.Parallel()
			follow(t, k.in(t, "follow"))
		})
	})
	playFile(t, k, last)
	require.NoError(t, p.signal(syscall.SIGTERM))
	require.Empty(t, m.processes())
}

// in makes a namespace, which lives as long as the test, and a kubectl that works there.
func (k *kubectl) in(t *testing.T, namespace string) *kubectl {
	t.Helper()
	own := &kubectl{t: t, path: k.path, kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	own.env = append(slices.Clone(k.env), "KUBECONFIG="+own.kubeconfig)
	data, err := os.ReadFile(k.kubeconfig)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(own.kubeconfig, data, 0o600))
	own.do("create", "namespace", namespace)
	own.do("config", "set-context", "--current", "--namespace", namespace)
	return own
}

// playFile compares a transcript with what is printed now. The namespace is deleted with all that the commands left there.
func playFile(t *testing.T, k *kubectl, script string) {
	name := strings.TrimSuffix(filepath.Base(script), ".txt")
	k = k.in(t, name)
	want, err := os.ReadFile(script)
	require.NoError(t, err)
	files, err := filepath.Abs(filepath.Dir(script))
	require.NoError(t, err)
	got := play(string(want), func(line string) (string, int) { return k.shell(files, line) })
	if *update {
		require.NoError(t, os.WriteFile(script, []byte(got), 0o644))
		want = []byte(got)
	}
	require.Equal(t, string(want), got, script)
	k.do("delete", "namespace", name, "--timeout=60s")
}

// follow tries the commands of kubectl that go on until they are interrupted.
func follow(t *testing.T, k *kubectl) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	require.NoError(t, syscall.Mkfifo(fifo, 0o600))
	pods := k.follow("get", "pods", "--watch", "--output-watch-events")
	events := k.follow("get", "events", "--watch", "--field-selector=involvedObject.name=talks")
	k.pod("talks", 1, "echo first; cat "+fifo+"; exec sleep 3600")
	pods.out.wait(t, "ADDED")
	k.do("label", "pod", "talks", "seen=yes") // the watch has begun, so this is a change to it
	pods.out.wait(t, "MODIFIED")
	pods.out.wait(t, "Running")
	for _, text := range []string{"Scheduled", "Assigned follow/talks to node-", "Started container talks"} {
		events.out.wait(t, text)
	}
	logs := k.follow("logs", "--follow", "talks")
	logs.out.wait(t, "first\n")
	require.NoError(t, os.WriteFile(fifo, []byte("second\n"), 0)) // blocks until the container reads
	logs.out.wait(t, "first\nsecond\n")
	k.do("delete", "pod", "talks")
	pods.out.wait(t, "DELETED")
	require.NoError(t, logs.wait(), "a followed log ends with its container")
}

// play runs the commands of a transcript and returns it with what they print now.
func play(transcript string, run func(line string) (string, int)) string {
	var out strings.Builder
	lines := strings.Split(strings.TrimSuffix(transcript, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		out.WriteString(lines[i] + "\n")
		if !strings.HasPrefix(lines[i], "$ ") {
			continue
		}
		command := strings.TrimPrefix(lines[i], "$ ")
		for strings.HasSuffix(lines[i], `\`) && i+1 < len(lines) {
			i++
			out.WriteString(lines[i] + "\n")
			command += "\n" + lines[i]
		}
		for i+1 < len(lines) && lines[i+1] != "" && !strings.HasPrefix(lines[i+1], "$ ") {
			i++ // what it printed before
		}
		printed, code := run(command)
		out.WriteString(mask(printed))
		if code != 0 {
			fmt.Fprintf(&out, "[%d]\n", code)
		}
	}
	return out.String()
}

var masks = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`127\.\d+\.\d+\.\d+(:\d{5})?`), "IP"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d \+0000`), "TIME"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "UID"},
	{regexp.MustCompile(`keelson-process://[0-9a-f]{64}`), "CONTAINER"},
	{regexp.MustCompile(`\b([a-z]+)-[bcdf0-9]{6,10}\b`), "$1-HASH"},
	{regexp.MustCompile(`\b([a-z]+)(-HASH)?-[bcdfghjklmnpqrstvwxz2456789]{5}\b`), "$1$2-RAND"},
	{regexp.MustCompile(`\(x\d+ over \d+[smhd]\)`), ""},
	{regexp.MustCompile(`\b(\d+(ms|[dhms]))+\b|<invalid>`), "AGE"},
	{regexp.MustCompile(`(?m)^(\s*resourceVersion: )"\d+"`), `$1"N"`},
	{regexp.MustCompile(` {2,}`), "  "}, // the width of columns follows from what is masked
	{regexp.MustCompile(`(?m) +$`), ""},
	{regexp.MustCompile(`\n{2,}`), "\n"}, // an empty line ends a command's output
}

// mask replaces what differs from run to run.
func mask(s string) string {
	for _, m := range masks {
		s = m.pattern.ReplaceAllString(s, m.with)
	}
	if s = strings.TrimLeft(s, "\n"); s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}
