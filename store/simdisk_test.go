package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// SimDisk makes a memory disk behave as a real one: a write takes time until it is synced, and is lost in part or whole
// if the power goes before; a sync fails, or hangs.
type SimDisk struct {
	Memory *MemoryDisk
	// SkipsSync says that entries are synced when something else is, ForgetsVote that a term or a vote never is.
	SkipsSync, ForgetsVote bool

	mu     sync.Mutex
	rnd    *rand.Rand
	slow   time.Duration
	open   *simLog
	hang   chan struct{} // closed when syncs go on; nil while they don't hang
	look   chan struct{} // closed when who opens the disk may look at it; nil while nobody is held up
	broken bool
	lost   int // writes that crashes have undone
	caught int // syncs that were under way in a crash, or hung, or failed
}

// NewSimDisk returns an empty disk whose syncs take up to slow. A memory disk that is given keeps its content.
func NewSimDisk(seed uint64, slow time.Duration) *SimDisk {
	return &SimDisk{Memory: &MemoryDisk{}, rnd: rand.New(rand.NewPCG(seed, 300)), slow: slow}
}

// Config returns cfg with this disk.
func (d *SimDisk) Config(cfg Config) Config {
	cfg.MemoryDisk = d.Memory
	cfg.bugs.disk = func(behind disk, fail func(error)) disk {
		l := &simLog{disk: behind, to: d, fail: fail, off: make(chan struct{})}
		d.mu.Lock()
		d.open, d.broken = l, false
		d.mu.Unlock()
		return l
	}
	return cfg
}

// Crash takes the power from whoever has the disk: what was not synced is lost, but for the first of it, as chance has
// it. The disk can be opened again; who has it open goes on with a copy that nobody will see.
func (d *SimDisk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.open
	if l == nil {
		return
	}
	d.open = nil
	close(l.off)
	left := &MemoryDisk{logs: raft.NewInmemStore()}
	d.Memory.mu.Lock()
	left.newest = d.Memory.newest
	copyInmem(left.logs, d.Memory.logs)
	d.Memory.mu.Unlock()
	d.Memory = left
	kept := d.rnd.IntN(len(l.unsynced) + 1)
	for i := len(l.unsynced) - 1; i >= 0; i-- {
		if i >= kept || l.unsynced[i].never {
			l.unsynced[i].undo(left.logs)
			d.lost++
		}
	}
	l.unsynced = nil
}

// copyInmem copies the entries and what Raft keeps beside them.
func copyInmem(to, from *raft.InmemStore) {
	first, _ := from.FirstIndex()
	last, _ := from.LastIndex()
	for i := first; i <= last && last > 0; i++ {
		entry := &raft.Log{}
		if from.GetLog(i, entry) == nil {
			_ = to.StoreLog(entry)
		}
	}
	for _, key := range []string{"CurrentTerm", "LastVoteTerm", string(foundersKey)} {
		if n, err := from.GetUint64([]byte(key)); err == nil {
			_ = to.SetUint64([]byte(key), n)
		}
	}
	for _, key := range []string{"LastVoteCand", string(nameKey)} {
		if p, err := from.Get([]byte(key)); err == nil {
			_ = to.Set([]byte(key), p)
		}
	}
}

// Hang stops syncs until the function that it returns is called.
func (d *SimDisk) Hang() (release func()) {
	hang := make(chan struct{})
	d.mu.Lock()
	d.hang = hang
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		if d.hang == hang {
			d.hang = nil
		}
		d.mu.Unlock()
		close(hang)
	}
}

// HoldOpening keeps who opens the disk from getting on until the function that it returns is called.
func (d *SimDisk) HoldOpening() (release func()) {
	look := make(chan struct{})
	d.mu.Lock()
	d.look = look
	d.mu.Unlock()
	return func() { close(look) }
}

// Break has every sync fail until the disk is opened again.
func (d *SimDisk) Break() {
	d.mu.Lock()
	d.broken = true
	d.mu.Unlock()
}

// Counts returns how many writes crashes have undone, and how many syncs met a fault.
func (d *SimDisk) Counts() (lost, caught int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost, d.caught
}

// simLog is an open SimDisk.
type simLog struct {
	disk
	to   *SimDisk
	fail func(error)
	off  chan struct{} // closed when the power has gone

	unsynced []simWrite // guarded by to.mu, as numbers is
	numbers  int
}

// simWrite is a write that a crash takes back.
type simWrite struct {
	undo   func(*raft.InmemStore)
	never  bool // it is never synced
	number int
}

var errSimPower = errors.New("the power is off")

// write does something that a sync makes durable, and syncs.
func (l *simLog) write(do func() error, w simWrite, skip bool) error {
	d := l.to
	d.mu.Lock()
	if d.open != l {
		d.mu.Unlock()
		_ = do() // Raft reads what it thinks it has
		return errSimPower
	}
	if d.broken {
		d.caught++
		d.mu.Unlock()
		err := errors.New("a sync failed")
		l.fail(err)
		return err
	}
	if err := do(); err != nil {
		d.mu.Unlock()
		return err
	}
	l.numbers++
	w.number = l.numbers
	l.unsynced = append(l.unsynced, w)
	hang, delay := d.hang, time.Duration(0)
	if d.slow > 0 {
		delay = time.Duration(d.rnd.Int64N(int64(d.slow)))
	}
	d.mu.Unlock()
	if skip {
		return nil
	}
	if hang != nil {
		d.mu.Lock()
		d.caught++
		d.mu.Unlock()
		select {
		case <-hang:
		case <-l.off:
			return errSimPower
		}
	}
	select {
	case <-time.After(delay):
	case <-l.off:
		d.mu.Lock()
		d.caught++
		d.mu.Unlock()
		return errSimPower
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != l {
		return errSimPower
	}
	kept := l.unsynced[:0]
	for _, other := range l.unsynced {
		if other.never || other.number > w.number {
			kept = append(kept, other)
		}
	}
	l.unsynced = kept
	return nil
}

func (l *simLog) verify(snapshot uint64) error {
	l.to.mu.Lock()
	look := l.to.look
	l.to.mu.Unlock()
	if look != nil {
		<-look
	}
	return l.disk.verify(snapshot)
}

func (l *simLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

func (l *simLog) StoreLogs(entries []*raft.Log) error {
	first, last := entries[0].Index, entries[len(entries)-1].Index
	return l.write(func() error { return l.disk.StoreLogs(entries) },
		simWrite{undo: func(to *raft.InmemStore) { _ = to.DeleteRange(first, last) }}, l.to.SkipsSync)
}

func (l *simLog) DeleteRange(first, last uint64) error {
	var gone []*raft.Log
	if lowest, err := l.disk.FirstIndex(); err == nil && first > lowest { // what a snapshot has can go at once
		for i := first; i <= last; i++ {
			entry := &raft.Log{}
			if err := l.disk.GetLog(i, entry); err != nil {
				return fmt.Errorf("entry %d: %w", i, err)
			}
			gone = append(gone, entry)
		}
	}
	undo := func(to *raft.InmemStore) {
		if len(gone) > 0 {
			_ = to.StoreLogs(gone)
		}
	}
	return l.write(func() error { return l.disk.DeleteRange(first, last) }, simWrite{undo: undo}, false)
}

func (l *simLog) Set(key, value []byte) error {
	before, err := l.disk.Get(key)
	if err != nil {
		before = nil
	}
	return l.write(func() error { return l.disk.Set(key, value) },
		simWrite{undo: func(to *raft.InmemStore) { _ = to.Set(key, before) }, never: l.to.ForgetsVote}, false)
}

// SetUint64 never fails: Raft panics if it can't store its term.
func (l *simLog) SetUint64(key []byte, value uint64) error {
	before, err := l.disk.GetUint64(key)
	if err != nil {
		before = 0
	}
	_ = l.write(func() error { return l.disk.SetUint64(key, value) },
		simWrite{undo: func(to *raft.InmemStore) { _ = to.SetUint64(key, before) }, never: l.to.ForgetsVote}, false)
	return nil
}

func (l *simLog) close() error {
	l.to.mu.Lock()
	if l.to.open == l {
		l.to.open = nil
	}
	l.to.mu.Unlock()
	return l.disk.close()
}
