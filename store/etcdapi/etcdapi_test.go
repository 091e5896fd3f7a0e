package etcdapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ExampleServer_Register() {
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	listener := memnet.Listen("etcd") // or net.Listen
	server := grpc.NewServer()
	api := etcdapi.New(s, etcdapi.Config{})
	api.Register(server)
	go server.Serve(listener)
	defer server.GracefulStop()
	defer api.Close()

	conn, err := dial(listener)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	kv := pb.NewKVClient(conn)
	put, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("greeting"), Value: []byte("hello")})
	if err != nil {
		fmt.Println(err)
		return
	}
	got, _ := kv.Range(ctx, &pb.RangeRequest{Key: []byte("greeting")})
	fmt.Println(put.Header.Revision, string(got.Kvs[0].Value))
	// Output: 2 hello
}

func dial(l *memnet.Listener) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///etcd", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.Dial(ctx) }))
}

// start serves a store, by the package's own transport, and returns a connection to it. TestQuickIsPlain compares that
// with what grpc.NewServer gets.
func start(t *testing.T, cfg store.Config, api etcdapi.Config) (*store.Store, *grpc.ClientConn) {
	t.Helper()
	s, err := store.Open(t.Context(), cfg)
	require.NoError(t, err)
	l := memnet.Listen("etcd")
	a := etcdapi.New(s, api)
	server, err := a.Transport(transport.Config{})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := dial(l)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, a.Close())
		require.NoError(t, server.Shutdown(context.Background()))
		require.NoError(t, <-served)
		require.NoError(t, conn.Close())
		require.NoError(t, l.Close())
		require.NoError(t, s.Close())
	})
	return s, conn
}

func TestKV(t *testing.T) {
	_, conn := start(t, store.Config{}, etcdapi.Config{Name: "solo"})
	kv, ctx := pb.NewKVClient(conn), t.Context()
	put, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("1")})
	require.NoError(t, err)
	require.EqualValues(t, 2, put.Header.Revision)
	require.NotZero(t, put.Header.MemberId)
	require.NotZero(t, put.Header.ClusterId)
	put, err = kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: []byte("2"), PrevKv: true})
	require.NoError(t, err)
	require.Equal(t, "1", string(put.PrevKv.Value))
	txn, err := kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{
			{Key: []byte("a"), Target: pb.Compare_MOD, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_ModRevision{ModRevision: 3}},
			{Key: []byte("a"), Target: pb.Compare_VALUE, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Value{Value: []byte("1")}},
			{Key: []byte("a"), Target: pb.Compare_CREATE, Result: pb.Compare_LESS, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 3}},
			{Key: []byte("a"), Target: pb.Compare_VERSION, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_Version{Version: 1}},
			{Key: []byte("a"), Target: pb.Compare_LEASE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Lease{}},
		},
		Success: []*pb.RequestOp{
			{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("b"), Value: []byte("1")}}},
			{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Failure: nil, Success: []*pb.RequestOp{
				{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), PrevKv: true}}},
			}}}},
			{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}},
		},
	})
	require.NoError(t, err)
	require.True(t, txn.Succeeded)
	require.EqualValues(t, 4, txn.Header.Revision)
	require.EqualValues(t, 1, txn.Responses[1].GetResponseTxn().Responses[0].GetResponseDeleteRange().Deleted)
	require.Equal(t, "b", string(txn.Responses[2].GetResponseRange().Kvs[0].Key))
	for i := range 1200 {
		_, err := kv.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "many/%04d", i)})
		require.NoError(t, err)
	}
	page, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("many/"), RangeEnd: []byte("many0"), Limit: 3, SortOrder: pb.RangeRequest_DESCEND, KeysOnly: true})
	require.NoError(t, err)
	require.True(t, page.More)
	require.EqualValues(t, 1200, page.Count)
	require.Equal(t, "many/1199", string(page.Kvs[0].Key))
	stream, err := kv.RangeStream(ctx, &pb.RangeRequest{Key: []byte("many/"), RangeEnd: []byte("many0")})
	require.NoError(t, err)
	n := 0
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		n += len(chunk.RangeResponse.Kvs)
	}
	require.Equal(t, 1200, n)
	del, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("many/"), RangeEnd: []byte("many0")})
	require.NoError(t, err)
	require.EqualValues(t, 1200, del.Deleted)
	_, err = kv.Compact(ctx, &pb.CompactionRequest{Revision: 4})
	require.NoError(t, err)
}

// TestErrors compares codes and texts with etcd's own: its clients know errors by them.
func TestErrors(t *testing.T) {
	_, conn := start(t, store.Config{MaxTxnOps: 2, MaxRequestBytes: 1000}, etcdapi.Config{})
	kv, lease, ctx := pb.NewKVClient(conn), pb.NewLeaseClient(conn), t.Context()
	auth, cluster, maintenance := pb.NewAuthClient(conn), pb.NewClusterClient(conn), pb.NewMaintenanceClient(conn)
	put := func(r *pb.PutRequest) error { _, err := kv.Put(ctx, r); return err }
	require.NoError(t, put(&pb.PutRequest{Key: []byte("a")}))
	require.NoError(t, put(&pb.PutRequest{Key: []byte("a")}))
	_, err := kv.Compact(ctx, &pb.CompactionRequest{Revision: 3})
	require.NoError(t, err)
	_, err = lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 5, TTL: 100})
	require.NoError(t, err)
	op := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
	}
	txn := func(ops ...*pb.RequestOp) error { _, err := kv.Txn(ctx, &pb.TxnRequest{Success: ops}); return err }
	get := func(r *pb.RangeRequest) error { _, err := kv.Range(ctx, r); return err }
	second := func(_ any, err error) error { return err }
	for i, test := range []struct{ got, want error }{
		{put(&pb.PutRequest{}), rpctypes.ErrGRPCEmptyKey},
		{put(&pb.PutRequest{Key: []byte("x"), Lease: 9}), rpctypes.ErrGRPCLeaseNotFound},
		{put(&pb.PutRequest{Key: []byte("x"), IgnoreLease: true}), rpctypes.ErrGRPCKeyNotFound},
		{put(&pb.PutRequest{Key: []byte("x"), IgnoreLease: true, Lease: 5}), rpctypes.ErrGRPCLeaseProvided},
		{put(&pb.PutRequest{Key: []byte("x"), IgnoreValue: true, Value: []byte("v")}), rpctypes.ErrGRPCValueProvided},
		{put(&pb.PutRequest{Key: []byte("x"), Value: make([]byte, 1000)}), rpctypes.ErrGRPCRequestTooLarge},
		{get(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		{get(&pb.RangeRequest{Key: []byte("a"), Revision: 2}), rpctypes.ErrGRPCCompacted},
		{get(&pb.RangeRequest{Key: []byte("a"), Revision: 99}), rpctypes.ErrGRPCFutureRev},
		{get(&pb.RangeRequest{Key: []byte("a"), SortTarget: 99}), rpctypes.ErrGRPCInvalidSortOption},
		{txn(op("x"), op("x")), rpctypes.ErrGRPCDuplicateKey},
		{txn(op("x"), op("y"), op("z")), rpctypes.ErrGRPCTooManyOps},
		{txn(op("")), rpctypes.ErrGRPCEmptyKey},
		{txn(&pb.RequestOp{}), rpctypes.ErrGRPCKeyNotFound},
		{second(kv.DeleteRange(ctx, &pb.DeleteRangeRequest{})), rpctypes.ErrGRPCEmptyKey},
		{second(kv.Compact(ctx, &pb.CompactionRequest{Revision: 3})), rpctypes.ErrGRPCCompacted},
		{second(kv.Compact(ctx, &pb.CompactionRequest{Revision: 99})), rpctypes.ErrGRPCFutureRev},
		{second(lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: 5, TTL: 100})), rpctypes.ErrGRPCLeaseExist},
		{second(lease.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 9_000_000_001})), rpctypes.ErrGRPCLeaseTTLTooLarge},
		{second(lease.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: 6})), rpctypes.ErrGRPCLeaseNotFound},
		{second(auth.Authenticate(ctx, &pb.AuthenticateRequest{Name: "root"})), rpctypes.ErrGRPCAuthNotEnabled},
		{second(auth.UserList(ctx, &pb.AuthUserListRequest{})), rpctypes.ErrGRPCNotCapable},
		{second(cluster.MemberAdd(ctx, &pb.MemberAddRequest{})), rpctypes.ErrGRPCMemberBadURLs},
		{second(maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{})), rpctypes.ErrGRPCBadLeaderTransferee},
	} {
		require.Error(t, test.got, "%d: want %v", i, test.want)
		require.Equal(t, test.want.Error(), test.got.Error(), "%d", i)
	}
}

func TestLease(t *testing.T) {
	_, conn := start(t, store.Config{}, etcdapi.Config{})
	client, ctx := pb.NewLeaseClient(conn), t.Context()
	granted, err := client.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 1000})
	require.NoError(t, err)
	require.EqualValues(t, 1000, granted.TTL)
	_, err = pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte("a"), Lease: granted.ID})
	require.NoError(t, err)
	alive, err := client.LeaseKeepAlive(ctx)
	require.NoError(t, err)
	for id, ttl := range map[int64]int64{granted.ID: 1000, 1: 0} {
		require.NoError(t, alive.Send(&pb.LeaseKeepAliveRequest{ID: id}))
		res, err := alive.Recv()
		require.NoError(t, err)
		require.Equal(t, id, res.ID)
		require.Equal(t, ttl, res.TTL)
	}
	require.NoError(t, alive.CloseSend())
	_, err = alive.Recv()
	require.ErrorIs(t, err, io.EOF)
	ttl, err := client.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: granted.ID, Keys: true})
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte("a")}, ttl.Keys)
	require.EqualValues(t, 1000, ttl.GrantedTTL)
	all, err := client.LeaseLeases(ctx, &pb.LeaseLeasesRequest{})
	require.NoError(t, err)
	require.Len(t, all.Leases, 1)
	_, err = client.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: granted.ID})
	require.NoError(t, err)
	ttl, err = client.LeaseTimeToLive(ctx, &pb.LeaseTimeToLiveRequest{ID: granted.ID})
	require.NoError(t, err)
	require.EqualValues(t, -1, ttl.TTL)
}

// transcript writes a watch response in one line.
func transcript(r *pb.WatchResponse) string {
	text := fmt.Sprintf("%d@%d", r.WatchId, r.Header.Revision)
	if r.Created {
		text += " created"
	}
	if r.Canceled {
		text += " canceled"
	}
	if r.CompactRevision != 0 {
		text += fmt.Sprintf(" compacted=%d", r.CompactRevision)
	}
	for _, e := range r.Events {
		sign := "+"
		if e.Type == mvccpb.Event_DELETE {
			sign = "-"
		}
		text += fmt.Sprintf(" %s%s@%d", sign, e.Kv.Key, e.Kv.ModRevision)
		if e.PrevKv != nil {
			text += fmt.Sprintf("(%s)", e.PrevKv.Value)
		}
	}
	return text
}

func TestWatch(t *testing.T) {
	s, conn := start(t, store.Config{}, etcdapi.Config{})
	ctx := t.Context()
	put := func(key, value string) {
		_, err := s.Put(ctx, store.PutRequest{Key: []byte(key), Value: []byte(value)})
		require.NoError(t, err)
	}
	put("a", "1")
	put("a", "2")
	put("a", "3")
	require.NoError(t, s.Compact(ctx, 3))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := pb.NewWatchClient(conn).Watch(ctx)
	require.NoError(t, err)
	create := func(r *pb.WatchCreateRequest) *pb.WatchRequest {
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: r}}
	}
	progress := &pb.WatchRequest{RequestUnion: &pb.WatchRequest_ProgressRequest{ProgressRequest: &pb.WatchProgressRequest{}}}
	for _, step := range []struct {
		send *pb.WatchRequest
		do   func()
		want []string
	}{
		{send: progress, want: []string{"-1@4"}},
		{send: create(&pb.WatchCreateRequest{Key: []byte("a"), PrevKv: true}), want: []string{"0@4 created"}},
		{do: func() { put("a", "4") }, want: []string{"0@5 +a@5(3)"}},
		{send: create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 3}), want: []string{"1@5 created", "1@5 +a@3 +a@4 +a@5"}},
		{send: create(&pb.WatchCreateRequest{Key: []byte("a"), WatchId: 1}), want: []string{"-1@5 created canceled"}},
		{send: create(&pb.WatchCreateRequest{Key: []byte("a"), StartRevision: 2}), want: []string{"2@5 created", "2@5 canceled compacted=3"}},
		{send: create(&pb.WatchCreateRequest{Key: []byte("z"), RangeEnd: []byte("a")}), want: []string{"-1@5 created canceled"}},
		{send: create(&pb.WatchCreateRequest{Key: []byte{0}, RangeEnd: []byte{0}, WatchId: 9, Filters: []pb.WatchCreateRequest_FilterType{pb.WatchCreateRequest_NOPUT}}),
			want: []string{"9@5 created"}},
		{do: func() { put("b", "1") }, send: progress, want: []string{"-1@6"}},
		{send: &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 1}}}, want: []string{"1@6 canceled"}},
		{send: &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CancelRequest{CancelRequest: &pb.WatchCancelRequest{WatchId: 0}}}, want: []string{"0@6 canceled"}},
		{do: func() {
			_, err := s.Txn(ctx, store.Txn{Then: []store.Op{
				{Delete: &store.DeleteRequest{Key: []byte("a")}}, {Delete: &store.DeleteRequest{Key: []byte("b")}}, {Put: &store.PutRequest{Key: []byte("c")}},
			}})
			require.NoError(t, err)
		}, want: []string{"9@7 -a@7 -b@7"}},
	} {
		if step.do != nil {
			step.do()
		}
		if step.send != nil {
			require.NoError(t, stream.Send(step.send))
		}
		for _, want := range step.want {
			r, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, want, transcript(r))
		}
	}
	// A client that has nothing more to ask still gets events.
	require.NoError(t, stream.CloseSend())
	_, err = s.Delete(ctx, store.DeleteRequest{Key: []byte("c")})
	require.NoError(t, err)
	r, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "9@8 -c@8", transcript(r))
}

func TestProgressByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, conn := start(t, store.Config{}, etcdapi.Config{ProgressInterval: time.Minute})
		stream, err := pb.NewWatchClient(conn).Watch(t.Context())
		require.NoError(t, err)
		require.NoError(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{
			CreateRequest: &pb.WatchCreateRequest{Key: []byte("a"), ProgressNotify: true},
		}}))
		_, err = stream.Recv()
		require.NoError(t, err)
		_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("elsewhere")})
		require.NoError(t, err)
		begin := time.Now()
		for range 2 {
			r, err := stream.Recv()
			require.NoError(t, err)
			require.Equal(t, "0@2", transcript(r))
		}
		require.GreaterOrEqual(t, time.Since(begin), 2*time.Minute)
		require.Less(t, time.Since(begin), 2*time.Minute+12*time.Second, "up to a tenth is added, so that watches spread")
	})
}

func TestCloseEndsStreams(t *testing.T) {
	s, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	defer s.Close()
	l := memnet.Listen("etcd")
	defer l.Close()
	server, api := grpc.NewServer(), etcdapi.New(s, etcdapi.Config{})
	api.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	conn, err := dial(l)
	require.NoError(t, err)
	defer conn.Close()
	stream, err := pb.NewWatchClient(conn).Watch(t.Context())
	require.NoError(t, err)
	require.NoError(t, stream.Send(&pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: []byte("a")}}}))
	_, err = stream.Recv()
	require.NoError(t, err)
	require.NoError(t, api.Close())
	_, err = stream.Recv()
	require.Equal(t, rpctypes.ErrGRPCStopped.Error(), err.Error())
	server.GracefulStop()
	require.NoError(t, <-served)
}

func TestMaintenance(t *testing.T) {
	s, conn := start(t, store.Config{Dir: t.TempDir()}, etcdapi.Config{Name: "one", ClientURLs: []string{"http://here:2379"}})
	client, ctx := pb.NewMaintenanceClient(conn), t.Context()
	for i := range 100 {
		_, err := s.Put(ctx, store.PutRequest{Key: fmt.Append(nil, i), Value: []byte(strings.Repeat("v", 1000))})
		require.NoError(t, err)
	}
	st, err := client.Status(ctx, &pb.StatusRequest{})
	require.NoError(t, err)
	require.Equal(t, "3.7.0", st.Version)
	require.NotZero(t, st.Leader)
	require.Equal(t, st.Header.MemberId, st.Leader)
	require.Positive(t, st.DbSize)
	require.Positive(t, st.RaftTerm)
	members, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{})
	require.NoError(t, err)
	require.Equal(t, "one", members.Members[0].Name)
	require.Equal(t, []string{"http://here:2379"}, members.Members[0].ClientURLs)
	alarms, err := client.Alarm(ctx, &pb.AlarmRequest{})
	require.NoError(t, err)
	require.Empty(t, alarms.Alarms)
	before, err := client.HashKV(ctx, &pb.HashKVRequest{})
	require.NoError(t, err)
	same, err := client.Hash(ctx, &pb.HashRequest{})
	require.NoError(t, err)
	require.Equal(t, before.Hash, same.Hash)

	stream, err := client.Snapshot(ctx, &pb.SnapshotRequest{})
	require.NoError(t, err)
	var file bytes.Buffer
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		file.Write(chunk.Blob)
	}
	require.Equal(t, 32, file.Len()%512, "etcd's client looks for the checksum so")
	content := file.Bytes()[:file.Len()-32]
	sum := sha256.Sum256(content)
	require.Equal(t, sum[:], file.Bytes()[file.Len()-32:])
	restored, err := store.Open(ctx, store.Config{Restore: &file})
	require.NoError(t, err)
	defer restored.Close()
	all, err := restored.Range(ctx, store.RangeRequest{Key: []byte{0}, End: []byte{0}})
	require.NoError(t, err)
	require.Len(t, all.KVs, 100)
	_, err = s.Put(ctx, store.PutRequest{Key: []byte("x")})
	require.NoError(t, err)
	past, err := client.HashKV(ctx, &pb.HashKVRequest{Revision: before.HashRevision})
	require.NoError(t, err)
	require.Equal(t, before.Hash, past.Hash)
	now, err := client.HashKV(ctx, &pb.HashKVRequest{})
	require.NoError(t, err)
	require.NotEqual(t, before.Hash, now.Hash)
}

// TestAlarm fills a store up to its quota: puts are refused until something is deleted and compacted.
func TestAlarm(t *testing.T) {
	s, conn := start(t, store.Config{QuotaBytes: 10_000}, etcdapi.Config{})
	kv, maintenance, ctx := pb.NewKVClient(conn), pb.NewMaintenanceClient(conn), t.Context()
	var err error
	for i := 0; err == nil; i++ {
		require.Less(t, i, 100)
		_, err = kv.Put(ctx, &pb.PutRequest{Key: fmt.Append(nil, i), Value: make([]byte, 1000)})
	}
	require.Equal(t, rpctypes.ErrGRPCNoSpace.Error(), err.Error())
	list := func(action pb.AlarmRequest_AlarmAction) []*pb.AlarmMember {
		res, err := maintenance.Alarm(ctx, &pb.AlarmRequest{Action: action})
		require.NoError(t, err)
		return res.Alarms
	}
	_, err = maintenance.Alarm(ctx, &pb.AlarmRequest{Action: 99})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	alarms := list(pb.AlarmRequest_GET)
	require.Len(t, alarms, 1)
	require.Equal(t, pb.AlarmType_NOSPACE, alarms[0].Alarm)
	require.Equal(t, store.MemberID(""), alarms[0].MemberID)
	st, err := maintenance.Status(ctx, &pb.StatusRequest{})
	require.NoError(t, err)
	require.EqualValues(t, 10_000, st.DbSizeQuota)
	require.Len(t, st.Errors, 1)
	require.Contains(t, st.Errors[0], "NOSPACE")
	del, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	require.NoError(t, err)
	require.NotZero(t, del.Deleted)
	require.NoError(t, s.Compact(ctx, del.Header.Revision))
	list(pb.AlarmRequest_DEACTIVATE)
	require.Empty(t, list(pb.AlarmRequest_GET))
	_, err = kv.Put(ctx, &pb.PutRequest{Key: []byte("a"), Value: make([]byte, 1000)})
	require.NoError(t, err)
}
