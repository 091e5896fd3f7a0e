//go:build !linux

package wal

// sync is os.File's, which on darwin is F_FULLFSYNC.
func (f osFile) sync() error { return f.Sync() }

// allocate reserves nothing: the file has holes.
func (f osFile) allocate(size int64) error { return f.Truncate(size) }
