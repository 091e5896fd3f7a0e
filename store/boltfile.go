package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
)

// Facts of bbolt's file format, version 2: each of the first two pages is a page header and a meta record.
const (
	boltMagic      = 0xED0CDAED
	boltVersion    = 2
	boltPageHeader = 16
	boltMetaSize   = 64
	boltMetaSummed = 56 // what the checksum covers
)

// checkBoltFile looks at a bolt file before bolt maps it into memory. Bolt trusts what it maps: a page that is not
// where it should be, or a file shorter than its meta record says, would be a fault or panic, and not only in the
// goroutine that opens it. A file that is missing or empty is fine, bolt will make it.
func checkBoltFile(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lockToRead(f); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return nil
	}
	if err := checkBolt(f, info.Size()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func checkBolt(r io.ReaderAt, size int64) error {
	meta, err := newestBoltMeta(r, size)
	if err != nil {
		return err
	}
	if need := int64(meta.pages) * int64(meta.pageSize); size < need {
		return fmt.Errorf("%w: the file has %d bytes and should have %d at least", ErrCorrupt, size, need)
	}
	w := &boltWalk{r: r, meta: meta, seen: map[uint64]bool{}}
	return w.page(meta.root, nil, nil)
}

// newestBoltMeta returns the newest valid meta record. The second record's place depends on the page size, which only
// a record says: without a valid first one, all sizes are tried.
func newestBoltMeta(r io.ReaderAt, size int64) (boltMeta, error) {
	var newest boltMeta
	if first, ok := readBoltMeta(r, 0); ok {
		newest = first
		if second, ok := readBoltMeta(r, int64(first.pageSize)); ok && second.txid > first.txid {
			newest = second
		}
	} else {
		for pageSize := int64(1024); pageSize <= 64<<10 && pageSize < size; pageSize *= 2 {
			if second, ok := readBoltMeta(r, pageSize); ok && int64(second.pageSize) == pageSize {
				newest = second
				break
			}
		}
	}
	if newest.pageSize == 0 {
		return newest, fmt.Errorf("%w: not a bolt file", ErrCorrupt)
	}
	const most = 1 << 50
	if newest.pages > most/uint64(newest.pageSize) {
		return newest, fmt.Errorf("%w: bolt file with %d pages of %d bytes", ErrCorrupt, newest.pages, newest.pageSize)
	}
	return newest, nil
}

type boltMeta struct {
	pageSize          uint32
	root, pages, txid uint64
}

func readBoltMeta(r io.ReaderAt, page int64) (boltMeta, bool) {
	p := make([]byte, boltMetaSize)
	if _, err := r.ReadAt(p, page+boltPageHeader); err != nil {
		return boltMeta{}, false
	}
	order := binary.NativeEndian
	sum := fnv.New64a()
	sum.Write(p[:boltMetaSummed])
	m := boltMeta{pageSize: order.Uint32(p[8:]), root: order.Uint64(p[16:]), pages: order.Uint64(p[40:]), txid: order.Uint64(p[48:])}
	valid := order.Uint32(p) == boltMagic && order.Uint32(p[4:]) == boltVersion && order.Uint64(p[56:]) == sum.Sum64() &&
		m.pageSize >= 1024 && m.pageSize <= 64<<10
	return m, valid
}

// boltWalk visits every page that can be reached.
type boltWalk struct {
	r    io.ReaderAt
	meta boltMeta
	seen map[uint64]bool
}

func (w *boltWalk) fail(id uint64, what string) error {
	return fmt.Errorf("%w: page %d of the bolt file %s", ErrCorrupt, id, what)
}

// page checks a page and those below it. Its keys must lie from low on and below high; nil means no bound.
func (w *boltWalk) page(id uint64, low, high []byte) error {
	if id < 2 || id >= w.meta.pages {
		return w.fail(id, "does not exist")
	}
	head := make([]byte, boltPageHeader)
	at := int64(id) * int64(w.meta.pageSize)
	if _, err := w.r.ReadAt(head, at); err != nil {
		return fmt.Errorf("page %d of the bolt file: %w", id, err)
	}
	run := uint64(binary.NativeEndian.Uint32(head[12:])) + 1
	if binary.NativeEndian.Uint64(head) != id || run > w.meta.pages-id {
		return w.fail(id, "is not what was written there")
	}
	for i := range run {
		if w.seen[id+i] {
			return w.fail(id+i, "is used twice")
		}
		w.seen[id+i] = true
	}
	p := make([]byte, run*uint64(w.meta.pageSize))
	if _, err := w.r.ReadAt(p, at); err != nil {
		return fmt.Errorf("page %d of the bolt file: %w", id, err)
	}
	return w.content(id, p, low, high)
}

// content checks the elements of a page, or of a bucket that is small enough to stand inside its parent's page.
func (w *boltWalk) content(id uint64, p, low, high []byte) error {
	const branch, leaf = 1, 2
	order := binary.NativeEndian
	flags, count := order.Uint16(p[8:]), int(order.Uint16(p[10:]))
	if flags != branch && flags != leaf || flags == branch && (count == 0 || id == 0) || boltPageHeader*(count+1) > len(p) {
		return w.fail(id, "has an impossible header")
	}
	keys := make([][]byte, count)
	for i := range count {
		at := boltPageHeader * (i + 1)
		element := p[at : at+boltPageHeader]
		pos, size, rest := order.Uint32(element), order.Uint32(element[4:]), uint32(0)
		if flags == leaf {
			pos, size, rest = order.Uint32(element[4:]), order.Uint32(element[8:]), order.Uint32(element[12:])
		}
		start := uint64(at) + uint64(pos)
		if start+uint64(size)+uint64(rest) > uint64(len(p)) || size == 0 && flags == leaf {
			return w.fail(id, "has an element outside itself")
		}
		keys[i] = p[start : start+uint64(size)]
		if low != nil && bytes.Compare(keys[i], low) < 0 || high != nil && bytes.Compare(keys[i], high) >= 0 ||
			i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 {
			return w.fail(id, "has keys out of order")
		}
		if flags == leaf && order.Uint32(element) != 0 {
			if err := w.bucket(id, order.Uint32(element), p[start+uint64(size):start+uint64(size)+uint64(rest)]); err != nil {
				return err
			}
		}
	}
	if flags == leaf {
		return nil
	}
	for i := range count {
		below := high
		if i+1 < count {
			below = keys[i+1]
		}
		if err := w.page(order.Uint64(p[boltPageHeader*(i+1)+8:]), keys[i], below); err != nil {
			return err
		}
	}
	return nil
}

func (w *boltWalk) bucket(id uint64, flags uint32, value []byte) error {
	const bucketHeader = 16
	if flags != 1 || len(value) < bucketHeader {
		return w.fail(id, "has an impossible bucket")
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return w.page(root, nil, nil)
	}
	if inline := value[bucketHeader:]; len(inline) >= boltPageHeader {
		return w.content(0, inline, nil, nil)
	}
	return w.fail(id, "has an impossible bucket")
}

// guard runs f, which reads memory mapped from a file, and makes an error of a fault or panic: that is how bolt meets
// a damaged file.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrCorrupt, p)
		}
	}()
	return f()
}
