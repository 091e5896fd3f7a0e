package process

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandbox is what the agent knows of a pod: the record never changes, the state follows the supervisor.
type sandbox struct {
	id     string
	dir    string
	record *podRecord
	config *runtimeapi.PodSandboxConfig
	addr   netip.Addr

	mu    sync.Mutex
	state *podState
	link  *link // nil when no supervisor is connected
	dead  bool  // no supervisor lives, and none will

	gone chan struct{} // closed when dead is set
	edit chan struct{} // one token: the state of a dead sandbox is edited by one at a time
}

func newSandbox(dir string, record *podRecord) (*sandbox, error) {
	s := &sandbox{id: record.ID, dir: dir, record: record, config: &runtimeapi.PodSandboxConfig{}, gone: make(chan struct{}),
		edit: make(chan struct{}, 1), state: &podState{Version: recordVersion}}
	s.edit <- struct{}{}
	if err := proto.Unmarshal(record.Config, s.config); err != nil {
		return nil, fmt.Errorf("sandbox %s: config: %w", record.ID, err)
	}
	var err error
	if s.addr, err = netip.ParseAddr(record.Address); err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", record.ID, err)
	}
	return s, nil
}

func (s *sandbox) current() *link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link
}

func (s *sandbox) snapshot() (state *podState, ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, !s.dead && !s.state.Stopped
}

func newID() string {
	var b [32]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func sandboxName(m *runtimeapi.PodSandboxMetadata) string {
	return strings.Join([]string{"pod", m.GetNamespace(), m.GetName(), m.GetUid(), strconv.Itoa(int(m.GetAttempt()))}, "/")
}

func hostNetwork(config *runtimeapi.PodSandboxConfig) bool {
	return config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE
}

// find returns a sandbox by its id.
func (r *Runtime) find(id string) (*sandbox, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, status.Error(codes.Unavailable, "the runtime is closed")
	}
	if s := r.sandboxes[id]; s != nil {
		return s, nil
	}
	return nil, status.Errorf(codes.NotFound, "sandbox %q not found", id)
}

// reserve takes a name for an id, so that no second sandbox or container gets it.
func (r *Runtime) reserve(name, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return status.Error(codes.Unavailable, "the runtime is closed")
	}
	if other, ok := r.names[name]; ok {
		return status.Errorf(codes.AlreadyExists, "%s exists with id %s", name, other)
	}
	r.names[name] = id
	return nil
}

func (r *Runtime) unreserve(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.names, name)
}

// RunPodSandbox implements CRI: it gives the pod an address and a supervisor.
func (r *Runtime) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	if config.GetMetadata().GetName() == "" {
		return "", status.Error(codes.InvalidArgument, "sandbox config has no metadata.name")
	}
	if handler != "" {
		return "", status.Errorf(codes.InvalidArgument, "runtime handler %q is unknown: processes have only the default one", handler)
	}
	if err := ctx.Err(); err != nil {
		return "", status.FromContextError(err).Err()
	}
	id, name := newID(), sandboxName(config.Metadata)
	if err := r.reserve(name, id); err != nil {
		return "", err
	}
	s, err := r.createSandbox(ctx, id, config)
	if err != nil {
		r.unreserve(name)
		return "", err
	}
	r.publish(s, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, id)
	r.publish(s, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT, id)
	return id, nil
}

func (r *Runtime) createSandbox(ctx context.Context, id string, config *runtimeapi.PodSandboxConfig) (s *sandbox, err error) {
	encoded, err := proto.Marshal(config)
	if err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "sandbox config: %v", err)
	}
	record := &podRecord{Version: recordVersion, ID: id, Config: encoded, CreatedAt: time.Now().UnixNano(),
		HostNetwork: hostNetwork(config), GraceMillis: r.config.StopGrace.Milliseconds()}
	addr := r.config.HostAddress
	if !record.HostNetwork {
		if addr, err = r.podAddress(); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				r.addresses.release(addr)
			}
		}()
	}
	record.Address = addr.String()
	dir := filepath.Join(r.config.Root, "pods", id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, status.Errorf(codes.Internal, "sandbox directory: %v", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	if config.LogDirectory != "" {
		if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
			return nil, status.Errorf(codes.Internal, "log directory: %v", err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, rootDir), 0o755); err != nil {
		return nil, status.Errorf(codes.Internal, "sandbox directory: %v", err)
	}
	if conf := resolvConf(config.DnsConfig); conf != "" {
		if err := writeFile(filepath.Join(dir, resolvFile), []byte(conf)); err != nil {
			return nil, status.Errorf(codes.Internal, "resolver configuration: %v", err)
		}
		if err := os.Chmod(filepath.Join(dir, resolvFile), 0o644); err != nil {
			return nil, status.Errorf(codes.Internal, "resolver configuration: %v", err)
		}
	}
	if s, err = newSandbox(dir, record); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := writeRecord(filepath.Join(dir, recordFile), record); err != nil {
		return nil, status.Errorf(codes.Internal, "sandbox record: %v", err)
	}
	if err := r.supervise(s); err != nil {
		return nil, status.Errorf(codes.Internal, "supervise sandbox: %v", err)
	}
	// From here on the sandbox exists. A context that has ended does not undo it: a list shows it.
	connectCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
	defer cancel()
	l, state, err := connect(connectCtx, dir)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "reach the new supervisor: %v", err)
	}
	r.mu.Lock()
	r.sandboxes[id] = s
	r.mu.Unlock()
	r.follow(s, l, state)
	return s, nil
}

func (r *Runtime) podAddress() (netip.Addr, error) {
	if !addressPerPod {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	return r.addresses.take()
}

// supervise starts the supervisor of a sandbox with the best isolation that can be had, and remembers what could not.
func (r *Runtime) supervise(s *sandbox) error {
	if r.inProcess() {
		local, err := newSupervisor(s.dir, isolation{}, false)
		if err != nil {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.closed {
			go local.end()
			return errors.New("the runtime is closed")
		}
		r.local[s.id] = local
		return nil
	}
	lock, free, err := lockDir(s.dir)
	if err != nil {
		return err
	} else if !free {
		return errors.New("somebody supervises it already")
	}
	defer lock.Close()
	name := s.config.GetMetadata().GetNamespace() + "/" + s.config.GetMetadata().GetName()
	r.mu.Lock()
	levels := r.levels
	r.mu.Unlock()
	for n, level := range levels {
		err := spawn(s.dir, name, level, lock)
		switch {
		case err == nil:
			return nil
		case n == len(levels)-1 || errors.Is(err, errNotReady):
			return err // a busy machine is no reason to isolate less
		case errors.Is(err, errDenied):
			r.deny(level, err)
		default: // this pod may do with less; the next tries again
			r.log.Warn("a pod gets less isolation than wanted", zap.String("pod", name), zap.Stringer("failed", level), zap.Error(err))
		}
	}
	return errors.New("no isolation level is left to try")
}

// deny remembers that this machine refuses an isolation level, so that no later pod asks for it.
func (r *Runtime) deny(level isolation, cause error) {
	r.mu.Lock()
	if r.levels[0] == level { // nobody else has found it out meanwhile
		r.levels = r.levels[1:]
		if r.denied != "" {
			r.denied += "; "
		}
		r.denied += fmt.Sprintf("%s: %v", level, cause)
	}
	next := r.levels[0]
	r.mu.Unlock()
	r.log.Warn("pods get less isolation than wanted", zap.Stringer("denied", level), zap.Stringer("using", next), zap.Error(cause))
}

// StopPodSandbox implements CRI: containers get Config.StopGrace between SIGTERM and SIGKILL.
func (r *Runtime) StopPodSandbox(ctx context.Context, id string) error {
	s, err := r.find(id)
	if status.Code(err) == codes.NotFound {
		return nil
	} else if err != nil {
		return err
	}
	if _, ready := s.snapshot(); !ready {
		return nil
	}
	if _, err := r.ask(ctx, s, request{Op: opStopPod}); err != nil && !s.isDead() {
		return err
	}
	return nil
}

// RemovePodSandbox implements CRI: whatever still runs is stopped as by StopPodSandbox, and the supervisor ends.
func (r *Runtime) RemovePodSandbox(ctx context.Context, id string) error {
	s, err := r.find(id)
	if status.Code(err) == codes.NotFound {
		return nil
	} else if err != nil {
		return err
	}
	if !s.isDead() {
		if _, err := r.ask(ctx, s, request{Op: opEnd}); err != nil && status.Code(err) != codes.Unavailable {
			return err
		}
		select {
		case <-s.gone:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	state, _ := s.snapshot()
	if err := os.RemoveAll(s.dir); err != nil {
		return status.Errorf(codes.Internal, "remove sandbox: %v", err)
	}
	r.mu.Lock()
	known := r.sandboxes[id] == s
	if known {
		delete(r.sandboxes, id)
		delete(r.local, id)
		for name, owner := range r.names {
			if owner == id || state.container(owner) != nil {
				delete(r.names, name)
			}
		}
	}
	r.mu.Unlock()
	if known {
		if !s.record.HostNetwork && addressPerPod {
			r.addresses.release(s.addr)
		}
		for _, c := range state.Containers {
			r.publish(s, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, c.ID)
		}
		r.publish(s, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT, id)
	}
	return nil
}

func (s *sandbox) isDead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

// PodSandboxStatus implements CRI. Verbose adds the supervisor's pid, and the pod's isolation.
func (r *Runtime) PodSandboxStatus(ctx context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	s, err := r.find(id)
	if err != nil {
		return nil, err
	}
	state, _ := s.snapshot()
	out := &runtimeapi.PodSandboxStatusResponse{Status: s.status(), Timestamp: time.Now().UnixNano()}
	out.ContainersStatuses = s.containerStatuses()
	if verbose {
		out.Info = map[string]string{"pid": strconv.Itoa(state.Supervisor.PID), "isolation": state.Isolation.String(), "directory": s.dir}
	}
	return out, nil
}

func (s *sandbox) status() *runtimeapi.PodSandboxStatus {
	return &runtimeapi.PodSandboxStatus{
		Id: s.id, Metadata: cloneProto(s.config.Metadata), State: s.phase(), CreatedAt: s.record.CreatedAt,
		Network: &runtimeapi.PodSandboxNetworkStatus{Ip: s.addr.String()},
		Linux: &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{
			Options: cloneProto(s.config.GetLinux().GetSecurityContext().GetNamespaceOptions())}},
		Labels: cloneMap(s.config.Labels), Annotations: cloneMap(s.config.Annotations), RuntimeHandler: s.record.Handler,
	}
}

func (s *sandbox) phase() runtimeapi.PodSandboxState {
	if _, ready := s.snapshot(); ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// UpdatePodSandboxResources implements CRI. Nothing limits a plain process, so nothing is to be done.
func (r *Runtime) UpdatePodSandboxResources(ctx context.Context, q *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	if _, err := r.find(q.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// resolvConf is what CRI's DNS config says, as resolv.conf(5).
func resolvConf(dns *runtimeapi.DNSConfig) string {
	if len(dns.GetServers()) == 0 {
		return ""
	}
	var b strings.Builder
	if len(dns.Searches) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.Searches, " "))
	}
	for _, server := range dns.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.Options, " "))
	}
	return b.String()
}
