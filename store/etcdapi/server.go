package etcdapi

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"github.com/keelson-dev/keelson/store"
)

// Config says what the API allows and what it tells about itself. The zero Config works. A number below zero counts as
// zero, of which New warns.
type Config struct {
	// Name is what a store without a name of its own is called. Empty means "keelson".
	Name string
	// ClientURLs are where clients reach a store that does not say so itself, as told by the list of members. etcd's
	// client uses them when it is told to synchronise its end points.
	ClientURLs []string
	// PeerScheme is what the list of members puts before the members' addresses to make URLs of them. Empty means
	// "https".
	PeerScheme string
	// Version is the version of etcd whose API is claimed. Clients decide by it what they may use. Empty means 3.7.0.
	Version string
	// ProgressInterval is how often an idle watch that asked for it is told of progress. Zero means ten minutes, as
	// in etcd; less than 100 ms means that.
	ProgressInterval time.Duration
	// RequestTimeout bounds how long a request waits, for a leader above all, whose context would let it wait longer.
	// The client gets an error after which it turns to another member. Zero means seven seconds, as in etcd.
	RequestTimeout time.Duration
	// MaxRequestBytes bounds what one request writes, in addition to the store's own bound. Zero means 1.5 MiB, as in
	// etcd.
	MaxRequestBytes int
	// MaxTxnOps bounds the compares, and the operations of either branch, of one transaction, in addition to the
	// store's own bound. Zero means 128, as in etcd.
	MaxTxnOps int
	// MaxWatches bounds the watches on one stream. Zero means 100,000. etcd has no bound.
	MaxWatches int
	// Metrics serves /metrics beside the gRPC services, see Server.ServeHTTP. Nil means that there is no such path.
	Metrics http.Handler
	// Logger receives errors that a client is told only vaguely. Nil means none.
	Logger *zap.Logger
}

const (
	minProgressInterval = 100 * time.Millisecond
	// requestOverhead is what a message may be larger than Config.MaxRequestBytes, as in etcd.
	requestOverhead = 512 << 10
	// electionTime is how often a stream that needs a leader looks for one, and noLeader how often in a row it may
	// find none: new streams are refused at once, but ending those there are costs a client more.
	electionTime = time.Second
	noLeader     = 3
)

// Server is the API over one store. Make it with New.
type Server struct {
	store    *store.Store
	cfg      Config
	memberID uint64
	encoded  *eventCache
	closed   chan struct{}
	once     sync.Once
	served   atomic.Bool
}

// New returns the API over s.
func New(s *store.Store, cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	for _, field := range []struct {
		name  string
		value int64
	}{
		{"ProgressInterval", int64(cfg.ProgressInterval)}, {"RequestTimeout", int64(cfg.RequestTimeout)},
		{"MaxRequestBytes", int64(cfg.MaxRequestBytes)}, {"MaxTxnOps", int64(cfg.MaxTxnOps)}, {"MaxWatches", int64(cfg.MaxWatches)},
	} {
		if field.value < 0 {
			cfg.Logger.Warn("a field of etcdapi's Config is below zero: its default is used", zap.String("field", field.name), zap.Int64("value", field.value))
		}
	}
	if cfg.Name == "" {
		cfg.Name = "keelson"
	}
	if cfg.PeerScheme == "" {
		cfg.PeerScheme = "https"
	}
	if cfg.Version == "" {
		cfg.Version = "3.7.0"
	}
	if cfg.ProgressInterval <= 0 {
		cfg.ProgressInterval = 10 * time.Minute
	}
	cfg.ProgressInterval = max(cfg.ProgressInterval, minProgressInterval)
	if cfg.RequestTimeout <= 0 {
		cfg.RequestTimeout = 7 * time.Second
	}
	if cfg.MaxRequestBytes <= 0 {
		cfg.MaxRequestBytes = 3 << 19
	}
	if cfg.MaxTxnOps <= 0 {
		cfg.MaxTxnOps = 128
	}
	if cfg.MaxWatches <= 0 {
		cfg.MaxWatches = 100_000
	}
	return &Server{store: s, cfg: cfg, memberID: store.MemberID(s.Name()), encoded: new(eventCache), closed: make(chan struct{})}
}

// Register adds the services to a gRPC server that does not serve yet. Serve does it by itself, and Transport makes
// a server that takes less of the processor.
func (s *Server) Register(server grpc.ServiceRegistrar) {
	pb.RegisterKVServer(server, &kvServer{Server: s})
	pb.RegisterWatchServer(server, &watchServer{Server: s})
	pb.RegisterLeaseServer(server, &leaseServer{Server: s})
	pb.RegisterMaintenanceServer(server, &maintenanceServer{Server: s})
	pb.RegisterClusterServer(server, &clusterServer{Server: s})
	pb.RegisterAuthServer(server, &authServer{Server: s})
	grpc_health_v1.RegisterHealthServer(server, &healthServer{Server: s})
}

// Close ends all streams, so that the gRPC server can stop gracefully.
func (s *Server) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// ended reports whether Close was called.
func (s *Server) ended() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// maxMessage is the size of the largest message that is taken, and of the largest fragment of a watch response.
func (s *Server) maxMessage() int { return s.cfg.MaxRequestBytes + requestOverhead }

// at returns the header of a response at a revision; 0 means the newest that this member has.
func (s *Server) at(revision int64) *pb.ResponseHeader {
	p := s.store.Position()
	if revision == 0 {
		revision = p.Revision
	}
	return &pb.ResponseHeader{ClusterId: p.ClusterID, MemberId: s.memberID, Revision: revision, RaftTerm: p.Term}
}

// bounded returns a context that also ends after Config.RequestTimeout.
func (s *Server) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, s.cfg.RequestTimeout, errTooLong)
}

// begin looks at what every call carries, and bounds it.
func (s *Server) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if s.ended() {
		return nil, nil, rpctypes.ErrGRPCStopped
	}
	if wantsLeader(ctx) && !s.store.HasLeader() {
		return nil, nil, rpctypes.ErrGRPCNoLeader
	}
	ctx, cancel := s.bounded(ctx)
	return ctx, cancel, nil
}

// wantsLeader reports whether the client wants an error while there is no leader (clientv3.WithRequireLeader).
func wantsLeader(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}

// leaderCheck is the part of a stream that looks after a leader, if the client wants one.
type leaderCheck struct {
	ticker *time.Ticker
	missed int
}

// requireLeader begins a stream. The caller stops what it returns.
func (s *Server) requireLeader(ctx context.Context) (*leaderCheck, error) {
	switch {
	case !wantsLeader(ctx):
		return &leaderCheck{}, nil
	case !s.store.HasLeader():
		return nil, rpctypes.ErrGRPCNoLeader
	default:
		return &leaderCheck{ticker: time.NewTicker(electionTime)}, nil
	}
}

// due tells when to call lost.
func (c *leaderCheck) due() <-chan time.Time {
	if c.ticker == nil {
		return nil
	}
	return c.ticker.C
}

func (c *leaderCheck) stop() {
	if c.ticker != nil {
		c.ticker.Stop()
	}
}

// lost reports whether there has been no leader for too long.
func (c *leaderCheck) lost(s *store.Store) bool {
	c.missed++
	if s.HasLeader() {
		c.missed = 0
	}
	return c.missed >= noLeader
}
