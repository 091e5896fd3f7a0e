package cri

import (
	"context"
	"errors"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Register serves rt on server as CRI v1: both the runtime and the image service. The runtime stays the caller's to
// close.
func Register(server grpc.ServiceRegistrar, rt kruntime.Runtime) {
	runtimeapi.RegisterRuntimeServiceServer(server, &runtimeServer{rt: rt})
	runtimeapi.RegisterImageServiceServer(server, &imageServer{rt: rt})
}

// runtimeServer has CRI's runtime service call a Go runtime. What it does not have is refused as Unimplemented.
type runtimeServer struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	rt kruntime.Runtime
}

type imageServer struct {
	runtimeapi.UnimplementedImageServiceServer
	rt kruntime.Runtime
}

func (s *runtimeServer) ExecSync(ctx context.Context, q *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	stdout, stderr, err := s.rt.ExecSync(ctx, q.ContainerId, q.Cmd, time.Duration(q.Timeout)*time.Second)
	answer := &runtimeapi.ExecSyncResponse{Stdout: stdout, Stderr: stderr}
	var exit *kruntime.ExitError
	if errors.As(err, &exit) {
		answer.ExitCode = int32(exit.Code)
	} else if err != nil {
		return nil, err
	}
	return answer, nil
}

func (s *runtimeServer) GetContainerEvents(q *runtimeapi.GetEventsRequest, stream grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	events, ended := make(chan *runtimeapi.ContainerEventResponse), make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		ended <- s.rt.GetContainerEvents(ctx, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) { close(ready) })
	}()
	for {
		var err error
		select {
		case <-ready: // tells the client that it misses nothing from now on
			ready = nil
			err = stream.SendHeader(metadata.MD{})
		case event := <-events:
			err = stream.Send(event)
		case err := <-ended:
			return err
		}
		if err != nil {
			cancel()
			<-ended
			return err
		}
	}
}

func (s *runtimeServer) Version(ctx context.Context, q *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return s.rt.Version(ctx, q.Version)
}

func (s *runtimeServer) Status(ctx context.Context, q *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	return s.rt.Status(ctx, q.Verbose)
}

func (s *runtimeServer) RuntimeConfig(ctx context.Context, q *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return s.rt.RuntimeConfig(ctx)
}

func (s *runtimeServer) UpdateRuntimeConfig(ctx context.Context, q *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	return &runtimeapi.UpdateRuntimeConfigResponse{}, s.rt.UpdateRuntimeConfig(ctx, q.RuntimeConfig)
}

func (s *runtimeServer) RunPodSandbox(ctx context.Context, q *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	v, err := s.rt.RunPodSandbox(ctx, q.Config, q.RuntimeHandler)
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: v}, err
}

func (s *runtimeServer) StopPodSandbox(ctx context.Context, q *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	return &runtimeapi.StopPodSandboxResponse{}, s.rt.StopPodSandbox(ctx, q.PodSandboxId)
}

func (s *runtimeServer) RemovePodSandbox(ctx context.Context, q *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	return &runtimeapi.RemovePodSandboxResponse{}, s.rt.RemovePodSandbox(ctx, q.PodSandboxId)
}

func (s *runtimeServer) PodSandboxStatus(ctx context.Context, q *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	return s.rt.PodSandboxStatus(ctx, q.PodSandboxId, q.Verbose)
}

func (s *runtimeServer) ListPodSandbox(ctx context.Context, q *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	v, err := s.rt.ListPodSandbox(ctx, q.Filter)
	return &runtimeapi.ListPodSandboxResponse{Items: v}, err
}

func (s *runtimeServer) UpdatePodSandboxResources(ctx context.Context, q *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return s.rt.UpdatePodSandboxResources(ctx, q)
}

func (s *runtimeServer) CreateContainer(ctx context.Context, q *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	v, err := s.rt.CreateContainer(ctx, q.PodSandboxId, q.Config, q.SandboxConfig)
	return &runtimeapi.CreateContainerResponse{ContainerId: v}, err
}

func (s *runtimeServer) StartContainer(ctx context.Context, q *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	return &runtimeapi.StartContainerResponse{}, s.rt.StartContainer(ctx, q.ContainerId)
}

func (s *runtimeServer) StopContainer(ctx context.Context, q *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	return &runtimeapi.StopContainerResponse{}, s.rt.StopContainer(ctx, q.ContainerId, q.Timeout)
}

func (s *runtimeServer) RemoveContainer(ctx context.Context, q *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	return &runtimeapi.RemoveContainerResponse{}, s.rt.RemoveContainer(ctx, q.ContainerId)
}

func (s *runtimeServer) ListContainers(ctx context.Context, q *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	v, err := s.rt.ListContainers(ctx, q.Filter)
	return &runtimeapi.ListContainersResponse{Containers: v}, err
}

func (s *runtimeServer) ContainerStatus(ctx context.Context, q *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	return s.rt.ContainerStatus(ctx, q.ContainerId, q.Verbose)
}

func (s *runtimeServer) UpdateContainerResources(ctx context.Context, q *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	return &runtimeapi.UpdateContainerResourcesResponse{}, s.rt.UpdateContainerResources(ctx, q.ContainerId, &runtimeapi.ContainerResources{Linux: q.Linux, Windows: q.Windows})
}

func (s *runtimeServer) Exec(ctx context.Context, q *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return s.rt.Exec(ctx, q)
}

func (s *runtimeServer) Attach(ctx context.Context, q *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return s.rt.Attach(ctx, q)
}

func (s *runtimeServer) PortForward(ctx context.Context, q *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return s.rt.PortForward(ctx, q)
}

func (s *runtimeServer) ReopenContainerLog(ctx context.Context, q *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	return &runtimeapi.ReopenContainerLogResponse{}, s.rt.ReopenContainerLog(ctx, q.ContainerId)
}

func (s *runtimeServer) CheckpointContainer(ctx context.Context, q *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	return &runtimeapi.CheckpointContainerResponse{}, s.rt.CheckpointContainer(ctx, q)
}

func (s *runtimeServer) CheckpointPod(ctx context.Context, q *runtimeapi.CheckpointPodRequest) (*runtimeapi.CheckpointPodResponse, error) {
	return &runtimeapi.CheckpointPodResponse{}, s.rt.CheckpointPod(ctx, q)
}

func (s *runtimeServer) RestorePod(ctx context.Context, q *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return s.rt.RestorePod(ctx, q)
}

func (s *runtimeServer) ContainerStats(ctx context.Context, q *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	v, err := s.rt.ContainerStats(ctx, q.ContainerId)
	return &runtimeapi.ContainerStatsResponse{Stats: v}, err
}

func (s *runtimeServer) ListContainerStats(ctx context.Context, q *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	v, err := s.rt.ListContainerStats(ctx, q.Filter)
	return &runtimeapi.ListContainerStatsResponse{Stats: v}, err
}

func (s *runtimeServer) PodSandboxStats(ctx context.Context, q *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	v, err := s.rt.PodSandboxStats(ctx, q.PodSandboxId)
	return &runtimeapi.PodSandboxStatsResponse{Stats: v}, err
}

func (s *runtimeServer) ListPodSandboxStats(ctx context.Context, q *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	v, err := s.rt.ListPodSandboxStats(ctx, q.Filter)
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: v}, err
}

func (s *runtimeServer) ListMetricDescriptors(ctx context.Context, q *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	v, err := s.rt.ListMetricDescriptors(ctx)
	return &runtimeapi.ListMetricDescriptorsResponse{Descriptors: v}, err
}

func (s *runtimeServer) ListPodSandboxMetrics(ctx context.Context, q *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	v, err := s.rt.ListPodSandboxMetrics(ctx)
	return &runtimeapi.ListPodSandboxMetricsResponse{PodMetrics: v}, err
}

func (s *imageServer) ListImages(ctx context.Context, q *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	v, err := s.rt.ListImages(ctx, q.Filter)
	return &runtimeapi.ListImagesResponse{Images: v}, err
}

func (s *imageServer) ImageStatus(ctx context.Context, q *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	return s.rt.ImageStatus(ctx, q.Image, q.Verbose)
}

func (s *imageServer) PullImage(ctx context.Context, q *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	v, err := s.rt.PullImage(ctx, q.Image, q.Auth, q.SandboxConfig)
	return &runtimeapi.PullImageResponse{ImageRef: v}, err
}

func (s *imageServer) RemoveImage(ctx context.Context, q *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	return &runtimeapi.RemoveImageResponse{}, s.rt.RemoveImage(ctx, q.Image)
}

func (s *imageServer) ImageFsInfo(ctx context.Context, q *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return s.rt.ImageFsInfo(ctx)
}
