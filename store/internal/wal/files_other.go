//go:build !linux

package wal

// direct writes are Linux's.
type direct struct{}

func (direct) close() error { return nil }

func (f *osFile) appendAt(p []byte, at int64) error {
	_, err := f.WriteAt(p, at)
	return err
}

// sync is os.File's, which on darwin is F_FULLFSYNC.
func (f *osFile) sync() error { return f.Sync() }

// allocate reserves nothing: the file has holes.
func (f *osFile) allocate(size int64) error { return f.Truncate(size) }
