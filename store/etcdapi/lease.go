package etcdapi

import (
	"context"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-dev/keelson/store"
)

type leaseServer struct {
	pb.UnimplementedLeaseServer
	*Server
}

// LeaseGrant implements pb.LeaseServer. A time to live below a second becomes one. etcd's minimum is longer than an
// election; here a lease has its full time again when another member leads.
func (s *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	switch {
	case r.TTL > int64(store.MaxLeaseTTL/time.Second):
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	case r.ID < 0:
		return nil, status.Error(codes.InvalidArgument, "etcdserver: lease ID is negative")
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	lease, err := s.store.Grant(ctx, r.ID, time.Duration(max(1, r.TTL))*time.Second)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &pb.LeaseGrantResponse{Header: s.at(0), ID: lease.ID, TTL: max(1, seconds(lease.TTL))}, nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// LeaseRevoke implements pb.LeaseServer.
func (s *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	revision, err := s.store.Revoke(ctx, r.ID)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return &pb.LeaseRevokeResponse{Header: s.at(revision)}, nil
}

// LeaseKeepAlive implements pb.LeaseServer. For a lease that does not exist the answer has a time to live of 0.
func (s *leaseServer) LeaseKeepAlive(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	leader, err := s.requireLeader(stream.Context())
	if err != nil {
		return err
	}
	defer leader.stop()
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.keepAlive(ctx, stream) }() // ends with ctx, and with the stream
	for {
		select {
		case err := <-ended:
			return err
		case <-leader.due():
			if leader.lost(s.store) {
				return rpctypes.ErrGRPCNoLeader
			}
		case <-ctx.Done():
			return s.fail(ctx.Err())
		case <-s.closed:
			return rpctypes.ErrGRPCStopped
		}
	}
}

func (s *leaseServer) keepAlive(ctx context.Context, stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		// The header is made before the lease is renewed: its revision must not be of a time when the lease may be gone
		// again.
		out := &pb.LeaseKeepAliveResponse{Header: s.at(0), ID: r.ID}
		renewing, done := s.bounded(ctx)
		lease, err := s.store.KeepAlive(renewing, r.ID)
		if err != nil && !errors.Is(err, store.ErrLeaseNotFound) {
			err = s.failed(renewing, err)
			done()
			return err
		}
		done()
		if err == nil {
			out.TTL = max(1, seconds(lease.TTL)) // 0 says that there is no lease
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// LeaseTimeToLive implements pb.LeaseServer. A lease that does not exist has a time to live of -1.
func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	lease, err := s.store.TimeToLive(ctx, r.ID)
	if err != nil && !errors.Is(err, store.ErrLeaseNotFound) {
		return nil, s.failed(ctx, err)
	}
	out := &pb.LeaseTimeToLiveResponse{Header: s.at(0), ID: r.ID, TTL: -1}
	if err == nil {
		out.TTL, out.GrantedTTL = seconds(lease.Remaining), seconds(lease.TTL)
		if r.Keys {
			out.Keys = lease.Keys
		}
	}
	return out, nil
}

// LeaseLeases implements pb.LeaseServer.
func (s *leaseServer) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	ids, err := s.store.Leases(ctx)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	out := &pb.LeaseLeasesResponse{Header: s.at(0)}
	for _, id := range ids {
		out.Leases = append(out.Leases, &pb.LeaseStatus{ID: id})
	}
	return out, nil
}
