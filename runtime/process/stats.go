package process

import (
	"context"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// containerStats tells what a container uses. Where the system does not tell, CPU and memory are missing rather than
// zero.
func containerStats(c *containerState, u usage) *runtimeapi.ContainerStats {
	config := c.config()
	now := time.Now().UnixNano()
	out := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: c.ID, Metadata: config.Metadata, Labels: config.Labels, Annotations: config.Annotations},
		WritableLayer: &runtimeapi.FilesystemUsage{Timestamp: now, UsedBytes: &runtimeapi.UInt64Value{}, InodesUsed: &runtimeapi.UInt64Value{},
			FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/"}},
	}
	if u.Known || c.CPU > 0 {
		out.Cpu = &runtimeapi.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: u.CPU + c.CPU}}
	}
	if u.Known {
		out.Memory = &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: &runtimeapi.UInt64Value{Value: u.RSS},
			RssBytes: &runtimeapi.UInt64Value{Value: u.RSS}, UsageBytes: &runtimeapi.UInt64Value{Value: u.RSS},
			PageFaults: &runtimeapi.UInt64Value{Value: u.Faults}}
	}
	return out
}

// usages asks a sandbox's supervisor; a dead sandbox uses nothing.
func (r *Runtime) usages(ctx context.Context, s *sandbox) (map[string]usage, error) {
	if _, ready := s.snapshot(); !ready {
		return nil, nil
	}
	answer, err := r.ask(ctx, s, request{Op: opStats})
	if err != nil {
		if s.isDead() {
			return nil, nil
		}
		return nil, err
	}
	return answer.Usage, nil
}

// ContainerStats implements CRI.
func (r *Runtime) ContainerStats(ctx context.Context, id string) (*runtimeapi.ContainerStats, error) {
	s, c, err := r.owner(id)
	if err != nil {
		return nil, err
	}
	used, err := r.usages(ctx, s)
	if err != nil {
		return nil, err
	}
	return containerStats(c, used[id]), nil
}

// ListContainerStats implements CRI: the running containers.
func (r *Runtime) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	sandboxes, err := r.all()
	if err != nil {
		return nil, err
	}
	match := &runtimeapi.ContainerFilter{Id: filter.GetId(), PodSandboxId: filter.GetPodSandboxId(), LabelSelector: filter.GetLabelSelector()}
	var out []*runtimeapi.ContainerStats
	for _, s := range sandboxes {
		used, err := r.usages(ctx, s)
		if err != nil {
			return nil, err
		}
		state, _ := s.snapshot()
		for i := range state.Containers {
			c := &state.Containers[i]
			if c.State == runtimeapi.ContainerState_CONTAINER_RUNNING && kruntime.MatchContainer(match,
				&runtimeapi.Container{Id: c.ID, PodSandboxId: s.id, Labels: c.config().Labels}) {
				out = append(out, containerStats(c, used[c.ID]))
			}
		}
	}
	return out, nil
}

func (r *Runtime) sandboxStats(ctx context.Context, s *sandbox) (*runtimeapi.PodSandboxStats, error) {
	used, err := r.usages(ctx, s)
	if err != nil {
		return nil, err
	}
	now := time.Now().UnixNano()
	var cpu, rss, processes uint64
	linux := &runtimeapi.LinuxPodSandboxStats{}
	state, _ := s.snapshot()
	for i := range state.Containers {
		c := &state.Containers[i]
		stats := containerStats(c, used[c.ID])
		cpu += stats.GetCpu().GetUsageCoreNanoSeconds().GetValue()
		rss += used[c.ID].RSS
		processes += used[c.ID].Processes
		if c.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
			linux.Containers = append(linux.Containers, stats)
		}
	}
	linux.Cpu = &runtimeapi.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: cpu}}
	linux.Memory = &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: &runtimeapi.UInt64Value{Value: rss}, RssBytes: &runtimeapi.UInt64Value{Value: rss}}
	linux.Process = &runtimeapi.ProcessUsage{Timestamp: now, ProcessCount: &runtimeapi.UInt64Value{Value: processes}}
	return &runtimeapi.PodSandboxStats{Linux: linux, Attributes: &runtimeapi.PodSandboxAttributes{
		Id: s.id, Metadata: cloneProto(s.config.Metadata), Labels: cloneMap(s.config.Labels), Annotations: cloneMap(s.config.Annotations)}}, nil
}

// PodSandboxStats implements CRI.
func (r *Runtime) PodSandboxStats(ctx context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	s, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return r.sandboxStats(ctx, s)
}

// ListPodSandboxStats implements CRI: the ready sandboxes.
func (r *Runtime) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	sandboxes, err := r.all()
	if err != nil {
		return nil, err
	}
	match := &runtimeapi.PodSandboxFilter{Id: filter.GetId(), LabelSelector: filter.GetLabelSelector()}
	var out []*runtimeapi.PodSandboxStats
	for _, s := range sandboxes {
		if _, ready := s.snapshot(); !ready || !kruntime.MatchSandbox(match, &runtimeapi.PodSandbox{Id: s.id, Labels: s.config.Labels}) {
			continue
		}
		stats, err := r.sandboxStats(ctx, s)
		if err != nil {
			return nil, err
		}
		out = append(out, stats)
	}
	return out, nil
}

// ListMetricDescriptors implements CRI: there are no metrics besides the stats.
func (r *Runtime) ListMetricDescriptors(ctx context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics implements CRI: there are no metrics besides the stats.
func (r *Runtime) ListPodSandboxMetrics(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}
