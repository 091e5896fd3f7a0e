package store

import (
	"errors"
	"fmt"
	"time"
)

// DefaultDiskTimeout is what a Config.DiskTimeout of zero means.
const DefaultDiskTimeout = 15 * time.Second

// lingering is how long the end of a call that took too long already is waited for when a store is closed.
const lingering = 100 * time.Millisecond

// patience runs calls that write to a disk, one at a time, in a goroutine of its own, and gives up on one that takes
// too long: Raft's goroutine has to go on then, since a leader that stands still goes on sending heartbeats, and so
// holds up its cluster for ever. What such a call returns later, if it does, nobody hears.
type patience struct {
	limit  time.Duration // 0 or less: without end
	calls  chan diskCall
	ending chan struct{}
	last   func() error // set before ending is closed
	ended  chan error   // what last returned
}

type diskCall struct {
	run  func() error
	done chan error // takes one without waiting
}

func newPatience(limit time.Duration) *patience {
	p := &patience{limit: limit, calls: make(chan diskCall), ending: make(chan struct{}), ended: make(chan error, 1)}
	go p.work()
	return p
}

func (p *patience) work() {
	for {
		select {
		case c := <-p.calls:
			c.done <- c.run()
		case <-p.ending:
			p.ended <- p.last()
			return
		}
	}
}

// do runs f, which must not use what its caller may change after do has returned: it may still run then.
func (p *patience) do(f func() error) error {
	var over <-chan time.Time
	if p.limit > 0 {
		timer := time.NewTimer(p.limit)
		defer timer.Stop()
		over = timer.C
	}
	c := diskCall{f, make(chan error, 1)}
	select {
	case p.calls <- c:
	case <-p.ending:
		return ErrClosed
	case <-over:
		return p.tooLong()
	}
	select {
	case err := <-c.done:
		return err
	case <-over:
		return p.tooLong()
	}
}

func (p *patience) tooLong() error {
	return fmt.Errorf("%w: no answer within %v", ErrDiskTimeout, p.limit)
}

// close runs f when the call that is running has ended, as the last one, and waits for it within bounds: if the disk
// did not answer before, it is not waited for again. It must be called once.
func (p *patience) close(f func() error, failed error) error {
	p.last = f
	close(p.ending)
	var over <-chan time.Time
	if limit := p.limit; limit > 0 {
		if errors.Is(failed, ErrDiskTimeout) {
			limit = min(limit, lingering)
		}
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case err := <-p.ended:
		return err
	case <-over:
		return fmt.Errorf("%w: the files stay open until it answers", p.tooLong())
	}
}
