package etcdapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-dev/keelson/store"
)

// TestFail has what becomes of each kind of error that a store gives: clients decide by code and text whether they try
// again, and where.
func TestFail(t *testing.T) {
	s := New(&store.Store{}, Config{})
	for ours, theirs := range map[error]error{
		store.ErrCompacted:       rpctypes.ErrGRPCCompacted,
		store.ErrFutureRevision:  rpctypes.ErrGRPCFutureRev,
		store.ErrClosed:          rpctypes.ErrGRPCStopped,
		store.ErrNotMember:       rpctypes.ErrGRPCStopped,
		store.ErrFailed:          rpctypes.ErrGRPCStopped,
		store.ErrDiverged:        rpctypes.ErrGRPCCorrupt,
		store.ErrLeaseNotFound:   rpctypes.ErrGRPCLeaseNotFound,
		store.ErrLeaseExists:     rpctypes.ErrGRPCLeaseExist,
		store.ErrLeaseTTL:        rpctypes.ErrGRPCLeaseTTLTooLarge,
		store.ErrKeyNotFound:     rpctypes.ErrGRPCKeyNotFound,
		store.ErrEmptyKey:        rpctypes.ErrGRPCEmptyKey,
		store.ErrDuplicateKey:    rpctypes.ErrGRPCDuplicateKey,
		store.ErrTooManyOps:      rpctypes.ErrGRPCTooManyOps,
		store.ErrTooLarge:        rpctypes.ErrGRPCRequestTooLarge,
		store.ErrQuota:           rpctypes.ErrGRPCNoSpace,
		store.ErrNotLeader:       rpctypes.ErrGRPCLeaderChanged,
		store.ErrUnknownOutcome:  rpctypes.ErrGRPCTimeout,
		context.Canceled:         rpctypes.ErrGRPCCanceled,
		context.DeadlineExceeded: rpctypes.ErrGRPCDeadlineExceeded,
	} {
		require.Equal(t, theirs, s.fail(&store.Error{Op: "put", Key: "k", Err: fmt.Errorf("%w: more", ours)}), "%v", ours)
		known, ok := rpctypes.Error(theirs).(rpctypes.EtcdError)
		if ours != context.Canceled && ours != context.DeadlineExceeded {
			require.True(t, ok, "etcd's client knows it")
			require.Equal(t, status.Code(theirs), known.Code())
		}
	}
	invalid := status.Convert(s.fail(&store.Error{Op: "txn", Err: fmt.Errorf("%w: SortBy is 9", store.ErrInvalid)}))
	require.Equal(t, codes.InvalidArgument, invalid.Code())
	require.Equal(t, "etcdserver: invalid request: SortBy is 9", invalid.Message())
	require.Equal(t, codes.Unknown, status.Code(s.fail(io.ErrUnexpectedEOF)))
	require.Equal(t, rpctypes.ErrGRPCStopped, s.fail(&store.Error{Op: "snapshot", Err: errors.Join(rpctypes.ErrGRPCStopped)}), "what is etcd's already stays")
	require.NoError(t, s.fail(nil))
	full := &store.Error{Err: fmt.Errorf("%w: %w", store.ErrQuota, store.ErrDiskFull)}
	require.Equal(t, rpctypes.ErrGRPCNoSpace, s.fail(full))
}
