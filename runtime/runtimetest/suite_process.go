package runtimetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func testExec(b *bench) {
	pod := b.pod("one")
	id := b.start(pod, "c", "sleep", "1000")
	out, errs, err := b.rt.ExecSync(b.ctx, id, []string{"/bin/sh", "-c", "echo out; echo err >&2"}, 30*time.Second)
	b.ok(err)
	require.Equal(b, "out\n", string(out))
	require.Equal(b, "err\n", string(errs))
	out, _, err = b.rt.ExecSync(b.ctx, id, []string{"/bin/sh", "-c", "echo before; exit 3"}, 0)
	require.Equal(b, 3, exitCode(b, err))
	require.Equal(b, "before\n", string(out))
	_, _, err = b.rt.ExecSync(b.ctx, id, []string{NoSuchCommand}, 30*time.Second)
	require.Error(b, err)
	require.Equal(b, running, b.status(id).State)
}

func exitCode(b *bench, err error) int {
	b.Helper()
	var exit *kruntime.ExitError
	require.True(b, errors.As(err, &exit), "want an exit code, got %v", err)
	return exit.Code
}

func testExecTimeout(b *bench) {
	pod := b.pod("one")
	id := b.start(pod, "c", "sleep", "1000")
	_, _, err := b.rt.ExecSync(b.ctx, id, []string{"sleep", "1000"}, 100*time.Millisecond)
	b.code(codes.DeadlineExceeded, err)
	_, _, err = b.rt.ExecSync(b.ctx, id, []string{"true"}, 30*time.Second)
	b.ok(err)
}

func testStream(b *bench) {
	streamer, ok := b.rt.(kruntime.Streamer)
	if !ok {
		b.Skip("the runtime serves its streams itself")
	}
	pod := b.pod("one")
	id := b.start(pod, "c", "sleep", "1000")
	var out, errs strings.Builder
	err := streamer.StreamExec(b.ctx, id, []string{"/bin/sh", "-c", "echo out; echo err >&2; exit 4"}, kruntime.Streams{Stdout: &out, Stderr: &errs})
	require.Equal(b, 4, exitCode(b, err))
	require.Equal(b, "out\n", out.String())
	require.Equal(b, "err\n", errs.String())

	ctx, cancel := context.WithCancel(b.ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- streamer.StreamExec(ctx, id, []string{"sleep", "1000"}, kruntime.Streams{Stdout: &out})
	}()
	cancel()
	b.code(codes.Canceled, <-ended)

	go func() { ended <- streamer.StreamAttach(b.ctx, id, kruntime.Streams{Stdout: &out}) }()
	b.ok(b.rt.StopContainer(b.ctx, id, 30))
	if err := <-ended; err != nil { // it may have come after the end
		b.code(codes.FailedPrecondition, err)
	}
	b.code(codes.NotFound, streamer.StreamAttach(b.ctx, "none", kruntime.Streams{}))
}

// awaitLog waits until a line of a container's log has a text: the process has come that far. A log has no event, so
// this looks again and again.
func (b *bench) awaitLog(pod, container, text string) {
	b.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		content, _ := os.ReadFile(filepath.Join(b.logs, pod, container+".log"))
		if strings.Contains(string(content), " F "+text+"\n") {
			return
		}
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			require.FailNow(b, "log", "%q never came: %s", text, content)
		}
	}
}

func testLogs(b *bench) {
	next := b.watch()
	pod := b.pod("one")
	id := b.start(pod, "c", "/bin/sh", "-c", "echo first; echo second >&2; exit 0")
	b.exit(next, id)
	content, err := os.ReadFile(filepath.Join(b.logs, "one", "c.log"))
	b.ok(err)
	got := map[string]string{}
	for line := range strings.Lines(string(content)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		require.Len(b, fields, 4, line)
		_, err := time.Parse(time.RFC3339Nano, fields[0])
		b.ok(err)
		require.Equal(b, "F", fields[2])
		got[fields[1]] += fields[3]
	}
	require.Equal(b, map[string]string{"stdout": "first", "stderr": "second"}, got)

	id = b.start(pod, "d", "/bin/sh", "-c", "echo ready; sleep 1000")
	b.awaitLog("one", "d", "ready")
	path := filepath.Join(b.logs, "one", "d.log")
	b.ok(os.Rename(path, path+".1"))
	b.ok(b.rt.ReopenContainerLog(b.ctx, id))
	_, err = os.Stat(path)
	b.ok(err)
	b.ok(b.rt.StopContainer(b.ctx, id, 30))
	b.code(codes.FailedPrecondition, b.rt.ReopenContainerLog(b.ctx, id))
}

func testEvents(b *bench) {
	next := b.watch()
	pod := b.pod("one")
	id := b.start(pod, "c", "/bin/sh", "-c", "exit 3")
	b.exit(func() *runtimeapi.ContainerEventResponse { return nil }, b.startedAndEnded(next, id))
	b.ok(b.rt.RemoveContainer(b.ctx, id))
	for e := next(); ; e = next() {
		if e.ContainerId == id && e.ContainerEventType == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT {
			return
		}
	}
}

// startedAndEnded reads a container's events up to its end, and checks that state and order fit.
func (b *bench) startedAndEnded(next func() *runtimeapi.ContainerEventResponse, id string) string {
	b.Helper()
	last := runtimeapi.ContainerEventType(-1)
	for {
		e := next()
		require.NotNil(b, e.PodSandboxStatus)
		if e.ContainerId != id {
			continue
		}
		require.Greater(b, e.ContainerEventType, last, "events in order")
		last = e.ContainerEventType
		require.Positive(b, e.CreatedAt)
		require.NotEmpty(b, e.ContainersStatuses)
		if last == runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT {
			require.Equal(b, exited, e.ContainersStatuses[0].State)
			require.EqualValues(b, 3, e.ContainersStatuses[0].ExitCode)
			return id
		}
	}
}
