package wal

import "errors"

// ahead is a file for the next segment that is being made while the newest one is written to. It is filled with zeros,
// since a sync after a write to a block that was never written costs one of the file system's journal too. What is filled
// is on disk in steps, so that nobody's sync has much to wait for.
//
// Nothing depends on it: what goes wrong is met again, and told, by who needs a segment and has to make one, and who
// needs it before it is full takes it as it is.
type ahead struct {
	size       int64
	stop, done chan struct{}
	err        error // valid after done
}

// mostAtOnce is how much is filled with one sync.
const mostAtOnce = 256 << 10

// prepare begins to make the next segment's file, once the newest one is half full and there is no other. The caller has
// the token in writing.
func (l *Log) prepare() {
	newest := l.segments[len(l.segments)-1]
	if l.ahead != nil || len(l.free) > 0 || newest.end < newest.size/2 {
		return
	}
	a := &ahead{size: l.nextSize(), stop: make(chan struct{}), done: make(chan struct{})}
	l.mu.Lock()
	l.ahead = a
	l.mu.Unlock()
	l.start(func() {
		defer close(a.done)
		if a.err = a.make(l.files); a.err != nil {
			_ = l.files.remove(newName) // it must not take up room that others need
		}
	})
}

// make creates the file, and fills it until it is told to stop.
func (a *ahead) make(files files) (err error) {
	f, err := files.create(newName)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.allocate(a.size); err != nil {
		return err
	}
	zeros := make([]byte, min(max(a.size/8, headerSize), mostAtOnce))
	for at := int64(0); at < a.size; at += int64(len(zeros)) {
		select {
		case <-a.stop:
			return nil
		default:
		}
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), a.size-at)], at); err != nil {
			return err
		}
		if err := f.sync(); err != nil {
			return err
		}
	}
	return nil
}

// prepared ends the making of the file that prepare began, if it has, and returns its size; 0 if there is none. Its name
// is newName.
func (l *Log) prepared() int64 {
	a := l.ahead
	if a == nil {
		return 0
	}
	close(a.stop)
	<-a.done
	l.mu.Lock()
	l.ahead = nil
	l.mu.Unlock()
	if a.err != nil {
		return 0
	}
	return a.size
}

// nextSize is how large the next segment is to be: a store that holds little takes up little.
func (l *Log) nextSize() int64 {
	if len(l.segments) == 0 {
		return min(firstBytes, l.segmentBytes)
	}
	newest := l.segments[len(l.segments)-1]
	return min(max(firstBytes, newest.size*growth), l.segmentBytes)
}
