package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"github.com/keelson-dev/keelson/store/internal/fault"
)

const (
	// lockTimeout is how long another holder of the directory is waited for, such as a process that is just ending.
	lockTimeout = time.Second
	lockPoll    = 10 * time.Millisecond
	// usualBytes is how large a segment is, and leastBytes how small it may be.
	usualBytes, leastBytes = 16 << 20, 64 << 10
	// firstBytes is how large the first one is, and growth by how much each is larger than the one before.
	firstBytes, growth = 256 << 10, 8
	// keepFree is how many freed files are kept for use.
	keepFree = 2
	// keepBuffer is the size up to which the buffer for a frame is kept.
	keepBuffer = 1 << 20
)

// Open opens or makes a log in dir, which exists. segmentBytes is how large its files become; it may be another one each
// time. Zero means 16 MiB, and the least is 64 KiB: fault.ErrConfig.
func Open(dir string, segmentBytes int64) (*Log, error) {
	switch {
	case segmentBytes == 0:
		segmentBytes = usualBytes
	case segmentBytes < leastBytes || segmentBytes > maxFrame:
		return nil, fmt.Errorf("%w: SegmentBytes is %d, must be from %d to %d", fault.ErrConfig, segmentBytes, leastBytes, maxFrame)
	}
	files, err := openFiles(dir)
	if err != nil {
		return nil, err
	}
	return openLog(files, files.dir, segmentBytes)
}

// Read opens the log in dir only to read it, and changes nothing. fs.ErrNotExist if there is none.
func Read(dir string) (*Log, error) {
	files := osFiles{filepath.Join(dir, dirName)}
	l := newLog(files, files.dir, 0)
	l.failed = errReadOnly
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// Log is a log store. Open makes one.
type Log struct {
	files        files
	dir          string // for errors
	segmentBytes int64
	id           uint64
	lock         io.Closer

	// Who writes holds the one token in writing, and then alone changes what follows; for what others read of it, it
	// also holds mu. No lock is held while the disk works.
	writing chan struct{}
	buffer  []byte
	number  uint64 // of the next frame
	clean   bool   // the last frame says that the log was closed
	end     end    // what is on disk
	closed  bool
	failed  error
	bugs    bugs
	start   func(func()) // runs it in another goroutine, unless a test has it otherwise

	mu       sync.RWMutex
	state    *state
	segments []*segment // oldest first; the last one is written to
	free     []freeFile
	ahead    *ahead // nil while none is being made
}

// freeFile is a file that can be used again.
type freeFile struct {
	name string
	size int64
}

var (
	errNotFound = errors.New("not found") // Raft looks for the text
	errClosed   = errors.New("the log is closed")
	errReadOnly = errors.New("the log is open for reading only")
)

// LogName implements package store's LogNamer.
func (l *Log) LogName() string { return "wal" }

// CopiesEntries says that nothing of what StoreLogs was given is kept.
func (l *Log) CopiesEntries() {}

// LogSizes implements package store's LogSizer.
func (l *Log) LogSizes() (file, free int64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, s := range l.segments {
		file += s.size
	}
	newest := l.segments[len(l.segments)-1]
	free = newest.size - newest.end
	for _, f := range l.free {
		file, free = file+f.size, free+f.size
	}
	if l.ahead != nil {
		file, free = file+l.ahead.size, free+l.ahead.size
	}
	return file, free
}

// LogLost implements package store's LogPresence, for the segment that is written to.
func (l *Log) LogLost() error {
	newest := func() *segment {
		l.mu.RLock()
		defer l.mu.RUnlock()
		return l.segments[len(l.segments)-1]
	}
	for {
		s := newest()
		err := l.files.lost(segmentName(s.number), s.file)
		if err == nil || newest() == s { // otherwise it may have been freed meanwhile
			return err
		}
	}
}

// FirstIndex implements raft.LogStore.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.state.empty() {
		return 0, nil
	}
	return l.state.first, nil
}

// LastIndex implements raft.LogStore.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.state.empty() {
		return 0, nil
	}
	return l.state.next - 1, nil
}

func (l *Log) find(index uint64) (location, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.find(index)
}

// GetLog implements raft.LogStore.
func (l *Log) GetLog(index uint64, e *raft.Log) error {
	for {
		place, ok := l.find(index)
		if !ok {
			return raft.ErrLogNotFound
		}
		p := make([]byte, place.size)
		_, err := place.segment.file.ReadAt(p, place.offset)
		if err == nil {
			if err = decodeEntry(p, e); err == nil && e.Index != index {
				err = fmt.Errorf("it is entry %d", e.Index)
			}
			if err != nil {
				err = fmt.Errorf("%w: %w", fault.ErrCorrupt, err)
			}
		}
		// The file is used again only after the entry is no longer found here.
		if now, ok := l.find(index); !ok || now != place {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s/%s: entry %d at %d: %w", l.dir, segmentName(place.segment.number), index, place.offset, err)
		}
		return nil
	}
}

// StoreLog implements raft.LogStore.
func (l *Log) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

// StoreLogs implements raft.LogStore: one frame, one sync.
func (l *Log) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	return l.write(func() error {
		first := entries[0].Index
		if first == 0 || !l.state.empty() && first < l.state.next {
			return fmt.Errorf("entry %d is to be stored, and there are those below %d", first, l.state.next)
		}
		size := 0
		for i, e := range entries {
			if e.Index != first+uint64(i) {
				return fmt.Errorf("entry %d is to be stored behind %d", e.Index, first+uint64(i)-1)
			}
			size += entryHead + len(e.Data) + len(e.Extensions)
			if size > maxFrame {
				return fmt.Errorf("entries of more than %d bytes are to be stored", maxFrame)
			}
		}
		p, places := appendEntries(l.begin(size), entries)
		gap := !l.state.empty() && first != l.state.next
		in, at, err := l.commit(p, kindEntries)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.state.append(first, in.place(places, at))
		l.mu.Unlock()
		if gap {
			return l.release()
		}
		return nil
	})
}

// DeleteRange implements raft.LogStore, for entries from the first on or up to the last one.
func (l *Log) DeleteRange(first, last uint64) error {
	return l.write(func() error {
		s := l.state
		if s.empty() || last < s.first || first >= s.next || first > last {
			return nil
		}
		k, index := kindDrop, min(last, s.next-1)+1
		if first > s.first {
			k, index = kindCut, first
			if last < s.next-1 {
				return fmt.Errorf("entries %d to %d are to be deleted from the middle of those from %d to %d", first, last, s.first, s.next-1)
			}
		}
		if _, _, err := l.commit(appendUint64(l.begin(8), index), k); err != nil {
			return err
		}
		l.mu.Lock()
		if k == kindDrop {
			s.drop(index)
		} else {
			s.cut(index)
		}
		l.mu.Unlock()
		return l.release()
	})
}

// Set implements raft.StableStore.
func (l *Log) Set(key, value []byte) error {
	return l.write(func() error {
		if len(key)+len(value) > keepBuffer {
			return fmt.Errorf("a key of %d bytes with a value of %d", len(key), len(value))
		}
		if _, _, err := l.commit(appendKey(l.begin(8+len(key)+len(value)), string(key), value), kindSet); err != nil {
			return err
		}
		l.mu.Lock()
		l.state.keys[string(key)] = slices.Clone(value)
		l.mu.Unlock()
		return nil
	})
}

// SetUint64 implements raft.StableStore.
func (l *Log) SetUint64(key []byte, value uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// Get implements raft.StableStore.
func (l *Log) Get(key []byte) ([]byte, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	value, ok := l.state.keys[string(key)]
	if !ok {
		return nil, errNotFound
	}
	return slices.Clone(value), nil
}

// GetUint64 implements raft.StableStore.
func (l *Log) GetUint64(key []byte) (uint64, error) {
	value, err := l.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("%w: %s: the value of %q has %d bytes", fault.ErrCorrupt, l.dir, key, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}

// write runs f alone. Its first error is final.
func (l *Log) write(f func() error) error {
	l.writing <- struct{}{}
	defer func() { <-l.writing }()
	if l.closed {
		return errClosed
	}
	if l.failed != nil {
		return l.failed
	}
	if err := f(); err != nil {
		l.failed = fmt.Errorf("%s: %w", l.dir, err)
	}
	return l.failed
}

// begin returns the buffer for a frame with so much content, filled up to that.
func (l *Log) begin(content int) []byte {
	if size := padded(content); cap(l.buffer) < size {
		l.buffer = make([]byte, size)
	}
	clear(l.buffer[:frameHead])
	return l.buffer[:frameHead]
}

// commit puts a frame on disk, and says where it is.
func (l *Log) commit(p []byte, k kind) (in *segment, at int64, err error) {
	defer func() {
		if cap(l.buffer) > keepBuffer {
			l.buffer = nil
		}
	}()
	size := int64(padded(len(p) - frameHead))
	in = l.segments[len(l.segments)-1]
	if in.end+size+frameHead+8 > in.size { // a seal must fit too
		if in, err = l.roll(int(size)); err != nil {
			return nil, 0, err
		}
	}
	if err := in.file.appendAt(finishFrame(p, k, l.number, in.salt), in.end); err != nil {
		return nil, 0, err
	}
	if !l.bugs.noFrameSync && !(l.bugs.earlyFree && (k == kindDrop || k == kindCut)) {
		if err := in.file.sync(); err != nil {
			return nil, 0, err
		}
	}
	at = in.end
	l.mu.Lock()
	in.end += size
	l.mu.Unlock()
	l.number++
	l.clean = k == kindClosed
	if !l.closed {
		l.prepare()
	}
	return in, at, nil
}

// roll goes on in another segment.
func (l *Log) roll(room int) (*segment, error) {
	before := l.segments[len(l.segments)-1]
	s, err := l.makeSegment(before.number+1, l.number, room)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	if err := before.seal(l.number); err != nil {
		return nil, err
	}
	l.number++
	return s, l.release()
}

// Close implements package store's LogStore.
func (l *Log) Close() error {
	l.writing <- struct{}{}
	defer func() { <-l.writing }()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.prepared() > 0 {
		_ = l.files.remove(newName) // or else who opens the log next does
	}
	var err error
	if l.failed == nil && !l.clean {
		_, _, err = l.commit(l.begin(0), kindClosed)
	}
	if l.failed == nil && err == nil {
		err = l.writeEnd()
	}
	for _, s := range l.segments {
		err = errors.Join(err, s.file.Close())
	}
	return errors.Join(err, l.lock.Close())
}

func appendUint64(p []byte, n uint64) []byte { return binary.LittleEndian.AppendUint64(p, n) }
