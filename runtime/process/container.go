package process

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func cloneProto[M proto.Message](m M) M { return proto.Clone(m).(M) }

func cloneMap(m map[string]string) map[string]string { return maps.Clone(m) }

// owner returns the sandbox of a container, and the container's state.
func (r *Runtime) owner(id string) (*sandbox, *containerState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, nil, status.Error(codes.Unavailable, "the runtime is closed")
	}
	for _, s := range r.sandboxes {
		state, _ := s.snapshot()
		if c := state.container(id); c != nil {
			return s, c, nil
		}
	}
	return nil, nil, status.Errorf(codes.NotFound, "container %q not found", id)
}

// CreateContainer implements CRI. Everything that can be told to be wrong before the start is told here.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	s, err := r.find(sandboxID)
	if err != nil {
		return "", err
	}
	if config.GetMetadata().GetName() == "" {
		return "", status.Error(codes.InvalidArgument, "container config has no metadata.name")
	}
	state, ready := s.snapshot()
	if !ready {
		return "", status.Errorf(codes.FailedPrecondition, "sandbox %s is not ready", sandboxID)
	}
	cmd, err := r.resolve(ctx, s, state.Isolation, config)
	if err != nil {
		return "", err
	}
	encoded, err := proto.Marshal(config)
	if err != nil {
		return "", status.Errorf(codes.InvalidArgument, "container config: %v", err)
	}
	id := newID()
	if _, err := r.ask(ctx, s, request{Op: opCreate, Container: id, Config: encoded, Process: cmd}); err != nil {
		return "", err
	}
	return id, nil
}

// resolve turns a config, and what its image brings, into a command.
func (r *Runtime) resolve(ctx context.Context, s *sandbox, i isolation, config *runtimeapi.ContainerConfig) (*command, error) {
	var image Image
	name := config.Metadata.Name
	if r.config.Images != nil {
		var err error
		if image, err = r.config.Images.Resolve(ctx, config.GetImage().GetImage()); err != nil {
			return nil, status.Errorf(codes.NotFound, "image %q: %v", config.GetImage().GetImage(), err)
		}
	}
	cmd := &command{Dir: config.WorkingDir, LogPath: config.LogPath}
	if cmd.Dir == "" {
		cmd.Dir = image.WorkingDir
	}
	entrypoint, args := image.Entrypoint, image.Cmd
	if len(config.Command) > 0 {
		entrypoint, args = config.Command, nil
	}
	if len(config.Args) > 0 {
		args = config.Args
	}
	if r.config.Images == nil && len(config.Command) == 0 {
		return nil, status.Errorf(codes.InvalidArgument, "container %q has no command: pods run as plain processes here, image %q is not looked into; "+
			"set command, or give the process runtime an image resolver", name, config.GetImage().GetImage())
	}
	if cmd.Args = slices.Concat(entrypoint, args); len(cmd.Args) == 0 {
		return nil, status.Errorf(codes.InvalidArgument, "container %q has no command, and its image %q brings none", name, config.GetImage().GetImage())
	}
	for _, arg := range cmd.Args {
		if strings.Contains(arg, "\x00") {
			return nil, status.Errorf(codes.InvalidArgument, "container %q: argument %q contains a zero byte", name, arg)
		}
	}
	env := append(slices.Clone(r.config.Environ), image.Env...)
	if hostname := s.config.Hostname; hostname != "" {
		env = append(env, "HOSTNAME="+hostname)
	}
	for _, kv := range config.Envs {
		if kv.Key == "" || strings.ContainsAny(kv.Key, "=\x00") || strings.Contains(string(kv.Value), "\x00") {
			return nil, status.Errorf(codes.InvalidArgument, "container %q: environment variable %q is not possible", name, kv.Key)
		}
		env = append(env, kv.Key+"="+string(kv.Value))
	}
	if !filepath.IsLocal(config.LogPath) && config.LogPath != "" {
		return nil, status.Errorf(codes.InvalidArgument, "container %q: log path %q leaves the log directory", name, config.LogPath)
	}
	var err error
	if i.Mount || image.MountRoot == "" {
		cmd.Mounts, err = r.mounts(s, i, config)
	} else {
		var below string
		below, err = linkMounts(s, config)
		env = append(env, image.MountRoot+"="+below)
	}
	if err != nil {
		return nil, err
	}
	cmd.Env = lastOfEach(env)
	cmd.Credential = credentialOf(i, config.GetLinux().GetSecurityContext())
	return cmd, nil
}

// lastOfEach keeps of variables that are set more than once the last.
func lastOfEach(env []string) []string {
	at := map[string]int{}
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			out[i] = kv
			continue
		}
		at[name] = len(out)
		out = append(out, kv)
	}
	return out
}

// mounts checks that the container can have its mounts. Without a mount namespace a path means the same for everybody,
// so that only what is already where it should be, or goes into the pod's own directory, is possible.
func (r *Runtime) mounts(s *sandbox, i isolation, config *runtimeapi.ContainerConfig) ([]mount, error) {
	var out []mount
	root := filepath.Join(s.dir, rootDir)
	resolver := false
	for _, m := range config.Mounts {
		if err := checkMount(m); err != nil {
			return nil, err
		}
		at, from := filepath.Clean(m.ContainerPath), filepath.Clean(m.HostPath)
		resolver = resolver || at == "/etc/resolv.conf"
		switch {
		case i.Mount:
			out = append(out, mount{From: from, At: at, Readonly: m.Readonly, Deep: m.RecursiveReadOnly})
		case at == from:
		case strings.HasPrefix(at, root+"/"):
			if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
				return nil, status.Errorf(codes.Internal, "mount at %s: %v", at, err)
			}
			if link, err := os.Readlink(at); err == nil && link == from {
				continue
			}
			if err := os.Symlink(from, at); err != nil {
				return nil, status.Errorf(codes.Internal, "mount at %s: %v", at, err)
			}
		default:
			return nil, status.Errorf(codes.InvalidArgument, "mount of %s at %s is not possible: this pod has no mount namespace of its own (%s); "+
				"allow unprivileged user namespaces, call process.Main first thing in main, or mount below %s or where it is on the host",
				from, at, r.whyNoMounts(), root)
		}
	}
	if _, err := os.Stat(filepath.Join(s.dir, resolvFile)); err == nil && i.Mount && !resolver {
		out = append(out, mount{From: filepath.Join(s.dir, resolvFile), At: "/etc/resolv.conf", Readonly: true})
	}
	return out, nil
}

func (r *Runtime) whyNoMounts() string {
	r.mu.Lock()
	denied := r.denied
	r.mu.Unlock()
	switch {
	case r.config.NoNamespaces:
		return "Config.NoNamespaces is set"
	case r.inProcess():
		return "pods are supervised inside the agent's process"
	case denied != "":
		return denied
	default:
		return "the system has none"
	}
}

// credentialOf is who a container runs as. Only root can be somebody else; others run containers as themselves.
func credentialOf(i isolation, security *runtimeapi.LinuxContainerSecurityContext) *credential {
	if os.Geteuid() != 0 || i.User || security == nil || (security.RunAsUser == nil && security.RunAsGroup == nil) {
		return nil
	}
	c := &credential{UID: uint32(security.RunAsUser.GetValue())}
	if security.RunAsGroup != nil {
		c.GID = uint32(security.RunAsGroup.Value)
	} else if u, err := user.LookupId(strconv.Itoa(int(c.UID))); err == nil {
		if gid, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
			c.GID = uint32(gid)
		}
	}
	for _, g := range security.SupplementalGroups {
		c.Groups = append(c.Groups, uint32(g))
	}
	return c
}

// StartContainer implements CRI. A command that can't be executed leaves the container exited with code 128 and reason
// StartError, as containerd does.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	s, _, err := r.owner(id)
	if err != nil {
		return err
	}
	_, err = r.ask(ctx, s, request{Op: opStart, Container: id})
	return err
}

// StopContainer implements CRI: the stop signal to the process group, and after timeout seconds SIGKILL to every
// process of the container. It returns when all have ended. It goes on when ctx ends.
func (r *Runtime) StopContainer(ctx context.Context, id string, timeout int64) error {
	s, c, err := r.owner(id)
	if status.Code(err) == codes.NotFound {
		return nil
	} else if err != nil {
		return err
	}
	if c.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil
	}
	_, err = r.ask(ctx, s, request{Op: opStop, Container: id, Timeout: max(timeout, 0)})
	if err != nil && (s.isDead() || status.Code(err) == codes.NotFound) {
		return nil
	}
	return err
}

// RemoveContainer implements CRI. A running container is killed first.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	s, _, err := r.owner(id)
	if status.Code(err) == codes.NotFound {
		return nil
	} else if err != nil {
		return err
	}
	if !s.isDead() {
		_, err = r.ask(ctx, s, request{Op: opRemove, Container: id})
		if status.Code(err) == codes.NotFound {
			return nil
		}
		if err == nil || !s.isDead() {
			return err
		}
	}
	select {
	case <-s.edit:
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	defer func() { s.edit <- struct{}{} }()
	state, _ := s.snapshot()
	state = state.clone()
	state.Revision++
	state.Containers = slices.DeleteFunc(state.Containers, func(c containerState) bool { return c.ID == id })
	if err := writeRecord(filepath.Join(s.dir, stateFile), state); err != nil {
		return status.Errorf(codes.Internal, "sandbox state: %v", err)
	}
	r.apply(s, state)
	return nil
}

// ReopenContainerLog implements CRI.
func (r *Runtime) ReopenContainerLog(ctx context.Context, id string) error {
	s, _, err := r.owner(id)
	if err != nil {
		return err
	}
	_, err = r.ask(ctx, s, request{Op: opReopen, Container: id})
	return err
}

// UpdateContainerResources implements CRI: the resources are recorded and shown, and enforced by nobody.
func (r *Runtime) UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error {
	s, c, err := r.owner(id)
	if err != nil {
		return err
	}
	config := c.config()
	if resources.GetLinux() != nil {
		if config.Linux == nil {
			config.Linux = &runtimeapi.LinuxContainerConfig{}
		}
		config.Linux.Resources = resources.Linux
	}
	encoded, err := proto.Marshal(config)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "resources: %v", err)
	}
	_, err = r.ask(ctx, s, request{Op: opUpdate, Container: id, Config: encoded})
	return err
}

// ListContainers implements CRI.
func (r *Runtime) ListContainers(ctx context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	sandboxes, err := r.all()
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.Container
	for _, s := range sandboxes {
		state, _ := s.snapshot()
		for i := range state.Containers {
			c := &state.Containers[i]
			config := c.config()
			item := &runtimeapi.Container{
				Id: c.ID, PodSandboxId: s.id, Metadata: config.Metadata, Image: config.Image, ImageRef: config.GetImage().GetImage(),
				ImageId: config.GetImage().GetImage(), State: c.State, CreatedAt: c.CreatedAt, Labels: config.Labels, Annotations: config.Annotations,
			}
			if kruntime.MatchContainer(filter, item) {
				out = append(out, item)
			}
		}
	}
	return out, nil
}

// all returns the sandboxes, oldest first.
func (r *Runtime) all() ([]*sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, status.Error(codes.Unavailable, "the runtime is closed")
	}
	out := slices.Collect(maps.Values(r.sandboxes))
	slices.SortFunc(out, func(a, b *sandbox) int {
		if a.record.CreatedAt != b.record.CreatedAt {
			return int(min(max(a.record.CreatedAt-b.record.CreatedAt, -1), 1))
		}
		return strings.Compare(a.id, b.id)
	})
	return out, nil
}

// ListPodSandbox implements CRI.
func (r *Runtime) ListPodSandbox(ctx context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	sandboxes, err := r.all()
	if err != nil {
		return nil, err
	}
	var out []*runtimeapi.PodSandbox
	for _, s := range sandboxes {
		item := &runtimeapi.PodSandbox{
			Id: s.id, Metadata: cloneProto(s.config.Metadata), State: s.phase(), CreatedAt: s.record.CreatedAt,
			Labels: cloneMap(s.config.Labels), Annotations: cloneMap(s.config.Annotations), RuntimeHandler: s.record.Handler,
		}
		if kruntime.MatchSandbox(filter, item) {
			out = append(out, item)
		}
	}
	return out, nil
}

// config decodes the container's config; it was checked when the container was created.
func (c *containerState) config() *runtimeapi.ContainerConfig {
	config := &runtimeapi.ContainerConfig{}
	if proto.Unmarshal(c.Config, config) != nil || config.Metadata == nil {
		config.Metadata = &runtimeapi.ContainerMetadata{Name: c.ID}
	}
	return config
}

// ContainerStatus implements CRI. Verbose adds the pid of the main process as the host knows it.
func (r *Runtime) ContainerStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	s, c, err := r.owner(id)
	if err != nil {
		return nil, err
	}
	out := &runtimeapi.ContainerStatusResponse{Status: s.containerStatus(c)}
	if verbose {
		out.Info = map[string]string{"pid": strconv.Itoa(c.Process.PID), "sandboxID": s.id}
		if c.Process.Start != 0 {
			out.Info["startTime"] = fmt.Sprint(c.Process.Start)
		}
	}
	return out, nil
}

func (s *sandbox) containerStatuses() []*runtimeapi.ContainerStatus {
	state, _ := s.snapshot()
	var out []*runtimeapi.ContainerStatus
	for i := range state.Containers {
		out = append(out, s.containerStatus(&state.Containers[i]))
	}
	return out
}

func (s *sandbox) containerStatus(c *containerState) *runtimeapi.ContainerStatus {
	config := c.config()
	out := &runtimeapi.ContainerStatus{
		Id: c.ID, Metadata: config.Metadata, State: c.State, CreatedAt: c.CreatedAt, StartedAt: c.StartedAt, FinishedAt: c.FinishedAt,
		ExitCode: c.ExitCode, Image: config.Image, ImageRef: config.GetImage().GetImage(), ImageId: config.GetImage().GetImage(),
		Reason: c.Reason, Message: c.Message, Labels: config.Labels, Annotations: config.Annotations, Mounts: config.Mounts,
		StopSignal: config.StopSignal,
	}
	if config.GetLinux().GetResources() != nil {
		out.Resources = &runtimeapi.ContainerResources{Linux: config.Linux.Resources}
	}
	if config.LogPath != "" && s.config.LogDirectory != "" {
		out.LogPath = filepath.Join(s.config.LogDirectory, config.LogPath)
	}
	return out
}
