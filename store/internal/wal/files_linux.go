package wal

import (
	"errors"

	"golang.org/x/sys/unix"
)

func (f *osFile) sync() error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if !errors.Is(err, unix.EINTR) {
			return wrap("fdatasync", f.Name(), err)
		}
	}
}

func (f *osFile) allocate(size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return f.Truncate(size)
		default:
			return wrap("fallocate", f.Name(), err)
		}
	}
}
