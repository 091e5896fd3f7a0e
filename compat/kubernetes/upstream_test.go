package kubernetes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var all = flag.Bool("all", false, "run all of the packages' tests, also those of the watch cache, which takes minutes")

// threeTests is what runs on three members without -all: what is left out there is of the same kind as something else.
const threeTests = "^(TestCreate|TestGet|TestList|TestListPaging|TestListContinuation|TestGuaranteedUpdate|TestCompact|TestWatchChanSync)$"

// event is a line of go test -json.
type event struct{ Package, Test, Action, Output string }

// upstream is a package's compiled tests, and where they run.
type upstream struct{ binary, dir string }

// compile compiles a package's tests. Running them with go test, side by side, would compile what they share twice.
func compile(t *testing.T, pkg string) upstream {
	path := "k8s.io/apiserver/pkg/storage/" + pkg
	u := upstream{binary: filepath.Join(t.TempDir(), pkg+".test")}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-vet=off", "-o", u.binary, path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", path).Output()
	require.NoError(t, err)
	u.dir = strings.TrimSpace(string(dir))
	return u
}

// TestUpstream runs the packages' tests, and fails for each of them that fails, or if there are fewer than there were.
func TestUpstream(t *testing.T) {
	packages := map[string]func() upstream{}
	for _, pkg := range []string{"etcd3", "cacher"} {
		packages[pkg] = sync.OnceValue(func() upstream { return compile(t, pkg) })
	}
	for _, test := range []struct {
		name, members, pkg, run string
		least                   int // how many tests pass
	}{
		{"one member", "1", "etcd3", ".", 500},
		{"one member under the cache", "1", "cacher", "", 600},
		{"three members", "3", "etcd3", threeTests, 150},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			run := test.run
			switch {
			case *all:
				run = "."
			case run == "":
				t.Skip("only with -all: the watch cache's tests take minutes")
			}
			u := packages[test.pkg]()
			cmd := exec.CommandContext(t.Context(), "go", "tool", "test2json", "-p", test.pkg, u.binary, "-test.v=test2json", "-test.run="+run)
			cmd.Dir = u.dir
			cmd.Env = append(os.Environ(), "KEELSON_MEMBERS="+test.members)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, runErr := cmd.Output()
			written, passed := map[string]*strings.Builder{}, 0
			lines := bufio.NewScanner(bytes.NewReader(out))
			lines.Buffer(nil, 64<<20)
			for lines.Scan() {
				var e event
				require.NoError(t, json.Unmarshal(lines.Bytes(), &e), "%s", lines.Bytes())
				name := e.Package + " " + e.Test
				if written[name] == nil {
					written[name] = &strings.Builder{}
				}
				written[name].WriteString(e.Output)
				switch {
				case e.Action == "pass" && e.Test != "":
					passed++
				case e.Action == "fail", e.Action == "build-fail":
					t.Errorf("%s\n%s", name, written[name])
				}
			}
			require.NoError(t, lines.Err())
			require.NoError(t, runErr, "%s", stderr.String())
			require.GreaterOrEqual(t, passed, test.least, "tests that passed")
			t.Logf("%d tests passed", passed)
		})
	}
}
