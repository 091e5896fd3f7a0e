package wal

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is what a direct write begins at, and is as long as, a multiple of: what the disks and file systems that there are
// ask for at most.
const block = 4096

// direct writes frames past the system's memory: a sync then has nothing to write, and only tells the disk. Where a file
// system, or a file, does not have it, frames are written the usual way. What is read goes through the system's memory,
// where the system drops what is written here.
type direct struct {
	file    *os.File // nil until the first write
	refused bool
	size    int64  // of the file
	buffer  []byte // aligned
	// The last block that was written, up to where something stands in it.
	last   []byte
	lastAt int64
}

// appendAt writes the block that at is in, or all that p reaches into, whole: behind p with zeros.
func (f *osFile) appendAt(p []byte, at int64) error {
	from, to := at&^(block-1), (at+int64(len(p))+block-1)&^(block-1)
	if !f.direct.open(f.File) || to > f.direct.size || to-from > keepBuffer {
		f.direct.last = nil
		_, err := f.WriteAt(p, at)
		return err
	}
	d := &f.direct
	whole := d.room(int(to - from))
	head := whole[:at-from]
	if d.last != nil && d.lastAt == from && len(d.last) == len(head) {
		copy(head, d.last)
	} else if _, err := f.ReadAt(head, from); err != nil {
		return err
	}
	n := copy(whole[len(head):], p)
	clear(whole[len(head)+n:])
	_, err := d.file.WriteAt(whole, from)
	if errors.Is(err, unix.EINVAL) { // the file system takes the flag, and then nothing that is written with it
		err = errors.Join(d.close(), wrapped(f.WriteAt(p, at)))
		d.refused = true
		return err
	}
	if err != nil {
		return err
	}
	end := at + int64(len(p))
	d.lastAt = end &^ (block - 1)
	d.last = append(d.last[:0], whole[d.lastAt-from:end-from]...)
	return nil
}

func wrapped(_ int, err error) error { return err }

// open opens the file a second time, for direct writes, unless it has or can't.
func (d *direct) open(f *os.File) bool {
	if d.file != nil || d.refused {
		return !d.refused
	}
	info, err := f.Stat()
	if err == nil {
		d.file, err = os.OpenFile(f.Name(), os.O_WRONLY|unix.O_DIRECT, 0)
	}
	if err == nil {
		var same os.FileInfo
		if same, err = d.file.Stat(); err == nil && !os.SameFile(info, same) { // it has been replaced
			err = os.ErrNotExist
		}
	}
	if err != nil {
		_ = d.close()
		d.refused = true
		return false
	}
	d.size = info.Size()
	return true
}

// room returns so many bytes of memory whose address is a multiple of a block.
func (d *direct) room(n int) []byte {
	if len(d.buffer) < n {
		all := make([]byte, n+block)
		skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(all)))) & (block - 1)
		d.buffer = all[skip : skip+n]
	}
	return d.buffer[:n]
}

func (d *direct) close() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file, d.buffer = nil, nil
	return err
}
