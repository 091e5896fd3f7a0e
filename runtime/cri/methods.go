package cri

import (
	"context"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Version implements CRI.
func (r *Runtime) Version(ctx context.Context, apiVersion string) (*runtimeapi.VersionResponse, error) {
	return call(ctx, r, "Version", r.config.CallTimeout, r.rt.Version, &runtimeapi.VersionRequest{Version: apiVersion})
}

// Status implements CRI.
func (r *Runtime) Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	return call(ctx, r, "Status", r.config.CallTimeout, r.rt.Status, &runtimeapi.StatusRequest{Verbose: verbose})
}

// RuntimeConfig implements CRI.
func (r *Runtime) RuntimeConfig(ctx context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return call(ctx, r, "RuntimeConfig", r.config.CallTimeout, r.rt.RuntimeConfig, &runtimeapi.RuntimeConfigRequest{})
}

// UpdateRuntimeConfig implements CRI.
func (r *Runtime) UpdateRuntimeConfig(ctx context.Context, config *runtimeapi.RuntimeConfig) error {
	_, err := call(ctx, r, "UpdateRuntimeConfig", r.config.CallTimeout, r.rt.UpdateRuntimeConfig, &runtimeapi.UpdateRuntimeConfigRequest{RuntimeConfig: config})
	return err
}

// RunPodSandbox implements CRI.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	answer, err := call(ctx, r, "RunPodSandbox", 2*r.config.CallTimeout, r.rt.RunPodSandbox, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	return answer.GetPodSandboxId(), err
}

// StopPodSandbox implements CRI.
func (r *Runtime) StopPodSandbox(ctx context.Context, id string) error {
	_, err := call(ctx, r, "StopPodSandbox", r.config.CallTimeout, r.rt.StopPodSandbox, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	return err
}

// RemovePodSandbox implements CRI.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	_, err := call(ctx, r, "RemovePodSandbox", r.config.CallTimeout, r.rt.RemovePodSandbox, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
	return err
}

// PodSandboxStatus implements CRI.
func (r *Runtime) PodSandboxStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	return call(ctx, r, "PodSandboxStatus", r.config.CallTimeout, r.rt.PodSandboxStatus, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id, Verbose: verbose})
}

// ListPodSandbox implements CRI.
func (r *Runtime) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	answer, err := call(ctx, r, "ListPodSandbox", r.config.CallTimeout, r.rt.ListPodSandbox, &runtimeapi.ListPodSandboxRequest{Filter: filter})
	return answer.GetItems(), err
}

// UpdatePodSandboxResources implements CRI.
func (r *Runtime) UpdatePodSandboxResources(ctx context.Context, q *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return call(ctx, r, "UpdatePodSandboxResources", r.config.CallTimeout, r.rt.UpdatePodSandboxResources, q)
}

// CreateContainer implements CRI.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	answer, err := call(ctx, r, "CreateContainer", r.config.CallTimeout, r.rt.CreateContainer,
		&runtimeapi.CreateContainerRequest{PodSandboxId: sandboxID, Config: config, SandboxConfig: sandboxConfig})
	return answer.GetContainerId(), err
}

// StartContainer implements CRI.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	_, err := call(ctx, r, "StartContainer", r.config.CallTimeout, r.rt.StartContainer, &runtimeapi.StartContainerRequest{ContainerId: id})
	return err
}

// StopContainer implements CRI.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	limit := r.config.CallTimeout + time.Duration(timeout)*time.Second
	_, err := call(ctx, r, "StopContainer", limit, r.rt.StopContainer, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: timeout})
	return err
}

// RemoveContainer implements CRI.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	_, err := call(ctx, r, "RemoveContainer", r.config.CallTimeout, r.rt.RemoveContainer, &runtimeapi.RemoveContainerRequest{ContainerId: id})
	return err
}

// ListContainers implements CRI.
func (r *Runtime) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	answer, err := call(ctx, r, "ListContainers", r.config.CallTimeout, r.rt.ListContainers, &runtimeapi.ListContainersRequest{Filter: filter})
	return answer.GetContainers(), err
}

// ContainerStatus implements CRI.
func (r *Runtime) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	return call(ctx, r, "ContainerStatus", r.config.CallTimeout, r.rt.ContainerStatus, &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: verbose})
}

// UpdateContainerResources implements CRI.
func (r *Runtime) UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error {
	_, err := call(ctx, r, "UpdateContainerResources", r.config.CallTimeout, r.rt.UpdateContainerResources,
		&runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: resources.GetLinux(), Windows: resources.GetWindows()})
	return err
}

// ExecSync implements CRI. A code other than zero is an *runtime.ExitError.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	limit := r.config.CallTimeout
	if timeout > 0 {
		limit += timeout
	}
	// The wire has whole seconds: it gets the next one, the exact time is kept here.
	seconds := int64((timeout + time.Second - 1) / time.Second)
	var own context.CancelFunc = func() {}
	if timeout > 0 && timeout%time.Second != 0 {
		ctx, own = context.WithTimeout(ctx, timeout)
	}
	defer own()
	answer, err := call(ctx, r, "ExecSync", limit, r.rt.ExecSync, &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: cmd, Timeout: seconds})
	if err != nil {
		return nil, nil, err
	}
	if answer.ExitCode != 0 {
		err = &kruntime.ExitError{Code: int(answer.ExitCode)}
	}
	return answer.Stdout, answer.Stderr, err
}

// Exec implements CRI.
func (r *Runtime) Exec(ctx context.Context, q *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return call(ctx, r, "Exec", r.config.CallTimeout, r.rt.Exec, q)
}

// Attach implements CRI.
func (r *Runtime) Attach(ctx context.Context, q *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return call(ctx, r, "Attach", r.config.CallTimeout, r.rt.Attach, q)
}

// PortForward implements CRI.
func (r *Runtime) PortForward(ctx context.Context, q *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return call(ctx, r, "PortForward", r.config.CallTimeout, r.rt.PortForward, q)
}

// ReopenContainerLog implements CRI.
func (r *Runtime) ReopenContainerLog(ctx context.Context, id string) error {
	_, err := call(ctx, r, "ReopenContainerLog", r.config.CallTimeout, r.rt.ReopenContainerLog, &runtimeapi.ReopenContainerLogRequest{ContainerId: id})
	return err
}

// CheckpointContainer implements CRI.
func (r *Runtime) CheckpointContainer(ctx context.Context, q *runtimeapi.CheckpointContainerRequest) error {
	_, err := call(ctx, r, "CheckpointContainer", r.config.CallTimeout+time.Duration(q.GetTimeout())*time.Second, r.rt.CheckpointContainer, q)
	return err
}

// CheckpointPod implements CRI.
func (r *Runtime) CheckpointPod(ctx context.Context, q *runtimeapi.CheckpointPodRequest) error {
	_, err := call(ctx, r, "CheckpointPod", r.config.CallTimeout, r.rt.CheckpointPod, q)
	return err
}

// RestorePod implements CRI.
func (r *Runtime) RestorePod(ctx context.Context, q *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return call(ctx, r, "RestorePod", r.config.CallTimeout, r.rt.RestorePod, q)
}

// ContainerStats implements CRI.
func (r *Runtime) ContainerStats(ctx context.Context, id string) (*runtimeapi.ContainerStats, error) {
	answer, err := call(ctx, r, "ContainerStats", r.config.CallTimeout, r.rt.ContainerStats, &runtimeapi.ContainerStatsRequest{ContainerId: id})
	return answer.GetStats(), err
}

// ListContainerStats implements CRI.
func (r *Runtime) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	answer, err := call(ctx, r, "ListContainerStats", r.config.CallTimeout, r.rt.ListContainerStats, &runtimeapi.ListContainerStatsRequest{Filter: filter})
	return answer.GetStats(), err
}

// PodSandboxStats implements CRI.
func (r *Runtime) PodSandboxStats(ctx context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	answer, err := call(ctx, r, "PodSandboxStats", r.config.CallTimeout, r.rt.PodSandboxStats, &runtimeapi.PodSandboxStatsRequest{PodSandboxId: id})
	return answer.GetStats(), err
}

// ListPodSandboxStats implements CRI.
func (r *Runtime) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	answer, err := call(ctx, r, "ListPodSandboxStats", r.config.CallTimeout, r.rt.ListPodSandboxStats, &runtimeapi.ListPodSandboxStatsRequest{Filter: filter})
	return answer.GetStats(), err
}

// ListMetricDescriptors implements CRI.
func (r *Runtime) ListMetricDescriptors(ctx context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	answer, err := call(ctx, r, "ListMetricDescriptors", r.config.CallTimeout, r.rt.ListMetricDescriptors, &runtimeapi.ListMetricDescriptorsRequest{})
	return answer.GetDescriptors(), err
}

// ListPodSandboxMetrics implements CRI.
func (r *Runtime) ListPodSandboxMetrics(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	answer, err := call(ctx, r, "ListPodSandboxMetrics", r.config.CallTimeout, r.rt.ListPodSandboxMetrics, &runtimeapi.ListPodSandboxMetricsRequest{})
	return answer.GetPodMetrics(), err
}

// GetContainerEvents implements CRI, as runtime.Runtime tells. The reader is as slow as it likes: the runtime decides
// how long it keeps up with that.
func (r *Runtime) GetContainerEvents(ctx context.Context, ch chan *runtimeapi.ContainerEventResponse,
	established func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	ctx, cancel := context.WithCancel(ctx)
	events, err := r.rt.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		cancel()
		return err
	}
	// A runtime made by Register sends its header when it keeps events for us. Others send it with their first event
	// only, and are not waited for that long.
	header := make(chan struct{})
	go func() {
		events.Header()
		close(header)
	}()
	limit := time.NewTimer(headerTime)
	select {
	case <-header:
	case <-limit.C:
	case <-ctx.Done():
	}
	limit.Stop()
	defer func() {
		cancel() // ends the stream
		<-header
	}()
	if established != nil {
		established(events)
	}
	for {
		event, err := events.Recv()
		if ctx.Err() != nil {
			return nil
		} else if err != nil {
			return status.Errorf(max(status.Code(err), codes.Canceled), "container events: %v", err)
		}
		select {
		case ch <- event:
		case <-ctx.Done():
			return nil
		}
	}
}
