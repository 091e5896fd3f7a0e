package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keelson-dev/keelson/watch"
)

// engine carries commands to the state machine.
type engine interface {
	// submit hands in a command; the caller waits on what it returns. Of what cmd refers to, nothing is used after it.
	submit(cmd command) proposal
	// readable waits until the newest view has all that was acknowledged before the call.
	readable(ctx context.Context) error
	// local returns an error while not even serializable reads can be served.
	local() error
	// term is Raft's, which an expiry must carry; 0 if this member does not lead, and must not keep time.
	term() uint64
	// status adds what only the engine knows.
	status(*Status)
	close() error
}

// Store is a key-value store. Open makes one.
type Store struct {
	cfg     Config
	current atomic.Pointer[view]
	log     atomic.Pointer[watch.Log[Event]]
	engine  engine
	clerk   *clerk
	metrics *metrics
	space   *diskSpace
	full    atomic.Int64 // what the store held when it had no room for something; 0 if it has
	// delivered is what watchers were given last, without and with previous values.
	delivered [2]atomic.Pointer[delivered]
	close     func() error
}

// Open starts a store. When it returns the store serves, with everything that was acknowledged before. ctx bounds the
// start only.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, &Error{Op: "open", Err: err}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, clerk: newClerk(), space: newDiskSpace(&cfg)}
	if cfg.Metrics != nil {
		s.metrics = newMetrics()
	}
	switch {
	case cfg.Name != "":
		s.engine, err = openMember(ctx, s)
	case cfg.Dir == "":
		s.engine, err = openMemory(s)
	default:
		s.engine, err = openRaft(ctx, s)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{Op: "open", Key: cfg.Dir, Err: err}
	}
	if err := s.register(); err != nil {
		return nil, &Error{Op: "open", Key: cfg.Dir, Err: errors.Join(err, s.engine.close())}
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var loops sync.WaitGroup
	loops.Go(func() { s.clerk.run(background, s) })
	loops.Go(func() { s.space.run(background, s) })
	s.close = sync.OnceValue(func() error {
		cancel()
		s.unregister()
		err := s.engine.close()
		loops.Wait()
		s.events().Close(ErrClosed)
		return err
	})
	return s, nil
}

// Close stops the store and ends all watchers. What was acknowledged is on disk already.
func (s *Store) Close() error { return s.close() }

// Range reads keys. It fails with ErrCompacted or ErrFutureRevision.
func (s *Store) Range(ctx context.Context, req RangeRequest) (RangeResult, error) {
	if err := req.validate(); err != nil {
		return RangeResult{}, &Error{Op: "range", Key: string(req.Key), Err: err}
	}
	v, err := s.view(ctx, "range", req.Serializable)
	if err != nil {
		return RangeResult{}, err
	}
	if err := v.readable(req.Revision); err != nil {
		err.Op, err.Key = "range", string(req.Key)
		return RangeResult{}, err
	}
	res := v.rangeAt(&req)
	if s.cfg.bugs.countsLimit && req.Limit > 0 {
		res.Count = min(res.Count, req.Limit)
	}
	return res, nil
}

// Get reads the newest version of one key. SerializableView serves reads that may be behind.
func (s *Store) Get(ctx context.Context, key []byte) (kv KV, found bool, err error) {
	if len(key) == 0 {
		return KV{}, false, &Error{Op: "get", Err: ErrEmptyKey}
	}
	v, err := s.read(ctx, "get")
	if err != nil {
		return KV{}, false, err
	}
	if current := v.current(key); current != nil {
		return *current, true, nil
	}
	return KV{}, false, nil
}

// Txn runs a transaction. It fails with ErrDuplicateKey, ErrLeaseNotFound, ErrKeyNotFound, ErrCompacted, ErrTooLarge,
// ErrQuota, and then has changed nothing.
func (s *Store) Txn(ctx context.Context, txn Txn) (TxnResult, error) {
	res, err := s.txn(ctx, "txn", &txn)
	if err != nil {
		return TxnResult{}, err
	}
	return *res, nil
}

// Put sets a key.
func (s *Store) Put(ctx context.Context, req PutRequest) (PutResult, error) {
	const op = "put"
	if err := req.validate(); err != nil {
		return PutResult{}, &Error{Op: op, Err: err}
	}
	if err := s.admit(ctx, op, 32+len(req.Key)+len(req.Value), true); err != nil {
		return PutResult{}, err
	}
	r, err := s.propose(ctx, op, command{kind: commandTxn, put: req, bound: s.cfg.QuotaBytes})
	if err != nil {
		return PutResult{}, err
	}
	s.noteQuota(r.err)
	if r.err != nil {
		return PutResult{}, r.failure(op)
	}
	return r.put, nil
}

// Delete deletes a key or a range of keys. Deleting what does not exist is no error and no new revision.
func (s *Store) Delete(ctx context.Context, req DeleteRequest) (DeleteResult, error) {
	res, err := s.txn(ctx, "delete", &Txn{Then: []Op{{Delete: &req}}})
	if err != nil {
		return DeleteResult{}, err
	}
	return *res.Responses[0].Delete, nil
}

func (s *Store) txn(ctx context.Context, op string, txn *Txn) (*TxnResult, error) {
	if err := txn.validate(s.cfg.MaxTxnOps); err != nil {
		return nil, &Error{Op: op, Err: err}
	}
	if txn.readOnly() {
		v, err := s.view(ctx, op, txn.serializable())
		if err != nil {
			return nil, err
		}
		return v.readTxn(ctx, op, txn)
	}
	puts := s.limited() && txn.puts()
	if err := s.admit(ctx, op, txn.size(), puts); err != nil {
		return nil, err
	}
	cmd := command{kind: commandTxn, txn: txn}
	if puts {
		cmd.bound = s.cfg.QuotaBytes
	}
	r, err := s.propose(ctx, op, cmd)
	if err != nil {
		return nil, err
	}
	if puts {
		s.noteQuota(r.err)
	}
	if r.err != nil {
		return nil, r.failure(op)
	}
	return r.transaction(), nil
}

// transaction returns the result of a transaction that was not refused.
func (r *result) transaction() *TxnResult {
	if r.txn == nil {
		put := r.put
		return &TxnResult{Succeeded: true, Revision: r.revision, Responses: []OpResult{{Put: &put}}}
	}
	return r.txn
}

// admit refuses what is too large, and what adds something while the store is full.
func (s *Store) admit(ctx context.Context, op string, size int, puts bool) error {
	if size > s.cfg.MaxRequestBytes {
		return &Error{Op: op, Err: fmt.Errorf("%w: %d bytes, and %d are allowed", ErrTooLarge, size, s.cfg.MaxRequestBytes)}
	}
	if puts {
		return s.room(ctx, op)
	}
	return nil
}

// failure makes the error of a command that the state machine refused.
func (r *result) failure(op string) *Error {
	failed := &Error{Op: op, Key: r.key, Err: r.err}
	if errors.Is(r.err, ErrCompacted) || errors.Is(r.err, ErrFutureRevision) {
		failed.Revision = r.revision
	}
	return failed
}

// Compact forgets the history before revision: what is read at revision or later stays as it is. It fails with
// ErrCompacted if that has been done, with ErrFutureRevision if revision does not exist yet.
func (s *Store) Compact(ctx context.Context, revision int64) error {
	r, err := s.propose(ctx, "compact", command{kind: commandCompact, revision: revision})
	if err != nil {
		return err
	}
	if r.err != nil {
		return r.failure("compact")
	}
	return nil
}

// Revision returns the newest revision: at least that of every write that returned before the call.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	v, err := s.read(ctx, "revision")
	if err != nil {
		return 0, err
	}
	return v.revision, nil
}

// Status is what a store tells about itself.
type Status struct {
	// ClusterID is chosen at random when a store is made or restored; it never changes afterwards.
	ClusterID uint64
	// Revision is the newest revision, CompactRevision the oldest that can be read.
	Revision, CompactRevision int64
	// Keys is the number of keys that exist, Bytes what all versions that are kept take up in memory.
	Keys, Bytes int64
	// Leases is the number of leases.
	Leases int
	// Applied is the number of commands the state machine has run, and Hash a rolling hash over them: members at the
	// same number have the same hash. The hash is 0 in memory.
	Applied, Hash uint64
	// Durable says that the store keeps files. FileBytes is the size of the Raft log's files then, of which FreeBytes
	// are unused. LogStore is the name of the log store that has them: "wal", "bolt", or what a LogNamer says; empty if it
	// says nothing, and in memory.
	Durable              bool
	FileBytes, FreeBytes int64
	LogStore             string
	// QuotaBytes is Config.QuotaBytes. DiskFree is what the disk that holds the files has free, -1 if it is not known.
	QuotaBytes, DiskFree int64
	// Alarms are what the members are short of, by name; none if all is well.
	Alarms []Alarm
	// Leader says that this member leads. Term and Index are Raft's.
	Leader      bool
	Term, Index uint64
	// Name is this member's, LeaderName that of the one that leads as far as this one knows, empty if there is none.
	// Members are all members, as the leader has heard from them, and has told this one, within the last seconds. A
	// store that is no member of a cluster has itself there, without name and address.
	Name, LeaderName string
	// MemberID is MemberID of Name.
	MemberID uint64
	Members  []MemberStatus
	// Failure says why the store serves nothing any more, see Health.Stopped; nil while it does.
	Failure error
	// Version is the version of the formats that the cluster uses, SupportedVersion the newest that this release knows,
	// VersionBlockers what keeps the cluster from using that, a sentence each.
	Version, SupportedVersion int
	VersionBlockers           []string
	// Events is the number of events that can be watched from, EventBytes the size of those that are held ready.
	Events     int
	EventBytes int64
}

// Status describes the store as this member sees it.
func (s *Store) Status(ctx context.Context) (Status, error) {
	if err := ctx.Err(); err != nil {
		return Status{}, err
	}
	return s.status(), nil
}

func (s *Store) status() Status {
	v := s.current.Load()
	status := Status{
		ClusterID: v.cluster, Revision: v.revision, CompactRevision: v.compacted, Keys: v.keys, Bytes: v.bytes,
		Leases: v.leases.Len(), Applied: v.applied, Hash: v.hash, MemberID: MemberID(s.cfg.Name),
		QuotaBytes: s.cfg.QuotaBytes, DiskFree: s.space.left.Load(), Alarms: s.allAlarms(),
	}
	_, status.EventBytes = s.events().Len()
	status.Events = len(v.touched)
	s.engine.status(&status)
	if s.cfg.Name == "" {
		mine := s.attributes()
		status.Members = []MemberStatus{{
			ID: status.MemberID, Voter: true, Leader: status.Leader, Known: true, Applied: status.Applied,
			Version: int(mine.version), ClientURLs: slices.Clone(mine.urls),
		}}
	}
	status.Version, status.SupportedVersion = int(v.version), int(s.cfg.supported())
	status.VersionBlockers = s.blockers(v, status.Members)
	status.Failure = s.engine.local()
	return status
}

// Snapshot writes all of the store, as it is at the moment of the call, with a checksum. Config.Restore reads it.
func (s *Store) Snapshot(ctx context.Context, w io.Writer) error {
	v, err := s.read(ctx, "snapshot")
	if err != nil {
		return err
	}
	if err := v.encode(contextWriter{ctx, w}); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Error{Op: "snapshot", Err: err}
	}
	return nil
}

type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (w contextWriter) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.w.Write(p)
}

// read returns a view that includes every write that was acknowledged before.
func (s *Store) read(ctx context.Context, op string) (*view, error) { return s.view(ctx, op, false) }

// view is read, or, if serializable, returns what this member has.
func (s *Store) view(ctx context.Context, op string, serializable bool) (*view, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var err error
	if serializable {
		err = s.engine.local()
	} else {
		err = s.engine.readable(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &Error{Op: op, Err: err}
	}
	return s.current.Load(), nil
}

// propose has a command applied and returns what the state machine says. When ctx ends the command may still be
// applied.
func (s *Store) propose(ctx context.Context, op string, cmd command) (result, error) {
	if err := ctx.Err(); err != nil {
		return result{}, err
	}
	if err := s.usable(cmd.kind); err != nil {
		return result{}, &Error{Op: op, Err: err}
	}
	began := s.metrics.began()
	p := s.engine.submit(cmd)
	r, err := p.wait(ctx)
	s.metrics.proposed(cmd.kind, began, &r, err)
	if err != nil {
		if ctx.Err() != nil {
			return result{}, ctx.Err()
		}
		return result{}, &Error{Op: op, Err: err}
	}
	return r, nil
}

func (s *Store) events() *watch.Log[Event] { return s.log.Load() }

// publish makes what the state machine did visible: first to reads, then to watchers, so that who learns of a
// revision can read it. The state machine's goroutine calls it.
func (s *Store) publish(st *state) {
	before, v := s.current.Load(), st.snapshot()
	changes, notes := st.drain()
	s.current.Store(v)
	s.metrics.published(changes, v.compacted > before.compacted)
	log := s.events()
	if len(changes) > 0 {
		// Revisions rise by construction, and after Close there is nobody to tell.
		_ = log.AppendAll(transactions(changes))
	}
	if v.compacted > before.compacted {
		log.Compact(v.compacted - 1)
	}
	s.clerk.note(notes)
}

// install puts a whole new state in place, at the start, after a restore, and when a member that had fallen behind is
// sent a snapshot. In the last case watchers go on, unless the snapshot lacks what they have not seen; otherwise they
// end.
func (s *Store) install(st *state) error {
	if done, err := s.catchUp(st); done || err != nil {
		return err
	}
	log, err := s.newLog(st.revision)
	if err != nil {
		return err
	}
	log.Compact(max(0, st.compacted-1))
	st.log = log
	st.drain()
	before := s.current.Swap(st.snapshot())
	if old := s.log.Swap(log); old != nil {
		if before.cluster == st.cluster {
			old.Close(&watch.CompactedError{Requested: before.revision + 1, CompactRevision: st.compacted - 1})
		} else {
			old.Close(ErrClosed)
		}
	}
	s.clerk.reset(s.current.Load().leases)
	return nil
}

// catchUp installs a later state of the same store by adding to the watch log what is missing, if it is known.
func (s *Store) catchUp(st *state) (done bool, err error) {
	before := s.current.Load()
	if before == nil || before.cluster == 0 || before.cluster != st.cluster || st.revision < before.revision || st.compacted > before.revision+1 && !s.cfg.bugs.keepsWatchers {
		return false, nil
	}
	log := s.events()
	st.drain()
	st.log = log
	s.current.Store(st.snapshot())
	changes := st.history(before.revision+1, st.revision, 0)
	if err := log.AppendAll(transactions(changes)); err != nil {
		return false, err
	}
	if err := log.Advance(st.revision); err != nil {
		return false, err
	}
	if st.compacted > before.compacted {
		log.Compact(st.compacted - 1)
	}
	s.clerk.reset(s.current.Load().leases)
	return true, nil
}

// newClusterID returns a random id, never 0.
func newClusterID() uint64 { return 1 + rand.Uint64N(1<<63) }
