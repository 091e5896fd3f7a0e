package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

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
func (a *audience) perform(ctx context.Context, t target, n, puts, callers int, keys [][]byte) (s measure.Sample, writing time.Duration, err error) {
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
	s = measure.Sample{Ops: n * puts, Elapsed: time.Since(begin)}
	a.mu.Lock()
	times := a.times
	a.times = nil
	a.mu.Unlock()
	s.P50, s.P99 = measure.Quantiles(times)
	return s, writing, nil
}
