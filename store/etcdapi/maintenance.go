package etcdapi

import (
	"context"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"strconv"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/keelson-dev/keelson/store"
)

type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	*Server
}

// Status implements pb.MaintenanceServer. The sizes are of the store's files, or, for a store in memory, of what it
// holds.
func (s *maintenanceServer) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	st, err := s.store.Status(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	m := s.members(&st)
	out := &pb.StatusResponse{
		Header: s.at(st.Revision), Version: s.cfg.Version, StorageVersion: minor(s.cfg.Version),
		DbSize: st.Bytes, DbSizeInUse: st.Bytes,
		RaftIndex: st.Index, RaftAppliedIndex: st.Index, RaftTerm: st.Term,
		Leader: m.leader, DbSizeQuota: st.QuotaBytes, IsLearner: m.self.learner, DowngradeInfo: &pb.DowngradeInfo{},
	}
	if st.Durable {
		out.DbSize, out.DbSizeInUse = st.FileBytes, st.FileBytes-st.FreeBytes
	}
	if m.leader == 0 {
		out.Errors = append(out.Errors, "etcdserver: no leader")
	}
	for _, a := range s.alarms(&st, &m) {
		out.Errors = append(out.Errors, a.String())
	}
	return out, nil
}

// minor returns "3.7" of "3.7.0".
func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

// Alarm implements pb.MaintenanceServer. Alarms can't be raised by hand. They go by themselves when their reason is
// gone; disarming that of a quota, which only the member itself can do, has it tried again before that.
func (s *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action == pb.AlarmRequest_ACTIVATE {
		return nil, rpctypes.ErrGRPCNotCapable
	}
	if r.Action != pb.AlarmRequest_GET && r.Action != pb.AlarmRequest_DEACTIVATE {
		return nil, status.Errorf(codes.InvalidArgument, "etcdserver: alarm action %d is unknown", r.Action)
	}
	st, err := s.store.Status(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	m := s.members(&st)
	out := &pb.AlarmResponse{Header: s.at(0)}
	for _, a := range s.alarms(&st, &m) {
		if r.Action == pb.AlarmRequest_DEACTIVATE && a.MemberID == s.memberID && a.Alarm == pb.AlarmType_NOSPACE {
			s.store.Disarm()
		}
		if (r.MemberID == 0 || r.MemberID == a.MemberID) && (r.Alarm == pb.AlarmType_NONE || r.Alarm == a.Alarm) {
			out.Alarms = append(out.Alarms, a)
		}
	}
	return out, nil
}

// alarms returns what etcd would have raised an alarm for.
func (s *Server) alarms(st *store.Status, m *members) (alarms []*pb.AlarmMember) {
	for _, a := range st.Alarms {
		// A member may be short of two things, which are one alarm of etcd's.
		if n := len(alarms); n == 0 || alarms[n-1].MemberID != a.MemberID {
			alarms = append(alarms, &pb.AlarmMember{MemberID: a.MemberID, Alarm: pb.AlarmType_NOSPACE})
		}
	}
	for _, one := range m.all {
		if one.diverged {
			alarms = append(alarms, &pb.AlarmMember{MemberID: one.id, Alarm: pb.AlarmType_CORRUPT})
		}
	}
	return alarms
}

// Hash implements pb.MaintenanceServer.
func (s *maintenanceServer) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	res, err := s.HashKV(ctx, &pb.HashKVRequest{})
	if err != nil {
		return nil, err
	}
	return &pb.HashResponse{Header: res.Header, Hash: res.Hash}, nil
}

// HashKV implements pb.MaintenanceServer: a hash over all keys as they are at the revision in this member. It is not
// the number that etcd itself would give, since that is over its own encoding.
func (s *maintenanceServer) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	res, err := s.store.Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}, Revision: max(0, r.Revision), Serializable: true})
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	st, err := s.store.Status(ctx)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	for i := range res.KVs {
		hashKV(sum, &res.KVs[i])
	}
	at := r.Revision
	if at <= 0 {
		at = res.Revision
	}
	return &pb.HashKVResponse{
		Header: s.at(res.Revision), Hash: sum.Sum32(), CompactRevision: st.CompactRevision, HashRevision: at,
	}, nil
}

func hashKV(sum hash.Hash, kv *store.KV) {
	var numbers [48]byte
	for i, n := range []int64{int64(len(kv.Key)), int64(len(kv.Value)), kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease} {
		binary.BigEndian.PutUint64(numbers[8*i:], uint64(n))
	}
	sum.Write(numbers[:])
	sum.Write(kv.Key)
	sum.Write(kv.Value)
}

// Defragment implements pb.MaintenanceServer. There is nothing to do: what the log's file has free is used again, and
// only a store that is closed can make it smaller.
func (s *maintenanceServer) Defragment(context.Context, *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	return &pb.DefragmentResponse{Header: s.at(0)}, nil
}

// MoveLeader implements pb.MaintenanceServer. Like in etcd the leader itself must be asked.
func (s *maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	m, err := s.list(ctx, false)
	if err != nil {
		return nil, err
	}
	to := m.find(r.TargetID)
	switch {
	case m.leader != m.self.id:
		return nil, rpctypes.ErrGRPCNotLeader
	case to == nil, to.learner:
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	case to.id == m.self.id:
		return &pb.MoveLeaderResponse{Header: s.at(0)}, nil
	}
	if err := s.store.TransferLeadership(ctx, to.name); err != nil {
		return nil, s.memberError(ctx, err)
	}
	return &pb.MoveLeaderResponse{Header: s.at(0)}, nil
}

// Downgrade implements pb.MaintenanceServer: there is no version to go back to, and etcd says so in these words.
func (s *maintenanceServer) Downgrade(_ context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	if r.Action == pb.DowngradeRequest_CANCEL {
		return nil, rpctypes.ErrGRPCNoInflightDowngrade
	}
	parts := strings.Split(r.Version, ".")
	for _, p := range parts {
		if _, err := strconv.ParseUint(p, 10, 16); err != nil || len(parts) > 3 {
			return nil, rpctypes.ErrGRPCWrongDowngradeVersionFormat
		}
	}
	return nil, rpctypes.ErrGRPCInvalidDowngradeTargetVersion
}
