package process_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/keelson-dev/keelson/runtime/process"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// open opens a runtime that loses its pods and is closed at the end of the test.
func open(t *testing.T, config process.Config) *process.Runtime {
	if config.Root == "" {
		config.Root = filepath.Join(t.TempDir(), "root")
	}
	config.Logger = zaptest.NewLogger(t)
	r, err := process.New(config)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		pods, err := r.ListPodSandbox(ctx, nil)
		if err == nil { // else it is closed already
			for _, pod := range pods {
				require.NoError(t, r.RemovePodSandbox(ctx, pod.Id))
			}
			left, err := os.ReadDir(filepath.Join(config.Root, "pods"))
			require.NoError(t, err)
			require.Empty(t, left)
		}
		require.NoError(t, r.Close(ctx))
	})
	return r
}

// modes are the ways to supervise pods. What the machine does not allow falls back to the next one.
var modes = map[string]process.Config{
	"supervised":    {},
	"no namespaces": {NoNamespaces: true},
	"in process":    {InProcess: true},
}

func TestSuite(t *testing.T) {
	for name, config := range modes {
		t.Run(name, func(t *testing.T) {
			runtimetest.Run(t, func(t *testing.T) kruntime.Runtime { return open(t, config) })
		})
	}
}

// pod is a sandbox with what tests do to it.
type pod struct {
	*testing.T
	r    *process.Runtime
	id   string
	logs string
}

func newPod(t *testing.T, r *process.Runtime, name string) *pod {
	config := podConfig(name)
	config.LogDirectory = filepath.Join(t.TempDir(), "logs")
	id, err := r.RunPodSandbox(t.Context(), config, "")
	require.NoError(t, err)
	return &pod{T: t, r: r, id: id, logs: config.LogDirectory}
}

func (p *pod) start(config *runtimeapi.ContainerConfig) string {
	p.Helper()
	id, err := p.r.CreateContainer(p.Context(), p.id, config, nil)
	require.NoError(p, err)
	require.NoError(p, p.r.StartContainer(p.Context(), id))
	return id
}

func (p *pod) status(id string) (*runtimeapi.ContainerStatus, map[string]string) {
	p.Helper()
	answer, err := p.r.ContainerStatus(p.Context(), id, true)
	require.NoError(p, err)
	return answer.Status, answer.Info
}

// until waits for what comes with container events.
func until(t *testing.T, r *process.Runtime, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	events, ready, ended := make(chan *runtimeapi.ContainerEventResponse), make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- r.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) { close(ready) })
	}()
	<-ready
	for !done() {
		select {
		case <-events:
		case <-ctx.Done():
			t.Fatal("it never came")
		}
	}
	cancel()
	<-ended
}

func (p *pod) exit(id string) *runtimeapi.ContainerStatus {
	p.Helper()
	until(p.T, p.r, func() bool {
		s, _ := p.status(id)
		return s.State == runtimeapi.ContainerState_CONTAINER_EXITED
	})
	s, _ := p.status(id)
	return s
}

func (p *pod) log(name string) string {
	p.Helper()
	content, err := os.ReadFile(filepath.Join(p.logs, name+".log"))
	require.NoError(p, err)
	return string(content)
}

func (p *pod) exec(id string, cmd ...string) string {
	p.Helper()
	out, errs, err := p.r.ExecSync(p.Context(), id, cmd, 30*time.Second)
	require.NoError(p, err, "stderr: %s", errs)
	return string(out)
}
