package kubectl

import (
	"os"
	"testing"

	"go.uber.org/goleak"
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"

	"github.com/keelson-dev/keelson/runtime/process"
)

// asKubectl is set in the environment of this program where it is to be kubectl.
const asKubectl = "KEELSON_TEST_AS_KUBECTL"

// TestMain makes the test binary also a supervisor of pods and kubectl.
func TestMain(m *testing.M) {
	process.Main()
	if os.Getenv(asKubectl) != "" {
		os.Args[0] = "kubectl"
		os.Exit(cli.Run(cmd.NewDefaultKubectlCommand()))
	}
	goleak.VerifyTestMain(m)
}
