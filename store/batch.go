package store

import (
	"context"
	"encoding/binary"
	"sync/atomic"
)

// batch is what shares a Raft entry: commands, packed into it as they come, and what becomes of them. Who made it
// guards it with a lock until it is sealed; what became of the commands is set once, before done is closed.
type batch struct {
	entry     []byte // the entry, but for the number of commands
	count     int
	sealed    bool         // it takes no more commands, and the entry is complete
	first     uint64       // the number of its first command, if they are numbered; the others follow
	abandoned atomic.Int32 // commands for which nobody waits any more

	waiting []*Pending // those that are told, rather than wait for done

	done    chan struct{}
	results []result // one for each command, unless err is set
	err     error    // the commands' fate as a whole: ErrClosed, ErrUnknownOutcome, ...
}

// paddedUvarint is the size of the numbers that are written after what they count.
const paddedUvarint = 5

// newBatch returns an empty one with room for an entry of so many bytes.
func newBatch(size int) *batch {
	b := &batch{entry: make([]byte, 1+paddedUvarint, size+1+2*paddedUvarint), done: make(chan struct{})}
	b.entry[0] = 1
	return b
}

// putPadded writes a number in the form of a varint that is longer than it needs to be.
func putPadded(p []byte, n uint64) {
	for i := range paddedUvarint - 1 {
		p[i] = byte(n>>(7*i)) | 0x80
	}
	p[paddedUvarint-1] = byte(n >> (7 * (paddedUvarint - 1)))
}

// add packs a command into the batch and returns its place there. If that makes the entry larger than limit, and it
// is not the only one, it is taken out again, and the place is -1.
func (b *batch) add(cmd *command, limit int) (at int) {
	start := len(b.entry)
	b.entry = append(b.entry, make([]byte, paddedUvarint)...)
	b.entry = cmd.encode(b.entry)
	if len(b.entry) > limit && b.count > 0 {
		b.entry = b.entry[:start]
		return -1
	}
	putPadded(b.entry[start:], uint64(len(b.entry)-start-paddedUvarint))
	b.entry[0] = max(b.entry[0], byte(cmd.kind.since()))
	if p := cmd.pending; p != nil {
		p.batch, p.number = b, b.count
		b.waiting = append(b.waiting, p)
	}
	b.count++
	return b.count - 1
}

// seal completes the entry. From then on it is read only: Raft and its log may keep it.
func (b *batch) seal() {
	if !b.sealed {
		b.sealed = true
		putPadded(b.entry[1:], uint64(b.count))
	}
}

// finish tells all who wait; it is called once, without a lock held. Without err, results has one for each command.
func (b *batch) finish(results []result, err error) {
	b.results, b.err = results, err
	close(b.done)
	for _, p := range b.waiting {
		if err != nil {
			p.settle(nil, err)
		} else {
			p.settle(&results[p.number], nil)
		}
	}
}

// room returns the size to make the next batch with, after one whose entry had this size: as much as it is likely to
// need, and no more than some hundred kilobytes that it may not.
func room(last int) int { return min(last+last/8, 512<<10) }

// batches are those that wait to become entries. The last takes further commands unless it is sealed.
type batches []*batch

// add packs a command into the last one, or a new one, which made then finishes.
func (q *batches) add(cmd *command, limit, size int, made func(*batch)) proposal {
	if n := len(*q); n > 0 && !(*q)[n-1].sealed {
		if at := (*q)[n-1].add(cmd, limit); at >= 0 {
			return proposal{batch: (*q)[n-1], at: at}
		}
	}
	b := newBatch(size)
	if made != nil {
		made(b)
	}
	*q = append(*q, b)
	return proposal{batch: b, at: b.add(cmd, limit)}
}

// next takes the first one off, nil if there is none.
func (q *batches) next() *batch {
	if len(*q) == 0 {
		return nil
	}
	b := (*q)[0]
	(*q)[0] = nil
	if *q = (*q)[1:]; len(*q) == 0 {
		*q = nil
	}
	return b
}

// proposal is a command on its way: a place in a batch, or, without one, what has become of it.
type proposal struct {
	batch  *batch
	at     int
	result result
	err    error
}

// over reports whether it is known what has become of the command.
func (p *proposal) over() bool {
	if p.batch == nil {
		return true
	}
	select {
	case <-p.batch.done:
		return true
	default:
		return false
	}
}

// wait returns what the state machine says. When ctx ends, the command may still be applied.
func (p *proposal) wait(ctx context.Context) (result, error) {
	b := p.batch
	if b == nil {
		return p.result, p.err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		b.abandoned.Add(1)
		return result{}, ctx.Err()
	}
	if b.err != nil {
		return result{}, b.err
	}
	return b.results[p.at], nil
}

// encodeCommand packs one command into an entry.
func encodeCommand(cmd *command) []byte {
	return encodeEntry([][]byte{cmd.encode(nil)})
}

// appendTag writes what goes before a command that has a session and number.
func appendTag(p []byte, cmd *command) []byte {
	p = append(p, byte(commandTagged))
	p = binary.BigEndian.AppendUint64(p, cmd.session)
	p = binary.AppendUvarint(p, cmd.seq)
	return binary.AppendUvarint(p, cmd.ack)
}
