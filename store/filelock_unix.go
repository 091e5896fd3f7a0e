//go:build linux || darwin

package store

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockPause is how long is waited before a lock is tried again.
const lockPause = 20 * time.Millisecond

// lockToRead waits until nobody has file open for writing, as bolt locks it, and keeps it so until file is closed:
// else what is read may be half of a write.
func lockToRead(file *os.File) error {
	for end := time.Now().Add(lockTimeout); ; {
		err := unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		switch {
		case err == nil, errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENOSYS):
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("%s: lock: %w", file.Name(), err)
		case time.Now().After(end):
			return fmt.Errorf("%w: %s is locked", ErrLocked, file.Name())
		default:
			time.Sleep(lockPause)
		}
	}
}
