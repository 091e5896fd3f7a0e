package etcdapi

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-dev/keelson/store"
)

// Config says what the API tells about itself. The zero Config works.
type Config struct {
	// Name is the member's name. Empty means "keelson".
	Name string
	// MemberID is the member's id. Zero means 1.
	MemberID uint64
	// ClientURLs are where clients reach the member, as told by the list of members. etcd's client uses them when it
	// is told to synchronise its end points.
	ClientURLs []string
	// Version is the version of etcd that is claimed. Empty means 3.6.0.
	Version string
	// ProgressInterval is how often an idle watch that asked for it is told of progress. Zero means ten minutes, as
	// in etcd.
	ProgressInterval time.Duration
	// Logger receives errors that a client is told only vaguely. Nil means none.
	Logger *zap.Logger
}

// Server is the API over one store. Make it with New.
type Server struct {
	store  *store.Store
	cfg    Config
	closed chan struct{}
	once   sync.Once
}

// New returns the API over s.
func New(s *store.Store, cfg Config) *Server {
	if cfg.Name == "" {
		cfg.Name = "keelson"
	}
	if cfg.MemberID == 0 {
		cfg.MemberID = 1
	}
	if cfg.Version == "" {
		cfg.Version = "3.6.0"
	}
	if cfg.ProgressInterval <= 0 {
		cfg.ProgressInterval = 10 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	return &Server{store: s, cfg: cfg, closed: make(chan struct{})}
}

// Register adds the services to a gRPC server that does not serve yet.
func (s *Server) Register(server *grpc.Server) {
	pb.RegisterKVServer(server, &kvServer{Server: s})
	pb.RegisterWatchServer(server, &watchServer{Server: s})
	pb.RegisterLeaseServer(server, &leaseServer{Server: s})
	pb.RegisterMaintenanceServer(server, &maintenanceServer{Server: s})
	pb.RegisterClusterServer(server, &clusterServer{Server: s})
	pb.RegisterAuthServer(server, &authServer{Server: s})
}

// Close ends all streams, so that the gRPC server can stop gracefully.
func (s *Server) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// header returns the header of a response at a revision; 0 means the newest.
func (s *Server) header(ctx context.Context, revision int64) (*pb.ResponseHeader, error) {
	st, err := s.store.Status(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	if revision == 0 {
		revision = st.Revision
	}
	return &pb.ResponseHeader{ClusterId: st.ClusterID, MemberId: s.cfg.MemberID, Revision: revision, RaftTerm: st.Term}, nil
}

// fail makes etcd's error of one of the store's.
func (s *Server) fail(err error) error {
	if err == nil {
		return nil
	}
	if _, isStatus := status.FromError(err); isStatus {
		return err
	}
	for _, known := range []struct{ ours, theirs error }{
		{store.ErrEmptyKey, rpctypes.ErrGRPCEmptyKey},
		{store.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
		{store.ErrTooManyOps, rpctypes.ErrGRPCTooManyOps},
		{store.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
		{store.ErrCompacted, rpctypes.ErrGRPCCompacted},
		{store.ErrFutureRevision, rpctypes.ErrGRPCFutureRev},
		{store.ErrQuota, rpctypes.ErrGRPCNoSpace},
		{store.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
		{store.ErrLeaseExists, rpctypes.ErrGRPCLeaseExist},
		{store.ErrLeaseTTL, rpctypes.ErrGRPCLeaseTTLTooLarge},
		{store.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
		{store.ErrClosed, rpctypes.ErrGRPCStopped},
		{store.ErrFailed, rpctypes.ErrGRPCStopped},
		{store.ErrNotLeader, rpctypes.ErrGRPCNotLeader},
		{store.ErrUnknownOutcome, rpctypes.ErrGRPCTimeout},
		{context.Canceled, rpctypes.ErrGRPCCanceled},
		{context.DeadlineExceeded, rpctypes.ErrGRPCDeadlineExceeded},
	} {
		if errors.Is(err, known.ours) {
			if errors.Is(err, store.ErrFailed) || errors.Is(err, store.ErrUnknownOutcome) {
				s.cfg.Logger.Warn("request failed", zap.Error(err))
			}
			return known.theirs
		}
	}
	if errors.Is(err, store.ErrInvalid) {
		return status.Error(codes.InvalidArgument, "etcdserver: "+err.Error())
	}
	return status.Error(codes.Unknown, "etcdserver: "+err.Error())
}
