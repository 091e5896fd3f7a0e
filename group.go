package keelson

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// group runs parts side by side: the first that fails, or ends before it is told to, ends the others.
type group struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	err    error
}

func newGroup(ctx context.Context) *group {
	g := &group{}
	g.ctx, g.cancel = context.WithCancel(ctx)
	return g
}

// run starts a part. Its error names it.
func (g *group) run(name string, f func(context.Context) error) {
	g.wg.Go(func() {
		err := f(g.ctx)
		if g.ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return
		}
		if err == nil {
			err = errors.New("ended by itself")
		}
		g.fail(fmt.Errorf("%s: %w", name, err))
	})
}

func (g *group) fail(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.mu.Unlock()
	g.cancel()
}

// stop ends the parts and waits for them.
func (g *group) stop() error {
	g.cancel()
	return g.wait()
}

// wait waits for all parts and gives the first error.
func (g *group) wait() error {
	g.wg.Wait()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// serve serves HTTP until ctx ends, then lets requests in flight finish for the grace and cuts off the rest: watches
// and followed logs would never end.
func serve(ctx context.Context, server *http.Server, l net.Listener, grace time.Duration) error {
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server.BaseContext = func(net.Listener) context.Context { return base }
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	limit, cancel := context.WithTimeout(base, grace)
	defer cancel()
	if server.Shutdown(limit) != nil {
		cut()
		_ = server.Close()
	}
	<-ended
	return nil
}
