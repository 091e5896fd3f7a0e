package runtimetest

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Run tests an implementation. Open returns a runtime without pods, which the suite leaves without pods; open registers
// its own cleanup.
func Run(t *testing.T, open func(t *testing.T) kruntime.Runtime) {
	for _, test := range []struct {
		name string
		run  func(*bench)
	}{
		{"Sandbox", testSandbox},
		{"SandboxErrors", testSandboxErrors},
		{"HostNetwork", testHostNetwork},
		{"ManySandboxes", testManySandboxes},
		{"Container", testContainer},
		{"ContainerErrors", testContainerErrors},
		{"ExitCodes", testExitCodes},
		{"StartError", testStartError},
		{"StopWithGrace", testStopWithGrace},
		{"StopByForce", testStopByForce},
		{"RemoveRunning", testRemoveRunning},
		{"StopSandbox", testStopSandbox},
		{"Exec", testExec},
		{"ExecTimeout", testExecTimeout},
		{"Stream", testStream},
		{"Logs", testLogs},
		{"Events", testEvents},
		{"Images", testImages},
		{"Stats", testStats},
		{"Status", testStatus},
		{"EndedContext", testEndedContext},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			t.Cleanup(cancel)
			test.run(&bench{T: t, ctx: ctx, rt: open(t), logs: t.TempDir()})
		})
	}
}

// bench is a test with its runtime.
type bench struct {
	*testing.T
	ctx  context.Context
	rt   kruntime.Runtime
	logs string
}

func (b *bench) ok(err error) {
	b.Helper()
	require.NoError(b, err)
}

func (b *bench) code(want codes.Code, err error) {
	b.Helper()
	require.Error(b, err)
	require.Equal(b, want.String(), status.Code(err).String(), "error: %v", err)
}

func (b *bench) podConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "suite", Uid: "uid-" + name, Attempt: 1},
		Hostname: name, LogDirectory: filepath.Join(b.logs, name),
		Labels: map[string]string{"app": name, "suite": "yes"}, Annotations: map[string]string{"note": "kept"},
	}
}

// pod runs a sandbox that is removed at the end.
func (b *bench) pod(name string) string {
	b.Helper()
	id, err := b.rt.RunPodSandbox(b.ctx, b.podConfig(name), "")
	b.ok(err)
	b.remove(id)
	return id
}

func (b *bench) remove(sandbox string) {
	b.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := b.rt.RemovePodSandbox(ctx, sandbox); err != nil {
			b.Errorf("remove sandbox: %v", err)
		}
	})
}

func containerConfig(name string, command ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: "example.com/suite:1"},
		Command: command, LogPath: name + ".log", Labels: map[string]string{"container": name}, Annotations: map[string]string{"note": "kept"},
	}
}

func (b *bench) create(sandbox, name string, command ...string) string {
	b.Helper()
	id, err := b.rt.CreateContainer(b.ctx, sandbox, containerConfig(name, command...), b.podConfig(name))
	b.ok(err)
	return id
}

func (b *bench) start(sandbox, name string, command ...string) string {
	b.Helper()
	id := b.create(sandbox, name, command...)
	b.ok(b.rt.StartContainer(b.ctx, id))
	return id
}

func (b *bench) status(container string) *runtimeapi.ContainerStatus {
	b.Helper()
	answer, err := b.rt.ContainerStatus(b.ctx, container, false)
	b.ok(err)
	return answer.Status
}

// watch collects events; what it returns waits for one more.
func (b *bench) watch() (next func() *runtimeapi.ContainerEventResponse) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.ctx)
	events, ready, ended := make(chan *runtimeapi.ContainerEventResponse, 64), make(chan struct{}), make(chan error, 1)
	var once sync.Once
	go func() {
		ended <- b.rt.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) { once.Do(func() { close(ready) }) })
	}()
	b.Cleanup(func() {
		cancel()
		<-ended
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		require.FailNow(b, "event stream", "ended: %v", err)
	}
	return func() *runtimeapi.ContainerEventResponse {
		b.Helper()
		select {
		case e := <-events:
			return e
		case <-b.ctx.Done():
			require.FailNow(b, "no event")
			return nil
		}
	}
}

// exit waits until a container has ended.
func (b *bench) exit(next func() *runtimeapi.ContainerEventResponse, container string) *runtimeapi.ContainerStatus {
	b.Helper()
	for {
		if s := b.status(container); s.State == exited {
			return s
		}
		next()
	}
}
