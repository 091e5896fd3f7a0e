package etcdapi

import (
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-dev/keelson/store/etcdapi/transport"
)

// Transport returns a gRPC server that serves the API and nothing else yet: it takes less of the processor than
// google.golang.org/grpc's. Close the Server before the transport.
func (s *Server) Transport(cfg transport.Config) (*transport.Server, error) {
	if cfg.MaxMessageBytes == 0 {
		cfg.MaxMessageBytes = s.maxMessage()
	}
	if cfg.Logger == nil {
		cfg.Logger = s.cfg.Logger
	}
	server, err := transport.New(cfg)
	if err != nil {
		return nil, err
	}
	s.Register(server)
	q := &quickServer{Server: s}
	for path, quick := range map[string]transport.Quick{
		pb.KV_Range_FullMethodName: q.get, pb.KV_Put_FullMethodName: q.put, pb.KV_Txn_FullMethodName: q.txn,
	} {
		if err := server.RegisterQuick(path, quick); err != nil {
			return nil, err
		}
	}
	for path, later := range map[string]transport.Later{
		pb.KV_Put_FullMethodName: q.startPut, pb.KV_Txn_FullMethodName: q.startTxn,
	} {
		if err := server.RegisterLater(path, later); err != nil {
			return nil, err
		}
	}
	return server, nil
}

// quickServer has the methods that carry nearly all calls, from bytes to bytes. They do what those of kvServer do.
type quickServer struct {
	*Server
	txns sync.Pool // of *txnBuffer, empty ones
}

// begin is Server.begin without a context.
func (q *quickServer) refusal(c *transport.Call) error {
	select {
	case <-q.closed:
		return rpctypes.ErrGRPCStopped
	default:
	}
	if c.Header(rpctypes.MetadataRequireLeaderKey) == rpctypes.MetadataHasLeader && !q.store.HasLeader() {
		return rpctypes.ErrGRPCNoLeader
	}
	return nil
}

// get answers reads of one key on the spot, if nobody else need be asked.
func (q *quickServer) get(c *transport.Call, request, answer []byte) ([]byte, bool, error) {
	r := new(pb.RangeRequest)
	if !decodeRange(request, r) {
		if err := decode(request, r); err != nil {
			return answer, true, err
		}
	}
	if !c.Wait() && (len(r.RangeEnd) > 0 || !r.Serializable && !q.store.Prompt()) {
		return answer, false, nil
	}
	req, err := rangeRequest(r)
	if err != nil {
		return answer, true, err
	}
	if err := q.refusal(c); err != nil {
		return answer, true, err
	}
	ctx := c.Context()
	if c.Wait() {
		bounded, cancel := q.bounded(ctx)
		defer cancel()
		ctx = bounded
	}
	res, err := q.store.Range(ctx, *req)
	if err != nil {
		return answer, true, q.failed(ctx, err)
	}
	return appendRange(answer, q.at(res.Revision), &res), true, nil
}

func (q *quickServer) put(c *transport.Call, request, answer []byte) ([]byte, bool, error) {
	if !c.Wait() {
		return answer, false, nil
	}
	r := new(pb.PutRequest)
	if !decodePut(request, r) {
		if err := decode(request, r); err != nil {
			return answer, true, err
		}
	}
	t := translation{limit: q.cfg.MaxRequestBytes}
	req, err := t.put(r)
	if err != nil {
		return answer, true, err
	}
	if err := q.refusal(c); err != nil {
		return answer, true, err
	}
	ctx, cancel := q.bounded(c.Context())
	defer cancel()
	res, err := q.store.Put(ctx, *req)
	if err != nil {
		return answer, true, q.failed(ctx, err)
	}
	return appendPut(answer, q.at(res.Revision), &res), true, nil
}

func (q *quickServer) txn(c *transport.Call, request, answer []byte) ([]byte, bool, error) {
	if !c.Wait() {
		return answer, false, nil
	}
	r := new(pb.TxnRequest)
	if err := decode(request, r); err != nil {
		return answer, true, err
	}
	t := translation{limit: q.cfg.MaxRequestBytes}
	req, err := t.txn(r, q.cfg.MaxTxnOps, 0)
	if err != nil {
		return answer, true, err
	}
	if err := q.refusal(c); err != nil {
		return answer, true, err
	}
	ctx, cancel := q.bounded(c.Context())
	defer cancel()
	res, err := q.store.Txn(ctx, *req)
	if err != nil {
		return answer, true, q.failed(ctx, err)
	}
	return appendTxn(answer, q.at(res.Revision), &res), true, nil
}

// decode reads a message in whatever form.
func decode(request []byte, into proto.Message) error {
	if err := proto.Unmarshal(request, into); err != nil {
		return status.Errorf(codes.Internal, "grpc: error unmarshalling request: %v", err)
	}
	return nil
}
