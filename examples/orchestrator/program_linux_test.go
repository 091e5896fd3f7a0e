package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/keelson-dev/keelson/runtime/process"
)

// asProgram makes the test binary be the program itself.
const asProgram = "KEELSON_TEST_ORCHESTRATOR"

func TestMain(m *testing.M) {
	process.Main()
	if port := os.Getenv(asServer); port != "" {
		fmt.Fprintln(os.Stderr, greet(port))
		os.Exit(1)
	}
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// patience bounds every wait; it is never what a test waits for.
const patience = 90 * time.Second

// machine is where a test runs programs: a directory with an executable of its own, by whose path every process that
// comes of it is known, so that none outlives the test.
type machine struct {
	t          *testing.T
	dir        string
	executable string
	temp       string // the programs' TMPDIR
	kubeconfig string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{t: t, dir: dir, executable: filepath.Join(dir, "orchestrator"), temp: filepath.Join(dir, "tmp"), kubeconfig: filepath.Join(dir, "kubeconfig")}
	require.NoError(t, os.Mkdir(m.temp, 0o700))
	self, err := os.Executable()
	require.NoError(t, err)
	if os.Link(self, m.executable) != nil { // another file system
		in, err := os.Open(self)
		require.NoError(t, err)
		defer func() { _ = in.Close() }()
		out, err := os.OpenFile(m.executable, os.O_CREATE|os.O_WRONLY, 0o700)
		require.NoError(t, err)
		_, err = io.Copy(out, in)
		require.NoError(t, errors.Join(err, out.Close()))
	}
	t.Cleanup(func() {
		for pid := range m.processes() {
			kill(t, pid)
		}
	})
	return m
}

// kill ends a process that need not be a child of this one, and waits until it has.
func kill(t *testing.T, pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	require.NoError(t, err)
	defer func() { _ = unix.Close(fd) }()
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); !errors.Is(err, unix.ESRCH) {
		require.NoError(t, err)
	}
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(patience/time.Millisecond))
		if !errors.Is(err, unix.EINTR) {
			require.NoError(t, err)
			return
		}
	}
}

// processes are the machine's processes: programs, supervisors, and what runs below them. A process is known by its pid
// and the time when it started.
func (m *machine) processes() map[int]string {
	entries, err := os.ReadDir("/proc")
	require.NoError(m.t, err)
	parent, started, ours := map[int]int{}, map[int]string{}, map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // it has gone
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third on: see proc_pid_stat(5)
		if fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		parent[pid], _ = strconv.Atoi(fields[1])
		started[pid] = fields[19]
		if exe, err := os.Readlink("/proc/" + e.Name() + "/exe"); err == nil && strings.TrimSuffix(exe, " (deleted)") == m.executable {
			ours[pid] = started[pid]
		}
	}
	for pid := range parent {
		for p := parent[pid]; p > 1; p = parent[p] {
			if _, ok := ours[p]; ok {
				ours[pid] = started[pid]
				break
			}
		}
	}
	return ours
}

// pods are the machine's processes without those of programs.
func (m *machine) pods(programs ...*program) map[int]string {
	all := m.processes()
	for _, p := range programs {
		delete(all, p.cmd.Process.Pid)
	}
	return all
}

// program is a command that runs: the orchestrator, or a kubectl that goes on until it is interrupted.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	out   *output
	ended chan struct{} // closed after err is set
	err   error
}

// run starts the orchestrator with arguments.
func (m *machine) run(args ...string) *program {
	m.t.Helper()
	cmd := exec.Command(m.executable, args...)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), asProgram+"=1", "TMPDIR="+m.temp)
	return runProgram(m.t, cmd)
}

// runProgram starts a command, which is killed when the test ends.
func runProgram(t *testing.T, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{t: t, cmd: cmd, out: newOutput(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.WaitDelay = patience // somebody who holds the output is an error, not a hang
	require.NoError(t, cmd.Start())
	go func() {
		defer close(p.ended)
		p.err = cmd.Wait()
		p.out.end()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("output of %s:\n%s", strings.Join(cmd.Args, " "), p.out)
		}
	})
	return p
}

// start runs the orchestrator and waits until it says that kubectl can be used.
func (m *machine) start(args ...string) *program {
	m.t.Helper()
	p := m.run(append([]string{"--listen", "127.0.0.1:0", "--kubeconfig", m.kubeconfig}, args...)...)
	p.out.wait(m.t, "kubectl --kubeconfig "+m.kubeconfig+" get nodes\n")
	return p
}

// signal sends a signal and waits for the end.
func (p *program) signal(s syscall.Signal) error {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
	return p.wait()
}

// wait waits for the end; its error is the exit status.
func (p *program) wait() error {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.FailNow(p.t, "the program does not end", "output: %s", p.out)
	}
	return p.err
}

// url is where the program said that its API is.
func (p *program) url() string {
	found := regexp.MustCompile(`the API is at https://(\S+)`).FindStringSubmatch(p.out.String())
	require.NotNil(p.t, found)
	return found[1]
}

// output keeps what a program prints, and wakes who waits for some of it.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{} // closed with each change; replaced unless ended
	ended   bool
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(b)
}

func (o *output) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	close(o.changed)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) wait(t *testing.T, text string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		o.mu.Lock()
		got, changed, ended := o.text.String(), o.changed, o.ended
		o.mu.Unlock()
		if strings.Contains(got, text) {
			return
		}
		require.False(t, ended, "the program ended without saying %q, but: %s", text, got)
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(t, "the program does not say it", "want %q in: %s", text, got)
		}
	}
}

// kubectl is the real one.
type kubectl struct {
	t          *testing.T
	path       string
	kubeconfig string
	env        []string
}

// kubectl finds the program and gives it a home of its own. The test is skipped where there is none.
func (m *machine) kubectl() *kubectl {
	m.t.Helper()
	path, err := exec.LookPath("kubectl")
	if err != nil {
		m.t.Skip("kubectl is missing: it is not in PATH, and this test drives the real one")
	}
	home := filepath.Join(m.dir, "home")
	require.NoError(m.t, os.MkdirAll(home, 0o700))
	return &kubectl{t: m.t, path: path, kubeconfig: m.kubeconfig, env: append(os.Environ(),
		"HOME="+home, "KUBECONFIG="+m.kubeconfig, "PATH="+filepath.Dir(path)+":"+os.Getenv("PATH"), "TZ=UTC", "LC_ALL=C")}
}

// shell runs a shell command line and returns what it printed, standard error included, and its exit status.
func (k *kubectl) shell(dir, line string) (string, int) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env, cmd.WaitDelay = dir, k.env, time.Second
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(k.t, err, "%s\n%s", line, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// do runs kubectl with arguments, which has to succeed, and returns what it printed.
func (k *kubectl) do(args ...string) string {
	k.t.Helper()
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	out, code := k.shell("", "kubectl "+strings.Join(quoted, " "))
	require.Zero(k.t, code, "kubectl %s: %s", strings.Join(args, " "), out)
	return out
}

// follow runs kubectl with arguments until it is done or the test is.
func (k *kubectl) follow(args ...string) *program {
	k.t.Helper()
	cmd := exec.Command(k.path, args...)
	cmd.Env = k.env
	return runProgram(k.t, cmd)
}

// pod creates a pod that runs a shell command, and waits until it is ready.
func (k *kubectl) pod(name string, grace int, command string) {
	k.t.Helper()
	k.do("run", name, "--image=ignored", fmt.Sprintf(`--overrides={"spec":{"terminationGracePeriodSeconds":%d}}`, grace), "--command", "--", "sh", "-c", command)
	k.do("wait", "--for=condition=Ready", "pod/"+name, "--timeout=60s")
}
