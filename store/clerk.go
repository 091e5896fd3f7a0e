package store

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/btree"
)

// clerk keeps the time of a store: it proposes the expiry of leases and the compaction of old history. The state
// machine decides.
type clerk struct {
	wake chan struct{} // a deadline may have come nearer

	mu     sync.Mutex
	leases map[int64]leaseDeadline
	queue  deadlines // what was ever promised; entries that no longer match leases are stale
}

type leaseDeadline struct {
	at       time.Time
	renewals uint64
}

type deadline struct {
	at time.Time
	id int64
}

type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *deadlines) Push(x any)        { *d = append(*d, x.(deadline)) }
func (d *deadlines) Pop() any {
	old := *d
	last := old[len(old)-1]
	*d = old[:len(old)-1]
	return last
}

func newClerk() *clerk {
	return &clerk{wake: make(chan struct{}, 1), leases: map[int64]leaseDeadline{}}
}

// note takes in what the state machine did to leases. Time counts from now.
func (c *clerk) note(notes []leaseNote) {
	if len(notes) == 0 {
		return
	}
	now := time.Now()
	c.mu.Lock()
	for _, n := range notes {
		c.set(n, now)
	}
	c.mu.Unlock()
	c.nudge()
}

// reset forgets everything and gives each lease its full time.
func (c *clerk) reset(leases *btree.BTreeG[leaseRecord]) {
	now := time.Now()
	c.mu.Lock()
	c.leases, c.queue = map[int64]leaseDeadline{}, nil
	leases.Ascend(func(rec leaseRecord) bool {
		c.set(leaseNote{rec: rec}, now)
		return true
	})
	c.mu.Unlock()
	c.nudge()
}

func (c *clerk) set(n leaseNote, now time.Time) {
	if n.gone {
		delete(c.leases, n.rec.id)
		return
	}
	at := now.Add(n.rec.ttl)
	c.leases[n.rec.id] = leaseDeadline{at, n.rec.renewals}
	heap.Push(&c.queue, deadline{at, n.rec.id})
}

func (c *clerk) nudge() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// remaining returns the time a lease has left.
func (c *clerk) remaining(rec leaseRecord, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, found := c.leases[rec.id]; found {
		return max(0, d.at.Sub(now))
	}
	return rec.ttl
}

// due returns the expiries to propose now, and when to look again: the zero time if nothing is waiting. An expiry is
// due again a while later, in case its proposal fails.
func (c *clerk) due(now time.Time) (expired []command, next time.Time) {
	const again = time.Second
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 {
		first := c.queue[0]
		lease, found := c.leases[first.id]
		if !found || !lease.at.Equal(first.at) {
			heap.Pop(&c.queue)
			continue
		}
		if first.at.After(now) {
			return expired, first.at
		}
		heap.Pop(&c.queue)
		expired = append(expired, command{kind: commandExpire, lease: first.id, renewals: lease.renewals})
		lease.at = now.Add(again)
		c.leases[first.id] = lease
		heap.Push(&c.queue, deadline{lease.at, first.id})
	}
	return expired, time.Time{}
}

// compaction decides when history is old enough: it remembers which revision was the newest at which time.
type compaction struct {
	retention time.Duration
	retain    int64
	samples   []sample
	old       int64 // the newest revision that is old enough
}

type sample struct {
	at       time.Time
	revision int64
}

// interval is how often to look.
func (c *compaction) interval() time.Duration {
	return min(time.Minute, max(time.Second, c.retention/10))
}

// next takes in the newest revision and returns the one to compact at, 0 for none.
func (c *compaction) next(now time.Time, v *view) int64 {
	if n := len(c.samples); n == 0 || c.samples[n-1].revision != v.revision {
		c.samples = append(c.samples, sample{now, v.revision})
	}
	for len(c.samples) > 0 && now.Sub(c.samples[0].at) >= c.retention {
		c.old = c.samples[0].revision
		c.samples = c.samples[1:]
	}
	if at := min(c.old, v.revision-max(0, c.retain)); at > v.compacted {
		return at
	}
	return 0
}

// run works until ctx ends.
func (c *clerk) run(ctx context.Context, s *Store) {
	var tick <-chan time.Time
	keep := compaction{retention: s.cfg.Retention, retain: s.cfg.RetainRevisions}
	if keep.retention > 0 {
		ticker := time.NewTicker(keep.interval())
		defer ticker.Stop()
		tick = ticker.C
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-timer.C:
		case now := <-tick:
			if at := keep.next(now, s.current.Load()); at > 0 && s.engine.term() > 0 {
				c.compact(ctx, s, at)
			}
			continue
		}
		expired, next := c.due(time.Now())
		c.expire(ctx, s, expired)
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
	}
}

func (c *clerk) expire(ctx context.Context, s *Store, expired []command) {
	var waiting []proposal
	for _, cmd := range expired {
		if cmd.term = s.engine.term(); cmd.term == 0 {
			return // who leads keeps the time
		}
		waiting = append(waiting, s.engine.submit(cmd))
	}
	for i := range waiting {
		_, _ = waiting[i].wait(ctx) // what has failed is due again
	}
}

func (c *clerk) compact(ctx context.Context, s *Store, revision int64) {
	if err := s.Compact(ctx, revision); err != nil && ctx.Err() == nil && !errors.Is(err, ErrCompacted) {
		s.cfg.Logger.Sugar().Warnf("history up to revision %d could not be compacted: %v", revision, err)
	}
}
