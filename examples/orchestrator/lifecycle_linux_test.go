package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/https"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const restarts = `-o=jsonpath={range .items[*]}{.metadata.name} {.status.phase} {.status.containerStatuses[0].restartCount}{"\n"}{end}`

// TestKillLosesNothing kills the program while clients write. The pods go on, the next start adopts them, and everything
// that was acknowledged is there.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	k := m.kubectl()
	data := filepath.Join(m.dir, "data")
	first := m.start("--data-dir", data, "--nodes", "2")
	k.pod("one", 1, "echo started; exec sleep 3600")
	k.pod("two", 1, "echo started; exec sleep 3600")
	before := m.pods(first)
	require.GreaterOrEqual(t, len(before), 4, "two supervisors, two containers")

	enough, load := writeUntilRefused(t, m.kubeconfig, 100)
	<-enough
	require.Error(t, first.signal(syscall.SIGKILL))
	acknowledged := load()
	require.Equal(t, before, m.pods(), "kill -9 leaves the pods running")

	second := m.start("--data-dir", data, "--nodes", "2")
	k.do("wait", "--for=condition=Ready", "pod/one", "pod/two", "node/node-1", "node/node-2", "--timeout=60s")
	names := configMaps(t, m.kubeconfig)
	for _, name := range acknowledged {
		require.Contains(t, names, name, "a write that was acknowledged before kill -9")
	}
	require.Equal(t, "adopted\n", k.do("exec", "one", "--", "echo", "adopted"))
	require.Equal(t, "started\n", k.do("logs", "two"))
	require.Equal(t, "one Running 0\ntwo Running 0\n", k.do("get", "pods", restarts))
	require.Equal(t, before, m.pods(second), "the same processes, not new ones")

	// What was adopted can be ended and is really gone; what is new is new.
	k.do("delete", "pod", "one")
	k.pod("three", 1, "exec sleep 3600")
	require.Equal(t, "three Running 0\ntwo Running 0\n", k.do("get", "pods", restarts))
	require.NoError(t, second.signal(syscall.SIGTERM))
	require.Empty(t, m.processes(), "SIGTERM ends the pods, adopted ones too")
	second.out.wait(t, "stopped\n")
}

// writeUntilRefused creates ConfigMaps from four clients until the server is gone. The channel is closed when enough have
// been acknowledged; the function waits for the end and returns the names of all that were.
func writeUntilRefused(t *testing.T, kubeconfig string, enough int) (<-chan struct{}, func() []string) {
	c, err := https.FromKubeconfig(kubeconfig)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	var (
		wg           sync.WaitGroup
		mu           sync.Mutex
		acknowledged []string
	)
	reached := make(chan struct{})
	for worker := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				cm := kind.ConfigMap.New()
				cm.Namespace, cm.Name = "default", fmt.Sprintf("written-%d-%d", worker, i)
				if _, err := client.For(c, kind.ConfigMap).Create(ctx, cm); err != nil {
					return
				}
				mu.Lock()
				acknowledged = append(acknowledged, cm.Name)
				if len(acknowledged) == enough {
					close(reached)
				}
				mu.Unlock()
			}
		})
	}
	return reached, func() []string {
		wg.Wait()
		return acknowledged
	}
}

// configMaps is the names of all ConfigMaps of the namespace default.
func configMaps(t *testing.T, kubeconfig string) map[string]bool {
	c, err := https.FromKubeconfig(kubeconfig)
	require.NoError(t, err)
	defer func() { _ = c.Close() }()
	list, err := client.For(c, kind.ConfigMap).List(t.Context(), client.InNamespace("default"))
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, cm := range list.Items {
		names[cm.Name] = true
	}
	return names
}

// TestKeepPods stops the program in order, with its pods left for the next start, and then without.
func TestKeepPods(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	k := m.kubectl()
	data := filepath.Join(m.dir, "data")
	first := m.start("--data-dir", data, "--keep-pods")
	k.pod("kept", 1, `trap "" TERM; while :; do sleep 3600 & wait; done`)
	k.do("create", "configmap", "remembered", "--from-literal=by=heart")
	before := m.pods(first)
	require.NoError(t, first.signal(syscall.SIGTERM))
	require.Equal(t, before, m.pods())

	second := m.start("--data-dir", data)
	k.do("wait", "--for=condition=Ready", "pod/kept", "--timeout=60s")
	require.Equal(t, "kept Running 0\n", k.do("get", "pods", restarts))
	require.Equal(t, "heart", k.do("get", "configmap", "remembered", "-o=jsonpath={.data.by}"))
	require.Equal(t, before, m.pods(second))
	require.NoError(t, second.signal(syscall.SIGINT))
	require.Empty(t, m.processes(), "a pod that ignores SIGTERM ends with its grace period")

	m.start("--data-dir", data)
	k.do("wait", "--for=condition=Ready", "pod/kept", "--timeout=60s")
}

// TestInMemory leaves nothing: no process, no file.
func TestInMemory(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	k := m.kubectl()
	p := m.start()
	k.pod("short", 1, "exec sleep 3600")
	require.NoError(t, p.signal(syscall.SIGTERM))
	require.Empty(t, m.processes())
	left, err := os.ReadDir(m.temp)
	require.NoError(t, err)
	require.Empty(t, left)

	m.start()
	require.Equal(t, "No resources found in default namespace.\n", k.do("get", "pods"))
}

// TestRefusals starts the program where it can't run: it says why, exits with 1 or, for wrong arguments, 2, and leaves nothing.
func TestRefusals(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	data := filepath.Join(m.dir, "data")
	running := m.start("--data-dir", data, "--nodes", "0")
	file := filepath.Join(m.dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"data directory in use":     {[]string{"--data-dir", data, "--listen", "127.0.0.1:0"}, 1, "does another process run this cluster?"},
		"port taken":                {[]string{"--listen", running.url()}, 1, running.url() + ": bind: address already in use"},
		"DNS port taken":            {[]string{"--listen", "127.0.0.1:0", "--dns", running.url()}, 1, "listen on " + running.url()},
		"kubeconfig can't be there": {[]string{"--listen", "127.0.0.1:0", "--kubeconfig", filepath.Join(m.dir, "absent", "kubeconfig")}, 1, "orchestrator: --kubeconfig: "},
		"kubeconfig is a directory": {[]string{"--listen", "127.0.0.1:0", "--kubeconfig", m.temp}, 1, "orchestrator: --kubeconfig: "},
		"data directory is a file":  {[]string{"--listen", "127.0.0.1:0", "--data-dir", file}, 1, "DataDir: mkdir " + file + ": not a directory"},
		"no port":                   {[]string{"--listen", "127.0.0.1"}, 2, `--listen "127.0.0.1": want host:port`},
		"too many nodes":            {[]string{"--nodes", "101"}, 2, "--nodes 101: want 0 to 100"},
		"nothing to find pods by":   {[]string{"--keep-pods"}, 2, "--keep-pods needs --data-dir"},
		"a word too many":           {[]string{"start"}, 2, `unknown argument "start"`},
		"no such flag":              {[]string{"--datadir", "x"}, 2, "flag provided but not defined: -datadir"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own := newMachine(t)
			p := own.run(tt.args...)
			var exit *exec.ExitError
			require.ErrorAs(t, p.wait(), &exit)
			require.Equal(t, tt.code, exit.ExitCode())
			require.Contains(t, p.out.String(), tt.says)
			require.Empty(t, own.processes())
			left, err := os.ReadDir(own.temp)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}
