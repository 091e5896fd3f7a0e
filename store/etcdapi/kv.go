package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
)

type kvServer struct {
	pb.UnimplementedKVServer
	*Server
}

// Range implements pb.KVServer.
func (s *kvServer) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	req, err := rangeRequest(r)
	if err != nil {
		return nil, err
	}
	res, err := s.store.Range(ctx, *req)
	if err != nil {
		return nil, s.fail(err)
	}
	return s.rangeResponse(ctx, &res)
}

// rangeChunk is how many keys one message of RangeStream carries.
const rangeChunk = 500

// RangeStream implements pb.KVServer: all chunks are of one revision.
func (s *kvServer) RangeStream(r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	whole, err := s.Range(stream.Context(), r)
	if err != nil {
		return err
	}
	kvs := whole.Kvs
	for len(kvs) > rangeChunk {
		if err := stream.Send(&pb.RangeStreamResponse{RangeResponse: &pb.RangeResponse{Kvs: kvs[:rangeChunk]}}); err != nil {
			return err
		}
		kvs = kvs[rangeChunk:]
	}
	whole.Kvs = kvs
	return stream.Send(&pb.RangeStreamResponse{RangeResponse: whole})
}

// Put implements pb.KVServer.
func (s *kvServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	req, err := putRequest(r)
	if err != nil {
		return nil, err
	}
	res, err := s.store.Put(ctx, *req)
	if err != nil {
		return nil, s.fail(err)
	}
	return s.putResponse(ctx, &res)
}

// DeleteRange implements pb.KVServer.
func (s *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	res, err := s.store.Delete(ctx, *deleteRequest(r))
	if err != nil {
		return nil, s.fail(err)
	}
	return s.deleteResponse(ctx, &res)
}

// Txn implements pb.KVServer.
func (s *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	req, err := txnRequest(r, 0)
	if err != nil {
		return nil, err
	}
	res, err := s.store.Txn(ctx, *req)
	if err != nil {
		return nil, s.fail(err)
	}
	return s.txnResponse(ctx, &res)
}

// Compact implements pb.KVServer.
func (s *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	if err := s.store.Compact(ctx, r.Revision); err != nil {
		return nil, s.fail(err)
	}
	header, err := s.header(ctx, 0)
	return &pb.CompactionResponse{Header: header}, err
}

func rangeRequest(r *pb.RangeRequest) (*store.RangeRequest, error) {
	if len(r.Key) == 0 {
		return nil, rpctypes.ErrGRPCEmptyKey
	}
	if _, known := pb.RangeRequest_SortOrder_name[int32(r.SortOrder)]; !known {
		return nil, rpctypes.ErrGRPCInvalidSortOption
	}
	if _, known := pb.RangeRequest_SortTarget_name[int32(r.SortTarget)]; !known {
		return nil, rpctypes.ErrGRPCInvalidSortOption
	}
	return &store.RangeRequest{
		Key: r.Key, End: r.RangeEnd,
		Limit: max(0, r.Limit), Revision: max(0, r.Revision), // etcd takes what is negative as not given
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly, Serializable: r.Serializable,
		SortBy: store.SortTarget(r.SortTarget), SortDescend: r.SortOrder == pb.RangeRequest_DESCEND,
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
	}, nil
}

func putRequest(r *pb.PutRequest) (*store.PutRequest, error) {
	switch {
	case len(r.Key) == 0:
		return nil, rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) > 0:
		return nil, rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return nil, rpctypes.ErrGRPCLeaseProvided
	}
	return &store.PutRequest{
		Key: r.Key, Value: r.Value, Lease: r.Lease, PrevKV: r.PrevKv, IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease,
	}, nil
}

func deleteRequest(r *pb.DeleteRangeRequest) *store.DeleteRequest {
	return &store.DeleteRequest{Key: r.Key, End: r.RangeEnd, PrevKV: r.PrevKv}
}

// maxDepth stops the translation of transactions that the store would refuse.
const maxDepth = 32

func txnRequest(r *pb.TxnRequest, depth int) (*store.Txn, error) {
	if depth > maxDepth {
		return nil, rpctypes.ErrGRPCTooManyOps
	}
	txn := &store.Txn{}
	for _, c := range r.Compare {
		compare := store.Compare{Key: c.Key, End: c.RangeEnd, Target: store.CompareTarget(c.Target), Op: store.CompareOp(c.Result)}
		switch c.Target {
		case pb.Compare_VERSION:
			compare.Number = c.GetVersion()
		case pb.Compare_CREATE:
			compare.Number = c.GetCreateRevision()
		case pb.Compare_MOD:
			compare.Number = c.GetModRevision()
		case pb.Compare_LEASE:
			compare.Number = c.GetLease()
		default:
			compare.Value = c.GetValue()
		}
		txn.Compares = append(txn.Compares, compare)
	}
	var err error
	if txn.Then, err = operations(r.Success, depth); err != nil {
		return nil, err
	}
	txn.Else, err = operations(r.Failure, depth)
	return txn, err
}

func operations(requests []*pb.RequestOp, depth int) ([]store.Op, error) {
	ops := make([]store.Op, len(requests))
	for i, r := range requests {
		var err error
		switch op := &ops[i]; request := r.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			op.Range, err = rangeRequest(request.RequestRange)
		case *pb.RequestOp_RequestPut:
			op.Put, err = putRequest(request.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			op.Delete = deleteRequest(request.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			op.Txn, err = txnRequest(request.RequestTxn, depth+1)
		default:
			err = rpctypes.ErrGRPCKeyNotFound // so says etcd
		}
		if err != nil {
			return nil, err
		}
	}
	return ops, nil
}

func keyValue(kv *store.KV) *mvccpb.KeyValue {
	if kv == nil {
		return nil
	}
	return &mvccpb.KeyValue{
		Key: kv.Key, Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Version: kv.Version, Lease: kv.Lease,
	}
}

func keyValues(kvs []store.KV) []*mvccpb.KeyValue {
	out := make([]*mvccpb.KeyValue, len(kvs))
	for i := range kvs {
		out[i] = keyValue(&kvs[i])
	}
	return out
}

func (s *Server) rangeResponse(ctx context.Context, res *store.RangeResult) (*pb.RangeResponse, error) {
	header, err := s.header(ctx, res.Revision)
	return &pb.RangeResponse{Header: header, Kvs: keyValues(res.KVs), More: res.More, Count: res.Count}, err
}

func (s *Server) putResponse(ctx context.Context, res *store.PutResult) (*pb.PutResponse, error) {
	header, err := s.header(ctx, res.Revision)
	return &pb.PutResponse{Header: header, PrevKv: keyValue(res.PrevKV)}, err
}

func (s *Server) deleteResponse(ctx context.Context, res *store.DeleteResult) (*pb.DeleteRangeResponse, error) {
	header, err := s.header(ctx, res.Revision)
	return &pb.DeleteRangeResponse{Header: header, Deleted: res.Deleted, PrevKvs: keyValues(res.PrevKVs)}, err
}

func (s *Server) txnResponse(ctx context.Context, res *store.TxnResult) (*pb.TxnResponse, error) {
	header, err := s.header(ctx, res.Revision)
	out := &pb.TxnResponse{Header: header, Succeeded: res.Succeeded, Responses: make([]*pb.ResponseOp, len(res.Responses))}
	for i := range res.Responses {
		if err != nil {
			break
		}
		op := &pb.ResponseOp{}
		switch r := &res.Responses[i]; {
		case r.Range != nil:
			var answer *pb.RangeResponse
			answer, err = s.rangeResponse(ctx, r.Range)
			op.Response = &pb.ResponseOp_ResponseRange{ResponseRange: answer}
		case r.Put != nil:
			var answer *pb.PutResponse
			answer, err = s.putResponse(ctx, r.Put)
			op.Response = &pb.ResponseOp_ResponsePut{ResponsePut: answer}
		case r.Delete != nil:
			var answer *pb.DeleteRangeResponse
			answer, err = s.deleteResponse(ctx, r.Delete)
			op.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: answer}
		default:
			var answer *pb.TxnResponse
			answer, err = s.txnResponse(ctx, r.Txn)
			op.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: answer}
		}
		out.Responses[i] = op
	}
	return out, err
}
