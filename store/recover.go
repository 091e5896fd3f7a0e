package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// RecoverOptions say what becomes of a directory.
type RecoverOptions struct {
	FileOptions
	// Name is the member that the directory is of from now on, and Addr its address. Without a name it is that of a
	// lone store.
	Name, Addr string
	// Logger receives what an operator may want to know. Nil means none.
	Logger *zap.Logger
}

// recoverTerms is how far a recovery moves Raft's term, past every vote that a member which was lost may have given.
const recoverTerms = 1 << 20

// Recover makes a new cluster of one member from the files of a member that is closed, when so many others are lost that
// there is no majority. The cluster's id is new, the revision moves RestoreBump ahead and history is compacted, as by a
// restore: what the survivor lacks, others may have told their clients. Open the directory with the same Name, and have
// others join with empty directories. What is left of the old cluster must never be started again.
//
// All entries of the survivor's log count as committed. Those that were are among them if the survivor has everything
// that was acknowledged; which ones were not can't be told from one member's files, and to drop them could drop what was
// acknowledged. A write that was not yet acknowledged may so come to be there: its outcome was unknown to who made it.
//
// If it is interrupted, run it again. Errors: ErrLocked, ErrCorrupt, ErrKey, ErrConfig.
func Recover(ctx context.Context, dir string, opts RecoverOptions) (*Contents, error) {
	contents, err := recoverDir(ctx, dir, opts)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{Op: "recover", Key: dir, Err: err}
	}
	return contents, nil
}

func recoverDir(ctx context.Context, dir string, opts RecoverOptions) (_ *Contents, err error) {
	if opts.Logger == nil {
		opts.Logger = zap.NewNop()
	}
	self := raft.Server{Suffrage: raft.Voter, ID: raft.ServerID(opts.Name), Address: raft.ServerAddress(opts.Addr)}
	switch {
	case opts.Name == "" && opts.Addr != "", opts.Name != "" && opts.Addr == "":
		return nil, fmt.Errorf("%w: Name is %q and Addr is %q: both or none must be given", ErrConfig, opts.Name, opts.Addr)
	case opts.Name == "":
		self.ID, self.Address = loneID, loneAddr
	}
	if marker, err := readLogMarker(dir); err != nil {
		return nil, err
	} else if marker.id == 0 {
		return nil, fmt.Errorf("%w: %s holds no store", ErrConfig, dir)
	}
	logs, err := openLog(dir, opts.OpenLog, func(error) {})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, logs.close()) }()
	if logs.seal, err = newSealer(ctx, opts.Keys, logs.home); err != nil {
		return nil, err
	}
	files, err := openSnapshotFiles(dir, logs.home, logs.seal, opts.Logger)
	if err != nil {
		return nil, err
	}
	r, err := (&offline{logs, files}).replay(ctx)
	if err != nil {
		return nil, err
	}
	if r.index == 0 {
		return nil, fmt.Errorf("%w: %s holds no data", ErrConfig, dir)
	}
	if err := r.state.renew(); err != nil {
		return nil, err
	}
	return install(ctx, logs, files, r, self)
}

// install writes the recovered state. It counts from the moment that its snapshot has its name: the newest of all, and
// one further than the log, of which so nothing is used any more. What happens before does no harm, and what happens
// after is tidying up.
func install(ctx context.Context, logs *checkedLog, files *snapshotFiles, r *replayed, self raft.Server) (*Contents, error) {
	term, err := logs.GetUint64([]byte("CurrentTerm")) // Raft's
	if err != nil && !notFound(err) {
		return nil, err
	}
	r.term = max(term, r.term) + recoverTerms
	r.index++
	r.servers = raft.Configuration{Servers: []raft.Server{self}}
	if err := logs.logs.SetUint64([]byte("CurrentTerm"), r.term); err != nil {
		return nil, err
	}
	name := self.ID
	if name == loneID {
		name = ""
	}
	if err := logs.logs.Set(nameKey, []byte(name)); err != nil {
		return nil, err
	}
	sink, err := files.Create(raft.SnapshotVersionMax, r.index, r.term, r.servers, r.index, nil)
	if err != nil {
		return nil, err
	}
	if err := r.state.snapshot().encode(contextWriter{ctx, sink}); err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return nil, err
	}
	first, err := logs.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := logs.LastIndex()
	if err != nil {
		return nil, err
	}
	if last > 0 {
		if err := logs.logs.DeleteRange(first, last); err != nil {
			return nil, err
		}
	}
	files.prune(1)
	return r.contents(), nil
}

// renew makes a state, of which there is no view, the beginning of a new store: the newest versions only, at a revision far above, of a new
// cluster.
func (st *state) renew() error {
	if st.revision > 1<<62 {
		return fmt.Errorf("%w: revision %d", ErrCorrupt, st.revision)
	}
	var newest tree
	st.bytes, st.touched = 0, nil
	st.items.ascend("", func(v *version) bool {
		if !v.tombstone() {
			v.follow(nil)
			newest.set(v)
			st.bytes += versionSize(v)
		}
		return true
	})
	st.items, st.sessions, st.members = newest, newSessions(), nil
	st.revision += RestoreBump
	st.compacted = st.revision
	st.cluster = newClusterID()
	return nil
}
