package cri

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	defaultCallTimeout = 2 * time.Minute
	defaultPullTimeout = 15 * time.Minute
	maxMessage         = 16 << 20

	// headerTime is how long an event stream's header is waited for.
	headerTime = 200 * time.Millisecond
)

// Config configures Dial; the zero value works.
type Config struct {
	// ImageEndpoint is where the image service is; empty means where the runtime service is.
	ImageEndpoint string

	// CallTimeout limits every call but pulls and event streams. StopContainer and ExecSync get the time that they were
	// asked to take on top. Zero means two minutes.
	CallTimeout time.Duration

	// PullTimeout limits PullImage; zero means fifteen minutes.
	PullTimeout time.Duration

	// DialOptions are added to those of the connections, for instance a dialer of connections in memory.
	DialOptions []grpc.DialOption

	// Logger is where calls that fail are reported, at debug level; nil means nowhere.
	Logger *zap.Logger
}

// Runtime is a runtime behind a socket. It implements runtime.Runtime.
type Runtime struct {
	config Config
	log    *zap.Logger
	conns  []*grpc.ClientConn
	rt     runtimeapi.RuntimeServiceClient
	img    runtimeapi.ImageServiceClient
}

var _ kruntime.Runtime = (*Runtime)(nil)

// Dial connects to the runtime at endpoint, and returns when it has answered. An endpoint is the path of a unix
// socket, or an URL with the scheme unix or tcp.
func Dial(ctx context.Context, endpoint string, config Config) (*Runtime, error) {
	if config.CallTimeout < 0 {
		return nil, fmt.Errorf("cri: Config.CallTimeout is %s: want zero or more", config.CallTimeout)
	} else if config.CallTimeout == 0 {
		config.CallTimeout = defaultCallTimeout
	}
	if config.PullTimeout < 0 {
		return nil, fmt.Errorf("cri: Config.PullTimeout is %s: want zero or more", config.PullTimeout)
	} else if config.PullTimeout == 0 {
		config.PullTimeout = defaultPullTimeout
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	r := &Runtime{config: config, log: config.Logger}
	conn, err := r.connect(endpoint)
	if err != nil {
		return nil, err
	}
	images := conn
	if config.ImageEndpoint != "" && config.ImageEndpoint != endpoint {
		if images, err = r.connect(config.ImageEndpoint); err != nil {
			r.Close(ctx)
			return nil, err
		}
	}
	r.rt, r.img = runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(images)

	ctx, cancel := context.WithTimeout(ctx, config.CallTimeout)
	defer cancel()
	version, err := r.rt.Version(ctx, &runtimeapi.VersionRequest{Version: "v1"}, grpc.WaitForReady(true))
	if err != nil {
		r.Close(ctx)
		return nil, fmt.Errorf("cri: runtime at %s: %w", endpoint, err)
	}
	if version.RuntimeApiVersion != "v1" {
		r.Close(ctx)
		return nil, fmt.Errorf("cri: %s at %s speaks CRI %s, want v1", version.RuntimeName, endpoint, version.RuntimeApiVersion)
	}
	return r, nil
}

// target splits an endpoint into a network and an address.
func target(endpoint string) (network, address string, err error) {
	scheme, rest, found := strings.Cut(endpoint, "://")
	switch {
	case endpoint == "":
		return "", "", errors.New("cri: endpoint is empty: want the path of the runtime's socket")
	case !found:
		return "unix", endpoint, nil
	case scheme == "unix", scheme == "tcp":
		return scheme, rest, nil
	default:
		return "", "", fmt.Errorf("cri: endpoint %s has scheme %s: want unix or tcp", endpoint, scheme)
	}
}

func (r *Runtime) connect(endpoint string) (*grpc.ClientConn, error) {
	network, address, err := target(endpoint)
	if err != nil {
		return nil, err
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}),
		grpc.WithAuthority("localhost"),
	}, r.config.DialOptions...)
	conn, err := grpc.NewClient("passthrough:///"+address, options...)
	if err != nil {
		return nil, fmt.Errorf("cri: endpoint %s: %w", endpoint, err)
	}
	r.conns = append(r.conns, conn)
	return conn, nil
}

// Close ends the connections. CRI's two interfaces share it.
func (r *Runtime) Close(ctx context.Context) error {
	var errs []error
	for _, conn := range r.conns {
		if err := conn.Close(); err != nil && status.Code(err) != codes.Canceled {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// call makes one call within its time, and reports a failure.
func call[Q, A any](ctx context.Context, r *Runtime, name string, limit time.Duration, do func(context.Context, Q, ...grpc.CallOption) (A, error), q Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := do(ctx, q)
	if err != nil {
		r.log.Debug("call to the runtime failed", zap.String("call", name), zap.Error(err))
	}
	return answer, err
}
