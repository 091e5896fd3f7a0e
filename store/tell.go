package store

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// What members tell each other every second. A later release may add to the end of either message; what an earlier one
// does not know it does not read.

// report is what a member answers a leader.
type report struct {
	supported, willing uint64 // versions: the newest that its release knows, and that it would have in use
	applied            uint64
	hashes             []checkpoint
	failure            string // why it has stopped, if it has
}

// proof is why a member must stop: after a number of commands, those who are right had this hash.
type proof struct{ applied, hash uint64 }

func (r *report) encode() []byte {
	p := binary.AppendUvarint(nil, r.supported)
	p = binary.AppendUvarint(p, r.willing)
	p = binary.AppendUvarint(p, r.applied)
	p = appendBytes(p, []byte(r.failure))
	p = binary.AppendUvarint(p, uint64(len(r.hashes)))
	for _, c := range r.hashes {
		p = binary.AppendUvarint(p, c.applied)
		p = binary.BigEndian.AppendUint64(p, c.hash)
	}
	return p
}

func decodeReport(p []byte) (report, error) {
	d := &decoder{p: p}
	r := report{supported: d.uint(), willing: d.uint(), applied: d.uint(), failure: string(d.bytes())}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		r.hashes = append(r.hashes, checkpoint{d.uint(), d.fixed()})
	}
	slices.SortFunc(r.hashes, func(a, b checkpoint) int { return cmp.Compare(a.applied, b.applied) })
	return r, d.err
}

func (t *table) encode(wrong *proof) []byte {
	p := binary.AppendUvarint(nil, t.term)
	p = binary.AppendUvarint(p, t.version)
	p = binary.AppendUvarint(p, t.applied)
	p = binary.AppendUvarint(p, uint64(len(t.asks)))
	for _, at := range t.asks {
		p = binary.AppendUvarint(p, at)
	}
	p = binary.AppendUvarint(p, uint64(len(t.members)))
	for i := range t.members {
		row := &t.members[i]
		p = appendBytes(p, []byte(row.name))
		p = append(p, bit(row.known, 1)|bit(row.diverged, 2))
		p = binary.AppendUvarint(p, row.applied)
		p = binary.AppendUvarint(p, row.lag)
		p = appendBytes(p, []byte(row.failure))
	}
	if wrong == nil {
		return append(p, 0)
	}
	p = binary.AppendUvarint(append(p, 1), wrong.applied)
	return binary.BigEndian.AppendUint64(p, wrong.hash)
}

func decodeTable(p []byte) (table, error) {
	d := &decoder{p: p}
	t := table{term: d.uint(), version: d.uint(), applied: d.uint()}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		t.asks = append(t.asks, d.uint())
	}
	for n := d.count(); n > 0 && d.err == nil; n-- {
		row := tableRow{name: string(d.bytes())}
		flags := d.byte()
		row.known, row.diverged = flags&1 != 0, flags&2 != 0
		row.applied, row.lag, row.failure = d.uint(), d.uint(), string(d.bytes())
		t.members = append(t.members, row)
	}
	if d.byte() != 0 {
		t.wrong = &proof{d.uint(), d.fixed()}
	}
	if d.err != nil {
		return table{}, d.err
	}
	return t, nil
}
