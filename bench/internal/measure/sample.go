package measure

import (
	"cmp"
	"context"
	"errors"
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
	// P50 and P99 are the times that operations took, or events took from their write to their watcher.
	P50, P99 time.Duration
	// CPU is the processor time that the servers used, all processes together. It is set by who can ask them.
	CPU time.Duration
}

// Rate is operations per second.
func (s Sample) Rate() float64 { return float64(s.Ops) / s.Elapsed.Seconds() }

// PerOp is the servers' processor time per operation, in nanoseconds.
func (s Sample) PerOp() float64 { return float64(s.CPU) / float64(s.Ops) }

// Operation runs once; r is the caller's own. Callers are numbered from 0.
type Operation func(ctx context.Context, caller int, r *rand.Rand) error

// Drive has callers repeat an operation for a while, each as soon as its last has returned. Every everyth operation of a
// caller is timed.
func Drive(ctx context.Context, callers int, d time.Duration, every int, op Operation) (Sample, error) {
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
	sample.P50, sample.P99 = Quantiles(slices.Concat(times...))
	return sample, errors.Join(failed...)
}

// Each has callers do n operations between them, the ith by whoever is free; all are timed. It ends early with the first error
// of a caller, after the others have finished what they had begun.
func Each(ctx context.Context, callers, n int, op func(ctx context.Context, caller, i int) error) (Sample, error) {
	var next atomic.Int64
	var failing atomic.Bool
	times := make([][]time.Duration, callers)
	failed := make([]error, callers)
	var all sync.WaitGroup
	begin := time.Now()
	for caller := range callers {
		all.Go(func() {
			for !failing.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				at := time.Now()
				if failed[caller] = op(ctx, caller, i); failed[caller] != nil {
					failing.Store(true)
					return
				}
				times[caller] = append(times[caller], time.Since(at))
			}
		})
	}
	all.Wait()
	s := Sample{Ops: n, Elapsed: time.Since(begin)}
	s.P50, s.P99 = Quantiles(slices.Concat(times...))
	return s, errors.Join(failed...)
}

// Quantiles sorts times and returns two of them, zeros for none.
func Quantiles(times []time.Duration) (p50, p99 time.Duration) {
	if len(times) == 0 {
		return 0, 0
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100]
}

// Median is the middle one, of an even number the upper.
func Median[T cmp.Ordered](all []T) T {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
