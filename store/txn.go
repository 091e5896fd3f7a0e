package store

import (
	"bytes"
	"cmp"
	"fmt"
)

// Txn runs Then if all Compares hold, else Else, in one revision. All compares, those of nested transactions too,
// look at the state before the transaction. No key may be changed twice.
//
// All writers wait while a transaction runs. Its ranges, compares over ranges and deletes of ranges together may visit
// ten million keys, deleted ones that are not compacted included, or each key of the store four times if that is more;
// the count of a range at the newest revision visits none. Beyond that it fails with ErrTooLarge and has changed nothing.
type Txn struct {
	Compares   []Compare
	Then, Else []Op
}

// Op is one operation of a transaction: exactly one field is set.
type Op struct {
	Range  *RangeRequest
	Put    *PutRequest
	Delete *DeleteRequest
	Txn    *Txn
}

// CompareTarget is what a Compare looks at.
type CompareTarget uint8

const (
	// CompareVersion is how often the key was changed since it was created; 0 says that there is no such key.
	CompareVersion CompareTarget = iota
	// CompareCreate is the revision that created the key.
	CompareCreate
	// CompareMod is the revision that changed the key last.
	CompareMod
	// CompareValue is the value, compared as bytes.
	CompareValue
	// CompareLease is the ID of the lease that the key is attached to; 0 for none.
	CompareLease
)

// CompareOp is how a Compare compares.
type CompareOp uint8

const (
	// Equal holds if the target is the operand.
	Equal CompareOp = iota
	// Greater holds if the target is greater than the operand.
	Greater
	// Less holds if the target is less than the operand.
	Less
	// NotEqual holds if the target is not the operand.
	NotEqual
)

// Compare holds if the target of the key, or of every key in the range, compares so with the operand. A key that does
// not exist has version, revisions and lease 0, and no value compares with it; a range without keys is treated
// likewise.
type Compare struct {
	Key, End []byte
	Target   CompareTarget
	Op       CompareOp
	// Value is the operand of CompareValue.
	Value []byte
	// Number is the operand of all other targets.
	Number int64
}

// TxnResult is the answer to a Txn.
type TxnResult struct {
	// Succeeded says that Then ran.
	Succeeded bool
	// Responses are the results of the operations that ran, in order.
	Responses []OpResult
	// Revision is the store's revision after the transaction.
	Revision int64
}

// OpResult is the result of the Op at the same place, in the field of the same name.
type OpResult struct {
	Range  *RangeResult
	Put    *PutResult
	Delete *DeleteResult
	Txn    *TxnResult
}

// holds compares with one version; nil means that there is none.
func (c *Compare) holds(kv *KV) bool {
	var order int
	if c.Target == CompareValue {
		if kv == nil {
			return false
		}
		order = bytes.Compare(kv.Value, c.Value)
	} else {
		var n int64
		if kv != nil {
			switch c.Target {
			case CompareVersion:
				n = kv.Version
			case CompareCreate:
				n = kv.CreateRevision
			case CompareMod:
				n = kv.ModRevision
			case CompareLease:
				n = kv.Lease
			}
		}
		order = cmp.Compare(n, c.Number)
	}
	switch c.Op {
	case Equal:
		return order == 0
	case Greater:
		return order > 0
	case Less:
		return order < 0
	default:
		return order != 0
	}
}

// readOnly reports whether neither branch can change anything.
func (t *Txn) readOnly() bool {
	for _, ops := range [][]Op{t.Then, t.Else} {
		for i := range ops {
			switch op := &ops[i]; {
			case op.Put != nil, op.Delete != nil:
				return false
			case op.Txn != nil && !op.Txn.readOnly():
				return false
			}
		}
	}
	return true
}

// serializable reports whether the transaction consists of serializable ranges.
func (t *Txn) serializable() bool {
	ranges, all := t.ranges()
	return all && ranges > 0
}

// ranges returns how many ranges the transaction has, and whether all of them are serializable.
func (t *Txn) ranges() (n int, serializable bool) {
	serializable = true
	for _, ops := range [][]Op{t.Then, t.Else} {
		for i := range ops {
			switch op := &ops[i]; {
			case op.Range != nil:
				n++
				serializable = serializable && op.Range.Serializable
			case op.Txn != nil:
				inner, all := op.Txn.ranges()
				n += inner
				serializable = serializable && all
			}
		}
	}
	return n, serializable
}

// puts reports whether a branch can put a key.
func (t *Txn) puts() bool {
	for _, ops := range [][]Op{t.Then, t.Else} {
		for i := range ops {
			if ops[i].Put != nil || ops[i].Txn != nil && ops[i].Txn.puts() {
				return true
			}
		}
	}
	return false
}

// size returns roughly how many bytes the transaction takes encoded.
func (t *Txn) size() int {
	n := 16
	for i := range t.Compares {
		c := &t.Compares[i]
		n += len(c.Key) + len(c.End) + len(c.Value) + 16
	}
	for _, ops := range [][]Op{t.Then, t.Else} {
		for i := range ops {
			n += 16
			switch op := &ops[i]; {
			case op.Range != nil:
				n += len(op.Range.Key) + len(op.Range.End)
			case op.Put != nil:
				n += len(op.Put.Key) + len(op.Put.Value)
			case op.Delete != nil:
				n += len(op.Delete.Key) + len(op.Delete.End)
			case op.Txn != nil:
				n += op.Txn.size()
			}
		}
	}
	return n
}

// maxTxnDepth bounds the nesting of transactions.
const maxTxnDepth = 16

// validate checks the form of a transaction, before it is proposed: what it says is wrong for any state of the store.
func (t *Txn) validate(maxOps int) error {
	if _, err := t.count(maxOps, 0); err != nil || t.changesOnce() {
		return err
	}
	_, err := t.footprint()
	return err
}

// changesOnce reports that no branch has more than one operation that can change anything, and none that is nested: as is
// usual, and then no key can be changed twice.
func (t *Txn) changesOnce() bool {
	for _, ops := range [][]Op{t.Then, t.Else} {
		changes := 0
		for i := range ops {
			if ops[i].Range == nil {
				changes++
			}
			if ops[i].Txn != nil || changes > 1 {
				return false
			}
		}
	}
	return true
}

func (t *Txn) count(maxOps, depth int) (int, error) {
	if depth > maxTxnDepth {
		return 0, fmt.Errorf("%w: nested deeper than %d", ErrInvalid, maxTxnDepth)
	}
	n := max(len(t.Compares), len(t.Then), len(t.Else))
	if n > maxOps {
		return 0, fmt.Errorf("%w: %d, and %d are allowed", ErrTooManyOps, n, maxOps)
	}
	for i := range t.Compares {
		c := &t.Compares[i]
		switch {
		case len(c.Key) == 0:
			return 0, ErrEmptyKey
		case c.Target > CompareLease:
			return 0, fmt.Errorf("%w: compare target %d", ErrInvalid, c.Target)
		case c.Op > NotEqual:
			return 0, fmt.Errorf("%w: compare operator %d", ErrInvalid, c.Op)
		}
	}
	total := len(t.Compares)
	for _, ops := range [][]Op{t.Then, t.Else} {
		for i := range ops {
			nested, err := ops[i].count(maxOps, depth)
			if err != nil {
				return 0, err
			}
			total += nested
		}
	}
	if total > 4*maxOps {
		return 0, fmt.Errorf("%w: %d with those of nested transactions, and %d are allowed", ErrTooManyOps, total, 4*maxOps)
	}
	return total, nil
}

func (op *Op) count(maxOps, depth int) (int, error) {
	set, total := 0, 1
	if op.Range != nil {
		set++
		if err := op.Range.validate(); err != nil {
			return 0, err
		}
	}
	if op.Put != nil {
		set++
		if err := op.Put.validate(); err != nil {
			return 0, err
		}
	}
	if op.Delete != nil {
		set++
		if len(op.Delete.Key) == 0 {
			return 0, ErrEmptyKey
		}
	}
	if op.Txn != nil {
		set++
		nested, err := op.Txn.count(maxOps, depth+1)
		if err != nil {
			return 0, err
		}
		total += nested
	}
	if set != 1 {
		return 0, fmt.Errorf("%w: an operation must have one of Range, Put, Delete, Txn, and has %d", ErrInvalid, set)
	}
	return total, nil
}

func (r *RangeRequest) validate() error {
	switch {
	case len(r.Key) == 0:
		return ErrEmptyKey
	case r.Limit < 0:
		return fmt.Errorf("%w: Limit is %d", ErrInvalid, r.Limit)
	case r.Revision < 0:
		return fmt.Errorf("%w: Revision is %d", ErrInvalid, r.Revision)
	case r.SortBy > SortByValue:
		return fmt.Errorf("%w: SortBy is %d", ErrInvalid, r.SortBy)
	}
	return nil
}

func (p *PutRequest) validate() error {
	switch {
	case len(p.Key) == 0:
		return ErrEmptyKey
	case p.IgnoreValue && len(p.Value) > 0:
		return fmt.Errorf("%w: a value is given together with IgnoreValue", ErrInvalid)
	case p.IgnoreLease && p.Lease != 0:
		return fmt.Errorf("%w: a lease is given together with IgnoreLease", ErrInvalid)
	}
	return nil
}

// footprint is what a transaction may change: keys it puts, and keys and ranges it deletes.
type footprint struct {
	puts, deletes map[string]bool
	ranges        [][2][]byte
}

func newFootprint() footprint { return footprint{puts: map[string]bool{}, deletes: map[string]bool{}} }

// put adds a key. It fails if the key is changed already.
func (f *footprint) put(key string) error {
	if f.puts[key] || f.deletes[key] || f.covers(key) {
		return fmt.Errorf("%w: %q", ErrDuplicateKey, key)
	}
	f.puts[key] = true
	return nil
}

// delete adds a range. It fails if a key in it is put already; deleting twice is no change twice.
func (f *footprint) delete(start, end []byte) error {
	if len(end) == 0 {
		if f.puts[string(start)] {
			return fmt.Errorf("%w: %q", ErrDuplicateKey, start)
		}
		f.deletes[string(start)] = true
		return nil
	}
	for key := range f.puts {
		if inRange([]byte(key), start, end) {
			return fmt.Errorf("%w: %q", ErrDuplicateKey, key)
		}
	}
	f.ranges = append(f.ranges, [2][]byte{start, end})
	return nil
}

func (f *footprint) covers(key string) bool {
	for _, r := range f.ranges {
		if inRange([]byte(key), r[0], r[1]) {
			return true
		}
	}
	return false
}

// join adds all of other. It fails if both change a key.
func (f *footprint) join(other footprint) error {
	for key := range other.puts {
		if err := f.put(key); err != nil {
			return err
		}
	}
	for key := range other.deletes {
		if f.puts[key] && !other.puts[key] {
			return fmt.Errorf("%w: %q", ErrDuplicateKey, key)
		}
	}
	for _, r := range other.ranges {
		for key := range f.puts {
			if !other.puts[key] && inRange([]byte(key), r[0], r[1]) {
				return fmt.Errorf("%w: %q", ErrDuplicateKey, key)
			}
		}
	}
	f.merge(other)
	return nil
}

// merge adds all of other, which is an alternative: both may change a key.
func (f *footprint) merge(other footprint) {
	for key := range other.puts {
		f.puts[key] = true
	}
	for key := range other.deletes {
		f.deletes[key] = true
	}
	f.ranges = append(f.ranges, other.ranges...)
}

// footprint fails if a branch changes a key twice. The branches exclude each other, so that both may change a key.
func (t *Txn) footprint() (footprint, error) {
	whole := newFootprint()
	for _, ops := range [][]Op{t.Then, t.Else} {
		branch := newFootprint()
		for i := range ops {
			var err error
			switch op := &ops[i]; {
			case op.Put != nil:
				err = branch.put(string(op.Put.Key))
			case op.Delete != nil:
				err = branch.delete(op.Delete.Key, op.Delete.End)
			case op.Txn != nil:
				var nested footprint
				if nested, err = op.Txn.footprint(); err == nil {
					err = branch.join(nested)
				}
			}
			if err != nil {
				return whole, err
			}
		}
		whole.merge(branch)
	}
	return whole, nil
}

// inRange reports whether key is in the range that start and end say, as RangeRequest defines it.
func inRange(key, start, end []byte) bool {
	switch {
	case len(end) == 0:
		return bytes.Equal(key, start)
	case len(end) == 1 && end[0] == 0:
		return bytes.Compare(key, start) >= 0
	default:
		return bytes.Compare(key, start) >= 0 && bytes.Compare(key, end) < 0
	}
}
