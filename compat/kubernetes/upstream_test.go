package kubernetes

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var all = flag.Bool("all", false, "run all of the packages' tests, also those of the watch cache, which takes minutes")

// threeTests is what runs on three members without -all: what is left out there is of the same kind as something else.
const threeTests = "^(TestCreate|TestGet|TestList|TestListPaging|TestListContinuation|TestGuaranteedUpdate|TestCompact|TestWatchChanSync)$"

// event is a line of go test -json.
type event struct{ Package, Test, Action, Output string }

// TestUpstream runs the packages' tests, and fails for each of them that fails, or if there are fewer than there were.
func TestUpstream(t *testing.T) {
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
			args := []string{"test", "-json", "-vet=off", "-run=" + run, "k8s.io/apiserver/pkg/storage/" + test.pkg}
			cmd := exec.CommandContext(t.Context(), "go", args...)
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
