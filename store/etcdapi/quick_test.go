package etcdapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-dev/keelson/internal/memnet"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/etcdapi"
)

// TestQuickIsPlain sends the same requests to two stores that hold the same, one behind this package's transport and
// the other behind grpc.NewServer, and compares answers and errors.
func TestQuickIsPlain(t *testing.T) {
	_, quick := start(t, store.Config{}, etcdapi.Config{MaxTxnOps: 4, MaxRequestBytes: 1000})
	s, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	defer s.Close()
	l := memnet.Listen("plain")
	server, api := grpc.NewServer(), etcdapi.New(s, etcdapi.Config{MaxTxnOps: 4, MaxRequestBytes: 1000})
	api.Register(server)
	go func() { _ = server.Serve(l) }()
	plain, err := dial(l)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, plain.Close())
		require.NoError(t, api.Close())
		server.Stop()
	}()
	key := func(n byte) []byte { return []byte{'k', n} }
	put := func(n byte, value string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key(n), Value: []byte(value), PrevKv: true}}}
	}
	get := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key(0), RangeEnd: key(9)}}}
	remove := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: key(1), PrevKv: true}}}
	missing := []*pb.Compare{{Key: key(7), Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: 1}}}
	for i, request := range []proto.Message{
		&pb.PutRequest{Key: key(1), Value: []byte("a")},
		&pb.PutRequest{Key: key(1), Value: []byte("b"), PrevKv: true},
		&pb.PutRequest{Key: key(2), Value: make([]byte, 900)},
		&pb.PutRequest{Key: key(1), IgnoreValue: true},
		&pb.PutRequest{Key: key(3), Lease: 5},
		&pb.PutRequest{Value: []byte("no key")},
		&pb.PutRequest{Key: key(5), IgnoreLease: true},
		&pb.PutRequest{Key: key(1), Value: []byte("b"), IgnoreValue: true},
		&pb.PutRequest{Key: key(1), Value: make([]byte, 1001)},
		&pb.RangeRequest{Key: key(1)},
		&pb.RangeRequest{Key: key(1), Serializable: true, Revision: 2},
		&pb.RangeRequest{Key: key(6)},
		&pb.RangeRequest{Key: key(0), RangeEnd: key(9), KeysOnly: true},
		&pb.RangeRequest{Key: key(0), RangeEnd: key(9), CountOnly: true},
		&pb.RangeRequest{Key: key(0), RangeEnd: key(9), Limit: 1, SortOrder: pb.RangeRequest_DESCEND, SortTarget: pb.RangeRequest_MOD},
		&pb.RangeRequest{Key: key(0), RangeEnd: key(9), MinModRevision: 4},
		&pb.RangeRequest{Key: key(1), Revision: 99},
		&pb.RangeRequest{},
		&pb.RangeRequest{Key: key(1), SortTarget: 77},
		&pb.TxnRequest{Success: []*pb.RequestOp{put(1, "t"), put(4, "u"), get}},
		&pb.TxnRequest{Compare: missing, Success: []*pb.RequestOp{put(1, "x")}, Failure: []*pb.RequestOp{remove, get}},
		&pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{put(8, "in")}}}}, get}},
		&pb.TxnRequest{Success: []*pb.RequestOp{put(1, "x"), put(1, "y")}},
		&pb.TxnRequest{Success: []*pb.RequestOp{get, get, get, get, get}},
		&pb.TxnRequest{Success: []*pb.RequestOp{get}},
		&pb.TxnRequest{},
	} {
		ask := func(conn *grpc.ClientConn) (proto.Message, error) {
			kv := pb.NewKVClient(conn)
			switch r := request.(type) {
			case *pb.PutRequest:
				res, err := kv.Put(t.Context(), r)
				if err == nil {
					res.Header.ClusterId = 0
				}
				return res, err
			case *pb.RangeRequest:
				res, err := kv.Range(t.Context(), r)
				if err == nil {
					res.Header.ClusterId = 0
				}
				return res, err
			default:
				res, err := kv.Txn(t.Context(), request.(*pb.TxnRequest))
				if err == nil {
					res.Header.ClusterId = 0
					for _, op := range res.Responses {
						for _, h := range []*pb.ResponseHeader{op.GetResponseRange().GetHeader(), op.GetResponsePut().GetHeader(), op.GetResponseDeleteRange().GetHeader(), op.GetResponseTxn().GetHeader()} {
							if h != nil {
								h.ClusterId = 0
							}
						}
						for _, inner := range op.GetResponseTxn().GetResponses() {
							inner.GetResponsePut().Header.ClusterId = 0
						}
					}
				}
				return res, err
			}
		}
		got, err := ask(quick)
		want, wantErr := ask(plain)
		require.Equal(t, status.Convert(wantErr).Message(), status.Convert(err).Message(), "%d: %v", i, request)
		require.Equal(t, status.Code(wantErr), status.Code(err), "%d: %v", i, request)
		if err == nil {
			require.True(t, proto.Equal(want, got), "%d: %v\n%v\n%v", i, request, want, got)
		}
	}
}
