package store

import (
	"errors"

	"golang.org/x/sys/windows"
)

// diskFull reports whether an error says that the disk, or what the user may have of it, is full.
func diskFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) || errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}
