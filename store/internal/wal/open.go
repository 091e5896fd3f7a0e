package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/keelson-dev/keelson/store/internal/fault"
)

func newLog(files files, dir string, segmentBytes int64) *Log {
	return &Log{files: files, dir: dir, segmentBytes: segmentBytes, writing: make(chan struct{}, 1), start: func(f func()) { go f() }, state: newState()}
}

// openLog opens or makes a log among files. dir is for errors.
func openLog(files files, dir string, segmentBytes int64) (*Log, error) {
	l := newLog(files, dir, segmentBytes)
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// open reads what there is, or begins. A log that is only read stays as it is.
func (l *Log) open() (err error) {
	if l.lock, err = l.files.lock(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			for _, s := range l.segments {
				err = errors.Join(err, s.file.Close())
			}
			err = errors.Join(err, l.lock.Close())
		}
	}()
	numbers, err := l.names()
	if err != nil {
		return err
	}
	if l.end, err = l.readEnd(); err != nil {
		return err
	}
	if len(numbers) == 0 {
		if err := l.end.reaches(l); err != nil {
			return err
		}
		if l.readOnly() {
			return fmt.Errorf("%s: no segment: %w", l.dir, fs.ErrNotExist)
		}
		l.id = 1 + rand.Uint64N(1<<63)
		first, err := l.makeSegment(1, 1, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", l.dir, err)
		}
		l.segments, l.number = []*segment{first}, 2
		return nil
	}
	var last []byte // frame
	for i, number := range numbers {
		if last, err = l.replay(number, i == len(numbers)-1); err != nil {
			return err
		}
	}
	if err := l.end.reaches(l); err != nil {
		return err
	}
	if s := l.state; !s.empty() && s.first < s.start {
		return fmt.Errorf("%w: %s: entries %d to %d are missing: they were in a segment before %s",
			fault.ErrCorrupt, l.dir, s.first, min(s.start, s.next)-1, segmentName(numbers[0]))
	}
	if l.readOnly() {
		return nil
	}
	if err := l.settle(last); err != nil {
		return fmt.Errorf("%s: %w", l.dir, err)
	}
	return nil
}

func (l *Log) readOnly() bool { return errors.Is(l.failed, errReadOnly) }

// names returns the numbers of the segments, rising, notes the free files, and removes what is neither.
func (l *Log) names() ([]uint64, error) {
	all, err := l.files.list()
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range all {
		number, ok := segmentNumber(name)
		switch {
		case ok:
			numbers = append(numbers, number)
		case isFree(name) && !l.readOnly():
			if err := l.noteFree(name); err != nil {
				return nil, err
			}
		case l.readOnly() && !strings.HasSuffix(name, ".wal"):
		case name == newName, name == newEndName:
			if err := l.files.remove(name); err != nil {
				return nil, err
			}
		case strings.HasSuffix(name, ".wal"):
			return nil, fmt.Errorf("%w: %s/%s is not the name of a segment", fault.ErrCorrupt, l.dir, name)
		}
	}
	slices.Sort(numbers)
	for i, n := range numbers {
		if n != numbers[0]+uint64(i) || n == 0 {
			return nil, fmt.Errorf("%w: %s/%s is missing", fault.ErrCorrupt, l.dir, segmentName(numbers[0]+uint64(i)))
		}
	}
	return numbers, nil
}

func (l *Log) noteFree(name string) error {
	f, err := l.files.open(name)
	if err != nil {
		return err
	}
	size, err := f.size()
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if size != l.segmentBytes || len(l.free) == keepFree {
		return l.files.remove(name)
	}
	l.free = append(l.free, freeFile{name, size})
	return nil
}

// replay reads a segment, and returns its last frame.
func (l *Log) replay(number uint64, newest bool) (last []byte, err error) {
	name := segmentName(number)
	fail := func(at int, kind error, format string, args ...any) error {
		return fmt.Errorf("%w: %s/%s at %d: %s", kind, l.dir, name, at, fmt.Sprintf(format, args...))
	}
	f, err := l.files.open(name)
	if err != nil {
		return nil, err
	}
	s := &segment{number: number, file: f}
	l.segments = append(l.segments, s)
	p, err := readAll(f)
	if err != nil {
		return nil, fmt.Errorf("%s/%s: %w", l.dir, name, err)
	}
	format := byte(0)
	s.header, format = decodeHeader(p)
	s.size = int64(len(p))
	if s.bytes == 0 {
		s.size = max(s.size, l.segmentBytes) // it may grow
	}
	switch {
	case format > version:
		return nil, fail(0, fault.ErrVersion, "format version %d, this release reads up to %d", format, version)
	case format != version:
		return nil, fail(0, fault.ErrCorrupt, "no header of a segment")
	case uint64(len(p)) < s.bytes:
		return nil, fail(len(p), fault.ErrCorrupt, "the file ends here, and was made with %d bytes", s.bytes)
	case s.segment != number:
		return nil, fail(0, fault.ErrCorrupt, "the header is that of segment %d", s.segment)
	case len(l.segments) == 1:
		l.id, l.number = s.log, s.frame
	case s.log != l.id:
		return nil, fail(0, fault.ErrCorrupt, "the segment is of log %016x, and those before it are of %016x", s.log, l.id)
	case s.frame != l.number:
		before := l.segments[len(l.segments)-2]
		name = segmentName(before.number)
		return nil, fail(int(before.end), fault.ErrCorrupt, "frame %d can't be read, and the next segment begins with %d", l.number, s.frame)
	}
	at := headerSize
	for {
		f, size, ok := decodeFrame(p[at:], s.salt, !l.bugs.anySum)
		if !ok || f.number != l.number {
			break
		}
		if f.kind == kindSealed {
			s.sealed = true
			break
		}
		if at == headerSize && f.kind != kindState {
			return nil, fail(at, fault.ErrCorrupt, "the segment begins with a frame of kind %d", f.kind)
		}
		if l.number == l.segments[0].frame {
			err = l.state.begin(f.content)
		} else {
			err = l.state.apply(f, s, int64(at))
		}
		if err != nil {
			return nil, fail(at, fault.ErrCorrupt, "%v", err)
		}
		at, last = at+size, p[at:at+size]
		l.clean = f.kind == kindClosed
		l.number++
	}
	s.end = int64(at)
	switch {
	case at == headerSize:
		return nil, fail(at, fault.ErrCorrupt, "the segment's first frame can't be read")
	case newest && s.sealed:
		return nil, fail(at, fault.ErrCorrupt, "%s follows and is missing", segmentName(number+1))
	case newest && laterFrame(p[at:], s.salt, l.number):
		return nil, fail(at, fault.ErrCorrupt, "frame %d can't be read, and a later one can", l.number)
	}
	return last, nil
}

// readAll reads a file, and zeros behind it up to a multiple of 8: a power cut can take a frame's padding away.
func readAll(f file) ([]byte, error) {
	size, err := f.size()
	if err != nil {
		return nil, err
	}
	if size > 2*maxFrame {
		return nil, fmt.Errorf("%w: a segment of %d bytes", fault.ErrCorrupt, size)
	}
	p := make([]byte, (size+7)&^7)
	_, err = f.ReadAt(p[:size], 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return p, err
}

// settle makes durable what was read: the last frame and the names could be in memory only, even after a sync that
// failed.
func (l *Log) settle(last []byte) error {
	newest := l.segments[len(l.segments)-1]
	if !l.bugs.noRewrite {
		if _, err := newest.file.WriteAt(last, newest.end-int64(len(last))); err != nil {
			return err
		}
		if err := newest.file.sync(); err != nil {
			return err
		}
	}
	if err := l.files.syncDir(); err != nil {
		return err
	}
	if n := len(l.segments); n > 1 && !l.segments[n-2].sealed {
		if err := l.segments[n-2].seal(newest.frame); err != nil {
			return err
		}
	}
	return l.release()
}
