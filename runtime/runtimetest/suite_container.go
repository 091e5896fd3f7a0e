package runtimetest

import (
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func testContainer(b *bench) {
	pod := b.pod("one")
	id := b.create(pod, "c", "sleep", "1000")
	s := b.status(id)
	require.Equal(b, created, s.State)
	require.Zero(b, s.StartedAt)
	require.Equal(b, "c", s.Metadata.Name)
	require.Equal(b, "example.com/suite:1", s.Image.GetImage())
	require.Equal(b, map[string]string{"container": "c"}, s.Labels)
	require.Equal(b, map[string]string{"note": "kept"}, s.Annotations)
	require.Equal(b, filepath.Join(b.logs, "one", "c.log"), s.LogPath)

	b.ok(b.rt.StartContainer(b.ctx, id))
	s = b.status(id)
	require.Equal(b, running, s.State)
	require.GreaterOrEqual(b, s.StartedAt, s.CreatedAt)
	b.code(codes.FailedPrecondition, b.rt.StartContainer(b.ctx, id))

	for name, test := range map[string]struct {
		filter *runtimeapi.ContainerFilter
		want   int
	}{
		"all":           {nil, 1},
		"id":            {&runtimeapi.ContainerFilter{Id: id}, 1},
		"sandbox":       {&runtimeapi.ContainerFilter{PodSandboxId: pod}, 1},
		"other sandbox": {&runtimeapi.ContainerFilter{PodSandboxId: "none"}, 0},
		"label":         {&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"container": "c"}}, 1},
		"running":       {&runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: running}}, 1},
		"exited":        {&runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: exited}}, 0},
	} {
		list, err := b.rt.ListContainers(b.ctx, test.filter)
		b.ok(err)
		require.Len(b, list, test.want, name)
		if test.want == 1 {
			require.Equal(b, id, list[0].Id)
			require.Equal(b, pod, list[0].PodSandboxId)
			require.Equal(b, running, list[0].State)
		}
	}
	b.ok(b.rt.UpdateContainerResources(b.ctx, id, &runtimeapi.ContainerResources{Linux: &runtimeapi.LinuxContainerResources{CpuShares: 7}}))
	require.EqualValues(b, 7, b.status(id).GetResources().GetLinux().GetCpuShares())
	b.ok(b.rt.StopContainer(b.ctx, id, 30))
	s = b.status(id)
	require.Equal(b, exited, s.State)
	require.GreaterOrEqual(b, s.FinishedAt, s.StartedAt)
	b.ok(b.rt.StopContainer(b.ctx, id, 30))
	b.ok(b.rt.RemoveContainer(b.ctx, id))
	b.ok(b.rt.RemoveContainer(b.ctx, id))
	_, err := b.rt.ContainerStatus(b.ctx, id, false)
	b.code(codes.NotFound, err)
}

func testContainerErrors(b *bench) {
	pod := b.pod("one")
	_, err := b.rt.ContainerStatus(b.ctx, "none", false)
	b.code(codes.NotFound, err)
	b.code(codes.NotFound, b.rt.StartContainer(b.ctx, "none"))
	b.ok(b.rt.StopContainer(b.ctx, "none", 1))
	b.ok(b.rt.RemoveContainer(b.ctx, "none"))
	b.code(codes.NotFound, b.rt.ReopenContainerLog(b.ctx, "none"))
	_, err = b.rt.ContainerStats(b.ctx, "none")
	b.code(codes.NotFound, err)
	_, _, err = b.rt.ExecSync(b.ctx, "none", []string{"true"}, time.Second)
	b.code(codes.NotFound, err)
	_, err = b.rt.CreateContainer(b.ctx, pod, &runtimeapi.ContainerConfig{Command: []string{"sleep", "1"}}, b.podConfig("one"))
	b.code(codes.InvalidArgument, err)
	config := containerConfig("c", "sleep", "1")
	config.LogPath = "../outside.log"
	_, err = b.rt.CreateContainer(b.ctx, pod, config, b.podConfig("one"))
	b.code(codes.InvalidArgument, err)

	id := b.create(pod, "c", "sleep", "1000")
	_, err = b.rt.CreateContainer(b.ctx, pod, containerConfig("c", "sleep", "1000"), b.podConfig("one"))
	b.code(codes.AlreadyExists, err)
	again := containerConfig("c", "sleep", "1000")
	again.Metadata.Attempt = 1
	_, err = b.rt.CreateContainer(b.ctx, pod, again, b.podConfig("one"))
	b.ok(err)
	_, _, err = b.rt.ExecSync(b.ctx, id, []string{"true"}, time.Second)
	b.code(codes.FailedPrecondition, err)

	b.ok(b.rt.StopPodSandbox(b.ctx, pod))
	_, err = b.rt.CreateContainer(b.ctx, pod, containerConfig("d", "sleep", "1"), b.podConfig("one"))
	b.code(codes.FailedPrecondition, err)
	b.code(codes.FailedPrecondition, b.rt.StartContainer(b.ctx, id))
}

func testExitCodes(b *bench) {
	next := b.watch()
	pod := b.pod("one")
	for i, test := range []struct {
		script string
		code   int32
		reason string
	}{
		{"exit 0", 0, "Completed"},
		{"exit 3", 3, "Error"},
		{"sleep 0.05; exit 7", 7, "Error"},
	} {
		id := b.start(pod, fmt.Sprint("c", i), "/bin/sh", "-c", test.script)
		s := b.exit(next, id)
		require.Equal(b, test.code, s.ExitCode, test.script)
		require.Equal(b, test.reason, s.Reason, test.script)
		require.GreaterOrEqual(b, s.FinishedAt, s.StartedAt)
		b.code(codes.FailedPrecondition, b.rt.StartContainer(b.ctx, id))
		_, _, err := b.rt.ExecSync(b.ctx, id, []string{"true"}, time.Second)
		b.code(codes.FailedPrecondition, err)
	}
}

func testStartError(b *bench) {
	pod := b.pod("one")
	id := b.create(pod, "c", NoSuchCommand)
	require.Error(b, b.rt.StartContainer(b.ctx, id))
	s := b.status(id)
	require.Equal(b, exited, s.State)
	require.EqualValues(b, 128, s.ExitCode)
	require.Equal(b, "StartError", s.Reason)
	require.Contains(b, s.Message, NoSuchCommand)
	b.ok(b.rt.StopContainer(b.ctx, id, 5))
	b.ok(b.rt.RemoveContainer(b.ctx, id))
}

func testStopWithGrace(b *bench) {
	pod := b.pod("one")
	id := b.start(pod, "c", "/bin/sh", "-c", "trap 'exit 5' TERM; echo ready; sleep 1000 & wait")
	b.awaitLog("one", "c", "ready")
	b.ok(b.rt.StopContainer(b.ctx, id, 60))
	s := b.status(id)
	require.Equal(b, exited, s.State)
	require.EqualValues(b, 5, s.ExitCode)
}

func testStopByForce(b *bench) {
	pod := b.pod("one")
	id := b.start(pod, "c", "/bin/sh", "-c", "trap '' TERM; echo ready; sleep 1000")
	b.awaitLog("one", "c", "ready")
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			if err := b.rt.StopContainer(b.ctx, id, 1); err != nil {
				b.Errorf("stop: %v", err)
			}
		})
	}
	wait.Wait()
	s := b.status(id)
	require.Equal(b, exited, s.State)
	require.EqualValues(b, 137, s.ExitCode)

	id = b.start(pod, "d", "sleep", "1000")
	b.ok(b.rt.StopContainer(b.ctx, id, 0))
	require.EqualValues(b, 137, b.status(id).ExitCode, "no grace means killed")
}

func testRemoveRunning(b *bench) {
	pod := b.pod("one")
	id := b.start(pod, "c", "sleep", "1000")
	b.ok(b.rt.RemoveContainer(b.ctx, id))
	list, err := b.rt.ListContainers(b.ctx, nil)
	b.ok(err)
	require.Empty(b, list)
}

func testStopSandbox(b *bench) {
	pod := b.pod("one")
	ids := []string{b.start(pod, "c", "sleep", "1000"), b.start(pod, "d", "sleep", "1000")}
	waiting := b.create(pod, "e", "sleep", "1000")
	b.ok(b.rt.StopPodSandbox(b.ctx, pod))
	for _, id := range ids {
		s := b.status(id)
		require.Equal(b, exited, s.State)
		require.NotZero(b, s.ExitCode)
	}
	b.ok(b.rt.RemoveContainer(b.ctx, ids[0]))
	b.ok(b.rt.RemoveContainer(b.ctx, waiting))
	b.ok(b.rt.RemovePodSandbox(b.ctx, pod))
	list, err := b.rt.ListContainers(b.ctx, nil)
	b.ok(err)
	require.Empty(b, list, "containers go with their sandbox")
}
