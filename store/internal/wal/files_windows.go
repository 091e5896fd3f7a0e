package wal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/keelson-dev/keelson/store/internal/fault"
	"golang.org/x/sys/windows"
)

// syncDir does nothing: Windows keeps names in order itself.
func syncDir(string) error { return nil }

// lock uses LockFileEx, so that it ends with the process.
func (o osFiles) lock() (io.Closer, error) {
	f, err := os.OpenFile(o.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(lockTimeout); ; time.Sleep(lockPoll) {
		err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, windows.ERROR_LOCK_VIOLATION):
			return nil, errors.Join(err, f.Close())
		case time.Now().After(deadline):
			return nil, errors.Join(fmt.Errorf("%w: %s is locked", fault.ErrLocked, f.Name()), f.Close())
		}
	}
}
