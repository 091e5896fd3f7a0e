package watch

import (
	"errors"
	"fmt"
)

var (
	// ErrCompacted says that history somebody asked for has been dropped: take a fresh snapshot and open a new cursor
	// after it. The error that carries it is a [*CompactedError].
	ErrCompacted = errors.New("history has been compacted")
	// ErrClosed says that the log or the cursor was closed.
	ErrClosed = errors.New("watch closed")
	// ErrOrder says that a revision does not rise.
	ErrOrder = errors.New("revision does not rise")
	// ErrSelector says that a selector contradicts itself.
	ErrSelector = errors.New("invalid selector")
	// ErrConfig says that a Config field has an impossible value.
	ErrConfig = errors.New("invalid configuration")
)

// CompactedError says which history is gone. It matches [ErrCompacted].
type CompactedError struct {
	// Requested is the first revision that was asked for and may be incomplete.
	Requested int64
	// CompactRevision is the newest revision that has been dropped; history is complete from the one after it.
	CompactRevision int64
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("revision %d was asked for, but history up to %d has been compacted", e.Requested, e.CompactRevision)
}

// Is reports whether target is [ErrCompacted].
func (e *CompactedError) Is(target error) bool { return target == ErrCompacted }
