package etcdapi

import (
	"math/bits"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/keelson-dev/keelson/store"
)

// This file reads the hot requests from, and writes their answers to, protobuf's bytes, without making messages of the
// store's values first. What is written is byte for byte what the generated code writes.

// field numbers of a message, in the order of their appearance below, are those of etcd's rpc.proto and kv.proto, v3.7.

// tag returns the byte before a field, for field numbers below 16.
func tag(field int, kind protowire.Type) byte { return byte(field)<<3 | byte(kind) }

// sizeVarint is the size of a field whose zero is left out.
func sizeVarint(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + (bits.Len64(v)+6)/7
}

func appendVarint(b []byte, field int, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(append(b, tag(field, protowire.VarintType)), v)
}

func sizeBytes(n int) int {
	if n == 0 {
		return 0
	}
	return sizeNested(n)
}

func appendBytes(b []byte, field int, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return append(appendNested(b, field, len(v)), v...)
}

// sizeNested is the size of a field that holds a message of n bytes, which is not left out if it is empty.
func sizeNested(n int) int { return 1 + protowire.SizeVarint(uint64(n)) + n }

// appendNested begins a message of n bytes.
func appendNested(b []byte, field, n int) []byte {
	return protowire.AppendVarint(append(b, tag(field, protowire.BytesType)), uint64(n))
}

func appendBool(b []byte, field int, v bool) []byte {
	if !v {
		return b
	}
	return append(b, tag(field, protowire.VarintType), 1)
}

func sizeBool(v bool) int {
	if v {
		return 2
	}
	return 0
}

func sizeHeader(h *pb.ResponseHeader) int {
	return sizeVarint(h.ClusterId) + sizeVarint(h.MemberId) + sizeVarint(uint64(h.Revision)) + sizeVarint(h.RaftTerm)
}

func appendHeader(b []byte, h *pb.ResponseHeader) []byte {
	b = appendNested(b, 1, sizeHeader(h))
	b = appendVarint(b, 1, h.ClusterId)
	b = appendVarint(b, 2, h.MemberId)
	b = appendVarint(b, 3, uint64(h.Revision))
	return appendVarint(b, 4, h.RaftTerm)
}

func sizeKV(kv *store.KV) int {
	return sizeBytes(len(kv.Key)) + sizeVarint(uint64(kv.CreateRevision)) + sizeVarint(uint64(kv.ModRevision)) +
		sizeVarint(uint64(kv.Version)) + sizeBytes(len(kv.Value)) + sizeVarint(uint64(kv.Lease))
}

func appendKV(b []byte, field int, kv *store.KV) []byte {
	b = appendNested(b, field, sizeKV(kv))
	b = appendBytes(b, 1, kv.Key)
	b = appendVarint(b, 2, uint64(kv.CreateRevision))
	b = appendVarint(b, 3, uint64(kv.ModRevision))
	b = appendVarint(b, 4, uint64(kv.Version))
	b = appendBytes(b, 5, kv.Value)
	return appendVarint(b, 6, uint64(kv.Lease))
}

func sizeKVs(kvs []store.KV) int {
	n := 0
	for i := range kvs {
		n += sizeNested(sizeKV(&kvs[i]))
	}
	return n
}

func sizeRange(h *pb.ResponseHeader, res *store.RangeResult) int {
	return sizeNested(sizeHeader(h)) + sizeKVs(res.KVs) + sizeBool(res.More) + sizeVarint(uint64(res.Count))
}

// appendRange adds a RangeResponse.
func appendRange(b []byte, h *pb.ResponseHeader, res *store.RangeResult) []byte {
	if len(res.KVs) > 1 {
		b = grow(b, sizeRange(h, res))
	}
	b = appendHeader(b, h)
	for i := range res.KVs {
		b = appendKV(b, 2, &res.KVs[i])
	}
	b = appendBool(b, 3, res.More)
	return appendVarint(b, 4, uint64(res.Count))
}

// grow makes room for n bytes, and no more.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	return append(make([]byte, 0, len(b)+n), b...)
}

func sizePut(h *pb.ResponseHeader, res *store.PutResult) int {
	n := sizeNested(sizeHeader(h))
	if res.PrevKV != nil {
		n += sizeNested(sizeKV(res.PrevKV))
	}
	return n
}

// appendPut adds a PutResponse.
func appendPut(b []byte, h *pb.ResponseHeader, res *store.PutResult) []byte {
	b = appendHeader(b, h)
	if res.PrevKV != nil {
		b = appendKV(b, 2, res.PrevKV)
	}
	return b
}

func sizeDelete(h *pb.ResponseHeader, res *store.DeleteResult) int {
	return sizeNested(sizeHeader(h)) + sizeVarint(uint64(res.Deleted)) + sizeKVs(res.PrevKVs)
}

// appendDelete adds a DeleteRangeResponse.
func appendDelete(b []byte, h *pb.ResponseHeader, res *store.DeleteResult) []byte {
	b = appendHeader(b, h)
	b = appendVarint(b, 2, uint64(res.Deleted))
	for i := range res.PrevKVs {
		b = appendKV(b, 3, &res.PrevKVs[i])
	}
	return b
}

// within returns the header of an operation's answer inside a transaction's.
func within(h *pb.ResponseHeader, revision int64) *pb.ResponseHeader {
	if h.Revision == revision {
		return h
	}
	return &pb.ResponseHeader{ClusterId: h.ClusterId, MemberId: h.MemberId, Revision: revision, RaftTerm: h.RaftTerm}
}

// sizeOp returns the field of a ResponseOp that holds the result, and the size of what is in it.
func sizeOp(h *pb.ResponseHeader, r *store.OpResult) (field, n int) {
	switch {
	case r.Range != nil:
		return 1, sizeRange(within(h, r.Range.Revision), r.Range)
	case r.Put != nil:
		return 2, sizePut(within(h, r.Put.Revision), r.Put)
	case r.Delete != nil:
		return 3, sizeDelete(within(h, r.Delete.Revision), r.Delete)
	default:
		return 4, sizeTxn(within(h, r.Txn.Revision), r.Txn)
	}
}

func sizeTxn(h *pb.ResponseHeader, res *store.TxnResult) int {
	n := sizeNested(sizeHeader(h)) + sizeBool(res.Succeeded)
	for i := range res.Responses {
		_, inner := sizeOp(h, &res.Responses[i])
		n += sizeNested(sizeNested(inner))
	}
	return n
}

// appendTxn adds a TxnResponse.
func appendTxn(b []byte, h *pb.ResponseHeader, res *store.TxnResult) []byte {
	b = appendHeader(b, h)
	b = appendBool(b, 2, res.Succeeded)
	for i := range res.Responses {
		r := &res.Responses[i]
		field, inner := sizeOp(h, r)
		b = appendNested(b, 3, sizeNested(inner))
		b = appendNested(b, field, inner)
		switch {
		case r.Range != nil:
			b = appendRange(b, within(h, r.Range.Revision), r.Range)
		case r.Put != nil:
			b = appendPut(b, within(h, r.Put.Revision), r.Put)
		case r.Delete != nil:
			b = appendDelete(b, within(h, r.Delete.Revision), r.Delete)
		default:
			b = appendTxn(b, within(h, r.Txn.Revision), r.Txn)
		}
	}
	return b
}

// fields calls visit for each field of a message with its varint or its bytes, which are b's. It returns false if there
// is anything but varints and bytes of known fields; what was visited then does not count.
func fields(b []byte, visit func(field int, bytes bool, number uint64, content []byte) bool) bool {
	for len(b) > 0 {
		field, kind := int(b[0]>>3), protowire.Type(b[0]&7)
		if b[0] >= 0x80 || field == 0 {
			return false
		}
		number, n := protowire.ConsumeVarint(b[1:])
		if n < 0 {
			return false
		}
		b = b[1+n:]
		switch kind {
		case protowire.VarintType:
			if !visit(field, false, number, nil) {
				return false
			}
		case protowire.BytesType:
			if number > uint64(len(b)) || !visit(field, true, 0, b[:number:number]) {
				return false
			}
			b = b[number:]
		default:
			return false
		}
	}
	return true
}

// decodeRange reads a RangeRequest whose keys are b's. If it returns false the message is to be read by the generated
// code, into a new one.
func decodeRange(b []byte, r *pb.RangeRequest) bool {
	return fields(b, func(field int, bytes bool, number uint64, content []byte) bool {
		if bytes != (field <= 2) {
			return false
		}
		switch field {
		case 1:
			r.Key = content
		case 2:
			r.RangeEnd = content
		case 3:
			r.Limit = int64(number)
		case 4:
			r.Revision = int64(number)
		case 5:
			r.SortOrder = pb.RangeRequest_SortOrder(number)
		case 6:
			r.SortTarget = pb.RangeRequest_SortTarget(number)
		case 7:
			r.Serializable = number != 0
		case 8:
			r.KeysOnly = number != 0
		case 9:
			r.CountOnly = number != 0
		case 10:
			r.MinModRevision = int64(number)
		case 11:
			r.MaxModRevision = int64(number)
		case 12:
			r.MinCreateRevision = int64(number)
		case 13:
			r.MaxCreateRevision = int64(number)
		default:
			return false
		}
		return true
	})
}

// decodePut is decodeRange for a PutRequest.
func decodePut(b []byte, r *pb.PutRequest) bool {
	return fields(b, func(field int, bytes bool, number uint64, content []byte) bool {
		if bytes != (field <= 2) {
			return false
		}
		switch field {
		case 1:
			r.Key = content
		case 2:
			r.Value = content
		case 3:
			r.Lease = int64(number)
		case 4:
			r.PrevKv = number != 0
		case 5:
			r.IgnoreValue = number != 0
		case 6:
			r.IgnoreLease = number != 0
		default:
			return false
		}
		return true
	})
}
