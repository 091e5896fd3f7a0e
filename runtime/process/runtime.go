package process

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	runtimeName    = "keelson-process"
	runtimeVersion = "0.1.0"

	// addressPerPod: only Linux answers on all of 127.0.0.0/8.
	addressPerPod = goruntime.GOOS == "linux"

	defaultGrace   = 2 * time.Second
	connectTimeout = 5 * time.Second
)

// Runtime runs pods as processes. It implements runtime.Runtime and runtime.Streamer. Close it when done; the pods
// run on under their supervisors, except those supervised in this process.
type Runtime struct {
	config    Config
	log       *zap.Logger
	addresses *addresses
	lock      *os.File
	images    *images
	feed      kruntime.Feed

	mu        sync.Mutex
	closed    bool
	levels    []isolation // what is still worth trying, best first
	denied    string      // why the best ones were given up
	sandboxes map[string]*sandbox
	names     map[string]string // metadata of sandboxes and containers in use, to their ids
	local     map[string]*supervisor

	closing chan struct{} // closed by Close
	wait    sync.WaitGroup
}

var (
	_ kruntime.Runtime  = (*Runtime)(nil)
	_ kruntime.Streamer = (*Runtime)(nil)
)

// Why a supervisor could not be started: what this machine forbids is remembered, what only took too long is not.
var (
	errDenied   = errors.New("this machine does not allow it")
	errNotReady = errors.New("the supervisor was not ready")
)

// New opens the runtime's directory, and adopts the pods that an earlier one left there.
func New(config Config) (*Runtime, error) {
	if !supported {
		return nil, fmt.Errorf("process: pods as processes are not supported on this system: %w", errors.ErrUnsupported)
	}
	if config.Root == "" {
		return nil, errors.New("process: Config.Root is empty: name a directory for the runtime's state")
	}
	root, err := filepath.Abs(config.Root)
	if err != nil {
		return nil, fmt.Errorf("process: Config.Root: %w", err)
	}
	config.Root = root
	if config.StopGrace < 0 {
		return nil, fmt.Errorf("process: Config.StopGrace is %s: want zero or more", config.StopGrace)
	} else if config.StopGrace == 0 {
		config.StopGrace = defaultGrace
	}
	if !config.HostAddress.IsValid() {
		config.HostAddress = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if config.Environ == nil {
		config.Environ = inheritedEnv()
	}
	for _, kv := range config.Environ {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" {
			return nil, fmt.Errorf("process: Config.Environ has %q: want KEY=value", kv)
		}
	}
	pool, err := newAddresses(config.Addresses, config.Root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(root, "pods"), 0o700); err != nil {
		return nil, fmt.Errorf("process: Config.Root: %w", err)
	}
	if err := os.Chmod(root, 0o700); err != nil {
		return nil, fmt.Errorf("process: Config.Root: %w", err)
	}
	lock, free, err := lockDir(root)
	// A child that a killed agent was just starting holds its lock until it has come to execve.
	for end := time.Now().Add(time.Second); err == nil && !free && time.Now().Before(end); {
		time.Sleep(pollTime)
		lock, free, err = lockDir(root)
	}
	if err != nil {
		return nil, fmt.Errorf("process: Config.Root: %w", err)
	} else if !free {
		return nil, fmt.Errorf("process: Config.Root: %s is in use by another runtime", root)
	}
	r := &Runtime{
		config: config, log: config.Logger, addresses: pool, lock: lock, levels: isolations(),
		sandboxes: map[string]*sandbox{}, names: map[string]string{}, local: map[string]*supervisor{},
		closing: make(chan struct{}),
	}
	if config.NoNamespaces || r.inProcess() {
		r.levels = []isolation{{}}
	}
	if r.images, err = openImages(filepath.Join(root, "images.json")); err == nil {
		err = r.recover()
	}
	if err != nil {
		r.Close(context.Background())
		return nil, fmt.Errorf("process: %w", err)
	}
	return r, nil
}

func (r *Runtime) inProcess() bool { return r.config.InProcess || !mainCalled() }

func inheritedEnv() []string {
	var out []string
	for _, name := range []string{"PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"} {
		if v, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// Close lets go of all pods. Those supervised in this process are stopped first, with Config.StopGrace.
func (r *Runtime) Close(ctx context.Context) error {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil
	}
	r.closed = true
	close(r.closing)
	var links []*link
	for _, s := range r.sandboxes {
		if l := s.current(); l != nil {
			links = append(links, l)
		}
	}
	var local []*supervisor
	for _, s := range r.local {
		local = append(local, s)
	}
	r.mu.Unlock()

	var ending sync.WaitGroup
	for _, s := range local {
		ending.Go(func() {
			s.end()
			s.wait.Wait()
		})
	}
	ending.Wait()
	r.feed.Close()
	for _, l := range links {
		l.conn.close()
	}
	r.wait.Wait()
	return r.lock.Close()
}

func (r *Runtime) isClosed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closed
}

// Version implements CRI.
func (r *Runtime) Version(ctx context.Context, apiVersion string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: runtimeName, RuntimeVersion: runtimeVersion, RuntimeApiVersion: "v1",
	}, nil
}

// Status implements CRI. Verbose adds how pods are kept apart, and why not better.
func (r *Runtime) Status(ctx context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	if r.isClosed() {
		return nil, status.Error(codes.Unavailable, "the runtime is closed")
	}
	out := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: runtimeapi.RuntimeReady, Status: true},
			{Type: runtimeapi.NetworkReady, Status: true},
		}},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{{Name: "", Features: &runtimeapi.RuntimeHandlerFeatures{}}},
		Features:        &runtimeapi.RuntimeFeatures{},
	}
	if verbose {
		supervision := "a process per pod"
		if r.inProcess() {
			supervision = "this process: pods end with it"
		}
		r.mu.Lock()
		out.Info = map[string]string{
			"isolation": r.levels[0].String(), "isolationDenied": r.denied, "supervision": supervision,
			"addresses": r.addresses.prefix.String(), "root": r.config.Root,
		}
		r.mu.Unlock()
	}
	return out, nil
}

// RuntimeConfig implements CRI. There are no cgroups, so there is no driver for them to agree on.
func (r *Runtime) RuntimeConfig(ctx context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{}, nil
}

// UpdateRuntimeConfig implements CRI. The pod CIDR it may bring is ignored: Config.Addresses decides.
func (r *Runtime) UpdateRuntimeConfig(ctx context.Context, config *runtimeapi.RuntimeConfig) error {
	return nil
}

// GetContainerEvents implements CRI, as runtime.Runtime tells.
func (r *Runtime) GetContainerEvents(ctx context.Context, ch chan *runtimeapi.ContainerEventResponse,
	established func(runtimeapi.RuntimeService_GetContainerEventsClient)) error {
	return r.feed.Stream(ctx, ch, func() {
		if established != nil {
			established(nil)
		}
	})
}

// CheckpointContainer is refused: the state of a plain process can't be saved.
func (r *Runtime) CheckpointContainer(ctx context.Context, options *runtimeapi.CheckpointContainerRequest) error {
	return status.Error(codes.Unimplemented, "plain processes can't be checkpointed")
}

// CheckpointPod is refused like CheckpointContainer.
func (r *Runtime) CheckpointPod(ctx context.Context, options *runtimeapi.CheckpointPodRequest) error {
	return status.Error(codes.Unimplemented, "plain processes can't be checkpointed")
}

// RestorePod is refused like CheckpointContainer.
func (r *Runtime) RestorePod(ctx context.Context, options *runtimeapi.RestorePodRequest) (*runtimeapi.RestorePodResponse, error) {
	return nil, status.Error(codes.Unimplemented, "plain processes can't be checkpointed")
}
