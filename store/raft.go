package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// The identity of a lone member. Its address is never dialled.
const (
	loneID   raft.ServerID      = "member-1"
	loneAddr raft.ServerAddress = "local"
)

// trailingEntries is what is kept of Raft's log behind a snapshot: a lone member has nobody to catch up.
const trailingEntries = 128

// snapshotInterval is how often Raft looks whether a snapshot is due, give or take.
const snapshotInterval = 30 * time.Second

// durable drives the state machine through Raft. Commands that come while an entry is being written share the next one.
type durable struct {
	store        *Store
	machine      *machine
	logs         disk
	snapshots    snapshotStore // set once, when it starts
	files        *checkedLog   // what logs is, or is a face of, with a directory
	reencrypting chan struct{} // has one while Reencrypt runs
	work         chan struct{} // queue is no longer empty, or closing or failed is set
	done         chan struct{} // the proposing loop has ended

	refused atomic.Pointer[error] // what refusal returns, for those who don't hold the lock

	mu      sync.Mutex
	queue   batches
	size    int // of the last entry
	closing bool
	failed  error

	failing     func() // if set, is called once when it has failed
	versionKept uint64 // what the log store has; the state machine's goroutine's, once it runs

	terms   *termDisk   // what Raft has of the disk; set once, with raft
	raft    *raft.Raft  // set once, before anything is served
	stopped raft.Future // of Raft's shutdown, once it has begun
}

// openRaft opens the directory, replays what it holds, and leads.
func openRaft(ctx context.Context, s *Store) (_ engine, err error) {
	d, err := openDisk(ctx, s)
	if err != nil {
		return nil, err
	}
	d.logs = s.metrics.timed(d.logs)
	go d.propose()
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	transport := newLoneTransport(loneAddr)
	founders := []raft.Server{{Suffrage: raft.Voter, ID: loneID, Address: loneAddr}}
	if err := d.start(transport, loneID, founders, trailingEntries); err != nil {
		return nil, err
	}
	if err := d.alone(); err != nil {
		return nil, err
	}
	if err := d.lead(ctx, transport); err != nil {
		return nil, err
	}
	if s.cfg.Restore != nil {
		if err := d.restore(s.cfg.Restore); err != nil {
			return nil, err
		}
	}
	if err := d.raiseAlone(ctx); err != nil {
		return nil, err
	}
	return d, nil
}

// openDisk makes an empty state machine and opens what it will be filled from.
func openDisk(ctx context.Context, s *Store) (*durable, error) {
	d := &durable{store: s, work: make(chan struct{}, 1), done: make(chan struct{}), reencrypting: make(chan struct{}, 1)}
	st := newState()
	st.bugs = s.cfg.bugs
	err := s.install(st)
	if err != nil {
		return nil, err
	}
	d.machine = &machine{store: s, state: st, onFail: d.fail, halted: d.failure, versioned: d.keepVersion}
	d.machine.rings[0].every, d.machine.rings[1].every = checkpointEvery, coarseEvery
	if s.cfg.MemoryDisk != nil {
		d.logs, err = s.cfg.MemoryDisk.open()
		if behind := s.cfg.bugs.disk; behind != nil && err == nil {
			d.logs = behind(d.logs, d.fail)
		}
		return d, err
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return nil, err
	}
	logs, err := openLog(s.cfg.Dir, s.cfg.OpenLog, d.fail)
	if err != nil {
		return nil, err
	}
	if logs.seal, err = newSealer(ctx, s.cfg.Keys, logs.home); err != nil {
		return nil, errors.Join(err, logs.close())
	}
	logs.writes = newPatience(s.cfg.DiskTimeout)
	d.logs, d.files = logs, logs
	return d, nil
}

// start brings up Raft on what the disk holds. An empty one begins with the founders as voters, or waits to be added
// if there are none.
func (d *durable) start(transport raft.Transport, self raft.ServerID, founders []raft.Server, trailing uint64) error {
	cfg := d.store.cfg
	logger := newRaftLogger(cfg.Logger)
	snapshots, err := d.logs.snapshots(cfg.Logger)
	if err != nil {
		return err
	}
	d.snapshots = snapshots
	list, err := snapshots.List()
	if err != nil {
		return err
	}
	newest := uint64(0)
	var snapshot *raft.SnapshotMeta
	if len(list) > 0 {
		snapshot, newest = list[0], list[0].Index
	}
	if err := d.logs.verify(newest); err != nil {
		if trouble := snapshots.started(); trouble != nil {
			return fmt.Errorf("%w: %w", trouble, err)
		}
		return err
	}
	if err := d.openVersion(); err != nil {
		return err
	}
	snapshots.startWith(d.logs.covers)
	if err := d.bootstrap(newest, founders); err != nil {
		return err
	}
	if self != loneID {
		if err := d.identify(raft.Server{Suffrage: raft.Voter, ID: self, Address: transport.LocalAddr()}, snapshot); err != nil {
			return err
		}
	}
	if cfg.Dir != "" {
		syncDir(cfg.Dir)
		syncDir(filepath.Dir(filepath.Clean(cfg.Dir)))
	}
	conf := raft.DefaultConfig()
	conf.LocalID = self
	conf.ShutdownOnRemove = false // a member that is removed says so, and is closed by who opened it
	conf.Logger = logger
	conf.SnapshotThreshold = cfg.SnapshotEntries
	conf.SnapshotInterval = snapshotInterval
	conf.TrailingLogs = trailing
	conf.NoLegacyTelemetry = true
	d.terms = &termDisk{StableStore: d.logs, failure: d.failure}
	var r *raft.Raft
	err = guard(func() (err error) {
		r, err = raft.NewRaft(conf, d.machine, d.logs, d.terms, snapshots, transport)
		return err
	})
	trouble := snapshots.started()
	if errors.Is(d.machine.unloaded, ErrVersion) { // Raft would go on with an older snapshot
		return d.abandon(r, d.machine.unloaded)
	}
	if err != nil {
		if trouble != nil {
			return fmt.Errorf("%w: %w", trouble, err)
		}
		if restoring := d.machine.restoring; restoring != nil {
			return fmt.Errorf("%s: %w: %w", cfg.Dir, restoring, err)
		}
		return unreadable(fmt.Errorf("%s: %w", cfg.Dir, err))
	}
	d.mu.Lock()
	d.raft = r
	d.mu.Unlock()
	return d.failure()
}

// bootstrap writes the first entry of a new cluster, the configuration of its founders, which is the same for all of
// them. It can be repeated after a crash at any point.
func (d *durable) bootstrap(snapshot uint64, founders []raft.Server) error {
	last, err := d.logs.LastIndex()
	if err != nil || last > 0 || snapshot > 0 || len(founders) == 0 {
		return err
	}
	if founders[0].ID != loneID {
		if err := d.logs.SetUint64(foundersKey, foundersSum(founders)); err != nil {
			return err
		}
	}
	configuration := raft.Configuration{Servers: founders}
	return d.logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(configuration)})
}

// alone refuses files of a cluster: without a name, a member has no peers.
func (d *durable) alone() error {
	future := d.raft.GetConfiguration()
	if err := future.Error(); err != nil {
		return err
	}
	servers := future.Configuration().Servers
	if len(servers) != 1 || servers[0].ID != loneID || servers[0].Suffrage != raft.Voter {
		return fmt.Errorf("%w: the stored cluster has members %v, and Name is empty", ErrConfig, servers)
	}
	return nil
}

// lead makes the member leader and waits until everything that was committed before has been applied.
func (d *durable) lead(ctx context.Context, transport *loneTransport) error {
	leader := d.raft.LeaderCh()
	if err := transport.lead(ctx, loneID); err != nil {
		return err
	}
	for leads := false; !leads; {
		select {
		case leads = <-leader:
		case <-ctx.Done():
			return ctx.Err()
		case <-d.done:
			return d.failure()
		}
	}
	p := d.submit(command{kind: commandOpen, cluster: newClusterID()})
	_, err := p.wait(ctx)
	return err
}

// restore puts a snapshot in place of an empty state. Raft wants to know its size, and so it is encoded twice: nothing of
// it is on disk but what Raft makes of it.
func (d *durable) restore(in io.Reader) error {
	v := d.store.current.Load()
	if v.revision > firstRevision || v.leases.Len() > 0 {
		return fmt.Errorf("%w: it is at revision %d", ErrNotEmpty, v.revision)
	}
	st, err := restore(in, d.store.cfg.supported())
	if err != nil {
		return err
	}
	v = st.snapshot()
	var size counter
	if err := v.encode(&size); err != nil {
		return err
	}
	from, to := io.Pipe()
	var encoding sync.WaitGroup
	encoding.Go(func() { to.CloseWithError(v.encode(to)) })
	err = d.raft.Restore(&raft.SnapshotMeta{Version: 1, Size: int64(size)}, from, 0)
	_ = from.Close()
	encoding.Wait()
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return d.failure()
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func (d *durable) submit(cmd command) proposal {
	d.mu.Lock()
	if refused := d.refusal(); refused != nil {
		d.mu.Unlock()
		return proposal{err: refused}
	}
	p := d.queue.add(&cmd, d.store.cfg.MaxBatchBytes, room(d.size), nil)
	d.mu.Unlock()
	if p.at == 0 { // otherwise who came first has done it
		d.nudge()
	}
	return p
}

// refusal says why nothing can be done. The caller holds the lock.
func (d *durable) refusal() error {
	switch {
	case d.failed != nil:
		return d.failed
	case d.closing:
		return ErrClosed
	}
	return nil
}

func (d *durable) failure() error {
	if refused := d.refused.Load(); refused != nil {
		return *refused
	}
	return nil
}

// hasFailed reports whether what failure returned says that the member has failed, and not only that it is closing.
func hasFailed(failure error) bool { return failure != nil && errors.Is(failure, ErrFailed) }

// changed takes in that refusal says something else than before. The caller holds the lock.
func (d *durable) changed() {
	refused := d.refusal()
	d.refused.Store(&refused)
}

func (d *durable) nudge() {
	select {
	case d.work <- struct{}{}:
	default:
	}
}

// fail stops the member for good. It may be called from Raft's goroutines.
func (d *durable) fail(err error) {
	d.mu.Lock()
	first := d.failed == nil
	if first {
		d.failed = fmt.Errorf("%w: %w", ErrFailed, err)
		d.changed()
	}
	failed := d.failed
	d.mu.Unlock()
	if first {
		d.store.cfg.Logger.Sugar().Errorf("the store has stopped: %v", err)
		d.store.events().Close(failed)
	}
	if first && d.failing != nil {
		d.failing()
	}
	d.nudge()
}

// propose is the loop that turns the queue into Raft entries, one at a time: what queues up meanwhile is the next
// one's batch.
func (d *durable) propose() {
	defer close(d.done)
	defer d.stop() // a failed member must not go on voting for itself
	for range d.work {
		for {
			runtime.Gosched() // who is about to propose comes along: an entry costs the same for one as for many
			b, refused := d.take()
			if refused != nil {
				for ; b != nil; b, _ = d.take() {
					b.finish(nil, refused)
				}
				return
			}
			if b == nil {
				break
			}
			d.commit(b)
		}
	}
}

// take removes a batch from the queue and completes it.
func (d *durable) take() (b *batch, refused error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b = d.queue.next(); b != nil {
		b.seal()
		d.size = len(b.entry)
	}
	return b, d.refusal()
}

// commit carries a batch through Raft and answers it.
func (d *durable) commit(b *batch) {
	future := d.raft.Apply(b.entry, 0)
	err := future.Error()
	switch {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		err = fmt.Errorf("%w: %w", ErrNotLeader, err)
	default:
		err = fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	var results []result
	if err == nil {
		switch answer := future.Response().(type) {
		case []result:
			results = answer
		case error:
			err = fmt.Errorf("%w: %w", ErrFailed, answer)
		}
		if err == nil && len(results) != b.count {
			err = fmt.Errorf("%w: %d results for %d commands", ErrUnknownOutcome, len(results), b.count)
		}
	}
	b.finish(results, err)
}

// readable: the only voter can't be deposed, and what it acknowledged it had applied, so that its newest view is
// linearizable.
func (d *durable) readable(context.Context) error { return d.failure() }

func (d *durable) local() error { return d.failure() }

func (d *durable) term() uint64 { return d.currentTerm() }

func (d *durable) status(status *Status) {
	status.Durable = true
	status.Leader = d.raft.State() == raft.Leader
	status.Term, status.Index = d.currentTerm(), d.raft.CommitIndex()
	status.FileBytes, status.FreeBytes = d.logs.usage()
	if d.files != nil {
		status.LogStore = logName(d.files.logs)
	}
}

func (d *durable) close() error {
	d.mu.Lock()
	if d.closing {
		d.mu.Unlock()
		return nil
	}
	d.closing = true
	d.changed()
	d.mu.Unlock()
	d.nudge()
	<-d.done
	var err error
	if stopped := d.stop(); stopped != nil {
		err = d.finished(stopped)
	}
	return errors.Join(err, d.logs.close())
}

// finished waits until Raft has stopped: not for ever, since a disk that hangs may hold up a snapshot that it is writing.
func (d *durable) finished(stopped raft.Future) error {
	limit := d.store.cfg.DiskTimeout
	if d.files == nil || limit < 0 {
		return stopped.Error()
	}
	done := make(chan error, 1)
	go func() { done <- stopped.Error() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%w: what Raft does there did not end within %v", ErrDiskTimeout, limit)
	}
}

// stop begins Raft's shutdown, once, and returns what to wait for; nil if Raft never ran.
func (d *durable) stop() raft.Future {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped == nil && d.raft != nil {
		d.stopped = d.raft.Shutdown()
	}
	return d.stopped
}

// syncDir makes the names in a directory durable, where the system can: the write that follows fails if the disk has
// a problem.
func syncDir(dir string) { _ = syncDirectory(dir) }

// syncDirectory is syncDir for who needs to know.
func syncDirectory(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // a file system that has no such thing
	}
	return errors.Join(err, f.Close())
}
