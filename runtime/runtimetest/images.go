package runtimetest

import (
	"context"
	"maps"
	"slices"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func image(name string) *runtimeapi.Image {
	return &runtimeapi.Image{Id: name, RepoTags: []string{name}, Size: 1, Spec: &runtimeapi.ImageSpec{Image: name}}
}

// PullImage implements CRI: it takes Config.PullTime, and fails for Config.MissingImages.
func (r *Runtime) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, _ *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	leave, err := r.enter(ctx, Call{Method: "PullImage"})
	if err != nil {
		return "", err
	}
	name := spec.GetImage()
	if name == "" {
		return "", status.Error(codes.InvalidArgument, "image has no name")
	}
	if r.config.PullTime > 0 {
		timer := time.NewTimer(r.config.PullTime)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return "", status.FromContextError(ctx.Err()).Err()
		}
	}
	if slices.Contains(r.config.MissingImages, name) {
		return "", status.Errorf(codes.NotFound, "image %q not found", name)
	}
	r.mu.Lock()
	r.images[name] = true
	r.mu.Unlock()
	return name, leave(nil)
}

// ListImages implements CRI.
func (r *Runtime) ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	leave, err := r.enter(ctx, Call{Method: "ListImages"})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	names := slices.Sorted(maps.Keys(r.images))
	r.mu.Unlock()
	var out []*runtimeapi.Image
	for _, name := range names {
		if want := filter.GetImage().GetImage(); want == "" || want == name {
			out = append(out, image(name))
		}
	}
	return out, leave(nil)
}

// ImageStatus implements CRI.
func (r *Runtime) ImageStatus(ctx context.Context, spec *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	leave, err := r.enter(ctx, Call{Method: "ImageStatus"})
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.ImageStatusResponse{}
	r.mu.Lock()
	if r.images[spec.GetImage()] {
		out.Image = image(spec.GetImage())
	}
	r.mu.Unlock()
	return out, leave(nil)
}

// RemoveImage implements CRI.
func (r *Runtime) RemoveImage(ctx context.Context, spec *runtimeapi.ImageSpec) error {
	leave, err := r.enter(ctx, Call{Method: "RemoveImage"})
	if err != nil {
		return err
	}
	r.mu.Lock()
	delete(r.images, spec.GetImage())
	r.mu.Unlock()
	return leave(nil)
}

// ImageFsInfo implements CRI.
func (r *Runtime) ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	leave, err := r.enter(ctx, Call{Method: "ImageFsInfo"})
	if err != nil {
		return nil, err
	}
	usage := func() []*runtimeapi.FilesystemUsage {
		return []*runtimeapi.FilesystemUsage{{Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: "/"},
			UsedBytes: &runtimeapi.UInt64Value{}, InodesUsed: &runtimeapi.UInt64Value{}}}
	}
	return &runtimeapi.ImageFsInfoResponse{ImageFilesystems: usage(), ContainerFilesystems: usage()}, leave(nil)
}

// RuntimeConfig implements CRI.
func (r *Runtime) RuntimeConfig(ctx context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{}, nil
}

// UpdateRuntimeConfig implements CRI.
func (r *Runtime) UpdateRuntimeConfig(ctx context.Context, config *runtimeapi.RuntimeConfig) error {
	return nil
}

func (c *container) stats(now int64) *runtimeapi.ContainerStats {
	s := c.copyStatus()
	out := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{Id: c.id, Metadata: s.Metadata, Labels: s.Labels, Annotations: s.Annotations},
		Cpu:        &runtimeapi.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{}},
		Memory:     &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: &runtimeapi.UInt64Value{}},
	}
	if s.State == running { // a hundredth of a core and a mebibyte
		out.Cpu.UsageCoreNanoSeconds.Value = uint64(now-s.StartedAt) / 100
		out.Memory.WorkingSetBytes.Value = 1 << 20
	}
	return out
}

// ContainerStats implements CRI: a running process uses a hundredth of a core and a mebibyte.
func (r *Runtime) ContainerStats(ctx context.Context, id string) (*runtimeapi.ContainerStats, error) {
	leave, err := r.enter(ctx, Call{Method: "ContainerStats", Container: id})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return c.stats(time.Now().UnixNano()), leave(nil)
}

// ListContainerStats implements CRI.
func (r *Runtime) ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	leave, err := r.enter(ctx, Call{Method: "ListContainerStats"})
	if err != nil {
		return nil, err
	}
	match := &runtimeapi.ContainerFilter{Id: filter.GetId(), PodSandboxId: filter.GetPodSandboxId(), LabelSelector: filter.GetLabelSelector()}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.ContainerStats
	for _, c := range r.containers {
		if c.status.State == running && kruntime.MatchContainer(match,
			&runtimeapi.Container{Id: c.id, PodSandboxId: c.sandbox.id, Labels: c.config.Labels}) {
			out = append(out, c.stats(time.Now().UnixNano()))
		}
	}
	return out, leave(nil)
}

func (r *Runtime) podStats(s *sandbox) *runtimeapi.PodSandboxStats {
	now := time.Now().UnixNano()
	full := s.status()
	linux := &runtimeapi.LinuxPodSandboxStats{
		Cpu:    &runtimeapi.CpuUsage{Timestamp: now, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{}},
		Memory: &runtimeapi.MemoryUsage{Timestamp: now, WorkingSetBytes: &runtimeapi.UInt64Value{}},
	}
	for _, c := range r.of(s) {
		if c.status.State == running {
			stats := c.stats(now)
			linux.Containers = append(linux.Containers, stats)
			linux.Cpu.UsageCoreNanoSeconds.Value += stats.Cpu.UsageCoreNanoSeconds.Value
			linux.Memory.WorkingSetBytes.Value += stats.Memory.WorkingSetBytes.Value
		}
	}
	return &runtimeapi.PodSandboxStats{Linux: linux, Attributes: &runtimeapi.PodSandboxAttributes{
		Id: s.id, Metadata: full.Metadata, Labels: full.Labels, Annotations: full.Annotations}}
}

// PodSandboxStats implements CRI.
func (r *Runtime) PodSandboxStats(ctx context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	leave, err := r.enter(ctx, Call{Method: "PodSandboxStats", Sandbox: id})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil {
		return nil, notFound("sandbox", id)
	}
	return r.podStats(s), leave(nil)
}

// ListPodSandboxStats implements CRI.
func (r *Runtime) ListPodSandboxStats(ctx context.Context, filter *runtimeapi.PodSandboxStatsFilter) ([]*runtimeapi.PodSandboxStats, error) {
	leave, err := r.enter(ctx, Call{Method: "ListPodSandboxStats"})
	if err != nil {
		return nil, err
	}
	match := &runtimeapi.PodSandboxFilter{Id: filter.GetId(), LabelSelector: filter.GetLabelSelector()}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.PodSandboxStats
	for _, s := range r.sandboxes {
		if s.ready && kruntime.MatchSandbox(match, &runtimeapi.PodSandbox{Id: s.id, Labels: s.config.Labels}) {
			out = append(out, r.podStats(s))
		}
	}
	return out, leave(nil)
}

// ListMetricDescriptors implements CRI: there are none.
func (r *Runtime) ListMetricDescriptors(ctx context.Context) ([]*runtimeapi.MetricDescriptor, error) {
	return nil, nil
}

// ListPodSandboxMetrics implements CRI: there are none.
func (r *Runtime) ListPodSandboxMetrics(ctx context.Context) ([]*runtimeapi.PodSandboxMetrics, error) {
	return nil, nil
}
