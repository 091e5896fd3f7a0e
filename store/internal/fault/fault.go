package fault

import "errors"

// Kinds of errors; package store says what each means.
var (
	ErrCorrupt = errors.New("data is corrupt")
	ErrVersion = errors.New("unknown format version")
	ErrLocked  = errors.New("directory is in use")
	ErrConfig  = errors.New("invalid configuration")
)
