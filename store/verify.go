package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/raft"
)

// Report is what Verify found in a directory.
type Report struct {
	Dir string
	// Files are all files below Dir, by name.
	Files []FileReport
	// Damage is all that is wrong; empty if nothing is.
	Damage []Damage
	// Term is the newest that the member took part in. FirstIndex, LastIndex and LastTerm are of the log's entries, 0 if
	// there are none, and Entries their number.
	Term, FirstIndex, LastIndex, LastTerm uint64
	Entries                               int
	// Snapshots are those that the directory has, the newest first.
	Snapshots []SnapshotReport
	// Keys says by how many entries and snapshots each key is needed; under "" are those that are not encrypted.
	Keys map[string]int
	// Contents is what a member would have that starts from the files and is told that all entries are committed. It is
	// nil if they can't be read, for damage or want of a key.
	Contents *Contents
}

// FileReport is one file.
type FileReport struct {
	Name  string // relative to the directory
	Bytes int64
}

// Damage is something that is not what was written.
type Damage struct {
	// File is relative to the directory; of a log store that has more than one it is the directory. Err often says more.
	File string
	// Index is the entry of the log that is concerned, 0 if that can't be said.
	Index uint64
	Err   error
}

// SnapshotReport is one snapshot.
type SnapshotReport struct {
	File        string // relative to the directory
	Index, Term uint64
	Bytes       int64  // of its content
	Key         string // that it is encrypted with, empty if it is not
}

// Contents is the state that files lead to. Of the directories of several members that were lost together, the one to
// go on from is that of the greatest Term, and among those of the greatest Index: as in an election, it has everything
// that was acknowledged if a majority of the voters is among them.
type Contents struct {
	// Index and Term are those of the newest entry.
	Index, Term uint64
	// Applied, Revision, ClusterID, Keys and Hash are as in Status.
	Applied, Hash, ClusterID uint64
	Revision, Keys           int64
	// Members are the cluster's by the newest configuration.
	Members []MemberStatus
}

// Err joins what is wrong; nil if nothing is.
func (r *Report) Err() error {
	var all []error
	for _, d := range r.Damage {
		all = append(all, d.Err)
	}
	return errors.Join(all...)
}

// Verify reads all files of a store that is closed, and reports what they hold and what is damaged; it changes nothing.
// An error says that it could not do so: ErrLocked, ErrLogStore, or that of the file system or ctx. A key that is missing
// is not damage: it leaves Contents nil.
func Verify(ctx context.Context, dir string, opts FileOptions) (Report, error) {
	r := Report{Dir: dir, Keys: map[string]int{}}
	if err := r.verify(ctx, opts); err != nil {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		return r, &Error{Op: "verify", Key: dir, Err: err}
	}
	return r, nil
}

func (r *Report) verify(ctx context.Context, opts FileOptions) error {
	if err := r.list(); err != nil {
		return err
	}
	o, err := openOffline(ctx, r.Dir, opts)
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) {
		r.damage(r.Dir, 0, err)
		o = &offline{checkedLog: &checkedLog{dir: r.Dir}}
		o.files = &snapshotFiles{dir: filepath.Join(r.Dir, snapshotDir), bad: map[string]error{}}
		return r.snapshots(ctx, o)
	}
	if err != nil {
		return err
	}
	defer func() { _ = o.logs.Close() }()
	if err := errors.Join(r.log(ctx, o), r.snapshots(ctx, o)); err != nil {
		return err
	}
	contents, err := o.replay(ctx)
	switch {
	case err == nil:
		r.Contents = contents.contents()
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrKey):
	case len(r.Damage) == 0: // everything is as it was written, and does not fit together
		r.damage(r.Dir, 0, err)
	}
	return nil
}

func (c *replayed) contents() *Contents {
	st := c.state
	all := &Contents{
		Index: c.index, Term: c.term, Applied: st.applied, Hash: st.hash, ClusterID: st.cluster, Revision: st.revision, Keys: st.keys,
	}
	for _, s := range c.servers.Servers {
		all.Members = append(all.Members, MemberStatus{
			Peer: Peer{string(s.ID), string(s.Address)}, ID: MemberID(string(s.ID)), Voter: s.Suffrage == raft.Voter,
		})
	}
	return all
}

func (r *Report) damage(path string, index uint64, err error) {
	name, relErr := filepath.Rel(r.Dir, path)
	if relErr != nil {
		name = path
	}
	r.Damage = append(r.Damage, Damage{name, index, err})
}

// list finds the files.
func (r *Report) list() error {
	return filepath.WalkDir(r.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(r.Dir, path)
		r.Files = append(r.Files, FileReport{name, info.Size()})
		return err
	})
}

// log reads every entry as it is stored.
func (r *Report) log(ctx context.Context, o *offline) (err error) {
	if r.Term, err = o.GetUint64([]byte("CurrentTerm")); err != nil && !notFound(err) { // Raft's
		return err
	}
	if r.FirstIndex, err = o.FirstIndex(); err != nil {
		return err
	}
	if r.LastIndex, err = o.LastIndex(); err != nil {
		return err
	}
	for i := r.FirstIndex; i <= r.LastIndex && i > 0; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		var entry raft.Log
		err := o.logs.GetLog(i, &entry)
		if errors.Is(err, raft.ErrLogNotFound) {
			continue // a restore leaves gaps; where there must be none replay says so
		}
		var data []byte
		var form byte
		if err == nil {
			data, form, err = checkEntry(&entry)
		}
		if err == nil && entry.Index != i {
			err = fmt.Errorf("%w: it says it is %d", ErrCorrupt, entry.Index)
		}
		key := subkeyID{}
		if err == nil && form == formAES {
			key, _, err = sealedBy(data)
		}
		if err != nil {
			r.damage(o.dir, i, fmt.Errorf("entry %d: %w", i, err))
			continue
		}
		r.Entries, r.LastTerm = r.Entries+1, entry.Term
		r.Keys[key.key]++
	}
	return nil
}

// snapshots reads every snapshot; without its key, only its checksums.
func (r *Report) snapshots(ctx context.Context, o *offline) error {
	entries, err := os.ReadDir(o.files.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range slices.Backward(entries) {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := filepath.Join(o.files.dir, e.Name())
		n, ok := parseSnapshotName(e.Name())
		if !ok {
			if e.IsDir() || filepath.Ext(path) == snapshotSuffix {
				r.damage(path, 0, fmt.Errorf("%w: %s is no snapshot that this release knows", ErrVersion, path))
			}
			continue
		}
		if err := r.snapshot(ctx, o, n); err != nil {
			r.damage(path, 0, fmt.Errorf("%s: %w", path, err))
		}
	}
	return nil
}

func (r *Report) snapshot(ctx context.Context, o *offline, n snapshotName) error {
	f, meta, h, err := o.files.head(n)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r.Snapshots = append(r.Snapshots, SnapshotReport{
		File: filepath.Join(snapshotDir, n.String()), Index: n.index, Term: n.term, Bytes: meta.Size, Key: h.key.key,
	})
	r.Keys[h.key.key]++
	in, err := o.files.seal.newSealedReader(ctx, f, h)
	if err == nil {
		_, err = decodeSnapshot(contextReader{ctx, in}, formatVersion)
	}
	if !errors.Is(err, ErrKey) {
		return err
	}
	if _, err := f.Seek(int64(len(h.raw)), io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, contextReader{ctx, newSealedChecker(f, h)})
	return err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
