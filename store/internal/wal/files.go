package wal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// files is the directory of a log. Tests have one that forgets what was not synced.
type files interface {
	// lock keeps others away until Close. fault.ErrLocked if they are there.
	lock() (io.Closer, error)
	list() ([]string, error)
	open(name string) (file, error)
	// create makes an empty file, in place of the one of this name if there is one.
	create(name string) (file, error)
	rename(from, to string) error
	remove(name string) error
	// lost returns an error if the name of a file that is open is gone or another's.
	lost(name string, f file) error
	// syncDir makes names durable.
	syncDir() error
}

type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// appendAt writes p where nothing behind p is worth keeping. After its first call WriteAt is not used any more.
	appendAt(p []byte, at int64) error
	// sync makes what was written durable, and as much of the rest as reading it back takes.
	sync() error
	// allocate makes a file that is not longer yet this long, and reserves the room, where the system can.
	allocate(size int64) error
	size() (int64, error)
}

// osFiles is the directory wal below a directory.
type osFiles struct{ dir string }

// dirName is that directory's.
const dirName = "wal"

// openFiles makes it if it is not there.
func openFiles(parent string) (osFiles, error) {
	o := osFiles{filepath.Join(parent, dirName)}
	err := os.Mkdir(o.dir, 0o700)
	switch {
	case err == nil:
		return o, syncDir(parent)
	case errors.Is(err, fs.ErrExist):
		return o, nil
	}
	return o, err
}

func (o osFiles) path(name string) string { return filepath.Join(o.dir, name) }

func (o osFiles) list() (names []string, err error) {
	entries, err := os.ReadDir(o.dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (o osFiles) open(name string) (file, error) {
	f, err := os.OpenFile(o.path(name), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (o osFiles) create(name string) (file, error) {
	f, err := os.OpenFile(o.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

func (o osFiles) lost(name string, f file) error {
	now, err := os.Stat(o.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is gone: it was removed or renamed while the log was open", o.path(name))
	}
	if err != nil {
		return nil // that is for who writes to it
	}
	mine, err := f.(*osFile).Stat()
	if err == nil && !os.SameFile(mine, now) {
		return fmt.Errorf("%s is another file than the one that is open", o.path(name))
	}
	return nil
}

func (o osFiles) rename(from, to string) error { return os.Rename(o.path(from), o.path(to)) }
func (o osFiles) remove(name string) error     { return os.Remove(o.path(name)) }
func (o osFiles) syncDir() error               { return syncDir(o.dir) }

type osFile struct {
	*os.File
	direct direct
}

func (f *osFile) Close() error { return errors.Join(f.direct.close(), f.File.Close()) }

func (f *osFile) size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
