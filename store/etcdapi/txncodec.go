package etcdapi

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/keelson-dev/keelson/store"
)

// txnBuffer is the memory for a transaction that is read from bytes. One that does not fit, or has anything unusual, is
// left to the generated code.
type txnBuffer struct {
	txn      store.Txn
	compares [4]store.Compare
	ops      [2][4]store.Op // of the branches
	puts     [4]store.PutRequest
	ranges   [4]store.RangeRequest
	deletes  [4]store.DeleteRequest
	// used counts what is in use of each.
	used struct{ compares, puts, ranges, deletes int }
	put  [2]int // how many ops each branch has
}

// decode reads a TxnRequest into the buffer, which is empty, as translation.txn would translate it. Keys and values are b's.
// If it returns false the message may still be a good one.
func (t *txnBuffer) decode(b []byte, limit translation, maxOps int) (*store.Txn, bool) {
	good := fields(b, func(field int, bytes bool, _ uint64, content []byte) bool {
		switch {
		case !bytes:
			return false
		case field == 1 && t.used.compares < len(t.compares):
			t.used.compares++
			return t.compare(content, &t.compares[t.used.compares-1], &limit)
		case field == 2 || field == 3:
			branch := field - 2
			if t.put[branch] == len(t.ops[branch]) {
				return false
			}
			t.put[branch]++
			return t.operation(content, &t.ops[branch][t.put[branch]-1], &limit)
		}
		return false
	})
	if !good || max(t.used.compares, t.put[0], t.put[1]) > maxOps {
		return nil, false
	}
	t.txn = store.Txn{Compares: t.compares[:t.used.compares], Then: t.ops[0][:t.put[0]], Else: t.ops[1][:t.put[1]]}
	return &t.txn, true
}

// compare reads a Compare whose operand, if it has one, is its target's.
func (t *txnBuffer) compare(b []byte, into *store.Compare, limit *translation) bool {
	var result, target uint64
	operand := 0
	good := fields(b, func(field int, bytes bool, number uint64, content []byte) bool {
		if bytes != (field == 3 || field == 7) {
			return false
		}
		switch field {
		case 1:
			result = number
		case 2:
			target = number
		case 3:
			into.Key = content
		case 4, 5, 6, 7, 8:
			if operand != 0 {
				return false
			}
			operand = field
			into.Number, into.Value = int64(number), content
		default:
			return false
		}
		return true
	})
	if !good || result > uint64(pb.Compare_NOT_EQUAL) || target > uint64(pb.Compare_LEASE) || len(into.Key) == 0 {
		return false
	}
	into.Op, into.Target = store.CompareOp(result), store.CompareTarget(target)
	if operand != 0 && operand != 4+int(target) { // operands are in the order of targets
		return false
	}
	return limit.add(into.Key, into.Value) == nil
}

// operation reads a RequestOp that has one operation, and not a transaction.
func (t *txnBuffer) operation(b []byte, into *store.Op, limit *translation) bool {
	good := fields(b, func(field int, bytes bool, _ uint64, content []byte) bool {
		if !bytes || *into != (store.Op{}) {
			return false
		}
		switch {
		case field == 1 && t.used.ranges < len(t.ranges):
			into.Range = &t.ranges[t.used.ranges]
			t.used.ranges++
			var r pb.RangeRequest
			return decodeRange(content, &r) && readRange(&r, into.Range) == nil && limit.add(r.Key, r.RangeEnd) == nil
		case field == 2 && t.used.puts < len(t.puts):
			into.Put = &t.puts[t.used.puts]
			t.used.puts++
			var r pb.PutRequest
			return decodePut(content, &r) && limit.readPut(&r, into.Put) == nil
		case field == 3 && t.used.deletes < len(t.deletes):
			into.Delete = &t.deletes[t.used.deletes]
			t.used.deletes++
			return decodeDelete(content, into.Delete) && len(into.Delete.Key) > 0 && limit.add(into.Delete.Key, into.Delete.End) == nil
		}
		return false
	})
	return good && *into != (store.Op{})
}

// decodeDelete is decodeRange for a DeleteRangeRequest.
func decodeDelete(b []byte, r *store.DeleteRequest) bool {
	return fields(b, func(field int, bytes bool, number uint64, content []byte) bool {
		if bytes != (field <= 2) {
			return false
		}
		switch field {
		case 1:
			r.Key = content
		case 2:
			r.End = content
		case 3:
			r.PrevKV = number != 0
		default:
			return false
		}
		return true
	})
}
