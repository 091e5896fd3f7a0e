package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/keelson-dev/keelson/store"
)

// simWatched is how far a watcher of everything is: all before next was seen, but for what was compacted away.
type simWatched struct {
	id    int
	next  int64
	moves int
	gaps  int
}

// watch follows all keys, and goes on at another member where one has ended, or now and then anyway.
func (sim *simulation) watch(ctx context.Context, seen *simWatched, rnd *rand.Rand) {
	for ctx.Err() == nil {
		name, s := sim.any(rnd)
		if s == nil {
			pause(ctx, 50*time.Millisecond)
			continue
		}
		w, err := s.Watch(ctx, store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: seen.next, PrevKV: true})
		if err != nil {
			sim.behind(seen, name, err)
			pause(ctx, 50*time.Millisecond)
			continue
		}
		seen.moves++
		here, cancel := context.WithTimeout(ctx, time.Duration(1+rnd.IntN(15))*time.Second)
		for {
			if rnd.IntN(8) == 0 {
				w.Progress()
			}
			batch, err := w.Next(here)
			if err != nil {
				if here.Err() == nil {
					sim.behind(seen, name, err)
				}
				break
			}
			sim.takeIn(name, batch, seen)
		}
		cancel()
		_ = w.Close()
	}
}

// behind looks at why a watcher ended: the member was closed, or history is gone, and then somebody had it compacted.
func (sim *simulation) behind(seen *simWatched, name string, err error) {
	var failed *store.Error
	switch {
	case errors.Is(err, store.ErrCompacted) && errors.As(err, &failed):
		sim.mu.Lock()
		asked := sim.compacted[failed.Revision]
		sim.mu.Unlock()
		if !asked || failed.Revision <= seen.next {
			sim.problem("watcher %d at %s wants revision %d and is told that history begins at %d, which nobody asked for", seen.id, name, seen.next, failed.Revision)
		}
		seen.next = max(seen.next, failed.Revision)
		seen.gaps++
	case !simExpected(err):
		sim.problem("watcher %d at %s: %v", seen.id, name, err)
	}
}

// takeIn checks order, gaps, repeats and wholeness, and that a bookmark is not ahead.
func (sim *simulation) takeIn(name string, batch store.WatchBatch, seen *simWatched) {
	for i := 0; i < len(batch.Events); {
		revision := batch.Events[i].KV.ModRevision
		from := i
		for ; i < len(batch.Events) && batch.Events[i].KV.ModRevision == revision; i++ {
			sim.early(batch.Events[i])
		}
		events := batch.Events[from:i]
		if revision != seen.next {
			sim.problem("watcher %d at %s: revision %d came, and %d should", seen.id, name, revision, seen.next)
		}
		seen.next = revision + 1
		sim.mu.Lock()
		before, known := sim.events[revision]
		if !known {
			sim.events[revision] = events
			for sim.events[sim.known+1] != nil {
				sim.known++
			}
		}
		sim.mu.Unlock()
		if known && describeEvents(before) != describeEvents(events) {
			sim.problem("watcher %d at %s: revision %d is %s, and another has seen %s", seen.id, name, revision, describeEvents(events), describeEvents(before))
		}
	}
	if batch.Revision >= seen.next {
		sim.problem("watcher %d at %s: is told that it has seen revision %d, and has seen %d", seen.id, name, batch.Revision, seen.next-1)
	}
}

// early checks that a lease has not ended before its time.
func (sim *simulation) early(e store.Event) {
	var lease int64
	if e.Type != store.EventDelete {
		return
	}
	if _, err := fmt.Sscanf(string(e.KV.Key), "lease/%d", &lease); err != nil {
		return
	}
	sim.mu.Lock()
	end := sim.alive[lease]
	sim.mu.Unlock()
	if time.Now().Before(end) {
		sim.problem("lease %d has ended %v early", lease, time.Until(end))
	}
}

// watched waits until the watchers have seen all there is.
func (sim *simulation) watched(ctx context.Context, seen []simWatched) {
	pause(ctx, time.Second)
	revision := int64(0)
	for _, name := range sim.all() {
		if s := sim.member(name); s != nil {
			var err error
			if revision, err = s.Revision(ctx); err != nil {
				sim.problem("revision: %v", err)
			}
		}
	}
	pause(ctx, time.Second)
	for i := range seen {
		if seen[i].next != revision+1 {
			sim.problem("watcher %d has seen all up to revision %d of %d", i, seen[i].next-1, revision)
		}
	}
	if sim.known != revision {
		sim.problem("revision %d was seen by nobody, and there are %d", sim.known+1, revision)
	}
}

// simSample is what a watcher of one key has seen between two revisions.
type simSample struct {
	member, key string
	req         store.WatchRequest
	from, upTo  int64
	events      []store.Event
}

// sample watches one key or a few for a while, from some revision on, again and again. What it has seen is compared
// with what happened at the end.
func (sim *simulation) sample(ctx context.Context, rnd *rand.Rand) {
	for ctx.Err() == nil {
		pause(ctx, time.Duration(rnd.IntN(500))*time.Millisecond)
		name, s := sim.any(rnd)
		if s == nil {
			continue
		}
		sim.mu.Lock()
		known := sim.known
		sim.mu.Unlock()
		sample := &simSample{member: name, key: fmt.Sprintf("k%d", rnd.IntN(3)), from: max(2, known-rnd.Int64N(60)+5)}
		sample.req = store.WatchRequest{Key: []byte(sample.key), Revision: sample.from, NoDelete: rnd.IntN(4) == 0, NoPut: rnd.IntN(6) == 0}
		if rnd.IntN(3) == 0 {
			sample.req.Key, sample.req.End = []byte("d"), []byte("k1")
		}
		w, err := s.Watch(ctx, sample.req)
		if err != nil {
			if !simExpected(err) && !errors.Is(err, store.ErrCompacted) {
				sim.problem("watch at %s: %v", name, err)
			}
			continue
		}
		sample.upTo = sample.from - 1
		here, cancel := context.WithTimeout(ctx, time.Duration(rnd.IntN(3000))*time.Millisecond)
		for {
			if rnd.IntN(3) == 0 {
				w.Progress()
			}
			batch, err := w.Next(here)
			if err != nil {
				break
			}
			if n := len(batch.Events); n > 0 && batch.Events[n-1].KV.ModRevision > batch.Revision {
				sim.problem("watch at %s: events up to %d with a bookmark of %d", name, batch.Events[n-1].KV.ModRevision, batch.Revision)
			}
			sample.events = append(sample.events, batch.Events...)
			sample.upTo = max(sample.upTo, batch.Revision)
		}
		cancel()
		_ = w.Close()
		call := sim.stamp()
		sim.record(&simRecord{
			member: name, call: call, ret: call, text: fmt.Sprintf("watched %q to %q from %d to %d: %d events", sample.req.Key, sample.req.End, sample.from, sample.upTo, len(sample.events)),
			check: sample.check,
		})
	}
}

func (w *simSample) check(s *story) string {
	if w.upTo >= w.from && w.upTo > s.last {
		return fmt.Sprintf("is told that it has seen revision %d, and there are %d", w.upTo, s.last)
	}
	var want []store.Event
	for revision := w.from; revision <= min(w.upTo, s.last); revision++ {
		for _, e := range s.events[revision] {
			if simInRange(string(e.KV.Key), string(w.req.Key), string(w.req.End)) && !(w.req.NoPut && e.Type == store.EventPut) && !(w.req.NoDelete && e.Type == store.EventDelete) {
				e.PrevKV = nil
				want = append(want, e)
			}
		}
	}
	if got, want := describeEvents(w.events), describeEvents(want); got != want {
		return fmt.Sprintf("has seen %s\nand should have seen %s", got, want)
	}
	return ""
}

// describeEvents writes events so that they can be compared. What was before is left out: near a compaction it may
// not be told.
func describeEvents(events []store.Event) string {
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%v %s ", e.Type, describeKV(e.KV))
	}
	return b.String()
}

func describeKV(kv *store.KV) string {
	if kv == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s=%s/c%d,m%d,v%d,l%d", kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, kv.Version, kv.Lease)
}

func simInRange(key, start, end string) bool {
	switch end {
	case "":
		return key == start
	case "\x00":
		return key >= start
	default:
		return key >= start && key < end
	}
}
