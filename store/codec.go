package store

import (
	"encoding/binary"
	"fmt"
	"time"
)

// A Raft entry of ours is the version that its commands need, the number of commands, and each command with its
// length. A command is its kind and the fields that count for it; numbers are varints, byte strings and lists carry
// their length. A decoder of a later version reads the earlier ones too; a member refuses what it doesn't know.

// Flags of a range request.
const (
	flagKeysOnly = 1 << iota
	flagCountOnly
	flagSortDescend
	flagBounds
)

// Flags of a put or delete request.
const (
	flagPrevKV = 1 << iota
	flagIgnoreValue
	flagIgnoreLease
)

// Kinds of operations.
const (
	opRange  = 1
	opPut    = 2
	opDelete = 3
	opTxn    = 4
)

// encodeEntry packs encoded commands into an entry.
func encodeEntry(commands [][]byte) []byte {
	n := 1 + binary.MaxVarintLen64
	for _, c := range commands {
		n += len(c) + binary.MaxVarintLen32
	}
	p := make([]byte, 0, n)
	p = append(p, entryVersion(commands))
	p = binary.AppendUvarint(p, uint64(len(commands)))
	for _, c := range commands {
		p = appendBytes(p, c)
	}
	return p
}

// decodeEntry returns the encoded commands of an entry, which share its memory.
func decodeEntry(p []byte) ([][]byte, error) { return decodeEntryInto(nil, p) }

// decodeEntryInto is decodeEntry that uses the memory of commands, which is empty, if it is enough.
func decodeEntryInto(commands [][]byte, p []byte) ([][]byte, error) {
	if len(p) == 0 {
		return nil, fmt.Errorf("%w: empty entry", ErrCorrupt)
	}
	if p[0] == 0 || p[0] > nextFormat {
		return nil, tooNew("an entry has", uint64(p[0]), formatVersion)
	}
	d := &decoder{p: p[1:]}
	n := d.count()
	if cap(commands) < n {
		commands = make([][]byte, 0, n)
	}
	for range n {
		commands = append(commands, d.bytes())
	}
	return commands, d.end()
}

// encode appends the command.
func (c *command) encode(p []byte) []byte {
	if c.session != 0 {
		p = appendTag(p, c)
	}
	if c.bound > 0 {
		p = binary.AppendUvarint(append(p, byte(commandBounded)), uint64(c.bound))
	}
	p = append(p, byte(c.kind))
	switch c.kind {
	case commandTxn:
		if c.txn == nil { // the same as a transaction that does nothing else
			p = append(p, 0, 1)
			p = append(c.put.encode(p), 0)
			break
		}
		p = c.txn.encode(p)
	case commandGrant:
		p = binary.AppendVarint(p, c.lease)
		p = binary.AppendVarint(p, int64(c.ttl))
	case commandRenew, commandRevoke:
		p = binary.AppendVarint(p, c.lease)
	case commandExpire:
		p = binary.AppendVarint(p, c.lease)
		p = binary.AppendUvarint(p, c.renewals)
		p = binary.AppendUvarint(p, c.term)
	case commandCompact:
		p = binary.AppendVarint(p, c.revision)
	case commandOpen:
		p = binary.AppendUvarint(p, c.cluster)
	case commandDescribe:
		p = c.about.encode(p)
	case commandForget, commandNext:
		p = appendBytes(p, []byte(c.name))
	case commandRaise:
		p = binary.AppendUvarint(p, c.version)
	}
	return p
}

// decodeCommand reads what encode wrote. Byte slices share p's memory.
func decodeCommand(p []byte) (command, error) {
	d := decoder{p: p}
	c := d.head()
	return c, d.command(&c)
}

// decodeInto is decodeCommand that takes no memory for the command that is the most frequent: a transaction which
// puts one key becomes put. The state machine does the same for both.
func (c *command) decodeInto(p []byte) error {
	d := decoder{p: p}
	if *c = d.head(); c.kind == commandTxn && len(d.p) > 3 && d.p[0] == 0 && d.p[1] == 1 && d.p[2] == opPut {
		d.p = d.p[3:]
		if c.put = d.putRequest(); len(d.p) == 1 && d.p[0] == 0 {
			return nil
		}
		d = decoder{p: p} // it does more
		*c = d.head()
	}
	return d.command(c)
}

// head reads a command's tag, if it has one, and its kind.
func (d *decoder) head() command {
	c := command{kind: commandKind(d.byte())}
	if c.kind == commandTagged {
		if c.session, c.seq, c.ack = d.fixed(), d.uint(), d.uint(); c.session == 0 {
			d.fail("has session 0")
		}
		c.kind = commandKind(d.byte())
	}
	if c.kind == commandBounded {
		if c.bound = int64(d.uint()); c.bound <= 0 {
			d.fail("has an impossible bound")
		}
		c.kind = commandKind(d.byte())
	}
	return c
}

// command reads the rest, up to the end.
func (d *decoder) command(c *command) error {
	switch c.kind {
	case commandTxn:
		c.txn = d.txn(0)
	case commandGrant:
		c.lease, c.ttl = d.int(), time.Duration(d.int())
	case commandRenew, commandRevoke:
		c.lease = d.int()
	case commandExpire:
		c.lease, c.renewals, c.term = d.int(), d.uint(), d.uint()
	case commandCompact:
		c.revision = d.int()
	case commandOpen:
		c.cluster = d.uint()
	case commandDescribe:
		c.about = d.attributes()
	case commandForget, commandNext:
		c.name = string(d.bytes())
	case commandRaise:
		c.version = d.uint()
	default:
		if d.err == nil {
			return fmt.Errorf("%w: command of kind %d", ErrVersion, c.kind)
		}
	}
	return d.end()
}

func appendBytes(p, b []byte) []byte {
	p = binary.AppendUvarint(p, uint64(len(b)))
	return append(p, b...)
}

func (t *Txn) encode(p []byte) []byte {
	p = binary.AppendUvarint(p, uint64(len(t.Compares)))
	for i := range t.Compares {
		c := &t.Compares[i]
		p = append(p, byte(c.Target), byte(c.Op))
		p = appendBytes(p, c.Key)
		p = appendBytes(p, c.End)
		if c.Target == CompareValue {
			p = appendBytes(p, c.Value)
		} else {
			p = binary.AppendVarint(p, c.Number)
		}
	}
	for _, ops := range [][]Op{t.Then, t.Else} {
		p = binary.AppendUvarint(p, uint64(len(ops)))
		for i := range ops {
			p = ops[i].encode(p)
		}
	}
	return p
}

func (op *Op) encode(p []byte) []byte {
	switch {
	case op.Range != nil:
		return op.Range.encode(append(p, opRange))
	case op.Put != nil:
		return op.Put.encode(p)
	case op.Delete != nil:
		p = append(p, opDelete, bit(op.Delete.PrevKV, flagPrevKV))
		p = appendBytes(p, op.Delete.Key)
		return appendBytes(p, op.Delete.End)
	default:
		return op.Txn.encode(append(p, opTxn))
	}
}

func (r *PutRequest) encode(p []byte) []byte {
	flags := bit(r.PrevKV, flagPrevKV) | bit(r.IgnoreValue, flagIgnoreValue) | bit(r.IgnoreLease, flagIgnoreLease)
	p = append(p, opPut, flags)
	p = appendBytes(p, r.Key)
	p = appendBytes(p, r.Value)
	return binary.AppendVarint(p, r.Lease)
}

func (r *RangeRequest) encode(p []byte) []byte {
	bounds := r.bounded()
	flags := bit(r.KeysOnly, flagKeysOnly) | bit(r.CountOnly, flagCountOnly) | bit(r.SortDescend, flagSortDescend) | bit(bounds, flagBounds)
	p = append(p, flags, byte(r.SortBy))
	p = appendBytes(p, r.Key)
	p = appendBytes(p, r.End)
	p = binary.AppendVarint(p, r.Limit)
	p = binary.AppendVarint(p, r.Revision)
	if bounds {
		for _, n := range []int64{r.MinModRevision, r.MaxModRevision, r.MinCreateRevision, r.MaxCreateRevision} {
			p = binary.AppendVarint(p, n)
		}
	}
	return p
}

func bit(set bool, flag byte) byte {
	if set {
		return flag
	}
	return 0
}

// decoder reads from p; after the first error everything it returns is zero.
type decoder struct {
	p   []byte
	err error
}

func (d *decoder) fail(what string) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: command %s", ErrCorrupt, what)
	}
	d.p = nil
}

func (d *decoder) end() error {
	if len(d.p) > 0 {
		d.fail("has bytes left over")
	}
	return d.err
}

func (d *decoder) byte() byte {
	if len(d.p) == 0 {
		d.fail("ends too early")
		return 0
	}
	b := d.p[0]
	d.p = d.p[1:]
	return b
}

func (d *decoder) fixed() uint64 {
	if len(d.p) < 8 {
		d.fail("ends too early")
		return 0
	}
	n := binary.BigEndian.Uint64(d.p)
	d.p = d.p[8:]
	return n
}

func (d *decoder) uint() uint64 {
	n, size := binary.Uvarint(d.p)
	if size <= 0 {
		d.fail("has a malformed number")
		return 0
	}
	d.p = d.p[size:]
	return n
}

func (d *decoder) int() int64 {
	n, size := binary.Varint(d.p)
	if size <= 0 {
		d.fail("has a malformed number")
		return 0
	}
	d.p = d.p[size:]
	return n
}

// count reads the length of a list, of which every element takes a byte at least.
func (d *decoder) count() int {
	n := d.uint()
	if n > uint64(len(d.p)) {
		d.fail("has a list longer than itself")
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte {
	n := d.count()
	if n == 0 {
		return nil
	}
	b := d.p[:n:n]
	d.p = d.p[n:]
	return b
}

func (d *decoder) txn(depth int) *Txn {
	if depth > maxTxnDepth+1 {
		d.fail("is nested too deeply")
		return nil
	}
	t := &Txn{}
	if n := d.count(); n > 0 {
		t.Compares = make([]Compare, 0, min(n, 1024))
		for i := 0; i < n && d.err == nil; i++ {
			c := Compare{Target: CompareTarget(d.byte()), Op: CompareOp(d.byte()), Key: d.bytes(), End: d.bytes()}
			if c.Target == CompareValue {
				c.Value = d.bytes()
			} else {
				c.Number = d.int()
			}
			t.Compares = append(t.Compares, c)
		}
	}
	t.Then, t.Else = d.ops(depth), d.ops(depth)
	return t
}

func (d *decoder) ops(depth int) []Op {
	n := d.count()
	if n == 0 {
		return nil
	}
	ops := make([]Op, 0, min(n, 1024))
	for i := 0; i < n && d.err == nil; i++ {
		var op Op
		switch d.byte() {
		case opRange:
			op.Range = d.rangeRequest()
		case opPut:
			put := d.putRequest()
			op.Put = &put
		case opDelete:
			op.Delete = &DeleteRequest{PrevKV: d.byte()&flagPrevKV != 0, Key: d.bytes(), End: d.bytes()}
		case opTxn:
			op.Txn = d.txn(depth + 1)
		default:
			d.fail("has an unknown operation")
		}
		ops = append(ops, op)
	}
	return ops
}

func (d *decoder) putRequest() PutRequest {
	flags := d.byte()
	return PutRequest{
		PrevKV: flags&flagPrevKV != 0, IgnoreValue: flags&flagIgnoreValue != 0, IgnoreLease: flags&flagIgnoreLease != 0,
		Key: d.bytes(), Value: d.bytes(), Lease: d.int(),
	}
}

func (d *decoder) rangeRequest() *RangeRequest {
	flags := d.byte()
	r := &RangeRequest{
		KeysOnly: flags&flagKeysOnly != 0, CountOnly: flags&flagCountOnly != 0, SortDescend: flags&flagSortDescend != 0,
		SortBy: SortTarget(d.byte()), Key: d.bytes(), End: d.bytes(), Limit: d.int(), Revision: d.int(),
	}
	if flags&flagBounds != 0 {
		r.MinModRevision, r.MaxModRevision = d.int(), d.int()
		r.MinCreateRevision, r.MaxCreateRevision = d.int(), d.int()
	}
	return r
}
