package process_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keelson-dev/keelson/runtime/process"
	"github.com/stretchr/testify/require"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// agent is the test binary run as an agent.
type agent struct {
	t   *testing.T
	cmd *exec.Cmd
	out *bufio.Scanner
}

func startAgent(t *testing.T, root string) *agent {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), agentEnv+"="+root)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return &agent{t: t, cmd: cmd, out: bufio.NewScanner(out)}
}

// next returns the ids of the pod that it has made next, and of its container.
func (a *agent) next() (pod, container string) {
	a.t.Helper()
	require.True(a.t, a.out.Scan(), "the agent ended")
	pod, container, ok := strings.Cut(a.out.Text(), " ")
	require.True(a.t, ok && pod != "" && container != "", "the agent says %q", a.out.Text())
	return pod, container
}

func (a *agent) kill() {
	require.NoError(a.t, a.cmd.Process.Kill())
	a.cmd.Wait()
}

// supervisors counts the supervisors that live for a root.
func supervisors(root string) (n int) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		env, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err == nil && strings.Contains("\x00"+string(env), "\x00KEELSON_SUPERVISOR="+root+"/") {
			n++
		}
	}
	return n
}

func exists(pid string) bool {
	n, err := strconv.Atoi(pid)
	return err == nil && syscall.Kill(n, 0) == nil
}

// An agent that was killed comes back to the pods it left: same processes, same addresses, everything still works.
func TestRecovery(t *testing.T) {
	root := filepath.Join(t.TempDir(), strings.Repeat("long-name-", 12)) // longer than a socket address
	a := startAgent(t, root)
	pods := map[string]string{}
	for range 3 {
		pod, container := a.next()
		pods[pod] = container
	}
	a.kill()

	r := open(t, process.Config{Root: root})
	list, err := r.ListPodSandbox(t.Context(), nil)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(list), 3)
	addresses := map[string]bool{}
	for pod, id := range pods {
		p := &pod2{t, r, pod}
		status, info := p.status(id)
		require.Equal(t, runtimeapi.ContainerState_CONTAINER_RUNNING, status.State)
		require.True(t, exists(info["pid"]))
		start, err := os.ReadFile("/proc/" + info["pid"] + "/stat")
		require.NoError(t, err)
		require.Contains(t, string(start), " "+info["startTime"]+" ", "the same process as at the start")
		addresses[p.address()] = true
		out, _, err := r.ExecSync(t.Context(), id, []string{"echo", "here"}, 0)
		require.NoError(t, err)
		require.Equal(t, "here\n", string(out))
	}
	require.Len(t, addresses, 3)
	fresh := newPod(t, r, "fresh")
	require.NotContains(t, addresses, (&pod2{t, r, fresh.id}).address(), "addresses of recovered pods are taken")
	_, err = r.RunPodSandbox(t.Context(), podConfig("pod0"), "")
	require.ErrorContains(t, err, "exists")

	for pod, id := range pods {
		_, info := (&pod2{t, r, pod}).status(id)
		require.NoError(t, r.StopContainer(t.Context(), id, 30))
		status, _ := (&pod2{t, r, pod}).status(id)
		require.Equal(t, runtimeapi.ContainerState_CONTAINER_EXITED, status.State)
		require.False(t, exists(info["pid"]))
		require.NoError(t, r.RemovePodSandbox(t.Context(), pod))
	}
}

// pod2 is a pod that somebody else has made.
type pod2 struct {
	t  *testing.T
	r  *process.Runtime
	id string
}

func (p *pod2) status(id string) (*runtimeapi.ContainerStatus, map[string]string) {
	return (&pod{T: p.t, r: p.r}).status(id)
}

func (p *pod2) address() string {
	answer, err := p.r.PodSandboxStatus(p.t.Context(), p.id, false)
	require.NoError(p.t, err)
	return answer.Status.Network.Ip
}

// Wherever between two steps the agent dies: each supervisor that lives belongs to a sandbox that the next agent
// knows, and no sandbox has two.
func TestKilledAnywhere(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	for round := range 6 {
		a := startAgent(t, root)
		for range round % 3 {
			a.next()
		}
		a.kill()
		r, err := process.New(process.Config{Root: root})
		require.NoError(t, err)
		list, err := r.ListPodSandbox(t.Context(), nil)
		require.NoError(t, err)
		ready := 0
		for _, pod := range list {
			if pod.State == runtimeapi.PodSandboxState_SANDBOX_READY {
				ready++
			}
		}
		require.Equal(t, supervisors(root), ready)
		for _, pod := range list {
			require.NoError(t, r.RemovePodSandbox(t.Context(), pod.Id))
		}
		require.Zero(t, supervisors(root))
		require.NoError(t, r.Close(t.Context()))
	}
}

// What the last agent did not get to say is not a pod; what it said but did not do is one that is not ready.
func TestHalfMade(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	r := open(t, process.Config{Root: root})
	p := newPod(t, r, "one")
	record, err := os.ReadFile(filepath.Join(root, "pods", p.id, "sandbox.json"))
	require.NoError(t, err)
	require.NoError(t, r.RemovePodSandbox(t.Context(), p.id))
	require.NoError(t, r.Close(t.Context()))

	require.NoError(t, os.MkdirAll(filepath.Join(root, "pods", "unsaid"), 0o700))
	require.NoError(t, os.MkdirAll(filepath.Join(root, "pods", p.id), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, "pods", p.id, "sandbox.json"), record, 0o600))
	r = open(t, process.Config{Root: root})
	list, err := r.ListPodSandbox(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, runtimeapi.PodSandboxState_SANDBOX_NOTREADY, list[0].State)
	require.NoDirExists(t, filepath.Join(root, "pods", "unsaid"))
	_, err = r.CreateContainer(t.Context(), p.id, containerConfig("c", "true"), nil)
	require.ErrorContains(t, err, "not ready")
}

// A supervisor that is killed takes its containers along, and the runtime says so.
func TestSupervisorKilled(t *testing.T) {
	for name, config := range map[string]process.Config{"namespaces": {}, "no pid namespace": {}, "no namespaces": {NoNamespaces: true}} {
		t.Run(name, func(t *testing.T) {
			r := open(t, config)
			if name == "no pid namespace" {
				process.WithoutPID(r)
			}
			p := newPod(t, r, "one")
			id := p.start(containerConfig("c", "sleep", "1000"))
			_, container := p.status(id)
			answer, err := r.PodSandboxStatus(t.Context(), p.id, true)
			require.NoError(t, err)
			pid, err := strconv.Atoi(answer.Info["pid"])
			require.NoError(t, err)
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			status := p.exit(id)
			require.EqualValues(t, 137, status.ExitCode)
			require.Contains(t, status.Message, "supervisor")
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for exists(container["pid"]) { // without namespaces its new parent may not have collected it yet
				stat, err := os.ReadFile("/proc/" + container["pid"] + "/stat")
				if err != nil || strings.Contains(string(stat), ") Z ") {
					break
				}
				<-tick.C
			}
			until(t, r, func() bool {
				answer, err := r.PodSandboxStatus(t.Context(), p.id, false)
				require.NoError(t, err)
				return answer.Status.State == runtimeapi.PodSandboxState_SANDBOX_NOTREADY
			})
			require.NoError(t, r.StopPodSandbox(t.Context(), p.id))
			require.NoError(t, r.RemoveContainer(t.Context(), id))
			list, err := r.ListContainers(t.Context(), nil)
			require.NoError(t, err)
			require.Empty(t, list)
		})
	}
}

// A container's descendants end with its main process, also those that have left its session.
func TestDescendants(t *testing.T) {
	for _, name := range []string{"supervised", "no pid namespace", "no namespaces", "in process"} {
		t.Run(name, func(t *testing.T) {
			r := open(t, modes[name])
			if name == "no pid namespace" {
				process.WithoutPID(r)
			}
			p := newPod(t, r, "one")
			mark := "31415" + strconv.Itoa(os.Getpid())
			other := p.start(containerConfig("other", "sleep", "1000"))
			id := p.start(containerConfig("c", "sh", "-c", "(setsid sleep "+mark+" &); sleep "+mark+" & exit 4"))
			require.EqualValues(t, 4, p.exit(id).ExitCode)
			require.Empty(t, commands(mark))
			status, _ := p.status(other)
			require.Equal(t, runtimeapi.ContainerState_CONTAINER_RUNNING, status.State)

			id = p.start(containerConfig("d", "sh", "-c", "trap '' TERM; (trap '' TERM; setsid sleep "+mark+" &); echo ready; while :; do sleep "+mark+"; done"))
			require.NoError(t, r.StopContainer(t.Context(), id, 0))
			require.Empty(t, commands(mark))
		})
	}
}

// commands finds living processes by an argument.
func commands(argument string) (out []string) {
	entries, _ := os.ReadDir("/proc")
	for _, entry := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && strings.Contains(string(line), "\x00"+argument+"\x00") && !strings.HasPrefix(string(line), "sh\x00") {
			out = append(out, entry.Name()+": "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return out
}
