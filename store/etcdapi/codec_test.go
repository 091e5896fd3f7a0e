package etcdapi

import (
	"testing"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"

	"github.com/keelson-dev/keelson/store"
)

// source makes values of bytes.
type source struct{ left []byte }

func (s *source) byte() byte {
	if len(s.left) == 0 {
		return 0
	}
	b := s.left[0]
	s.left = s.left[1:]
	return b
}

func (s *source) number() int64 {
	var n int64
	for range s.byte() % 9 {
		n = n<<8 | int64(s.byte())
	}
	return n
}

// revision is a store's, which is never 0.
func (s *source) revision() int64 {
	if n := s.number(); n != 0 {
		return n
	}
	return 1
}

func (s *source) bytes() []byte {
	n := min(int(s.byte())*int(s.byte()), len(s.left))
	b := s.left[:n]
	s.left = s.left[n:]
	return b
}

func (s *source) kv() store.KV {
	return store.KV{
		Key: s.bytes(), Value: s.bytes(), CreateRevision: s.number(), ModRevision: s.number(), Version: s.number(), Lease: s.number(),
	}
}

func (s *source) kvs() []store.KV {
	var all []store.KV
	for range s.byte() % 5 {
		all = append(all, s.kv())
	}
	return all
}

func (s *source) prev() *store.KV {
	if s.byte()%2 == 0 {
		return nil
	}
	kv := s.kv()
	return &kv
}

func (s *source) txn(depth int) *store.TxnResult {
	res := &store.TxnResult{Succeeded: s.byte()%2 == 0, Revision: s.revision()}
	for range s.byte() % 4 {
		var r store.OpResult
		switch kind := s.byte() % 4; {
		case kind == 0:
			r.Range = &store.RangeResult{KVs: s.kvs(), More: s.byte()%2 == 0, Count: s.number(), Revision: s.revision()}
		case kind == 1:
			r.Put = &store.PutResult{PrevKV: s.prev(), Revision: s.revision()}
		case kind == 2 || depth > 3:
			r.Delete = &store.DeleteResult{Deleted: s.number(), PrevKVs: s.kvs(), Revision: s.revision()}
		default:
			r.Txn = s.txn(depth + 1)
		}
		res.Responses = append(res.Responses, r)
	}
	return res
}

// FuzzEncode compares what this package writes with what the generated code does.
func FuzzEncode(f *testing.F) {
	s, err := store.Open(f.Context(), store.Config{})
	require.NoError(f, err)
	defer s.Close()
	api := New(s, Config{})
	f.Add([]byte{})
	f.Add([]byte("\x01\x03\x00\x02\x01\x01k\x01\x01v\x01\x05\x02\x01\x01\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		from := &source{b}
		res := from.txn(0)
		want, err := proto.MarshalOptions{Deterministic: true}.Marshal(api.txnResponse(res))
		require.NoError(t, err)
		require.Equal(t, want, appendTxn([]byte{}, api.at(res.Revision), res))
		one := &store.RangeResult{KVs: from.kvs(), More: from.byte()%2 == 0, Count: from.number(), Revision: from.revision()}
		want, err = proto.Marshal(api.rangeResponse(one))
		require.NoError(t, err)
		require.Equal(t, want, appendRange(nil, api.at(one.Revision), one))
		put := &store.PutResult{PrevKV: from.prev(), Revision: from.revision()}
		want, err = proto.Marshal(api.putResponse(put))
		require.NoError(t, err)
		require.Equal(t, want, appendPut(nil, api.at(put.Revision), put))
	})
}

// FuzzEvents compares the responses of watches, encoded for the first time and again.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("\x02\x01\x01k\x01\x01v\x01\x05\x02\x01\x01\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e"))
	f.Fuzz(func(t *testing.T, b []byte) {
		from := &source{b}
		response := &pb.WatchResponse{
			Header:  &pb.ResponseHeader{ClusterId: uint64(from.number()), Revision: from.number(), RaftTerm: 3},
			WatchId: from.number(),
		}
		var all []store.Event
		for range from.byte() % 4 {
			kv := from.kv()
			all = append(all, store.Event{Type: store.EventType(from.byte() % 2), KV: &kv, PrevKV: from.prev()})
		}
		a := &watchAppender{message: watchMessage{response: response, events: all}, encoded: new(eventCache)}
		response.Events = events(all)
		want, err := proto.Marshal(response)
		require.NoError(t, err)
		for busy := range int64(3) {
			a.encoded.busy.Store(busy)
			require.Equal(t, want, append([]byte{}, a.AppendTo(nil)...))
			require.Equal(t, want, append([]byte{}, a.AppendTo(nil)...), "kept")
		}
		require.Equal(t, len(want), a.size())
	})
}

// FuzzDecode has this package's reading agree with the generated code's where it reads at all.
func FuzzDecode(f *testing.F) {
	for _, m := range []proto.Message{
		&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), Limit: 3, Revision: 1 << 40, SortOrder: 2, SortTarget: 4, Serializable: true,
			KeysOnly: true, CountOnly: true, MinModRevision: -1, MaxModRevision: 6, MinCreateRevision: 7, MaxCreateRevision: 8},
		&pb.PutRequest{Key: []byte("a"), Value: []byte("b"), Lease: -1, PrevKv: true, IgnoreValue: true, IgnoreLease: true},
	} {
		b, err := proto.Marshal(m)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ours, theirs pb.RangeRequest
		if decodeRange(b, &ours) {
			require.NoError(t, proto.Unmarshal(b, &theirs))
			require.True(t, proto.Equal(&ours, &theirs), "%v\n%v", &ours, &theirs)
		}
		var put, generated pb.PutRequest
		if decodePut(b, &put) {
			require.NoError(t, proto.Unmarshal(b, &generated))
			require.True(t, proto.Equal(&put, &generated), "%v\n%v", &put, &generated)
		}
	})
}

// TestDecodes has the usual requests read without the generated code: it would be right, but slow, otherwise.
func TestDecodes(t *testing.T) {
	b, err := proto.Marshal(&pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte("b"), Limit: 3, Serializable: true, MaxCreateRevision: 9})
	require.NoError(t, err)
	require.True(t, decodeRange(b, new(pb.RangeRequest)))
	require.False(t, decodeRange(append(b, 0x78, 1), new(pb.RangeRequest)), "a field that it does not know")
	b, err = proto.Marshal(&pb.PutRequest{Key: []byte("a"), Value: make([]byte, 300), Lease: 1 << 50, IgnoreLease: true})
	require.NoError(t, err)
	require.True(t, decodePut(b, new(pb.PutRequest)))
	require.False(t, decodePut(b[:len(b)-1], new(pb.PutRequest)), "cut off")
}

// same returns a transaction without the difference between nothing and a list or value of none.
func same(t *store.Txn) *store.Txn {
	nothing := func(all ...*[]byte) {
		for _, b := range all {
			if len(*b) == 0 {
				*b = nil
			}
		}
	}
	out := &store.Txn{}
	for _, c := range t.Compares {
		nothing(&c.Key, &c.End, &c.Value)
		out.Compares = append(out.Compares, c)
	}
	for i, ops := range [][]store.Op{t.Then, t.Else} {
		for _, op := range ops {
			switch {
			case op.Range != nil:
				nothing(&op.Range.Key, &op.Range.End)
			case op.Put != nil:
				nothing(&op.Put.Key, &op.Put.Value)
			case op.Delete != nil:
				nothing(&op.Delete.Key, &op.Delete.End)
			}
			if i == 0 {
				out.Then = append(out.Then, op)
			} else {
				out.Else = append(out.Else, op)
			}
		}
	}
	return out
}

func usualTxn() *pb.TxnRequest {
	key := []byte("/registry/pods/default/a")
	op := func(r any) *pb.RequestOp {
		switch r := r.(type) {
		case *pb.RangeRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
		case *pb.PutRequest:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
		default:
			return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r.(*pb.DeleteRangeRequest)}}
		}
	}
	return &pb.TxnRequest{
		Compare: []*pb.Compare{
			{Key: key, Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 0}},
			{Key: key, Target: pb.Compare_VALUE, Result: pb.Compare_NOT_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte("x")}},
			{Key: key, Target: pb.Compare_LEASE, Result: pb.Compare_GREATER, TargetUnion: &pb.Compare_Lease{Lease: -7}},
		},
		Success: []*pb.RequestOp{op(&pb.PutRequest{Key: key, Value: make([]byte, 300), Lease: 9}), op(&pb.DeleteRangeRequest{Key: []byte("b"), RangeEnd: []byte("c"), PrevKv: true})},
		Failure: []*pb.RequestOp{op(&pb.RangeRequest{Key: key, Limit: -3, SortOrder: pb.RangeRequest_DESCEND})},
	}
}

// FuzzDecodeTxn is FuzzDecode for transactions, up to what the store is given.
func FuzzDecodeTxn(f *testing.F) {
	b, err := proto.Marshal(usualTxn())
	require.NoError(f, err)
	f.Add(b, uint16(1000), byte(4))
	f.Fuzz(func(t *testing.T, b []byte, limit uint16, ops byte) {
		var buffer txnBuffer
		ours, known := buffer.decode(b, translation{limit: int(limit)}, int(ops))
		if !known {
			return
		}
		var r pb.TxnRequest
		require.NoError(t, proto.Unmarshal(b, &r))
		theirs, err := (&translation{limit: int(limit)}).txn(&r, int(ops), 0)
		require.NoError(t, err, "%v", &r)
		require.Equal(t, same(theirs), same(ours))
	})
}

func TestDecodesTxn(t *testing.T) {
	usual := usualTxn()
	b, err := proto.Marshal(usual)
	require.NoError(t, err)
	var buffer txnBuffer
	limit := translation{limit: 1 << 20}
	ours, known := buffer.decode(b, limit, 128)
	require.True(t, known)
	theirs, err := limit.txn(usual, 128, 0)
	require.NoError(t, err)
	require.Equal(t, same(theirs), same(ours))
	require.Len(t, ours.Compares, 3)
	for name, change := range map[string]func(*pb.TxnRequest){
		"no key":          func(r *pb.TxnRequest) { r.Compare[0].Key = nil },
		"another operand": func(r *pb.TxnRequest) { r.Compare[0].Target = pb.Compare_CREATE },
		"target":          func(r *pb.TxnRequest) { r.Compare[0].Target = 5 },
		"result":          func(r *pb.TxnRequest) { r.Compare[0].Result = 4 },
		"range compared":  func(r *pb.TxnRequest) { r.Compare[0].RangeEnd = []byte("z") },
		"no operation":    func(r *pb.TxnRequest) { r.Failure[0].Request = nil },
		"no key to put":   func(r *pb.TxnRequest) { r.Success[0].GetRequestPut().Key = nil },
		"no key to delete": func(r *pb.TxnRequest) {
			r.Success[1].GetRequestDeleteRange().Key = nil
		},
		"order":  func(r *pb.TxnRequest) { r.Failure[0].GetRequestRange().SortOrder = 3 },
		"nested": func(r *pb.TxnRequest) { r.Failure[0].Request = &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{}} },
		"many": func(r *pb.TxnRequest) {
			r.Success = append(r.Success, r.Success...)
			r.Success = append(r.Success, r.Success...)
		},
		"size":    func(r *pb.TxnRequest) { r.Success[0].GetRequestPut().Value = make([]byte, 2<<20) },
		"no more": func(r *pb.TxnRequest) { r.Compare = append(r.Compare, r.Compare...) },
	} {
		r := usualTxn()
		change(r)
		b, err := proto.Marshal(r)
		require.NoError(t, err)
		buffer = txnBuffer{}
		_, known := buffer.decode(b, limit, 128)
		require.False(t, known, name)
	}
	buffer = txnBuffer{}
	_, known = buffer.decode(b, limit, 2)
	require.False(t, known, "three compares, and two are allowed")
}
