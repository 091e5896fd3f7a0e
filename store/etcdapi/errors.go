package etcdapi

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-dev/keelson/store"
)

// errTooLong is the cause of a context that ended by Config.RequestTimeout, and not by the client's.
var errTooLong = errors.New("request took too long")

// failed makes etcd's error of the error of a call whose context begin has made.
func (s *Server) failed(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) && context.Cause(ctx) == errTooLong {
		if s.store.HasLeader() {
			return rpctypes.ErrGRPCTimeout
		}
		return rpctypes.ErrGRPCTimeoutDueToLeaderFail
	}
	return s.fail(err)
}

// fail makes etcd's error of one of the store's.
func (s *Server) fail(err error) error {
	if err == nil {
		return nil
	}
	if has, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return has.GRPCStatus().Err()
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
		{store.ErrDiverged, rpctypes.ErrGRPCCorrupt},
		{store.ErrNotMember, rpctypes.ErrGRPCStopped}, // etcd's member stops when it was removed
		{store.ErrClosed, rpctypes.ErrGRPCStopped},
		{store.ErrFailed, rpctypes.ErrGRPCStopped},
		{store.ErrNotLeader, rpctypes.ErrGRPCLeaderChanged},
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
		if failed, ok := errors.AsType[*store.Error](err); ok { // which call it was, the client knows
			err = failed.Err
		}
		return status.Error(codes.InvalidArgument, "etcdserver: "+err.Error())
	}
	return status.Error(codes.Unknown, "etcdserver: "+err.Error())
}
