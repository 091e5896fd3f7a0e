package runtimetest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Runtime is a fake with a runtime's semantics: sandboxes and containers live in memory, their processes are timers. It
// starts no goroutine of its own, so it works in a synctest bubble and leaves nothing behind. It implements
// runtime.Runtime and runtime.Streamer.
type Runtime struct {
	config Config

	mu         sync.Mutex
	feed       *kruntime.Feed // replaced by Restart
	fault      func(Call) Fault
	faulted    int
	closed     bool
	ids        int
	addr       netip.Addr // the last one given out
	used       map[netip.Addr]bool
	sandboxes  map[string]*sandbox
	containers map[string]*container
	images     map[string]bool
}

type sandbox struct {
	id      string
	config  *runtimeapi.PodSandboxConfig
	addr    netip.Addr
	host    bool
	ready   bool
	created time.Time
	seq     int
}

type container struct {
	id       string
	seq      int
	sandbox  *sandbox
	config   *runtimeapi.ContainerConfig
	status   *runtimeapi.ContainerStatus
	behavior Behavior
	exited   chan struct{} // closed when it has ended
	timers   []*time.Timer
}

var (
	_ kruntime.Runtime  = (*Runtime)(nil)
	_ kruntime.Streamer = (*Runtime)(nil)
)

// New returns a fake runtime without pods.
func New(config Config) *Runtime {
	if !config.Addresses.IsValid() {
		config.Addresses = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 88}), 16)
	}
	config.Addresses = config.Addresses.Masked()
	if !config.HostAddress.IsValid() {
		config.HostAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if config.Behave == nil {
		config.Behave = Script
	}
	return &Runtime{
		config: config, feed: &kruntime.Feed{}, fault: config.Fault, addr: config.Addresses.Addr(), used: map[netip.Addr]bool{},
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{}, images: map[string]bool{},
	}
}

// SetFault changes what is asked before each call; nil ends all faults. Calls that hang already go on hanging.
func (r *Runtime) SetFault(fault func(Call) Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

// Faulted returns how many calls a fault has spoiled, so that a test can tell that it tested something.
func (r *Runtime) Faulted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faulted
}

// Exit makes a running container's process end with a code.
func (r *Runtime) Exit(containerID string, code int32) error {
	r.mu.Lock()
	c := r.containers[containerID]
	r.mu.Unlock()
	if c == nil {
		return notFound("container", containerID)
	}
	if !r.end(c, code, "") {
		return status.Errorf(codes.FailedPrecondition, "container %s is not running", containerID)
	}
	return nil
}

// ExitPod makes the running containers of a pod (namespace/name) with a name end with a code, and returns how many
// there were. An empty name means all of the pod's.
func (r *Runtime) ExitPod(pod, name string, code int32) int {
	r.mu.Lock()
	var found []*container
	for _, c := range r.containers {
		if c.sandbox.pod() == pod && (name == "" || name == c.config.Metadata.Name) {
			found = append(found, c)
		}
	}
	r.mu.Unlock()
	n := 0
	for _, c := range found {
		if r.end(c, code, "") {
			n++
		}
	}
	return n
}

// Restart is a restart of the runtime: event streams break. With forget it comes back knowing of no sandbox, no
// container and no image, and their processes are gone.
func (r *Runtime) Restart(forget bool) {
	r.mu.Lock()
	old := r.feed
	r.feed = &kruntime.Feed{}
	if forget {
		for _, c := range r.containers {
			c.stopTimers()
			if c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
				close(c.exited)
			}
			c.status.State = runtimeapi.ContainerState_CONTAINER_UNKNOWN
		}
		clear(r.sandboxes)
		clear(r.containers)
		clear(r.images)
		clear(r.used)
	}
	r.mu.Unlock()
	old.Close()
}

func (s *sandbox) pod() string {
	return s.config.GetMetadata().GetNamespace() + "/" + s.config.GetMetadata().GetName()
}

func notFound(what, id string) error {
	return status.Errorf(codes.NotFound, "%s %q not found", what, id)
}

// enter is the start of every call: it lets faults happen. What it returns ends the call, leave wraps the call's
// result.
func (r *Runtime) enter(ctx context.Context, call Call) (leave func(error) error, err error) {
	r.mu.Lock()
	ask, closed := r.fault, r.closed
	r.mu.Unlock()
	if closed {
		return nil, status.Error(codes.Unavailable, "the runtime is closed")
	}
	if err := ctx.Err(); err != nil {
		return nil, status.FromContextError(err).Err()
	}
	if ask == nil {
		return func(err error) error { return err }, nil
	}
	fault := ask(call)
	if fault.Delay > 0 || fault.Hang || fault.Err != nil || fault.Lie != nil {
		r.mu.Lock()
		r.faulted++
		r.mu.Unlock()
	}
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
	if fault.Hang {
		<-ctx.Done()
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if fault.Err != nil {
		return nil, fault.Err
	}
	return func(err error) error {
		if err == nil {
			err = fault.Lie
		}
		return err
	}, nil
}

func (r *Runtime) newID(prefix string) string {
	r.ids++
	return fmt.Sprintf("%s%064x", prefix, r.ids)[:64-8] + fmt.Sprintf("%08x", r.ids)
}

func (r *Runtime) takeAddress() (netip.Addr, error) {
	addr := r.addr
	for range 1 << 20 {
		addr = addr.Next()
		if !r.config.Addresses.Contains(addr.Next()) {
			addr = r.config.Addresses.Addr().Next()
		}
		if !r.used[addr] {
			r.addr, r.used[addr] = addr, true
			return addr, nil
		}
		if addr == r.addr {
			break
		}
	}
	return netip.Addr{}, status.Errorf(codes.ResourceExhausted, "all pod addresses of %s are in use", r.config.Addresses)
}

// Version implements CRI.
func (r *Runtime) Version(ctx context.Context, apiVersion string) (*runtimeapi.VersionResponse, error) {
	leave, err := r.enter(ctx, Call{Method: "Version"})
	if err != nil {
		return nil, err
	}
	return &runtimeapi.VersionResponse{Version: "0.1.0", RuntimeName: "fake", RuntimeVersion: "0.1.0", RuntimeApiVersion: "v1"}, leave(nil)
}

// Status implements CRI.
func (r *Runtime) Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	leave, err := r.enter(ctx, Call{Method: "Status"})
	if err != nil {
		return nil, err
	}
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true}, {Type: runtimeapi.NetworkReady, Status: true}}}}, leave(nil)
}

// RunPodSandbox implements CRI.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	leave, err := r.enter(ctx, Call{Method: "RunPodSandbox"})
	if err != nil {
		return "", err
	}
	if config.GetMetadata().GetName() == "" {
		return "", status.Error(codes.InvalidArgument, "sandbox config has no metadata.name")
	}
	if handler != "" {
		return "", status.Errorf(codes.InvalidArgument, "runtime handler %q is unknown", handler)
	}
	s := &sandbox{config: proto.Clone(config).(*runtimeapi.PodSandboxConfig), ready: true, created: time.Now()}
	s.host = config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE
	r.mu.Lock()
	for _, other := range r.sandboxes {
		if proto.Equal(other.config.Metadata, config.Metadata) {
			r.mu.Unlock()
			return "", status.Errorf(codes.AlreadyExists, "sandbox %s exists with id %s", s.pod(), other.id)
		}
	}
	s.addr = r.config.HostAddress
	if !s.host {
		if s.addr, err = r.takeAddress(); err != nil {
			r.mu.Unlock()
			return "", err
		}
	}
	s.id = r.newID("a")
	s.seq = r.ids
	r.sandboxes[s.id] = s
	r.publish(s, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, s.id)
	r.publish(s, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, s.id)
	r.mu.Unlock()
	if err := leave(nil); err != nil {
		return "", err
	}
	return s.id, nil
}

// StopPodSandbox implements CRI: containers that still run are killed.
func (r *Runtime) StopPodSandbox(ctx context.Context, id string) error {
	leave, err := r.enter(ctx, Call{Method: "StopPodSandbox", Sandbox: id})
	if err != nil {
		return err
	}
	r.stopSandbox(id)
	return leave(nil)
}

func (r *Runtime) stopSandbox(id string) {
	r.mu.Lock()
	s := r.sandboxes[id]
	running := r.of(s)
	r.mu.Unlock()
	if s == nil {
		return
	}
	for _, c := range running {
		r.end(c, 137, "")
	}
	r.mu.Lock()
	if s.ready {
		s.ready = false
		r.publish(s, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT, s.id)
	}
	r.mu.Unlock()
}

// of returns a sandbox's containers in order of creation; with mu held.
func (r *Runtime) of(s *sandbox) []*container {
	var out []*container
	for _, c := range r.containers {
		if c.sandbox == s {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b *container) int { return cmp.Compare(a.seq, b.seq) })
	return out
}

// RemovePodSandbox implements CRI: its containers go with it.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	leave, err := r.enter(ctx, Call{Method: "RemovePodSandbox", Sandbox: id})
	if err != nil {
		return err
	}
	r.stopSandbox(id)
	r.mu.Lock()
	if s := r.sandboxes[id]; s != nil {
		delete(r.sandboxes, id)
		if !s.host {
			delete(r.used, s.addr)
		}
		for _, c := range r.of(s) {
			delete(r.containers, c.id)
			r.publish(s, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, c.id)
		}
		r.publish(s, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, id)
	}
	r.mu.Unlock()
	return leave(nil)
}

func (s *sandbox) state() runtimeapi.PodSandboxState {
	if s.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func (s *sandbox) status() *runtimeapi.PodSandboxStatus {
	config := proto.Clone(s.config).(*runtimeapi.PodSandboxConfig)
	return &runtimeapi.PodSandboxStatus{
		Id: s.id, Metadata: config.Metadata, State: s.state(), CreatedAt: s.created.UnixNano(),
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: s.addr.String()}, Labels: config.Labels, Annotations: config.Annotations,
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: config.GetLinux().GetSecurityContext().GetNamespaceOptions()}},
	}
}

// PodSandboxStatus implements CRI.
func (r *Runtime) PodSandboxStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	leave, err := r.enter(ctx, Call{Method: "PodSandboxStatus", Sandbox: id})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[id]
	if s == nil {
		return nil, notFound("sandbox", id)
	}
	out := &runtimeapi.PodSandboxStatusResponse{Status: s.status(), Timestamp: time.Now().UnixNano()}
	for _, c := range r.of(s) {
		out.ContainersStatuses = append(out.ContainersStatuses, c.copyStatus())
	}
	return out, leave(nil)
}

// ListPodSandbox implements CRI.
func (r *Runtime) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	leave, err := r.enter(ctx, Call{Method: "ListPodSandbox", Sandbox: filter.GetId()})
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.SortedFunc(maps.Values(r.sandboxes), func(a, b *sandbox) int { return cmp.Compare(a.seq, b.seq) })
	var out []*runtimeapi.PodSandbox
	for _, s := range all {
		full := s.status()
		item := &runtimeapi.PodSandbox{Id: s.id, Metadata: full.Metadata, State: full.State, CreatedAt: full.CreatedAt,
			Labels: full.Labels, Annotations: full.Annotations}
		if kruntime.MatchSandbox(filter, item) {
			out = append(out, item)
		}
	}
	return out, leave(nil)
}

// publish tells the readers of events; with mu held, which is safe because a Feed never waits.
func (r *Runtime) publish(s *sandbox, kind runtimeapi.ContainerEventType, id string) {
	if !r.feed.Watched() {
		return
	}
	event := &runtimeapi.ContainerEventResponse{ContainerId: id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano(), PodSandboxStatus: s.status()}
	for _, c := range r.of(s) {
		event.ContainersStatuses = append(event.ContainersStatuses, c.copyStatus())
	}
	r.feed.Publish(event)
}

// GetContainerEvents implements CRI, as runtime.Runtime tells.
func (r *Runtime) GetContainerEvents(ctx context.Context, ch chan *runtimeapi.ContainerEventResponse,
	established func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	leave, err := r.enter(ctx, Call{Method: "GetContainerEvents"})
	if err != nil {
		return err
	}
	r.mu.Lock()
	feed := r.feed
	r.mu.Unlock()
	return leave(feed.Stream(ctx, ch, func() {
		if established != nil {
			established(nil)
		}
	}))
}

// UpdatePodSandboxResources implements CRI; nothing is limited.
func (r *Runtime) UpdatePodSandboxResources(ctx context.Context, q *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	leave, err := r.enter(ctx, Call{Method: "UpdatePodSandboxResources", Sandbox: q.GetPodSandboxId()})
	if err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, leave(nil)
}

// Close ends the runtime: event streams end, processes stop without a trace.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	r.closed = true
	for _, c := range r.containers {
		c.stopTimers()
	}
	feed := r.feed
	r.mu.Unlock()
	feed.Close()
	return nil
}

// process is what the container's behavior is chosen by.
func (c *container) process() Process {
	env := map[string]string{}
	for _, kv := range c.config.Envs {
		env[kv.Key] = string(kv.Value)
	}
	return Process{
		Pod: c.sandbox.pod(), Container: c.config.Metadata.Name, Attempt: c.config.Metadata.Attempt, Image: c.config.GetImage().GetImage(),
		Command: slices.Concat(c.config.Command, c.config.Args), Env: env, Address: c.sandbox.addr,
	}
}

func validPath(path string) bool {
	return !strings.HasPrefix(path, "/") && !strings.Contains(path, "..")
}
