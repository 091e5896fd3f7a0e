package process

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// maxLogLine is where a line is split in parts; kubectl logs joins them again.
const maxLogLine = 16 << 10

// logFile writes a container's output in CRI's format: time, stream, tag (F full, P part of a line) and text, one per
// line. Lines that can't be written are lost, and the container runs on.
type logFile struct {
	dir  string // never left, not even through links
	path string // in dir

	mu   sync.Mutex
	file *os.File
}

// openLog opens the log at path in dir, and makes the directories on the way. An empty dir or path means no log.
func openLog(dir, path string) (*logFile, error) {
	l := &logFile{dir: dir, path: path}
	if dir == "" || path == "" {
		return l, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return l, l.reopen()
}

// reopen opens the file by its name again, after somebody has moved it away.
func (l *logFile) reopen() error {
	if l.dir == "" || l.path == "" {
		return nil
	}
	root, err := os.OpenRoot(l.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if parent := filepath.Dir(l.path); parent != "." {
		if err := root.MkdirAll(parent, 0o755); err != nil {
			return err
		}
	}
	if info, err := root.Lstat(l.path); err == nil && !info.Mode().IsRegular() {
		return &os.PathError{Op: "open log", Path: filepath.Join(l.dir, l.path), Err: os.ErrInvalid}
	}
	file, err := root.OpenFile(l.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	old := l.file
	l.file = file
	l.mu.Unlock()
	if old != nil {
		old.Close()
	}
	return nil
}

func (l *logFile) write(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Write(line)
	}
}

func (l *logFile) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		l.file.Close()
		l.file = nil
	}
}

// copy logs what is read from r as stream until r ends, and shows each piece to tap first.
func (l *logFile) copy(stream string, r io.Reader, tap func([]byte)) {
	buf := make([]byte, 2*maxLogLine)
	var pending []byte // the start of a line without its end yet
	for {
		n, err := r.Read(buf)
		if n > 0 {
			tap(buf[:n])
			pending = l.lines(stream, append(pending, buf[:n]...))
		}
		if err != nil {
			if len(pending) > 0 {
				l.write(appendLogLine(nil, time.Now(), stream, pending, false))
			}
			return
		}
	}
}

// lines logs all whole lines of data, and parts of a line that is too long; it returns what is left.
func (l *logFile) lines(stream string, data []byte) []byte {
	var out []byte
	rest, now := data, time.Now()
	for {
		i := bytes.IndexByte(rest, '\n')
		switch {
		case i >= 0 && i <= maxLogLine:
			out = appendLogLine(out, now, stream, rest[:i], false)
			rest = rest[i+1:]
		case i > maxLogLine || len(rest) > maxLogLine:
			out = appendLogLine(out, now, stream, rest[:maxLogLine], true)
			rest = rest[maxLogLine:]
		default:
			if len(out) > 0 {
				l.write(out)
			}
			return append(data[:0], rest...)
		}
	}
}

func appendLogLine(out []byte, now time.Time, stream string, text []byte, partial bool) []byte {
	out = now.UTC().AppendFormat(out, "2006-01-02T15:04:05.000000000Z07:00")
	out = append(out, ' ')
	out = append(out, stream...)
	if partial {
		out = append(out, " P "...)
	} else {
		out = append(out, " F "...)
	}
	out = append(out, text...)
	return append(out, '\n')
}
