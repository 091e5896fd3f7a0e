package controller

import (
	"context"
	"math/rand/v2"
	"time"
)

// backoff spaces the retries of one loop: exponential, with jitter so that many clients of a server that restarts
// don't come back together.
type backoff struct {
	base, max time.Duration
	failures  int
}

func (b *backoff) next() time.Duration {
	d := b.max
	if b.failures < 32 && b.base <= b.max>>b.failures {
		d = b.base << b.failures
	}
	b.failures++
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.failures = 0 }

// pause waits for d or the end of ctx; false means that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
