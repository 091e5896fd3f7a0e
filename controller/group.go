package controller

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// group runs members until its context ends. Members added before start begin with it, later ones at once.
type group struct {
	mu      sync.Mutex
	ctx     context.Context
	fail    context.CancelCauseFunc
	members []Runnable
	ended   bool
	running sync.WaitGroup
}

func newGroup() *group { return &group{} }

func (g *group) add(r Runnable) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, r)
	if g.ctx != nil && !g.ended {
		g.launch(r)
	}
}

func (g *group) start(ctx context.Context, fail context.CancelCauseFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ctx, g.fail = ctx, fail
	for _, r := range g.members {
		g.launch(r)
	}
}

func (g *group) launch(r Runnable) {
	ctx, fail := g.ctx, g.fail
	g.running.Go(func() {
		if err := r.Run(ctx); err != nil && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
			fail(err)
		}
	})
}

// wait waits for all members; their context has ended. Members added afterwards don't run.
func (g *group) wait() {
	g.mu.Lock()
	g.ended = true
	g.mu.Unlock()
	g.running.Wait()
}

func (g *group) all() []Runnable {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.members)
}
