package wal

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// segment is one of the files.
type segment struct {
	header
	number uint64
	file   file
	size   int64 // of the file
	end    int64 // of the frames
	sealed bool
}

const (
	lockName   = "lock"
	newName    = "new.tmp"
	freePrefix = "free-"
	freeSuffix = ".tmp"
)

func segmentName(number uint64) string { return fmt.Sprintf("%016x.wal", number) }

func freeName(number uint64) string { return fmt.Sprintf("%s%016x%s", freePrefix, number, freeSuffix) }

// segmentNumber returns the number in a segment's name.
func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".wal")
	n, err := strconv.ParseUint(digits, 16, 64)
	return n, ok && err == nil && segmentName(n) == name
}

func isFree(name string) bool {
	return strings.HasPrefix(name, freePrefix) && strings.HasSuffix(name, freeSuffix)
}

// makeSegment begins a segment that has room for more bytes beyond its state, in the file that was prepared, a free one
// or a new one. It returns when all of it is on disk.
func (l *Log) makeSegment(number, firstFrame uint64, more int) (s *segment, err error) {
	s = &segment{number: number, header: header{log: l.id, salt: rand.Uint64(), segment: number, frame: firstFrame}}
	content := l.state.encode(make([]byte, frameHead))
	s.end = int64(headerSize + padded(len(content)-frameHead))
	least := s.end + int64(more) + frameHead + 8 // and a seal
	name, made := newName, true
	switch prepared := l.prepared(); {
	case prepared >= least:
		s.size = prepared
	case len(l.free) > 0 && l.free[0].size >= least:
		name, s.size = l.free[0].name, l.free[0].size
		l.mu.Lock()
		l.free = l.free[1:]
		l.mu.Unlock()
	default:
		// Of large frames several are to fit.
		s.size, made = max(least, min(max(l.nextSize(), int64(more)*growth), l.segmentBytes)), false
	}
	s.bytes = uint64(s.size)
	first := append(s.header.encode(), finishFrame(content, kindState, firstFrame, s.salt)...)
	if !made && s.size <= mostAtOnce {
		first = append(first, make([]byte, s.size-int64(len(first)))...) // as what is prepared has it
	}
	if err := l.fill(name, made, first, s.size); err != nil {
		return nil, err
	}
	if err := l.files.rename(name, segmentName(number)); err != nil {
		return nil, err
	}
	if !l.bugs.noNameSync {
		if err := l.files.syncDir(); err != nil {
			return nil, err
		}
	}
	s.file, err = l.files.open(segmentName(number))
	return s, err
}

// fill puts the beginning of a segment into a file that is made already, or a new one, on disk. The file is closed then:
// Windows renames no other.
func (l *Log) fill(name string, made bool, first []byte, size int64) (err error) {
	var f file
	if made {
		f, err = l.files.open(name)
	} else {
		f, err = l.files.create(name)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	has := int64(0)
	if made { // also one that is used again may be shorter, if it did not say its size
		if has, err = f.size(); err != nil {
			return err
		}
	}
	if has < size {
		if err := f.allocate(size); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(first, 0); err != nil {
		return err
	}
	if l.bugs.noBeginSync {
		return nil
	}
	return f.sync()
}

// place makes of places in a frame, which is at an offset of the segment, those in the segment.
func (s *segment) place(places []location, at int64) []location {
	for i := range places {
		places[i].segment, places[i].offset = s, places[i].offset+at
	}
	return places
}

// seal ends a segment: the next one is there.
func (s *segment) seal(nextFrame uint64) error {
	p := appendUint64(make([]byte, frameHead, 64), s.number+1)
	if err := s.file.appendAt(finishFrame(p, kindSealed, nextFrame, s.salt), s.end); err != nil {
		return err
	}
	s.sealed = true
	return s.file.sync()
}

// release frees the segments whose entries are all gone, oldest first, each for good before the next. The newest
// stays.
func (l *Log) release() error {
	newest := l.segments[len(l.segments)-1]
	oldest := l.state.oldest(newest.number)
	for l.segments[0].number < oldest {
		s := l.segments[0]
		name := segmentName(s.number)
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
		if err := s.file.Close(); err != nil {
			return err
		}
		var err error
		if len(l.free) < keepFree && s.size == l.segmentBytes {
			err = l.files.rename(name, freeName(s.number))
			l.mu.Lock()
			l.free = append(l.free, freeFile{freeName(s.number), s.size})
			l.mu.Unlock()
		} else {
			err = l.files.remove(name)
		}
		if err != nil {
			return err
		}
		// Otherwise a crash could leave the name on a file that has been used again, or a later name gone and this not.
		if err := l.files.syncDir(); err != nil {
			return err
		}
	}
	return nil
}
