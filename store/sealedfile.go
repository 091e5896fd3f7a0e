package store

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A sealed file is a header and chunks. The header is a magic, a version byte, the length of what follows as a
// big-endian 32-bit number, that, and the CRC-32C of all of it. What follows is the form (0 plain, 1 AES-256-GCM), the
// name of the key and the salt of its subkey, each a byte string with its length, empty if plain, and what the file is
// about, up to the end.
//
// Every chunk but the last has sealedChunk bytes of content, the last one 0 to as many, 0 only if it is the first. A
// chunk is its content, in form 1 followed by GCM's tag, and a CRC-32C over the header's CRC, the chunk's number, 1 if
// it is the last, 0 if not, and the bytes before. Form 1 takes the number and whether it is the last as the nonce, and
// authenticates the header with each chunk. So a file that is cut, whose chunks were moved or come from another file,
// or whose header was changed, is noticed; the CRC tells damage from a key that does not fit.
const (
	sealedMagic    = "keelfile"
	sealedVersion  = 1
	sealedChunk    = 64 << 10
	formPlain      = 0
	formAES        = 1
	maxSealedIntro = 1 << 20 // what a header may have
)

type sealedHeader struct {
	form  byte
	key   subkeyID
	about []byte
	raw   []byte // all of it
}

func (h *sealedHeader) sum() uint32 { return crc32.Checksum(h.raw, castagnoli) }

// overhead is what a chunk has beside its content.
func (h *sealedHeader) overhead() int {
	if h.form == formAES {
		return sealTag + 4
	}
	return 4
}

// contentSize is how many bytes the content of a file of this size has.
func (h *sealedHeader) contentSize(file int64) (int64, error) {
	stored, overhead := file-int64(len(h.raw)), int64(h.overhead())
	full := int64(sealedChunk) + overhead
	chunks := (stored + full - 1) / full
	size := stored - chunks*overhead
	if stored < overhead || size <= (chunks-1)*sealedChunk && chunks > 1 {
		return 0, fmt.Errorf("%w: the file has %d bytes, which is no possible size", ErrCorrupt, file)
	}
	return size, nil
}

// encode makes raw.
func (h *sealedHeader) encode() {
	body := []byte{h.form}
	if h.form == formPlain {
		body = appendBytes(appendBytes(body, nil), nil)
	} else {
		body = appendBytes(appendBytes(body, []byte(h.key.key)), h.key.salt[:])
	}
	body = append(body, h.about...)
	p := append([]byte(sealedMagic), sealedVersion)
	p = binary.BigEndian.AppendUint32(p, uint32(len(body)))
	p = append(p, body...)
	h.raw = binary.BigEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))
}

// readSealedHeader reads what encode made.
func readSealedHeader(r io.Reader) (*sealedHeader, error) {
	const fixed = len(sealedMagic) + 1 + 4
	raw := make([]byte, fixed)
	if _, err := io.ReadFull(r, raw); err != nil {
		return nil, tooShort(err)
	}
	if string(raw[:len(sealedMagic)]) != sealedMagic {
		return nil, fmt.Errorf("%w: it begins with %q", ErrCorrupt, raw[:len(sealedMagic)])
	}
	n := binary.BigEndian.Uint32(raw[fixed-4:])
	if n > maxSealedIntro {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrCorrupt, n)
	}
	raw = append(raw, make([]byte, n+4)...)
	if _, err := io.ReadFull(r, raw[fixed:]); err != nil {
		return nil, tooShort(err)
	}
	end := len(raw) - 4
	if want, got := binary.BigEndian.Uint32(raw[end:]), crc32.Checksum(raw[:end], castagnoli); want != got {
		return nil, fmt.Errorf("%w: header has checksum %08x, its content %08x", ErrCorrupt, want, got)
	}
	if version := raw[len(sealedMagic)]; version != sealedVersion {
		return nil, fmt.Errorf("%w: file has version %d, this release reads %d", ErrVersion, version, sealedVersion)
	}
	d := &decoder{p: raw[fixed:end]}
	h := &sealedHeader{raw: raw, form: d.byte()}
	key, salt := d.bytes(), d.bytes()
	h.key.key, h.about = string(key), d.p
	switch {
	case d.err != nil:
		return nil, d.err
	case h.form > formAES:
		return nil, fmt.Errorf("%w: file has form %d", ErrVersion, h.form)
	case h.form == formAES && (len(key) == 0 || len(salt) != sealSalt):
		return nil, fmt.Errorf("%w: key with a name of %d bytes and a salt of %d", ErrCorrupt, len(key), len(salt))
	}
	copy(h.key.salt[:], salt)
	return h, nil
}

func tooShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the file ends too early", ErrCorrupt)
	}
	return err
}

// chunkSum is a chunk's checksum.
func chunkSum(header uint32, nonce [sealNonce]byte, stored []byte) uint32 {
	var head [4 + sealNonce]byte
	binary.BigEndian.PutUint32(head[:], header)
	copy(head[4:], nonce[:])
	return crc32.Update(crc32.Checksum(head[:], castagnoli), castagnoli, stored)
}

// chunkNonce has the number of a chunk and whether it is the last.
func chunkNonce(number uint64, last bool) (nonce [sealNonce]byte) {
	binary.BigEndian.PutUint64(nonce[:], number)
	if last {
		nonce[sealNonce-1] = 1
	}
	return nonce
}

// sealedWriter writes a sealed file. It holds a chunk back until it knows that there is more.
type sealedWriter struct {
	w      io.Writer
	header *sealedHeader
	key    *subkey // nil: plain
	sum    uint32
	number uint64
	buf    []byte // content of the chunk that is being filled
	out    []byte
	err    error
}

// newSealedWriter writes the header, with the key that is current, and returns what takes the content. Close ends it.
func (s *sealer) newSealedWriter(ctx context.Context, w io.Writer, about []byte) (*sealedWriter, error) {
	h := &sealedHeader{about: about}
	sw := &sealedWriter{w: w, header: h, buf: make([]byte, 0, sealedChunk)}
	if s != nil && s.keys != nil {
		key, err := s.keys.Current(ctx)
		if err != nil {
			return nil, keyFailure("", err)
		}
		if sw.key, err = newSubkey(key, sealForSnapshots); err != nil {
			return nil, err
		}
		h.form, h.key = formAES, sw.key.subkeyID
	}
	h.encode()
	sw.sum = h.sum()
	_, err := w.Write(h.raw)
	return sw, err
}

func (w *sealedWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if len(w.buf) == sealedChunk {
			w.flush(false)
		}
		if w.err != nil {
			return n, w.err
		}
		k := min(len(p), sealedChunk-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p, n = p[k:], n+k
	}
	return n, nil
}

func (w *sealedWriter) flush(last bool) {
	if w.err != nil {
		return
	}
	nonce := chunkNonce(w.number, last)
	if w.key != nil {
		w.out = w.key.aead.Seal(w.out[:0], nonce[:], w.buf, w.header.raw)
	} else {
		w.out = append(w.out[:0], w.buf...)
	}
	w.out = binary.BigEndian.AppendUint32(w.out, chunkSum(w.sum, nonce, w.out))
	_, w.err = w.w.Write(w.out)
	w.buf, w.number = w.buf[:0], w.number+1
}

// Close writes the last chunk. It does not close what is written to.
func (w *sealedWriter) Close() error {
	w.flush(true)
	return w.err
}

// sealedReader reads what a sealedWriter wrote, and verifies each chunk before it gives any of it.
type sealedReader struct {
	r      *bufio.Reader
	header *sealedHeader
	key    *subkey
	check  bool // checksums only: the content stays encrypted
	sum    uint32
	number uint64
	rest   []byte
	stored []byte
	done   bool
	err    error
}

// newSealedReader goes on after the header.
func (s *sealer) newSealedReader(ctx context.Context, r io.Reader, h *sealedHeader) (*sealedReader, error) {
	sr := newSealedChecker(r, h)
	sr.check = false
	if h.form == formAES {
		var err error
		id := h.key
		id.purpose = sealForSnapshots
		if sr.key, err = s.find(ctx, id); err != nil {
			return nil, err
		}
	}
	return sr, nil
}

// newSealedChecker reads without a key: what it returns may be encrypted.
func newSealedChecker(r io.Reader, h *sealedHeader) *sealedReader {
	full := sealedChunk + h.overhead()
	return &sealedReader{r: bufio.NewReaderSize(r, full+1), header: h, sum: h.sum(), stored: make([]byte, full), check: true}
}

func (r *sealedReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.next()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next reads a chunk.
func (r *sealedReader) next() {
	if r.done {
		r.err = io.EOF
		return
	}
	offset := int64(len(r.header.raw)) + int64(r.number)*int64(len(r.stored))
	fail := func(what string) {
		r.err = fmt.Errorf("%w: chunk %d at byte %d %s", ErrCorrupt, r.number, offset, what)
	}
	n, err := io.ReadFull(r.r, r.stored)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		r.err = err
		return
	}
	if _, err := r.r.Peek(1); errors.Is(err, io.EOF) {
		r.done = true
	} else if err != nil {
		r.err = err
		return
	}
	if n < r.header.overhead() {
		fail("is missing or cut short")
		return
	}
	stored := r.stored[:n-4]
	nonce := chunkNonce(r.number, r.done)
	if want, got := binary.BigEndian.Uint32(r.stored[n-4:n]), chunkSum(r.sum, nonce, stored); want != got {
		fail(fmt.Sprintf("has checksum %08x, its content %08x; or the file was cut there", want, got))
		return
	}
	if r.header.form == formAES && !r.check {
		if stored, err = r.key.aead.Open(stored[:0], nonce[:], stored, r.header.raw); err != nil {
			r.err = &KeyError{r.header.key.key, errWrongKey}
			return
		}
	}
	r.rest, r.number = stored, r.number+1
}
