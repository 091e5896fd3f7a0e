package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Sample is what one round measured.
type Sample struct {
	// Ops is how many operations, or events delivered, there were in Elapsed.
	Ops     int
	Elapsed time.Duration
	// P50 and P99 are the times that operations took, or events took from their put to their watcher.
	P50, P99 time.Duration
	// CPU is the processor time that the servers used, all members together. It is set by who can ask them.
	CPU time.Duration
}

func (s Sample) rate() float64 { return float64(s.Ops) / s.Elapsed.Seconds() }

func (s Sample) cpu() float64 { return float64(s.CPU) / float64(s.Ops) }

// drive has callers repeat an operation for a while, each as soon as its last has returned. Every everyth operation of a
// caller is timed.
func drive(ctx context.Context, callers int, d time.Duration, every int, op operation) (Sample, error) {
	var over atomic.Bool
	counts := make([]int, callers)
	times := make([][]time.Duration, callers)
	failed := make([]error, callers)
	var all sync.WaitGroup
	begin := time.Now()
	for caller := range callers {
		all.Go(func() {
			r := rand.New(rand.NewPCG(uint64(caller), uint64(begin.UnixNano())))
			n := 0
			for ; !over.Load(); n++ {
				timed := n%every == 0
				var at time.Time
				if timed {
					at = time.Now()
				}
				if failed[caller] = op(ctx, caller, r); failed[caller] != nil {
					return
				}
				if timed {
					times[caller] = append(times[caller], time.Since(at))
				}
			}
			counts[caller] = n
		})
	}
	time.Sleep(d)
	over.Store(true)
	all.Wait()
	sample := Sample{Elapsed: time.Since(begin)}
	for _, n := range counts {
		sample.Ops += n
	}
	sample.P50, sample.P99 = quantiles(slices.Concat(times...))
	return sample, errors.Join(failed...)
}

func quantiles(times []time.Duration) (p50, p99 time.Duration) {
	if len(times) == 0 {
		return 0, 0
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100]
}

// audience is watchers of one prefix that read until their context ends.
type audience struct {
	start   time.Time
	missing atomic.Int64
	done    chan struct{} // has a value when missing has come down to 0
	failed  chan error
	readers sync.WaitGroup

	mu    sync.Mutex
	times []time.Duration
}

// gather opens n watchers.
func gather(ctx context.Context, t target, n int, prefix string) (*audience, error) {
	a := &audience{start: time.Now(), done: make(chan struct{}, 1), failed: make(chan error, 1)}
	watchers := make([]watcher, n)
	errs := make([]error, n)
	var opening sync.WaitGroup
	for i := range n {
		opening.Go(func() { watchers[i], errs[i] = t.watch(ctx, i, []byte(prefix), prefixEnd(prefix)) })
	}
	opening.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, w := range watchers {
		a.readers.Go(func() { a.read(ctx, w) })
	}
	return a, nil
}

func (a *audience) read(ctx context.Context, w watcher) {
	var times []time.Duration
	visit := func(value []byte) { times = append(times, age(a.start, value)) }
	for {
		if err := w.next(ctx, visit); err != nil {
			if ctx.Err() == nil {
				select {
				case a.failed <- err:
				default:
				}
			}
			return
		}
		if len(times) == 0 {
			continue
		}
		a.mu.Lock()
		a.times = append(a.times, times...)
		a.mu.Unlock()
		if a.missing.Add(int64(-len(times))) == 0 {
			a.done <- struct{}{}
		}
		times = times[:0]
	}
}

var errUnseen = errors.New("bench: watchers lack events a minute after the last put")

// perform puts keys with several callers and waits until all n watchers have seen all of them. writing is how long the
// puts took.
func (a *audience) perform(ctx context.Context, t target, n, puts, callers int, keys [][]byte) (s Sample, writing time.Duration, err error) {
	a.missing.Store(int64(n) * int64(puts))
	var next atomic.Int64
	failed := make([]error, callers)
	var all sync.WaitGroup
	begin := time.Now()
	for caller := range callers {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= puts {
					return
				}
				if failed[caller] = t.put(ctx, caller, keys[i%len(keys)], stamp(a.start)); failed[caller] != nil {
					return
				}
			}
		})
	}
	all.Wait()
	writing = time.Since(begin)
	if err := errors.Join(failed...); err != nil {
		return s, writing, err
	}
	if n > 0 {
		select {
		case <-a.done:
		case err := <-a.failed:
			return s, writing, err
		case <-time.After(time.Minute):
			return s, writing, fmt.Errorf("%w: %d", errUnseen, a.missing.Load())
		case <-ctx.Done():
			return s, writing, ctx.Err()
		}
	}
	s = Sample{Ops: n * puts, Elapsed: time.Since(begin)}
	a.mu.Lock()
	times := a.times
	a.times = nil
	a.mu.Unlock()
	s.P50, s.P99 = quantiles(times)
	return s, writing, nil
}
