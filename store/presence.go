package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// presence is the file that a name stood for when it was opened. A process goes on writing to a file whose name is gone:
// what it acknowledges then is lost when it ends, and nothing fails before.
type presence struct {
	path string
	info fs.FileInfo
}

// presenceOf takes note of a file that is open. Its path is made absolute where that can be done.
func presenceOf(file *os.File, path string) (presence, error) {
	info, err := file.Stat()
	if absolute, absErr := filepath.Abs(path); absErr == nil {
		path = absolute
	}
	return presence{path, info}, err
}

// lost returns an error if the name is gone or stands for another file. What can't be found out is not lost.
func (p presence) lost() error {
	if p.info == nil {
		return nil
	}
	now, err := os.Stat(p.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is gone: it was removed or renamed while the store was open", p.path)
	case err == nil && !os.SameFile(p.info, now):
		return fmt.Errorf("%s is another file than the one that the store has open", p.path)
	}
	return nil
}

// lost returns an error if the directory is no longer where it was, or the log store says so of its files.
func (s *checkedLog) lost() error {
	if err := s.marker.lost(); err != nil {
		return err
	}
	if p, ok := s.logs.(LogPresence); ok {
		return p.LogLost()
	}
	return nil
}

// lost stops the member if what it writes to is gone. It reports whether that is so.
func (d *durable) lost() bool {
	if d.files == nil {
		return false
	}
	err := d.files.lost()
	if err != nil {
		d.fail(err)
	}
	return err != nil
}
