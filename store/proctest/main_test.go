//go:build unix

package proctest

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

var (
	cycles = flag.Int("cycles", 20, "how often TestKill and TestKillLone kill")
	seed   = flag.Uint64("seed", 0, "seed of the faults; 0 for a new one")
)

// memberEnv holds the configuration of a member, for this binary to be one.
const memberEnv = "KEELSON_PROCTEST_MEMBER"

func TestMain(m *testing.M) {
	if text := os.Getenv(memberEnv); text != "" {
		if err := runMember(text); err != nil {
			fmt.Fprintln(os.Stderr, "member:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	go spawner()
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/keelson-dev/keelson/store/proctest.spawner"))
}

// spawns are functions that start processes. The system ends a process with the thread that started it (see dieWithUs),
// so that one thread, which stays, starts them all.
var spawns = make(chan func())

func spawner() {
	runtime.LockOSThread()
	for f := range spawns {
		f()
	}
}
