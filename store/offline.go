package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"
)

// FileOptions say how the files of a store that is closed can be read. The zero value is right for package wal's log store
// and OpenBoltLog's, without encryption.
type FileOptions struct {
	// OpenLog is as in Config. What it opens may put its own files in order, as after a crash; nothing else changes what
	// is only looked at. Nil means the one that the directory was begun with, if it is package wal's or OpenBoltLog's.
	OpenLog func(dir string) (LogStore, error)
	// Keys is as in Config. Without it encrypted files can be checked for damage, and not read.
	Keys Keyring
}

// offline is the files of a store that is closed, and locked meanwhile.
type offline struct {
	*checkedLog
	files *snapshotFiles
}

// openOffline opens the files of dir to read them. Who has the directory open is not disturbed: ErrLocked.
func openOffline(ctx context.Context, dir string, opts FileOptions) (_ *offline, err error) {
	marker, err := readLogMarker(dir)
	if err != nil {
		return nil, err
	}
	open := opts.OpenLog
	if open == nil {
		if open, err = usualReader(dir, marker); err != nil {
			return nil, err
		}
	}
	logs, err := opened(open(dir))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, logs.Close())
		}
	}()
	if err := marker.fits(dir, logName(logs)); err != nil {
		return nil, err
	}
	home, err := logs.GetUint64(markerKey)
	if err != nil && !notFound(err) {
		return nil, err
	}
	if home != marker.id {
		return nil, fmt.Errorf("%w: %s was begun with a log store of id %016x, and this is %016x", ErrLogStore, dir, marker.id, home)
	}
	seal, err := newSealer(ctx, opts.Keys, home)
	if err != nil {
		return nil, err
	}
	o := &offline{checkedLog: &checkedLog{logs: logs, dir: dir, home: home, seal: seal, onFail: func(error) {}}}
	o.files = &snapshotFiles{dir: filepath.Join(dir, snapshotDir), home: home, seal: seal, logger: zap.NewNop(), bad: map[string]error{}}
	return o, nil
}

// usualReader returns what opens the log of a directory to read it, if that is one of the usual ones.
func usualReader(dir string, marker logMarker) (func(dir string) (LogStore, error), error) {
	name, err := marker.usual(dir)
	if err != nil {
		return nil, err
	}
	if name == boltName {
		return readBoltLog, nil
	}
	return readWAL, nil
}

// readBoltLog opens a bolt file that exists without changing it. Others that read may have it open too.
func readBoltLog(dir string) (LogStore, error) {
	s := &boltLog{path: filepath.Join(dir, boltFile)}
	if _, err := os.Stat(s.path); err != nil {
		return nil, err
	}
	if err := checkBoltFile(s.path); err != nil {
		return nil, err
	}
	err := guard(func() (err error) {
		s.bolt, err = raftboltdb.New(raftboltdb.Options{
			Path: s.path, MsgpackUseNewTimeFormat: true, BoltOptions: &bbolt.Options{Timeout: lockTimeout, ReadOnly: true},
		})
		return err
	})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: %s is locked", ErrLocked, s.path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return s, nil
}

// replayed is what a member has when it has applied all that its files hold.
type replayed struct {
	state       *state
	index, term uint64 // of the newest entry, or of the snapshot if there is none after it
	servers     raft.Configuration
}

// replay builds the state from the newest snapshot that can be read and every entry after it, whether a majority had
// it or not: a member alone can't tell.
func (o *offline) replay(ctx context.Context) (*replayed, error) {
	r := &replayed{state: newState()}
	names, err := o.files.names()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var list []*raft.SnapshotMeta
	if len(names) > 0 {
		if list, err = o.files.List(); err != nil {
			return nil, err
		}
	}
	newest := uint64(0)
	if len(list) > 0 {
		newest = list[0].Index
	}
	if err := o.verify(newest); err != nil {
		return nil, errors.Join(o.files.started(), err)
	}
	o.files.startWith(o.covers)
	defer func() { _ = o.files.started() }()
	for i, meta := range list {
		err := o.load(r, meta)
		if err == nil {
			break
		}
		if i == len(list)-1 || ctx.Err() != nil {
			return nil, err
		}
	}
	return r, o.play(ctx, r)
}

// load takes the state of a snapshot.
func (o *offline) load(r *replayed, meta *raft.SnapshotMeta) error {
	meta, in, err := o.files.Open(meta.ID)
	if err != nil {
		return err
	}
	st, err := decodeSnapshot(in, formatVersion)
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	r.state, r.index, r.term, r.servers = st, meta.Index, meta.Term, meta.Configuration
	return nil
}

// play applies what comes after a snapshot.
func (o *offline) play(ctx context.Context, r *replayed) error {
	first, err := o.FirstIndex()
	if err != nil {
		return err
	}
	last, err := o.LastIndex()
	if err != nil {
		return err
	}
	m := &machine{store: &Store{}, state: r.state, onFail: func(error) {}}
	m.rings[0].every, m.rings[1].every = checkpointEvery, coarseEvery
	for i := max(first, r.index+1); i <= last && i > 0; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		var entry raft.Log
		if err := o.checkedLog.load(i, &entry); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		r.index, r.term = i, entry.Term
		switch entry.Type {
		case raft.LogCommand:
			var none []outcome
			if _, err := m.entry(&entry, &none); err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
			r.state.drain()
		case raft.LogConfiguration:
			if err := guard(func() error { r.servers = raft.DecodeConfiguration(entry.Data); return nil }); err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
		}
	}
	return nil
}
