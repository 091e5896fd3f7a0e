package etcdapi

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	res, err := s.store.Range(ctx, *req)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return s.rangeResponse(&res), nil
}

// rangeChunk and rangeChunkBytes are how many keys, and about how many bytes, one message of RangeStream carries.
const (
	rangeChunk      = 500
	rangeChunkBytes = 1 << 20
)

// RangeStream implements pb.KVServer. All chunks are of one revision, and the last one has the header, the count and
// More, as in etcd.
func (s *kvServer) RangeStream(r *pb.RangeRequest, stream grpc.ServerStreamingServer[pb.RangeStreamResponse]) error {
	switch {
	case r.SortOrder != pb.RangeRequest_NONE && (r.SortTarget != pb.RangeRequest_KEY || r.SortOrder != pb.RangeRequest_ASCEND):
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	case r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0:
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	whole, err := s.Range(stream.Context(), r)
	if err != nil {
		return err
	}
	for kvs := whole.Kvs; ; {
		n, size := 0, 0
		for n < len(kvs) && n < rangeChunk && size < rangeChunkBytes {
			size += len(kvs[n].Key) + len(kvs[n].Value)
			n++
		}
		if n == len(kvs) {
			whole.Kvs = kvs
			return stream.Send(&pb.RangeStreamResponse{RangeResponse: whole})
		}
		if err := stream.Send(&pb.RangeStreamResponse{RangeResponse: &pb.RangeResponse{Kvs: kvs[:n]}}); err != nil {
			return err
		}
		kvs = kvs[n:]
	}
}

// Put implements pb.KVServer.
func (s *kvServer) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	t := translation{limit: s.cfg.MaxRequestBytes}
	req, err := t.put(r)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	res, err := s.store.Put(ctx, *req)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return s.putResponse(&res), nil
}

// DeleteRange implements pb.KVServer.
func (s *kvServer) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	t := translation{limit: s.cfg.MaxRequestBytes}
	req, err := t.delete(r)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	res, err := s.store.Delete(ctx, *req)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return s.deleteResponse(&res), nil
}

// Txn implements pb.KVServer.
func (s *kvServer) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	t := translation{limit: s.cfg.MaxRequestBytes}
	req, err := t.txn(r, s.cfg.MaxTxnOps, 0)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	res, err := s.store.Txn(ctx, *req)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return s.txnResponse(&res), nil
}

// Compact implements pb.KVServer. What was compacted is gone from memory at once, so that Physical changes nothing.
func (s *kvServer) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	ctx, done, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := s.store.Compact(ctx, r.Revision); err != nil {
		return nil, s.failed(ctx, err)
	}
	return &pb.CompactionResponse{Header: s.at(0)}, nil
}

func rangeRequest(r *pb.RangeRequest) (*store.RangeRequest, error) {
	req := new(store.RangeRequest)
	if err := readRange(r, req); err != nil {
		return nil, err
	}
	return req, nil
}

func readRange(r *pb.RangeRequest, into *store.RangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if r.SortOrder < pb.RangeRequest_NONE || r.SortOrder > pb.RangeRequest_DESCEND || r.SortTarget < pb.RangeRequest_KEY || r.SortTarget > pb.RangeRequest_VALUE {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	*into = store.RangeRequest{
		Key: r.Key, End: r.RangeEnd,
		Limit: max(0, r.Limit), Revision: max(0, r.Revision), // etcd takes what is negative as not given
		KeysOnly: r.KeysOnly, CountOnly: r.CountOnly, Serializable: r.Serializable,
		SortBy: store.SortTarget(r.SortTarget), SortDescend: r.SortOrder == pb.RangeRequest_DESCEND,
		MinModRevision: r.MinModRevision, MaxModRevision: r.MaxModRevision,
		MinCreateRevision: r.MinCreateRevision, MaxCreateRevision: r.MaxCreateRevision,
	}
	return nil
}

// translation makes the store's requests of etcd's. It counts the bytes that they carry against a limit.
type translation struct{ size, limit int }

// add counts bytes.
func (t *translation) add(parts ...[]byte) error {
	for _, p := range parts {
		t.size += len(p)
	}
	if t.size > t.limit {
		return rpctypes.ErrGRPCRequestTooLarge
	}
	return nil
}

func (t *translation) put(r *pb.PutRequest) (*store.PutRequest, error) {
	req := new(store.PutRequest)
	if err := t.readPut(r, req); err != nil {
		return nil, err
	}
	return req, nil
}

func (t *translation) readPut(r *pb.PutRequest, into *store.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.IgnoreValue && len(r.Value) > 0:
		return rpctypes.ErrGRPCValueProvided
	case r.IgnoreLease && r.Lease != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	*into = store.PutRequest{
		Key: r.Key, Value: r.Value, Lease: r.Lease, PrevKV: r.PrevKv, IgnoreValue: r.IgnoreValue, IgnoreLease: r.IgnoreLease,
	}
	return t.add(r.Key, r.Value)
}

func (t *translation) delete(r *pb.DeleteRangeRequest) (*store.DeleteRequest, error) {
	if len(r.GetKey()) == 0 {
		return nil, rpctypes.ErrGRPCEmptyKey
	}
	return &store.DeleteRequest{Key: r.Key, End: r.RangeEnd, PrevKV: r.PrevKv}, t.add(r.Key, r.RangeEnd)
}

// maxDepth is how deep transactions may be nested, which is what the store allows.
const maxDepth = 16

// txn translates a transaction, which may have ops compares, and operations in either branch. A nested one may have
// what the one around it leaves, as in etcd.
func (t *translation) txn(r *pb.TxnRequest, ops, depth int) (*store.Txn, error) {
	ops -= max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if ops < 0 || depth > maxDepth {
		return nil, rpctypes.ErrGRPCTooManyOps
	}
	txn := &store.Txn{}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return nil, rpctypes.ErrGRPCEmptyKey
		}
		if c.Target < 0 || c.Target > pb.Compare_LEASE || c.Result < 0 || c.Result > pb.Compare_NOT_EQUAL {
			return nil, status.Errorf(codes.InvalidArgument, "etcdserver: compare target %d or result %d is unknown", c.Target, c.Result)
		}
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
		if err := t.add(c.Key, c.RangeEnd, compare.Value); err != nil {
			return nil, err
		}
		txn.Compares = append(txn.Compares, compare)
	}
	var err error
	if txn.Then, err = t.operations(r.GetSuccess(), ops, depth); err != nil {
		return nil, err
	}
	txn.Else, err = t.operations(r.GetFailure(), ops, depth)
	return txn, err
}

func (t *translation) operations(requests []*pb.RequestOp, left, depth int) ([]store.Op, error) {
	ops := make([]store.Op, len(requests))
	for i, r := range requests {
		var err error
		switch op := &ops[i]; request := r.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			if op.Range, err = rangeRequest(request.RequestRange); err == nil {
				err = t.add(op.Range.Key, op.Range.End)
			}
		case *pb.RequestOp_RequestPut:
			op.Put, err = t.put(request.RequestPut)
		case *pb.RequestOp_RequestDeleteRange:
			op.Delete, err = t.delete(request.RequestDeleteRange)
		case *pb.RequestOp_RequestTxn:
			op.Txn, err = t.txn(request.RequestTxn, left, depth+1)
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

func (s *Server) rangeResponse(res *store.RangeResult) *pb.RangeResponse {
	return &pb.RangeResponse{Header: s.at(res.Revision), Kvs: keyValues(res.KVs), More: res.More, Count: res.Count}
}

func (s *Server) putResponse(res *store.PutResult) *pb.PutResponse {
	return &pb.PutResponse{Header: s.at(res.Revision), PrevKv: keyValue(res.PrevKV)}
}

func (s *Server) deleteResponse(res *store.DeleteResult) *pb.DeleteRangeResponse {
	return &pb.DeleteRangeResponse{Header: s.at(res.Revision), Deleted: res.Deleted, PrevKvs: keyValues(res.PrevKVs)}
}

func (s *Server) txnResponse(res *store.TxnResult) *pb.TxnResponse {
	out := &pb.TxnResponse{Header: s.at(res.Revision), Succeeded: res.Succeeded, Responses: make([]*pb.ResponseOp, len(res.Responses))}
	for i := range res.Responses {
		op := &pb.ResponseOp{}
		switch r := &res.Responses[i]; {
		case r.Range != nil:
			op.Response = &pb.ResponseOp_ResponseRange{ResponseRange: s.rangeResponse(r.Range)}
		case r.Put != nil:
			op.Response = &pb.ResponseOp_ResponsePut{ResponsePut: s.putResponse(r.Put)}
		case r.Delete != nil:
			op.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: s.deleteResponse(r.Delete)}
		default:
			op.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: s.txnResponse(r.Txn)}
		}
		out.Responses[i] = op
	}
	return out
}
