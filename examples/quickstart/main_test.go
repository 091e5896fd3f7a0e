package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/runtime/process"
)

// TestMain makes the test binary what the quickstart's binary is: supervisor, server, or else the program.
func TestMain(m *testing.M) {
	process.Main()
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// whole is the shape of the tour's output. Times and names differ.
var whole = []string{
	`1\. start a control plane and two nodes +\d+\.\d\ds  the API is at https://127\.0\.0\.1:\d+; node-a and node-b are Ready`,
	`2\. apply app\.yaml +\d+\.\d\ds  Namespace, ConfigMap, Deployment, Service`,
	`3\. wait for the rollout and call the Service +\d+\.\d\ds  30 requests to 127\.\d+\.\d+\.\d+: web-\S+ \d+, web-\S+ \d+, web-\S+ \d+`,
	`4\. kill one server with SIGKILL +\d+\.\d\ds  web-\S+ was process \d+ and is now \d+, restarted once`,
	`5\. stop a node +\d+\.\d\ds  [0-3] of its pods moved to node-a, where 3 run; then node-b came back`,
	`6\. roll out v2 under load, and back +\d+\.\d\ds  \d+ requests meanwhile, none failed: v1 \d+, v2 \d+`,
	`7\. scale to five, then to one +\d+\.\d\ds  5 ready, then 1`,
	`8\. restart the control plane on its data +\d+\.\d\ds  web-\S+ is still process \d+, and answers`,
	`9\. delete the namespace +\d+\.\d\ds  no object and no process is left`,
	`quickstart: ok`,
}

func TestTour(t *testing.T) {
	parallelOnLinux(t)
	var out screen
	dir := t.TempDir()
	require.NoError(t, run(t.Context(), &out, dir, false), "%s", &out)
	requireLines(t, whole, out.String())
	requireNothingLeft(t, dir)
}

// TestInterruption ends the tour at the moment a step begins, and while things are under way in it.
func TestInterruption(t *testing.T) {
	for _, until := range []string{"1. ", "2. ", "3. ", "4. ", "6. ", "8. "} {
		t.Run("at step "+until[:1], func(t *testing.T) {
			parallelOnLinux(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := screen{until: until, reached: cancel}
			dir := t.TempDir()
			require.ErrorIs(t, run(ctx, &out, dir, false), errInterrupted, "%s", &out)
			require.NotContains(t, out.String(), "quickstart: ok")
			requireNothingLeft(t, dir)
		})
	}
	t.Run("with a pod half started", func(t *testing.T) {
		parallelOnLinux(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		dir := t.TempDir()
		d := &demo{dir: dir}
		_, err := d.start(ctx)
		require.NoError(t, err)
		_, err = d.apply(ctx)
		require.NoError(t, err)
		require.NoError(t, poll(ctx, func() (bool, error) {
			return d.sandboxes(ctx)
		}))
		cancel()
		require.NoError(t, d.tearDown())
		requireNoProcess(t, dir)
	})
}

// TestOutputGone is `quickstart | head -1`: when nobody reads any more, the tour ends, and as completely as ever.
func TestOutputGone(t *testing.T) {
	parallelOnLinux(t)
	gone := errors.New("nobody reads")
	dir := t.TempDir()
	err := run(t.Context(), &screen{until: "3. ", err: gone}, dir, false)
	require.ErrorIs(t, err, gone)
	require.NotErrorIs(t, err, errInterrupted)
	requireNothingLeft(t, dir)
}

func TestStepFails(t *testing.T) {
	parallelOnLinux(t)
	dir := t.TempDir()
	d := &demo{dir: dir}
	var out screen
	err := d.take(t.Context(), &out, 7, step{"try in vain", func(context.Context) (string, error) { return "", os.ErrPermission }})
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, "step 7, try in vain: ")
	require.Error(t, run(t.Context(), &out, filepath.Join(dir, "missing"), false))
}

// TestKeep stays up after the rollout, and each command that it prints works when it is pasted.
func TestKeep(t *testing.T) {
	parallelOnLinux(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	up := make(chan struct{})
	out := screen{until: "--replicas=5\n", reached: sync.OnceFunc(func() { close(up) })}
	dir := t.TempDir()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, &out, dir, true) }()
	select {
	case <-up:
	case err := <-ended:
		t.Fatalf("ended by itself: %v\n%s", err, &out)
	}
	commands := regexp.MustCompile(`(?m)^  kubectl (.*)$`).FindAllStringSubmatch(out.String(), -1)
	require.Len(t, commands, 3)
	if kubectl, err := exec.LookPath("kubectl"); err != nil {
		t.Log("kubectl is not on PATH, so that its commands were not tried")
	} else {
		for _, command := range commands {
			said, err := exec.CommandContext(ctx, kubectl, strings.Fields(command[1])...).CombinedOutput()
			require.NoError(t, err, "%s: %s", command[0], said)
			require.NotEmpty(t, said)
		}
	}
	cancel()
	require.NoError(t, <-ended)
	require.Regexp(t, `The cluster stays up until Ctrl-C. Its kubeconfig: \S+/kubeconfig\n`, out.String())
	require.True(t, strings.HasSuffix(out.String(), "quickstart: everything was removed\n"))
	requireNothingLeft(t, dir)
}

// parallelOnLinux lets a tour run beside others. Elsewhere there is no tour: it needs an address for each pod.
func parallelOnLinux(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skipf("the tour needs Linux's whole 127.0.0.0/8, and this is %s", runtime.GOOS)
	}
	t.Parallel()
}

// sandboxes tells whether any node has begun one.
func (d *demo) sandboxes(ctx context.Context) (bool, error) {
	for _, m := range d.nodes {
		list, err := m.node.Runtime().ListPodSandbox(ctx, nil)
		if len(list) > 0 || err != nil {
			return true, err
		}
	}
	return false, nil
}

func requireLines(t *testing.T, want []string, got string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	require.Len(t, lines, len(want), "%s", got)
	for i, line := range lines {
		require.Regexp(t, "^"+want[i]+"$", line)
	}
}

func requireNothingLeft(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	requireNoProcess(t, dir)
}

// requireNoProcess looks for supervisors, which have their directory in their environment. No pod outlives its own.
func requireNoProcess(t *testing.T, dir string) {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, file := range found {
		environ, err := os.ReadFile(file)
		if err == nil && bytes.Contains(environ, []byte("="+dir+"/")) {
			t.Errorf("%s is left", filepath.Dir(file))
		}
	}
}

// screen collects output, and reacts once it ends with a text that it waits for.
type screen struct {
	until   string
	reached func()
	err     error // what writing gives from then on

	mu   sync.Mutex
	text strings.Builder
	met  bool
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	s.text.Write(p)
	s.met = s.met || s.until != "" && (strings.Contains(string(p), s.until))
	met := s.met
	s.mu.Unlock()
	if met && s.reached != nil {
		s.reached()
	}
	if met && s.err != nil {
		return 0, s.err
	}
	return len(p), nil
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
