package runtime

import (
	"context"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// feedBacklog is how many events a reader of a Feed may be behind before it is ended.
const feedBacklog = 1024

// Feed hands container events to any number of GetContainerEvents calls. Publishing never waits: a reader that is
// too far behind is ended with ResourceExhausted. The zero value is ready to use.
type Feed struct {
	mu      sync.Mutex
	readers map[*feedReader]struct{}
	closed  bool
}

type feedReader struct {
	events []*runtimeapi.ContainerEventResponse
	wake   chan struct{} // one token: there is something to look at
	err    error         // set before ended is closed
	ended  chan struct{}
}

// end ends a reader, also one that waits for somebody to take an event; with the feed's mu held.
func (r *feedReader) end(err error) {
	r.events, r.err = nil, err
	close(r.ended)
}

func (r *feedReader) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Publish hands event to every reader. The event belongs to the readers from then on.
func (f *Feed) Publish(event *runtimeapi.ContainerEventResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for r := range f.readers {
		if len(r.events) >= feedBacklog {
			r.end(status.Errorf(codes.ResourceExhausted,
				"reader of container events is %d events behind: open the stream again and list", feedBacklog))
			delete(f.readers, r)
		} else {
			r.events = append(r.events, event)
			r.notify()
		}
	}
}

// Watched reports whether anybody reads, so that nobody builds events for no one.
func (f *Feed) Watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.readers) > 0
}

// Stream sends the events published from now on to ch until ctx ends (nil), the feed closes (Unavailable) or the
// reader is too slow (ResourceExhausted). Once events are being kept for ch, ready is called if not nil.
func (f *Feed) Stream(ctx context.Context, ch chan<- *runtimeapi.ContainerEventResponse, ready func()) error {
	r := &feedReader{wake: make(chan struct{}, 1), ended: make(chan struct{})}
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return errFeedClosed()
	}
	if f.readers == nil {
		f.readers = map[*feedReader]struct{}{}
	}
	f.readers[r] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.readers, r)
		f.mu.Unlock()
	}()
	if ready != nil {
		ready()
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.ended:
			return r.err
		case <-r.wake:
		}
		f.mu.Lock()
		events := r.events
		r.events = nil
		f.mu.Unlock()
		for _, event := range events {
			select {
			case ch <- event:
			case <-r.ended:
				return r.err
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// Close ends every reader with Unavailable, and those to come.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for r := range f.readers {
		r.end(errFeedClosed())
		delete(f.readers, r)
	}
}

func errFeedClosed() error {
	return status.Error(codes.Unavailable, "the runtime is closed")
}
