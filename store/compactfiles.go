package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"

	"github.com/keelson-dev/keelson/store/internal/wal"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// compactSuffix is what the file is called that CompactFiles writes, behind the bolt file's name.
const compactSuffix = ".compact" + tempSuffix

// compactBatch is how many bytes CompactFiles copies in one transaction.
const compactBatch = 1 << 20

// CompactFiles makes the files of Raft's log of a store that is closed as small as they can be, and returns their sizes
// before and after. Nothing is left in them then of entries that are no longer needed, such as those from before they
// were encrypted. A store that runs uses room in them again by itself, but never gives back what it needed most (a bolt
// file), or some of it (package wal's files).
//
// A bolt file is written anew, and the new one takes its place when it is on disk and was checked; until then nothing has
// changed. Package wal's entries are written again, and the files that had them removed. It fails with ErrLocked while
// the store is open, with ErrCorrupt if the files are damaged, with ErrLogStore if the directory has another log store than
// these, and with fs.ErrNotExist if it has none.
func CompactFiles(ctx context.Context, dir string) (before, after int64, err error) {
	before, after, err = compactFiles(ctx, dir)
	if err != nil {
		if ctx.Err() != nil {
			return 0, 0, ctx.Err()
		}
		return 0, 0, &Error{Op: "compact files", Key: dir, Err: err}
	}
	return before, after, nil
}

func compactFiles(ctx context.Context, dir string) (before, after int64, err error) {
	marker, err := readLogMarker(dir)
	if err != nil {
		return 0, 0, err
	}
	name, err := marker.usual(dir)
	if err != nil {
		return 0, 0, err
	}
	if name == walName {
		return wal.Compact(ctx, dir)
	}
	return compactBolt(ctx, dir)
}

func compactBolt(ctx context.Context, dir string) (before, after int64, err error) {
	path := filepath.Join(dir, boltFile)
	fresh := path + compactSuffix
	if _, err := os.Stat(path); err != nil {
		return 0, 0, err
	}
	from, err := lockBolt(path)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, 0, err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(fresh)
		}
	}()
	if before, err = fileSize(path); err != nil {
		return 0, 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	if err := copyBolt(from, fresh); err != nil {
		return 0, 0, err
	}
	if after, err = fileSize(fresh); err != nil {
		return 0, 0, err
	}
	if runtime.GOOS == "windows" { // where a file that is open can't be replaced
		if err := from.Close(); err != nil {
			return 0, 0, err
		}
	}
	if err := os.Rename(fresh, path); err != nil {
		return 0, 0, err
	}
	return before, after, syncDirectory(dir)
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// lockBolt checks a bolt file and opens it, so that nobody else can.
func lockBolt(path string) (db *bbolt.DB, err error) {
	if err := checkBoltFile(path); err != nil {
		return nil, err
	}
	err = guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
		return err
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s is locked", ErrLocked, path)
	}
	return db, err
}

// copyBolt copies what a bolt file holds to a new one, and checks that.
func copyBolt(from *bbolt.DB, path string) error {
	to, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = guard(func() error { return bbolt.Compact(to, from, compactBatch) })
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if err := checkBoltFile(path); err != nil {
		return err
	}
	want, err := boltKeys(from)
	if err != nil {
		return err
	}
	copied, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
	if err != nil {
		return err
	}
	got, err := boltKeys(copied)
	if err = errors.Join(err, copied.Close()); err != nil {
		return err
	}
	if !maps.Equal(want, got) {
		return fmt.Errorf("%w: of the keys %v the copy has %v", ErrCorrupt, want, got)
	}
	return nil
}

// boltKeys returns the number of keys in each bucket.
func boltKeys(db *bbolt.DB) (map[string]int, error) {
	counts := map[string]int{}
	err := guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
				counts[string(name)] = bucket.Stats().KeyN
				return nil
			})
		})
	})
	return counts, err
}
