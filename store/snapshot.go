package store

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"slices"
	"time"

	"github.com/google/btree"
)

// A snapshot is the magic, a version byte, the body and the CRC-32C of all that. Numbers in the body are varints,
// byte strings carry their length. Version 1:
//
//	revision, compacted, cluster, applied, hash
//	number of leases, then per lease, by id: id, ttl in nanoseconds, renewals
//	number of items, then per item, by key: key, number of versions, then per version, oldest first:
//	  mod revision, sub, version (0 for a tombstone, which ends it), create revision, lease, value
//
// Version 2 goes on with the number of sessions, then per session, by id: id, low, used, number of what is done, and
// that. Version 3 goes on with the version of the formats in use, and the number of members that are known, then per
// member, by name: name, the version it can be with, number of client URLs, those, and a byte of its alarms. The next
// one, which only tests write, goes on with the number of leases.
const (
	snapshotMagic = "keelsnap"
	// maxSnapshotField bounds one key or value in a snapshot.
	maxSnapshotField = 1 << 30
)

type snapshotWriter struct {
	w       *bufio.Writer
	sum     hash.Hash32
	scratch [binary.MaxVarintLen64]byte
	err     error
}

func (w *snapshotWriter) write(p []byte) {
	if w.err == nil {
		w.sum.Write(p)
		_, w.err = w.w.Write(p)
	}
}

func (w *snapshotWriter) uint(n uint64) { w.write(w.scratch[:binary.PutUvarint(w.scratch[:], n)]) }
func (w *snapshotWriter) int(n int64)   { w.uint(uint64(n)) }
func (w *snapshotWriter) bytes(p []byte) {
	w.uint(uint64(len(p)))
	w.write(p)
}

// encode writes the view as a snapshot of what is stored: without sessions and members.
func (v *view) encode(out io.Writer) error {
	bare := *v
	bare.members = nil
	return bare.encodeWith(out, newSessions())
}

func (v *view) encodeWith(out io.Writer, sessions *btree.BTreeG[*session]) error {
	w := &snapshotWriter{w: bufio.NewWriterSize(out, 64<<10), sum: crc32.New(castagnoli)}
	w.write([]byte(snapshotMagic))
	w.write([]byte{snapshotFormat(v.version)})
	w.int(v.revision)
	w.int(v.compacted)
	w.uint(v.cluster)
	w.uint(v.applied)
	w.uint(v.hash)
	w.int(int64(v.leases.Len()))
	v.leases.Ascend(func(rec leaseRecord) bool {
		w.int(rec.id)
		w.int(int64(rec.ttl))
		w.uint(rec.renewals)
		return w.err == nil
	})
	w.int(int64(v.items.n))
	v.items.ascend("", func(newest *version) bool {
		newest = newest.upTo(v.revision)
		w.bytes(newest.Key)
		w.int(int64(newest.depth) + 1)
		for _, ver := range newest.since(newest.oldest()) {
			w.int(ver.ModRevision)
			w.int(int64(ver.sub))
			w.int(ver.Version)
			if ver.tombstone() {
				continue
			}
			w.int(ver.CreateRevision)
			w.int(ver.Lease)
			w.bytes(ver.Value)
		}
		return w.err == nil
	})
	w.int(int64(sessions.Len()))
	sessions.Ascend(func(s *session) bool {
		w.uint(s.id)
		w.uint(s.low)
		w.uint(s.used)
		w.int(int64(len(s.done)))
		for _, seq := range s.done {
			w.uint(seq)
		}
		return w.err == nil
	})
	w.uint(v.version)
	w.int(int64(len(v.members)))
	for i := range v.members {
		w.write(v.members[i].encode(nil))
	}
	if v.version >= nextFormat {
		w.int(int64(v.leases.Len()))
	}
	sum := w.sum.Sum32()
	w.write(binary.BigEndian.AppendUint32(nil, sum))
	if w.err == nil {
		w.err = w.w.Flush()
	}
	return w.err
}

type snapshotReader struct {
	r   *bufio.Reader
	sum hash.Hash32
	err error
}

func (r *snapshotReader) fail(err error) {
	if r.err != nil {
		return
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: snapshot ends too early", ErrCorrupt)
	}
	r.err = err
}

// ReadByte makes it an io.ByteReader for binary.ReadUvarint.
func (r *snapshotReader) ReadByte() (byte, error) {
	b, err := r.r.ReadByte()
	if err == nil {
		r.sum.Write([]byte{b})
	}
	return b, err
}

func (r *snapshotReader) uint() uint64 {
	if r.err != nil {
		return 0
	}
	n, err := binary.ReadUvarint(r)
	if err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			err = unreadable(fmt.Errorf("snapshot holds a malformed number: %w", err))
		}
		r.fail(err)
	}
	return n
}

func (r *snapshotReader) byte() byte {
	if r.err != nil {
		return 0
	}
	b, err := r.ReadByte()
	if err != nil {
		r.fail(err)
	}
	return b
}

func (r *snapshotReader) int() int64 {
	n := int64(r.uint())
	if n < 0 {
		r.fail(fmt.Errorf("%w: snapshot holds a negative number", ErrCorrupt))
	}
	return n
}

func (r *snapshotReader) bytes() []byte {
	n := r.int()
	if n > maxSnapshotField {
		r.fail(fmt.Errorf("%w: snapshot holds a field of %d bytes", ErrCorrupt, n))
	}
	if r.err != nil || n == 0 {
		return nil
	}
	if n <= 64<<10 {
		p := make([]byte, n)
		r.full(p)
		return p
	}
	// A length from a damaged file must not allocate more than the file has.
	var buf bytes.Buffer
	if _, err := io.CopyN(&buf, r.r, n); err != nil {
		r.fail(err)
		return nil
	}
	r.sum.Write(buf.Bytes())
	return buf.Bytes()
}

func (r *snapshotReader) full(p []byte) {
	if r.err != nil {
		return
	}
	if _, err := io.ReadFull(r.r, p); err != nil {
		r.fail(err)
		return
	}
	r.sum.Write(p)
}

// decodeSnapshot reads a snapshot into a new state and verifies it. supported is the newest version of the formats
// that may be read.
func decodeSnapshot(in io.Reader, supported uint64) (*state, error) {
	r := &snapshotReader{r: bufio.NewReaderSize(in, 64<<10), sum: crc32.New(castagnoli)}
	head := make([]byte, len(snapshotMagic)+1)
	r.full(head)
	if r.err != nil {
		return nil, r.err
	}
	if string(head[:len(snapshotMagic)]) != snapshotMagic {
		return nil, fmt.Errorf("%w: not a snapshot", ErrCorrupt)
	}
	format := head[len(snapshotMagic)]
	if newest := snapshotFormat(supported); format < 1 || format > newest {
		return nil, fmt.Errorf("%w: snapshot has form %d, this release reads up to %d", ErrVersion, format, newest)
	}
	st := newState()
	st.revision, st.compacted = r.int(), r.int()
	st.cluster, st.applied, st.hash = r.uint(), r.uint(), r.uint()
	if r.err == nil && (st.revision < firstRevision || st.compacted > st.revision) {
		r.fail(fmt.Errorf("%w: snapshot has revision %d and is compacted at %d", ErrCorrupt, st.revision, st.compacted))
	}
	r.leases(st)
	r.items(st)
	if format >= 2 {
		r.sessions(st)
	}
	if format >= 3 {
		st.version = r.uint()
		r.members(st)
	}
	if format >= snapshotFormat(nextFormat) && r.int() != int64(st.leases.Len()) {
		r.fail(fmt.Errorf("%w: snapshot has another number of leases", ErrCorrupt))
	}
	if r.err == nil && st.version > supported {
		r.fail(tooNew("the snapshot's cluster uses", st.version, supported))
	}
	want := r.sum.Sum32()
	var sum [4]byte
	r.full(sum[:])
	if r.err != nil {
		return nil, r.err
	}
	if got := binary.BigEndian.Uint32(sum[:]); got != want {
		return nil, fmt.Errorf("%w: snapshot has checksum %08x, its content %08x", ErrCorrupt, got, want)
	}
	slices.SortFunc(st.touched, inOrder)
	return st, nil
}

func (r *snapshotReader) leases(st *state) {
	last := int64(-1)
	for n := r.int(); n > 0 && r.err == nil; n-- {
		rec := leaseRecord{id: r.int(), ttl: time.Duration(r.int()), renewals: r.uint()}
		if r.err == nil && rec.id <= last {
			r.fail(fmt.Errorf("%w: snapshot has lease %d after %d", ErrCorrupt, rec.id, last))
		}
		last = rec.id
		if r.err == nil {
			st.leases.ReplaceOrInsert(rec)
		}
	}
}

func (r *snapshotReader) sessions(st *state) {
	last := uint64(0)
	for n := r.int(); n > 0 && r.err == nil; n-- {
		s := &session{id: r.uint(), low: r.uint(), used: r.uint()}
		if r.err == nil && s.id <= last {
			r.fail(fmt.Errorf("%w: snapshot has session %d after %d", ErrCorrupt, s.id, last))
		}
		last = s.id
		for i := r.int(); i > 0 && r.err == nil; i-- {
			seq := r.uint()
			if r.err == nil && (seq < s.low || len(s.done) > 0 && seq <= s.done[len(s.done)-1]) {
				r.fail(fmt.Errorf("%w: snapshot has number %d of session %d out of order", ErrCorrupt, seq, s.id))
			}
			s.done = append(s.done, seq)
		}
		if r.err == nil {
			st.sessions.ReplaceOrInsert(s)
		}
	}
}

func (r *snapshotReader) members(st *state) {
	last := ""
	for n := r.int(); n > 0 && r.err == nil; n-- {
		a := attributes{name: string(r.bytes()), version: r.uint()}
		for i := r.int(); i > 0 && r.err == nil; i-- {
			a.urls = append(a.urls, string(r.bytes()))
		}
		a.alarms = AlarmKind(r.byte())
		if r.err == nil && a.name <= last && len(st.members) > 0 {
			r.fail(fmt.Errorf("%w: snapshot has member %q after %q", ErrCorrupt, a.name, last))
		}
		last = a.name
		st.members = append(st.members, a)
	}
}

func (r *snapshotReader) items(st *state) {
	last := ""
	for n := r.int(); n > 0 && r.err == nil; n-- {
		key := r.bytes()
		if r.err == nil && text(key) <= last {
			r.fail(fmt.Errorf("%w: snapshot has key %q after %q", ErrCorrupt, key, last))
		}
		last = text(key)
		var versions []*version
		revision := int64(0)
		count := r.int()
		for i := int64(0); i < count && r.err == nil; i++ {
			v := &version{}
			v.Key, v.ModRevision, v.sub, v.Version = key, r.int(), int32(r.int()), r.int()
			if !v.tombstone() {
				v.CreateRevision, v.Lease, v.Value = r.int(), r.int(), r.bytes()
			}
			if r.err == nil && (v.ModRevision <= revision || v.ModRevision > st.revision) {
				r.fail(fmt.Errorf("%w: snapshot has revision %d of key %q after %d", ErrCorrupt, v.ModRevision, key, revision))
			}
			revision = v.ModRevision
			versions = append(versions, v)
			st.bytes += versionSize(v)
			if v.ModRevision >= st.compacted {
				st.touched = append(st.touched, v)
			}
		}
		if r.err == nil && count == 0 {
			r.fail(fmt.Errorf("%w: snapshot has no version of key %q", ErrCorrupt, key))
		}
		if r.err != nil {
			return
		}
		newest := chain(versions)
		st.items.set(newest)
		if !newest.tombstone() {
			st.keys++
			if newest.Lease != 0 {
				st.attached.ReplaceOrInsert(attachment{newest.Lease, newest.name()})
			}
		}
	}
}

// restore reads a snapshot as the beginning of a new store: the newest versions only, at a revision far above.
func restore(in io.Reader, supported uint64) (*state, error) {
	st, err := decodeSnapshot(in, supported)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if err := st.renew(); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	return st, nil
}
