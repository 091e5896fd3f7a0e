//go:build !linux

package wal

// sync is os.File's, which on darwin is F_FULLFSYNC.
func (f osFile) sync() error { return f.Sync() }

// allocate does nothing: the file grows as it is written.
func (f osFile) allocate(int64) error { return nil }
