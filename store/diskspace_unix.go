//go:build !windows

package store

import (
	"errors"
	"syscall"
)

// diskFull reports whether an error says that the disk, or what the user may have of it, is full.
func diskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
