package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what kubectl prints into the transcripts instead of comparing it")

// TestKubectl plays the transcripts of testdata against one cluster of two nodes, one after the other, each in a namespace of
// its own that bears its name. In a transcript a line that begins with "$ " is a shell command, continued after a
// backslash; what follows until the next one or an empty line is what it prints, with what differs from run to run
// masked, and [n] when it ends with exit status n. Other lines are headings. Run with -update after a change, and read the difference.
func TestKubectl(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	k := m.kubectl()
	p := m.start("--nodes", "2")
	k.do("wait", "--for=condition=Ready", "node", "--all", "--timeout=60s")
	scripts, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, scripts)
	files, err := filepath.Abs("testdata")
	require.NoError(t, err)
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".txt")
		k.do("create", "namespace", name)
		k.do("config", "set-context", "--current", "--namespace", name)
		want, err := os.ReadFile(script)
		require.NoError(t, err)
		got := play(string(want), func(line string) (string, int) { return k.shell(files, line) })
		if *update {
			require.NoError(t, os.WriteFile(script, []byte(got), 0o644))
			continue
		}
		require.Equal(t, string(want), got, script)
		k.do("delete", "namespace", name, "--timeout=60s")
	}
	require.NoError(t, p.signal(syscall.SIGTERM))
	require.Empty(t, m.processes())
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
