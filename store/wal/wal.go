package wal

import (
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/internal/wal"
)

// Config says how a log is kept. The zero Config works, and is what a store uses by itself.
type Config struct {
	// SegmentBytes is the size that files grow to; a larger entry gets one of its own. Zero means 16 MiB, and the least
	// is 64 KiB. It may be another one each time.
	SegmentBytes int64
}

// Open opens or makes a log in dir as the zero Config has it.
func Open(dir string) (store.LogStore, error) { return Config{}.Open(dir) }

// Open opens or makes a log in dir, which exists. Errors are store.ErrLocked while another has it open, store.ErrCorrupt,
// store.ErrVersion, store.ErrConfig, and those of the system.
func (c Config) Open(dir string) (store.LogStore, error) {
	l, err := wal.Open(dir, c.SegmentBytes)
	if err != nil {
		return nil, err // and not a nil log in an interface
	}
	return l, nil
}
