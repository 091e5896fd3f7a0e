package etcdapi

import (
	"context"
	"errors"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
)

type leaseServer struct {
	pb.UnimplementedLeaseServer
	*Server
}

// LeaseGrant implements pb.LeaseServer. A time to live below a second becomes one.
func (s *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.TTL > int64(store.MaxLeaseTTL/time.Second) {
		return nil, rpctypes.ErrGRPCLeaseTTLTooLarge
	}
	lease, err := s.store.Grant(ctx, r.ID, time.Duration(max(1, r.TTL))*time.Second)
	if err != nil {
		return nil, s.fail(err)
	}
	header, err := s.header(ctx, 0)
	return &pb.LeaseGrantResponse{Header: header, ID: lease.ID, TTL: seconds(lease.TTL)}, err
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// LeaseRevoke implements pb.LeaseServer.
func (s *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	revision, err := s.store.Revoke(ctx, r.ID)
	if err != nil {
		return nil, s.fail(err)
	}
	header, err := s.header(ctx, revision)
	return &pb.LeaseRevokeResponse{Header: header}, err
}

// LeaseKeepAlive implements pb.LeaseServer. For a lease that does not exist the answer has a time to live of 0.
func (s *leaseServer) LeaseKeepAlive(stream grpc.BidiStreamingServer[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse]) error {
	ctx := stream.Context()
	requests, ended := make(chan int64), make(chan error, 1)
	go func() {
		for {
			r, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- r.ID:
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case id := <-requests:
			lease, err := s.store.KeepAlive(ctx, id)
			if err != nil && !errors.Is(err, store.ErrLeaseNotFound) {
				return s.fail(err)
			}
			header, err := s.header(ctx, 0)
			if err != nil {
				return err
			}
			if err := stream.Send(&pb.LeaseKeepAliveResponse{Header: header, ID: id, TTL: seconds(lease.TTL)}); err != nil {
				return err
			}
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-ctx.Done():
			return s.fail(ctx.Err())
		case <-s.closed:
			return rpctypes.ErrGRPCStopped
		}
	}
}

// LeaseTimeToLive implements pb.LeaseServer. A lease that does not exist has a time to live of -1.
func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	lease, err := s.store.TimeToLive(ctx, r.ID)
	if err != nil && !errors.Is(err, store.ErrLeaseNotFound) {
		return nil, s.fail(err)
	}
	out := &pb.LeaseTimeToLiveResponse{ID: r.ID, TTL: -1}
	if err == nil {
		out.TTL, out.GrantedTTL = seconds(lease.Remaining), seconds(lease.TTL)
		if r.Keys {
			out.Keys = lease.Keys
		}
	}
	out.Header, err = s.header(ctx, 0)
	return out, err
}

// LeaseLeases implements pb.LeaseServer.
func (s *leaseServer) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	ids, err := s.store.Leases(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	header, err := s.header(ctx, 0)
	out := &pb.LeaseLeasesResponse{Header: header}
	for _, id := range ids {
		out.Leases = append(out.Leases, &pb.LeaseStatus{ID: id})
	}
	return out, err
}
