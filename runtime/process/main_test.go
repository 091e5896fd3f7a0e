package process_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/keelson-dev/keelson/runtime/process"
	"go.uber.org/goleak"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// agentEnv makes the test binary an agent on the directory it names.
const agentEnv = "KEELSON_TEST_AGENT"

func TestMain(m *testing.M) {
	process.Main()
	if root := os.Getenv(agentEnv); root != "" {
		runAgent(root)
	}
	goleak.VerifyTestMain(checked{m})
}

// checked fails a run that leaves child processes.
type checked struct{ m *testing.M }

func (c checked) Run() int {
	code := c.m.Run()
	if left := children(os.Getpid()); len(left) > 0 {
		fmt.Fprintln(os.Stderr, "processes left behind:", left)
		code = max(code, 1)
	}
	return code
}

// children are the child processes of pid, dead ones too. Where there is no /proc there are none to be seen.
func children(pid int) []string {
	var out []string
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		stat, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if _, nerr := strconv.Atoi(entry.Name()); nerr != nil || err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			out = append(out, string(stat))
		}
	}
	return out
}

// runAgent makes pods, one after the other, and says so after each, until it is killed.
func runAgent(root string) {
	ctx := context.Background()
	r, err := process.New(process.Config{Root: root})
	for i := 0; err == nil; i++ {
		var pod, container string
		if pod, err = r.RunPodSandbox(ctx, podConfig(fmt.Sprint("pod", i)), ""); err == nil {
			if container, err = r.CreateContainer(ctx, pod, containerConfig("c", "sleep", "1000"), nil); err == nil {
				err = r.StartContainer(ctx, container)
			}
		}
		fmt.Println(pod, container)
	}
	fmt.Println(err)
	os.Exit(1)
}

func podConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "test", Uid: "uid-" + name}, Hostname: name,
	}
}

func containerConfig(name string, command ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: name}, Command: command, LogPath: name + ".log"}
}
