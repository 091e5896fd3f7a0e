package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

const (
	// boltName is the name of the log store in a bolt file.
	boltName = "bolt"
	// boltFile is its file.
	boltFile = "raft.db"
	// lockTimeout is how long another holder of the directory is waited for, such as a process that is just ending.
	lockTimeout = time.Second
)

// boltLog is a log store in a bolt file. Bolt reads memory mapped from the file, so that what is wrong with that shows
// as a fault or a panic: they become errors.
type boltLog struct {
	bolt *raftboltdb.BoltStore
	path string
	file presence
}

var (
	_ LogStore = (*boltLog)(nil)
	_ LogNamer = (*boltLog)(nil)
	_ LogSizer = (*boltLog)(nil)

	_ LogPresence = (*boltLog)(nil)
)

// OpenBoltLog is for Config.OpenLog: it opens or makes raft-boltdb's log store, in the file raft.db of dir. It has been
// tried for longer than the default one, and each write costs two disk syncs instead of one. Errors are ErrLocked while
// another holds the file, and ErrCorrupt.
func OpenBoltLog(dir string) (LogStore, error) {
	s, err := openBoltLog(dir)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func openBoltLog(dir string) (*boltLog, error) {
	path := filepath.Join(dir, boltFile)
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		if err := makeBoltFile(dir); err != nil {
			return nil, err
		}
	} else if err := checkBoltFile(path); err != nil {
		return nil, err
	}
	return openBoltFile(path)
}

// makeBoltFile puts an empty bolt file in place when all of it is on disk: half of one would look like a damaged one.
func makeBoltFile(dir string) error {
	path := filepath.Join(dir, boltFile)
	if err := os.Remove(path + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s, err := openBoltFile(path + ".tmp")
	if err != nil {
		return err
	}
	if err := s.Close(); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	syncDir(dir)
	return nil
}

// openBoltFile opens a file that has been looked at, or makes one.
func openBoltFile(path string) (*boltLog, error) {
	s := &boltLog{path: path}
	var opened *os.File
	err := guard(func() (err error) {
		s.bolt, err = raftboltdb.New(raftboltdb.Options{
			Path:                    path,
			MsgpackUseNewTimeFormat: true,
			BoltOptions: &bbolt.Options{
				Timeout: lockTimeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
				OpenFile: func(name string, flag int, perm os.FileMode) (file *os.File, err error) {
					file, err = os.OpenFile(name, flag, perm)
					opened = file
					return file, err
				},
			},
		})
		return err
	})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s is locked", ErrLocked, path)
	case errors.Is(err, bbolterrors.ErrInvalid), errors.Is(err, bbolterrors.ErrChecksum), errors.Is(err, bbolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if s.file, err = presenceOf(opened, path); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	// CompactFiles may have put another file in this one's place while its lock was waited for.
	if s.file.lost() != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s is just being replaced", ErrLocked, s.path), s.Close())
	}
	if err := os.Remove(s.path + compactSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// LogLost implements LogPresence.
func (s *boltLog) LogLost() error { return s.file.lost() }

// run makes an error that names the file of what goes wrong in f. What Raft looks for stays as it is.
func (s *boltLog) run(f func() error) error {
	err := guard(f)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrLogNotFound):
		return raft.ErrLogNotFound
	case errors.Is(err, raftboltdb.ErrKeyNotFound):
		return errNotFound
	}
	return fmt.Errorf("%s: %w", s.path, err)
}

// FirstIndex implements raft.LogStore.
func (s *boltLog) FirstIndex() (n uint64, err error) {
	err = s.run(func() (err error) { n, err = s.bolt.FirstIndex(); return err })
	return n, err
}

// LastIndex implements raft.LogStore.
func (s *boltLog) LastIndex() (n uint64, err error) {
	err = s.run(func() (err error) { n, err = s.bolt.LastIndex(); return err })
	return n, err
}

// GetLog implements raft.LogStore.
func (s *boltLog) GetLog(index uint64, entry *raft.Log) error {
	*entry = raft.Log{}
	return s.run(func() error { return s.bolt.GetLog(index, entry) })
}

// StoreLog implements raft.LogStore.
func (s *boltLog) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (s *boltLog) StoreLogs(entries []*raft.Log) error {
	return s.run(func() error { return s.bolt.StoreLogs(entries) })
}

// DeleteRange implements raft.LogStore.
func (s *boltLog) DeleteRange(first, last uint64) error {
	return s.run(func() error { return s.bolt.DeleteRange(first, last) })
}

// Set implements raft.StableStore.
func (s *boltLog) Set(key, value []byte) error {
	return s.run(func() error { return s.bolt.Set(key, value) })
}

// SetUint64 implements raft.StableStore.
func (s *boltLog) SetUint64(key []byte, value uint64) error {
	return s.run(func() error { return s.bolt.SetUint64(key, value) })
}

// Get implements raft.StableStore.
func (s *boltLog) Get(key []byte) (value []byte, err error) {
	err = s.run(func() (err error) { value, err = s.bolt.Get(key); return err })
	return value, err
}

// GetUint64 implements raft.StableStore.
func (s *boltLog) GetUint64(key []byte) (n uint64, err error) {
	err = s.run(func() (err error) { n, err = s.bolt.GetUint64(key); return err })
	return n, err
}

// LogName implements LogNamer.
func (s *boltLog) LogName() string { return boltName }

// LogSizes implements LogSizer. The file never shrinks.
func (s *boltLog) LogSizes() (file, free int64) {
	if info, err := os.Stat(s.path); err == nil {
		file = info.Size()
	}
	return file, int64(s.bolt.Stats().FreeAlloc)
}

// Close implements LogStore.
func (s *boltLog) Close() error { return s.run(s.bolt.Close) }
