// Package wal is the log store that package store uses by itself: it appends to files, so that a write costs one disk
// sync. A program imports it to set something, or to go back to it after another one:
//
//	store.Config{Dir: dir, OpenLog: wal.Config{SegmentBytes: 1 << 20}.Open}
//	store.MigrateLog(ctx, dir, store.OpenBoltLog, wal.Open)
//
// Its files are in the directory wal below the store's. What they hold, and what is there after a crash, is written down
// in store/internal/wal/doc.go; what a disk may do to them, in docs/reliability-disk.md.
//
// Reads come from the files, through an index in memory of about 24 bytes an entry. Freed files are used again. The first
// failed write or sync is final: nothing more is stored until the log is opened again. All methods may be called at once;
// writes wait for each other, reads for none.
package wal
