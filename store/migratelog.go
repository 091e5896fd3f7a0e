package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/hashicorp/raft"
)

// stableKeys are all that a member keeps in its stable store, Raft's first, and whether each is a number. The marker's
// is not among them.
func stableKeys() map[string]bool {
	return map[string]bool{
		"CurrentTerm": true, "LastVoteTerm": true, "LastVoteCand": false, // Raft's (v1.8.0)
		string(nameKey): false, string(foundersKey): true, string(versionKey): true,
	}
}

// MigrateLog moves the log of a directory that no store has open from one log store to another. Nil means as from the one
// that the directory has, as in Config.OpenLog, and as to the one that a new directory gets, package wal's. Both must be LogNamers. It can be done again after it has failed or was interrupted; until it has succeeded the
// directory belongs to the first. That one's files stay, are not used any more, and can be removed.
//
// Errors are fs.ErrNotExist if there is no directory, ErrLogStore if the directory does not belong to from or if both are the same, ErrLocked, ErrCorrupt, and
// what the log stores say.
func MigrateLog(ctx context.Context, dir string, from, to func(dir string) (LogStore, error)) (err error) {
	defer func() {
		if err != nil && ctx.Err() == nil {
			err = &Error{Op: "migrate log", Err: err}
		}
	}()
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	marker, err := readLogMarker(dir)
	if err != nil {
		return err
	}
	if marker.id == 0 && len(usualLogsIn(dir)) == 0 {
		return fmt.Errorf("%w: %s has no log store", ErrLogStore, dir)
	}
	source, err := openLog(dir, from, func(error) {})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.close()) }()
	if to == nil {
		to = openWAL
		if logName(source.logs) == walName {
			return fmt.Errorf("%w: the log of %s is in %q already", ErrLogStore, dir, walName)
		}
	}
	target, err := opened(to(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	before, after := logName(source.logs), logName(target)
	if before == "" || after == "" || before == after {
		return fmt.Errorf("%w: the log of %s can't move from %q to %q", ErrLogStore, dir, before, after)
	}
	if err := copyLog(ctx, source.logs, target); err != nil {
		return err
	}
	if err := target.SetUint64(markerKey, source.home); err != nil {
		return err
	}
	return logMarker{after, source.home}.write(dir)
}

// copyLog makes target hold what source holds, as it is.
func copyLog(ctx context.Context, source, target LogStore) error {
	first, err := target.FirstIndex()
	if err != nil {
		return err
	}
	last, err := target.LastIndex()
	if err != nil {
		return err
	}
	if last > 0 { // from before, or from a copy that was interrupted
		if err := target.DeleteRange(first, last); err != nil {
			return err
		}
	}
	for key, number := range stableKeys() {
		if err := copyKey(source, target, []byte(key), number); err != nil {
			return err
		}
	}
	if last, err = source.LastIndex(); err != nil || last == 0 {
		return err
	}
	// What is before a gap is in a snapshot.
	start := last
	for ; start > 1; start-- {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := source.GetLog(start-1, new(raft.Log)); errors.Is(err, raft.ErrLogNotFound) {
			break
		} else if err != nil {
			return err
		}
	}
	const most = 4 << 20 // bytes at once
	var batch []*raft.Log
	size := 0
	for i := start; i <= last; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		entry := new(raft.Log)
		if err := source.GetLog(i, entry); err != nil {
			return err
		}
		batch, size = append(batch, entry), size+len(entry.Data)
		if size >= most || i == last {
			if err := target.StoreLogs(batch); err != nil {
				return err
			}
			batch, size = nil, 0
		}
	}
	return nil
}

// copyKey copies what is there, or takes away what was in target before.
func copyKey(source, target LogStore, key []byte, number bool) error {
	if number {
		n, err := source.GetUint64(key)
		if err != nil && !notFound(err) {
			return err
		}
		if before, err := target.GetUint64(key); n == before && (err == nil || notFound(err)) {
			return nil
		}
		return target.SetUint64(key, n)
	}
	value, err := source.Get(key)
	if err != nil && !notFound(err) {
		return err
	}
	if before, err := target.Get(key); bytes.Equal(value, before) && (err == nil || notFound(err)) {
		return nil
	}
	return target.Set(key, value)
}
