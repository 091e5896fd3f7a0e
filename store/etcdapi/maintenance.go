package etcdapi

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
)

type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

// Status implements pb.MaintenanceServer.
func (s *maintenanceServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	st, err := s.store.Status(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	header, err := s.header(ctx, st.Revision)
	out := &pb.StatusResponse{
		Header: header, Version: s.cfg.Version, DbSize: st.Bytes, DbSizeInUse: st.Bytes,
		RaftIndex: st.Index, RaftAppliedIndex: st.Index, RaftTerm: st.Term,
	}
	if st.Durable {
		out.DbSize, out.DbSizeInUse = st.FileBytes, st.FileBytes-st.FreeBytes
	}
	if st.Leader {
		out.Leader = s.cfg.MemberID
	}
	return out, err
}

// Alarm implements pb.MaintenanceServer: there are none.
func (s *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action == pb.AlarmRequest_ACTIVATE {
		return nil, rpctypes.ErrGRPCNotCapable
	}
	header, err := s.header(ctx, 0)
	return &pb.AlarmResponse{Header: header}, err
}

// Hash implements pb.MaintenanceServer.
func (s *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	res, err := s.HashKV(ctx, &pb.HashKVRequest{})
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: res.Header, Hash: res.Hash}, nil
}

// HashKV implements pb.MaintenanceServer: a hash over all keys as they are at the revision. It is not the number that
// etcd itself would give, since that is over its own encoding.
func (s *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	res, err := s.store.Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}, Revision: max(0, r.Revision)})
	if err != nil {
		return nil, s.fail(err)
	}
	st, err := s.store.Status(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	var number []byte
	for i := range res.KVs {
		kv := &res.KVs[i]
		number = number[:0]
		for _, n := range []int64{int64(len(kv.Key)), int64(len(kv.Value)), kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease} {
			number = binary.BigEndian.AppendUint64(number, uint64(n))
		}
		sum.Write(number)
		sum.Write(kv.Key)
		sum.Write(kv.Value)
	}
	at := r.Revision
	if at <= 0 {
		at = res.Revision
	}
	header, err := s.header(ctx, res.Revision)
	return &pb.HashKVResponse{Header: header, Hash: sum.Sum32(), CompactRevision: st.CompactRevision, HashRevision: at}, err
}

// snapshotChunk is the size of one message of a snapshot, snapshotBlock what its length is padded to: etcd's client
// takes a file whose length is 32 above a multiple of it as one that ends in a SHA-256.
const (
	snapshotChunk = 32 << 10
	snapshotBlock = 512
)

// Snapshot implements pb.MaintenanceServer.
func (s *maintenanceServer) Snapshot(_ *pb.SnapshotRequest, stream grpc.ServerStreamingServer[pb.SnapshotResponse]) error {
	header, err := s.header(stream.Context(), 0)
	if err != nil {
		return err
	}
	w := &snapshotStream{header: header, version: s.cfg.Version, stream: stream}
	sum := sha256.New()
	counted := io.MultiWriter(w, sum)
	if err := s.store.Snapshot(stream.Context(), counted); err != nil {
		return s.fail(err)
	}
	if _, err := counted.Write(make([]byte, (snapshotBlock-w.size%snapshotBlock)%snapshotBlock)); err != nil {
		return err
	}
	_, err = w.Write(sum.Sum(nil))
	return err
}

type snapshotStream struct {
	header  *pb.ResponseHeader
	version string
	stream  grpc.ServerStreamingServer[pb.SnapshotResponse]
	size    int
}

func (w *snapshotStream) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		chunk := p[:min(len(p), snapshotChunk)]
		p = p[len(chunk):]
		if err := w.stream.Send(&pb.SnapshotResponse{Header: w.header, Version: w.version, Blob: chunk}); err != nil {
			return 0, err
		}
		w.size += len(chunk)
	}
	return n, nil
}

// Defragment implements pb.MaintenanceServer.
func (s *maintenanceServer) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// MoveLeader implements pb.MaintenanceServer: there is no other member.
func (s *maintenanceServer) MoveLeader(context.Context, *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	return nil, rpctypes.ErrGRPCBadLeaderTransferee
}

// Downgrade implements pb.MaintenanceServer.
func (s *maintenanceServer) Downgrade(context.Context, *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

type clusterServer struct {
	pb.UnimplementedClusterServer
	*Server
}

// MemberList implements pb.ClusterServer.
func (s *clusterServer) MemberList(ctx context.Context, _ *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	header, err := s.header(ctx, 0)
	return &pb.MemberListResponse{Header: header, Members: []*pb.Member{
		{ID: s.cfg.MemberID, Name: s.cfg.Name, ClientURLs: s.cfg.ClientURLs},
	}}, err
}

// MemberAdd implements pb.ClusterServer.
func (s *clusterServer) MemberAdd(context.Context, *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// MemberRemove implements pb.ClusterServer.
func (s *clusterServer) MemberRemove(context.Context, *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// MemberUpdate implements pb.ClusterServer.
func (s *clusterServer) MemberUpdate(context.Context, *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	return nil, rpctypes.ErrGRPCNotCapable
}

// MemberPromote implements pb.ClusterServer.
func (s *clusterServer) MemberPromote(context.Context, *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	return nil, rpctypes.ErrGRPCMemberNotLearner
}
