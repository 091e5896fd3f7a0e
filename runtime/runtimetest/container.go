package runtimetest

import (
	"cmp"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	created = runtimeapi.ContainerState_CONTAINER_CREATED
	running = runtimeapi.ContainerState_CONTAINER_RUNNING
	exited  = runtimeapi.ContainerState_CONTAINER_EXITED
)

func (c *container) copyStatus() *runtimeapi.ContainerStatus {
	return proto.Clone(c.status).(*runtimeapi.ContainerStatus)
}

func (c *container) stopTimers() {
	for _, t := range c.timers {
		t.Stop()
	}
	c.timers = nil
}

// end ends the container's process, if it runs.
func (r *Runtime) end(c *container, code int32, message string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.status.State != running {
		return false
	}
	c.stopTimers()
	c.status.State, c.status.FinishedAt, c.status.ExitCode, c.status.Message = exited, time.Now().UnixNano(), code, message
	c.status.Reason = "Error"
	if code == 0 {
		c.status.Reason = "Completed"
	}
	close(c.exited)
	r.publish(c.sandbox, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, c.id)
	return true
}

// find returns a container; with mu held.
func (r *Runtime) find(id string) (*container, error) {
	if c := r.containers[id]; c != nil {
		return c, nil
	}
	return nil, notFound("container", id)
}

// CreateContainer implements CRI.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	leave, err := r.enter(ctx, Call{Method: "CreateContainer", Sandbox: sandboxID})
	if err != nil {
		return "", err
	}
	if config.GetMetadata().GetName() == "" {
		return "", status.Error(codes.InvalidArgument, "container config has no metadata.name")
	}
	if !validPath(config.LogPath) {
		return "", status.Errorf(codes.InvalidArgument, "log path %q leaves the log directory", config.LogPath)
	}
	config = proto.Clone(config).(*runtimeapi.ContainerConfig)
	r.mu.Lock()
	s := r.sandboxes[sandboxID]
	switch {
	case s == nil:
		err = notFound("sandbox", sandboxID)
	case !s.ready:
		err = status.Errorf(codes.FailedPrecondition, "sandbox %s is not ready", sandboxID)
	}
	for _, other := range r.of(s) {
		if err == nil && proto.Equal(other.config.Metadata, config.Metadata) {
			err = status.Errorf(codes.AlreadyExists, "container %s, attempt %d, exists with id %s", config.Metadata.Name, config.Metadata.Attempt, other.id)
		}
	}
	if err != nil {
		r.mu.Unlock()
		return "", err
	}
	c := &container{id: r.newID("c"), seq: r.ids, sandbox: s, config: config, exited: make(chan struct{})}
	image := config.GetImage().GetImage()
	c.status = &runtimeapi.ContainerStatus{
		Id: c.id, Metadata: config.Metadata, State: created, CreatedAt: time.Now().UnixNano(), Image: config.Image, ImageRef: image, ImageId: image,
		Labels: config.Labels, Annotations: config.Annotations, Mounts: config.Mounts, StopSignal: config.StopSignal,
	}
	if config.GetLinux().GetResources() != nil {
		c.status.Resources = &runtimeapi.ContainerResources{Linux: config.Linux.Resources}
	}
	if s.config.LogDirectory != "" && config.LogPath != "" {
		c.status.LogPath = filepath.Join(s.config.LogDirectory, config.LogPath)
	}
	r.containers[c.id] = c
	r.publish(s, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, c.id)
	r.mu.Unlock()
	if err := leave(nil); err != nil {
		return "", err
	}
	return c.id, nil
}

// StartContainer implements CRI: it asks Config.Behave what is going to happen.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	r.mu.Lock()
	c, err := r.find(id)
	r.mu.Unlock()
	call := Call{Method: "StartContainer", Container: id}
	if c != nil {
		call.Sandbox = c.sandbox.id
	}
	leave, ferr := r.enter(ctx, call)
	if ferr != nil {
		return ferr
	}
	if err != nil {
		return err
	}
	behavior := r.config.Behave(c.process())
	if behavior.StartError == "" {
		if err := c.log(behavior); err != nil {
			behavior.StartError = err.Error()
		}
	}
	r.mu.Lock()
	if c.status.State != created || !c.sandbox.ready {
		state := c.status.State
		r.mu.Unlock()
		return status.Errorf(codes.FailedPrecondition, "container %s is in state %s, only a created one in a ready sandbox can be started", id, state)
	}
	c.behavior = behavior
	now := time.Now().UnixNano()
	c.status.StartedAt = now
	if behavior.StartError != "" {
		c.status.State, c.status.FinishedAt, c.status.ExitCode = exited, now, 128
		c.status.Reason, c.status.Message = "StartError", behavior.StartError
		close(c.exited)
		r.publish(c.sandbox, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, id)
		r.mu.Unlock()
		return status.Error(codes.InvalidArgument, "start container: "+behavior.StartError)
	}
	c.status.State = running
	r.publish(c.sandbox, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, id)
	if behavior.Exits {
		c.timers = append(c.timers, time.AfterFunc(behavior.After, func() { r.end(c, behavior.Code, "") }))
	}
	r.mu.Unlock()
	return leave(nil)
}

// log writes what the process says, in CRI's format.
func (c *container) log(b Behavior) error {
	if c.status.LogPath == "" || b.Stdout+b.Stderr == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(c.status.LogPath), 0o755); err != nil {
		return err
	}
	var text []byte
	for _, out := range []struct{ name, text string }{{"stdout", b.Stdout}, {"stderr", b.Stderr}} {
		for line := range strings.Lines(out.text) {
			text = time.Now().UTC().AppendFormat(text, "2006-01-02T15:04:05.000000000Z07:00")
			text = append(text, " "+out.name+" F "+strings.TrimSuffix(line, "\n")+"\n"...)
		}
	}
	return appendFile(c.status.LogPath, text)
}

func appendFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return cmp.Or(err, f.Close())
}

// StopContainer implements CRI.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	leave, err := r.enter(ctx, Call{Method: "StopContainer", Container: id})
	if err != nil {
		return err
	}
	r.mu.Lock()
	c := r.containers[id]
	if c == nil || c.status.State != running {
		r.mu.Unlock()
		return leave(nil)
	}
	b := c.behavior
	grace := time.Duration(max(timeout, 0)) * time.Second
	if !b.IgnoreTerm && grace > 0 {
		c.timers = append(c.timers, time.AfterFunc(b.StopTime, func() { r.end(c, b.TermCode, "") }))
	}
	c.timers = append(c.timers, time.AfterFunc(grace, func() { r.end(c, 137, "") }))
	r.mu.Unlock()
	select {
	case <-c.exited:
		return leave(nil)
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// RemoveContainer implements CRI. A running container is killed first.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	leave, err := r.enter(ctx, Call{Method: "RemoveContainer", Container: id})
	if err != nil {
		return err
	}
	r.mu.Lock()
	c := r.containers[id]
	r.mu.Unlock()
	if c == nil {
		return leave(nil)
	}
	r.end(c, 137, "")
	r.mu.Lock()
	if r.containers[id] == c {
		delete(r.containers, id)
		r.publish(c.sandbox, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, id)
	}
	r.mu.Unlock()
	return leave(nil)
}

// ListContainers implements CRI.
func (r *Runtime) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	leave, err := r.enter(ctx, Call{Method: "ListContainers", Sandbox: filter.GetPodSandboxId(), Container: filter.GetId()})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.SortedFunc(maps.Values(r.containers), func(a, b *container) int { return cmp.Compare(a.seq, b.seq) })
	var out []*runtimeapi.Container
	for _, c := range all {
		s := c.copyStatus()
		item := &runtimeapi.Container{Id: c.id, PodSandboxId: c.sandbox.id, Metadata: s.Metadata, Image: s.Image, ImageRef: s.ImageRef,
			ImageId: s.ImageId, State: s.State, CreatedAt: s.CreatedAt, Labels: s.Labels, Annotations: s.Annotations}
		if kruntime.MatchContainer(filter, item) {
			out = append(out, item)
		}
	}
	return out, leave(nil)
}

// ContainerStatus implements CRI.
func (r *Runtime) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	leave, err := r.enter(ctx, Call{Method: "ContainerStatus", Container: id})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return &runtimeapi.ContainerStatusResponse{Status: c.copyStatus()}, leave(nil)
}

// UpdateContainerResources implements CRI.
func (r *Runtime) UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error {
	leave, err := r.enter(ctx, Call{Method: "UpdateContainerResources", Container: id})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c, err := r.find(id)
	if err != nil {
		return err
	}
	c.status.Resources = proto.Clone(resources).(*runtimeapi.ContainerResources)
	return leave(nil)
}

// ReopenContainerLog implements CRI.
func (r *Runtime) ReopenContainerLog(ctx context.Context, id string) error {
	leave, err := r.enter(ctx, Call{Method: "ReopenContainerLog", Container: id})
	if err != nil {
		return err
	}
	r.mu.Lock()
	c, err := r.find(id)
	var path string
	if err == nil {
		path = c.status.LogPath
		if c.status.State != running {
			err = status.Errorf(codes.FailedPrecondition, "container %s is not running", id)
		}
	}
	r.mu.Unlock()
	if err == nil && path != "" {
		err = appendFile(path, nil)
	}
	return leave(err)
}

// CheckpointContainer is refused.
func (r *Runtime) CheckpointContainer(ctx context.Context, options *runtimeapi.CheckpointContainerRequest) error {
	return status.Error(codes.Unimplemented, "the fake has no checkpoints")
}

// CheckpointPod is refused.
func (r *Runtime) CheckpointPod(ctx context.Context, options *runtimeapi.CheckpointPodRequest) error {
	return status.Error(codes.Unimplemented, "the fake has no checkpoints")
}

// RestorePod is refused.
func (r *Runtime) RestorePod(ctx context.Context, options *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return nil, status.Error(codes.Unimplemented, "the fake has no checkpoints")
}
