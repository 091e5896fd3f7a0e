package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Idle waits until nothing is left to do: informers show all that the server has, queues are empty, no reconcile runs,
// none is about to be retried, and every added [Idler] is idle; and all of this still held after a second look. Keys
// with a delay (Result.RequeueAfter, or the long back-off of a key that keeps failing) are not waited for. The error,
// when ctx ends first, says what was busy. It is for tests and for shutting down in order.
func (m *Manager) Idle(ctx context.Context) error {
	for {
		before, err := m.settle(ctx)
		if err != nil {
			return err
		}
		after, err := m.settle(ctx)
		if err != nil {
			return err
		}
		if before == after {
			return nil
		}
	}
}

// moves counts all that ever happened in a manager.
type moves struct {
	adds    uint64 // keys that became ready
	changes uint64 // changes of objects
}

// settle waits for each part in turn and counts.
func (m *Manager) settle(ctx context.Context) (moves, error) {
	var n moves
	for _, i := range m.known() {
		if err := i.catchUp(ctx); err != nil {
			return n, err
		}
	}
	m.mu.Lock()
	controllers := slices.Clone(m.controllers)
	m.mu.Unlock()
	for _, c := range controllers {
		adds, err := c.idle(ctx)
		if err != nil {
			return n, err
		}
		n.adds += adds
	}
	for _, r := range append(m.leader.all(), m.standby.all()...) {
		if idler, ok := r.(Idler); ok {
			if err := idler.Idle(ctx); err != nil {
				return n, err
			}
		}
	}
	for _, i := range m.known() {
		n.changes += i.cache.changesSoFar()
	}
	return n, nil
}

func (c *Controller) idle(ctx context.Context) (uint64, error) {
	for {
		adds, busy := c.queue.idle()
		if busy == nil {
			return adds, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return adds, fmt.Errorf("controller %s is busy: %s: %w", c.name, c.describe(), ctx.Err())
		}
	}
}

// describe says what a controller is busy with, for an error.
func (c *Controller) describe() string {
	ready, processing, retries := c.queue.counts()
	var b strings.Builder
	fmt.Fprintf(&b, "%d ready, %d being reconciled, %d about to be retried", ready, processing, retries)
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for key, causes := range c.causes {
		if n++; n > 3 {
			break
		}
		fmt.Fprintf(&b, "; %s (%s)", display(key), causes)
	}
	return b.String()
}
