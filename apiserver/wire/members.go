package wire

import (
	"bytes"
	"compress/gzip"
	"hash/maphash"
	"math/rand/v2"
	"sync"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// members keeps compressed pieces of lists. A gzip stream may be several members one after the other (RFC 1952, 2.2), so that a
// piece that has been compressed once serves every list that has the same objects in a row. Pieces end at
// objects that their names choose, so that an object that comes or goes changes one piece and no other.
type members struct {
	limit int64
	seeds [2]maphash.Seed

	mu   sync.Mutex
	held int64
	at   map[memberKey]int // in all
	all  []member
}

// memberKey names a piece: of a kind, in a form, and two hashes of which versions of which objects. A version of an object is never
// another one, whoever asks.
type memberKey struct {
	kind   *kind.Kind
	share  string
	hashes [2]uint64
}

type member struct {
	key  memberKey
	data []byte
}

func newMembers(limit int64) *members {
	return &members{limit: limit, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}, at: map[memberKey]int{}}
}

func (m *members) get(key memberKey) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i, ok := m.at[key]; ok {
		return m.all[i].data
	}
	return nil
}

// put keeps a piece, and drops some that chance picks when there is too much.
func (m *members) put(key memberKey, data []byte) {
	if int64(len(data)) > m.limit {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.at[key]; ok {
		return
	}
	for m.held+int64(len(data)) > m.limit {
		i, last := rand.IntN(len(m.all)), len(m.all)-1
		m.held -= int64(len(m.all[i].data))
		delete(m.at, m.all[i].key)
		if i != last {
			m.all[i] = m.all[last]
			m.at[m.all[i].key] = i
		}
		m.all[last] = member{}
		m.all = m.all[:last]
	}
	m.held += int64(len(data))
	m.at[key] = len(m.all)
	m.all = append(m.all, member{key, data})
}

// piece finds where the piece that begins at an item ends, and its key.
func (m *members) piece(l *listing, from int) (to int, key memberKey) {
	var a, b maphash.Hash
	a.SetSeed(m.seeds[0])
	b.SetSeed(m.seeds[1])
	for to = from; to < len(l.items); {
		obj := l.items[to]
		for _, text := range [...]string{obj.GetNamespace(), obj.GetName(), obj.GetResourceVersion()} {
			_, _ = a.WriteString(text)
			_, _ = b.WriteString(text)
			_ = a.WriteByte(0)
			_ = b.WriteByte(0)
		}
		to++
		if to-from == memberItems || maphash.String(m.seeds[0], obj.GetName())%memberEvery == 0 {
			break
		}
	}
	return to, memberKey{l.kind, l.share, [2]uint64{a.Sum64(), b.Sum64()}}
}

// sendMembers sends a list as gzip members: its head, its pieces and its tail. buf is scratch.
func (h *Handler) sendMembers(out *outlet, l *listing, buf []byte) error {
	z := h.buffers.compressor(nil)
	defer h.buffers.release(z)
	compressed := func(data []byte) []byte {
		var into bytes.Buffer
		z.Reset(&into)
		_, _ = z.Write(data) // a buffer takes everything
		_ = z.Close()
		return bytes.Clone(into.Bytes())
	}
	pending := compressed(l.head)
	var separator []byte
	if len(l.sep) > 0 {
		separator = compressed(l.sep)
	}
	for i := 0; i < len(l.items); {
		to, key := h.members.piece(l, i)
		data := h.members.get(key)
		if data == nil {
			var err error
			buf = buf[:0]
			for j := i; j < to; j++ {
				if j > i {
					buf = append(buf, l.sep...)
				}
				if buf, err = l.append(buf, j); err != nil {
					return err
				}
			}
			data = compressed(buf)
			h.members.put(key, data)
		}
		if i > 0 {
			pending = append(pending, separator...)
		}
		pending = append(pending, data...)
		if len(pending) > flushAt {
			if err := out.write(pending); err != nil {
				return nil // the client is gone
			}
			pending = pending[:0]
		}
		i = to
	}
	_ = out.write(append(pending, compressed(l.tail)...))
	return nil
}

// buffers are what answers are made in; they are used again.
type buffers struct {
	bytes       sync.Pool // of *[]byte
	compressors sync.Pool // of *gzip.Writer
	stored      sync.Pool // of *gzip.Writer that don't compress
}

// storer is a gzip.Writer that makes members of data as it is.
func (b *buffers) storer() *gzip.Writer {
	z, ok := b.stored.Get().(*gzip.Writer)
	if !ok {
		z, _ = gzip.NewWriterLevel(nil, gzip.NoCompression) // a level that there is
	}
	return z
}

func (b *buffers) get() []byte {
	if p, ok := b.bytes.Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, 4<<10)
}

func (b *buffers) put(data []byte) {
	if cap(data) <= maxPooled {
		b.bytes.Put(&data)
	}
}

// compressor is a gzip.Writer for an outlet, which may be set later. release takes it back.
func (b *buffers) compressor(out *outlet) *gzip.Writer {
	z, ok := b.compressors.Get().(*gzip.Writer)
	if !ok {
		z, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that there is
	}
	if out != nil {
		z.Reset(out)
	}
	return z
}

func (b *buffers) release(z *gzip.Writer) {
	z.Reset(nil)
	b.compressors.Put(z)
}
