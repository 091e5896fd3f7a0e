package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"

	"github.com/keelson-dev/keelson/store/internal/fault"
)

const (
	endName    = "end"
	newEndName = "end.tmp"
	endMagic   = "keelend\x01"
	endSize    = 32
)

// end says up to which frame the log was on disk when it was closed last. Frames only get more, so that it need not be
// taken back when the log is opened: a log that has fewer has lost them.
type end struct{ log, frame uint64 }

func (e end) encode() []byte {
	p := append(make([]byte, 0, endSize), endMagic...)
	p = appendUint64(appendUint64(p, e.log), e.frame)
	p = append(p, 0, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))
}

// readEnd returns what the last Close left, or nothing.
func (l *Log) readEnd() (e end, err error) {
	f, err := l.files.open(endName)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	p, err := readAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return e, fmt.Errorf("%s/%s: %w", l.dir, endName, err)
	}
	if len(p) == endSize {
		e = end{binary.LittleEndian.Uint64(p[8:]), binary.LittleEndian.Uint64(p[16:])}
	}
	switch {
	case len(p) >= len(endMagic) && string(p[:len(endMagic)-1]) == endMagic[:len(endMagic)-1] && p[len(endMagic)-1] > endMagic[len(endMagic)-1]:
		return e, fmt.Errorf("%w: %s/%s: format version %d", fault.ErrVersion, l.dir, endName, p[len(endMagic)-1])
	case string(e.encode()) != string(p):
		return e, fmt.Errorf("%w: %s/%s does not fit its checksum", fault.ErrCorrupt, l.dir, endName)
	}
	return e, nil
}

// reaches returns an error if the log that was read ends before the frame that it had when it was closed.
func (e end) reaches(l *Log) error {
	switch {
	case e.frame == 0:
		return nil
	case len(l.segments) == 0:
		return fmt.Errorf("%w: %s: all segments are missing, and the log went up to frame %d", fault.ErrCorrupt, l.dir, e.frame)
	case e.log != l.id:
		return fmt.Errorf("%w: %s/%s is of log %016x, and the segments are of %016x", fault.ErrCorrupt, l.dir, endName, e.log, l.id)
	case e.frame >= l.number:
		newest := l.segments[len(l.segments)-1]
		return fmt.Errorf("%w: %s/%s at %d: frame %d can't be read, and the log went up to %d when it was closed",
			fault.ErrCorrupt, l.dir, segmentName(newest.number), newest.end, l.number, e.frame)
	}
	return nil
}

// writeEnd leaves for the next one to open the log how far it goes. All of that is on disk. The file is there as it was
// or as it is to be, whatever happens meanwhile.
func (l *Log) writeEnd() error {
	e := end{l.id, l.number - 1}
	if e == l.end {
		return nil
	}
	f, err := l.files.create(newEndName)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(e.encode(), 0)
	if err == nil {
		err = f.sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := l.files.rename(newEndName, endName); err != nil {
		return err
	}
	return l.files.syncDir()
}
