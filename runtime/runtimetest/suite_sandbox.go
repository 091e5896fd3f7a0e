package runtimetest

import (
	"context"
	"fmt"
	"sync"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func testSandbox(b *bench) {
	config := b.podConfig("one")
	id, err := b.rt.RunPodSandbox(b.ctx, config, "")
	b.ok(err)
	b.remove(id)
	answer, err := b.rt.PodSandboxStatus(b.ctx, id, false)
	b.ok(err)
	s := answer.Status
	require.Equal(b, id, s.Id)
	require.Equal(b, runtimeapi.PodSandboxState_SANDBOX_READY, s.State)
	require.Equal(b, "one", s.Metadata.Name)
	require.Equal(b, "uid-one", s.Metadata.Uid)
	require.EqualValues(b, 1, s.Metadata.Attempt)
	require.Equal(b, config.Labels, s.Labels)
	require.Equal(b, config.Annotations, s.Annotations)
	require.NotEmpty(b, s.Network.GetIp())
	require.Positive(b, s.CreatedAt)

	_, err = b.rt.RunPodSandbox(b.ctx, config, "")
	b.code(codes.AlreadyExists, err)

	for name, test := range map[string]struct {
		filter *runtimeapi.PodSandboxFilter
		want   int
	}{
		"all":         {nil, 1},
		"id":          {&runtimeapi.PodSandboxFilter{Id: id}, 1},
		"other id":    {&runtimeapi.PodSandboxFilter{Id: "none"}, 0},
		"label":       {&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "one"}}, 1},
		"other label": {&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "two"}}, 0},
		"ready":       {&runtimeapi.PodSandboxFilter{State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}}, 1},
		"not ready":   {&runtimeapi.PodSandboxFilter{State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY}}, 0},
	} {
		list, err := b.rt.ListPodSandbox(b.ctx, test.filter)
		b.ok(err)
		require.Len(b, list, test.want, name)
	}
	b.ok(b.rt.StopPodSandbox(b.ctx, id))
	b.ok(b.rt.StopPodSandbox(b.ctx, id))
	answer, err = b.rt.PodSandboxStatus(b.ctx, id, false)
	b.ok(err)
	require.Equal(b, runtimeapi.PodSandboxState_SANDBOX_NOTREADY, answer.Status.State)
	b.ok(b.rt.RemovePodSandbox(b.ctx, id))
	_, err = b.rt.PodSandboxStatus(b.ctx, id, false)
	b.code(codes.NotFound, err)
	again, err := b.rt.RunPodSandbox(b.ctx, config, "")
	b.ok(err)
	b.remove(again)
	require.NotEqual(b, id, again)
}

func testSandboxErrors(b *bench) {
	_, err := b.rt.PodSandboxStatus(b.ctx, "none", false)
	b.code(codes.NotFound, err)
	b.ok(b.rt.StopPodSandbox(b.ctx, "none"))
	b.ok(b.rt.RemovePodSandbox(b.ctx, "none"))
	_, err = b.rt.RunPodSandbox(b.ctx, &runtimeapi.PodSandboxConfig{}, "")
	b.code(codes.InvalidArgument, err)
	_, err = b.rt.RunPodSandbox(b.ctx, b.podConfig("one"), "no-such-handler")
	b.code(codes.InvalidArgument, err)
	_, err = b.rt.CreateContainer(b.ctx, "none", containerConfig("c", "sleep", "1"), b.podConfig("one"))
	b.code(codes.NotFound, err)
	list, err := b.rt.ListPodSandbox(b.ctx, nil)
	b.ok(err)
	require.Empty(b, list)
}

func testHostNetwork(b *bench) {
	config := b.podConfig("host")
	config.Linux = &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE}}}
	var addresses []string
	for _, uid := range []string{"a", "b"} {
		config.Metadata.Uid = uid
		id, err := b.rt.RunPodSandbox(b.ctx, config, "")
		b.ok(err)
		b.remove(id)
		answer, err := b.rt.PodSandboxStatus(b.ctx, id, false)
		b.ok(err)
		addresses = append(addresses, answer.Status.Network.GetIp())
		require.Equal(b, runtimeapi.NamespaceMode_NODE, answer.Status.GetLinux().GetNamespaces().GetOptions().GetNetwork())
	}
	require.Equal(b, addresses[0], addresses[1], "pods in the host's network share its address")
}

func testManySandboxes(b *bench) {
	const n = 8
	var mu sync.Mutex
	var wait sync.WaitGroup
	ids := map[string]bool{}
	for i := range n {
		wait.Go(func() {
			id, err := b.rt.RunPodSandbox(b.ctx, b.podConfig(fmt.Sprint("pod", i)), "")
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				b.Errorf("run sandbox: %v", err)
				return
			}
			ids[id] = true
		})
	}
	wait.Wait()
	require.Len(b, ids, n)
	for id := range ids {
		b.remove(id)
	}
	list, err := b.rt.ListPodSandbox(b.ctx, &runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"suite": "yes"}})
	b.ok(err)
	require.Len(b, list, n)
}

func testImages(b *bench) {
	spec := &runtimeapi.ImageSpec{Image: "example.com/suite:1"}
	answer, err := b.rt.ImageStatus(b.ctx, spec, false)
	b.ok(err)
	require.Nil(b, answer.Image)
	ref, err := b.rt.PullImage(b.ctx, spec, nil, nil)
	b.ok(err)
	require.NotEmpty(b, ref)
	answer, err = b.rt.ImageStatus(b.ctx, spec, false)
	b.ok(err)
	require.NotNil(b, answer.Image)
	require.NotEmpty(b, answer.Image.Id)
	list, err := b.rt.ListImages(b.ctx, nil)
	b.ok(err)
	require.Len(b, list, 1)
	list, err = b.rt.ListImages(b.ctx, &runtimeapi.ImageFilter{Image: &runtimeapi.ImageSpec{Image: "example.com/other:1"}})
	b.ok(err)
	require.Empty(b, list)
	b.ok(b.rt.RemoveImage(b.ctx, spec))
	b.ok(b.rt.RemoveImage(b.ctx, spec))
	list, err = b.rt.ListImages(b.ctx, nil)
	b.ok(err)
	require.Empty(b, list)
	_, err = b.rt.PullImage(b.ctx, &runtimeapi.ImageSpec{}, nil, nil)
	b.code(codes.InvalidArgument, err)
	info, err := b.rt.ImageFsInfo(b.ctx)
	b.ok(err)
	require.NotEmpty(b, info.ImageFilesystems)
}

func testStats(b *bench) {
	pod := b.pod("one")
	id := b.start(pod, "c", "sleep", "1000")
	b.create(pod, "d", "sleep", "1000")
	s, err := b.rt.ContainerStats(b.ctx, id)
	b.ok(err)
	require.Equal(b, id, s.Attributes.Id)
	require.Equal(b, "c", s.Attributes.Metadata.Name)
	list, err := b.rt.ListContainerStats(b.ctx, &runtimeapi.ContainerStatsFilter{PodSandboxId: pod})
	b.ok(err)
	require.Len(b, list, 1, "of running containers")
	p, err := b.rt.PodSandboxStats(b.ctx, pod)
	b.ok(err)
	require.Equal(b, pod, p.Attributes.Id)
	pods, err := b.rt.ListPodSandboxStats(b.ctx, nil)
	b.ok(err)
	require.Len(b, pods, 1)
	_, err = b.rt.PodSandboxStats(b.ctx, "none")
	b.code(codes.NotFound, err)
}

func testStatus(b *bench) {
	version, err := b.rt.Version(b.ctx, "v1")
	b.ok(err)
	require.NotEmpty(b, version.RuntimeName)
	require.Equal(b, "v1", version.RuntimeApiVersion)
	answer, err := b.rt.Status(b.ctx, true)
	b.ok(err)
	ready := map[string]bool{}
	for _, c := range answer.Status.Conditions {
		ready[c.Type] = c.Status
	}
	require.Equal(b, map[string]bool{runtimeapi.RuntimeReady: true, runtimeapi.NetworkReady: true}, ready)
	_, err = b.rt.RuntimeConfig(b.ctx)
	b.ok(err)
	b.ok(b.rt.UpdateRuntimeConfig(b.ctx, &runtimeapi.RuntimeConfig{NetworkConfig: &runtimeapi.NetworkConfig{PodCidr: "10.0.0.0/24"}}))
}

func testEndedContext(b *bench) {
	ctx, cancel := context.WithCancel(b.ctx)
	cancel()
	_, err := b.rt.RunPodSandbox(ctx, b.podConfig("never"), "")
	b.code(codes.Canceled, err)
	list, err := b.rt.ListPodSandbox(b.ctx, nil)
	b.ok(err)
	require.Empty(b, list)
	pod := b.pod("one")
	id := b.create(pod, "c", "sleep", "1000")
	b.code(codes.Canceled, b.rt.StartContainer(ctx, id))
	require.Equal(b, created, b.status(id).State)
}
