package controllertest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Fault says which requests go wrong, and how. Empty fields select every request.
type Fault struct {
	Verb        client.Verb
	Kind        *kind.Kind
	Subresource string
	Namespace   string
	Name        string
	Count       int // how many requests; 0 means all until Stop

	Delay     time.Duration // first wait this long, or until the request's context ends
	Err       error         // then fail with this; nil with Conflict and LoseReply false means that a delay is all
	Conflict  bool          // then fail with a 409 conflict
	LoseReply bool          // do what is asked and then fail, as when a connection breaks before the answer
}

// ErrLostReply is what a request with LoseReply fails with unless Fault.Err says otherwise.
var ErrLostReply = errors.New("injected: the connection broke before the answer")

// Faults disturbs the clients that go through it. It is safe for concurrent use.
type Faults struct {
	mu      sync.Mutex
	active  []*Injection
	streams map[*stream]struct{}
}

// Injection is a fault in force.
type Injection struct {
	faults *Faults
	fault  Fault
	hits   int
	over   bool
}

func newFaults() *Faults { return &Faults{streams: map[*stream]struct{}{}} }

// Inject puts a fault in force, before those that already are: the first that fits a request counts.
func (f *Faults) Inject(fault Fault) *Injection {
	i := &Injection{faults: f, fault: fault}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = append([]*Injection{i}, f.active...)
	return i
}

// Hits is how many requests the fault has met: assert on it, so that the test shows that the fault happened.
func (i *Injection) Hits() int {
	i.faults.mu.Lock()
	defer i.faults.mu.Unlock()
	return i.hits
}

// Stop ends the fault.
func (i *Injection) Stop() {
	i.faults.mu.Lock()
	defer i.faults.mu.Unlock()
	i.over = true
}

// EndWatches ends every open watch with err: io.EOF as a server does in order, a 410 status (Expired) for a watch that
// fell behind, anything else for a broken connection. It returns how many there were.
func (f *Faults) EndWatches(err error) int {
	f.mu.Lock()
	open := f.streams
	f.streams = map[*stream]struct{}{}
	f.mu.Unlock()
	for s := range open {
		s.end(err)
	}
	return len(open)
}

// Expired is the error of a watch or list that asks for history that the server no longer has.
func Expired() error {
	return apierrors.NewResourceExpired("injected: that revision has been compacted")
}

// Wrap gives c with faults. The result is a client.Viewer and a client.Streamer if c is.
func (f *Faults) Wrap(c client.Client) client.Client {
	plain := &faulty{f, c}
	v, views := c.(client.Viewer)
	s, streams := c.(client.Streamer)
	switch {
	case views && streams:
		return struct {
			*faulty
			viewing
			client.Streamer
		}{plain, viewing{f, v}, s}
	case views:
		return struct {
			*faulty
			viewing
		}{plain, viewing{f, v}}
	case streams:
		return struct {
			*faulty
			client.Streamer
		}{plain, s}
	}
	return plain
}

// meet finds the fault for a request and counts it.
func (f *Faults) meet(req *client.Request, verb client.Verb) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := req.Name
	if name == "" && req.Object != nil {
		name = req.Object.GetName()
	}
	for _, i := range f.active {
		w := i.fault
		if i.over || w.Verb != "" && w.Verb != verb || w.Subresource != "" && w.Subresource != req.Subresource ||
			w.Namespace != "" && w.Namespace != req.Namespace || w.Name != "" && w.Name != name ||
			w.Kind != nil && w.Kind.GroupVersionResource() != req.Kind.GroupVersionResource() {
			continue
		}
		i.hits++
		i.over = w.Count > 0 && i.hits >= w.Count
		return w, true
	}
	return Fault{}, false
}

// disturb does what comes before the request; lost says that its answer shall be lost.
func (f *Faults) disturb(ctx context.Context, req *client.Request, verb client.Verb) (lost bool, err error) {
	fault, ok := f.meet(req, verb)
	if !ok {
		return false, nil
	}
	if fault.Delay > 0 {
		t := time.NewTimer(fault.Delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	err = fault.Err
	switch {
	case fault.Conflict:
		err = apierrors.NewConflict(req.Kind.GroupResource(), req.Name, errors.New("injected"))
	case fault.LoseReply && err == nil:
		err = ErrLostReply
	}
	return fault.LoseReply, err
}

type faulty struct {
	faults *Faults
	inner  client.Client
}

func (c *faulty) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	lost, err := c.faults.disturb(ctx, req, req.Verb)
	if err != nil && !lost {
		return nil, err
	}
	resp, doErr := c.inner.Do(ctx, req)
	if lost {
		return nil, err
	}
	return resp, doErr
}

func (c *faulty) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	if _, err := c.faults.disturb(ctx, req, client.Watch); err != nil {
		return nil, err
	}
	w, err := c.inner.Watch(ctx, req)
	if err != nil {
		return nil, err
	}
	return c.faults.follow(w), nil
}

// viewing is a view with faults: it counts as the list and the watch that it replaces.
type viewing struct {
	faults *Faults
	inner  client.Viewer
}

func (c viewing) View(ctx context.Context, req *client.Request) (*client.View, error) {
	for _, verb := range []client.Verb{client.List, client.Watch} {
		if _, err := c.faults.disturb(ctx, req, verb); err != nil {
			return nil, err
		}
	}
	v, err := c.inner.View(ctx, req)
	if err != nil {
		return nil, err
	}
	out := *v
	out.Watcher = c.faults.follow(v.Watcher)
	return &out, nil
}

// stream is a watcher that EndWatches can end.
type stream struct {
	faults *Faults
	inner  client.Watcher
	ended  context.Context
	end    context.CancelCauseFunc
}

func (f *Faults) follow(w client.Watcher) client.Watcher {
	ended, end := context.WithCancelCause(context.Background())
	s := &stream{faults: f, inner: w, ended: ended, end: end}
	f.mu.Lock()
	f.streams[s] = struct{}{}
	f.mu.Unlock()
	if p, ok := w.(client.Progresser); ok {
		return struct {
			*stream
			client.Progresser
		}{s, p}
	}
	return s
}

func (s *stream) Next(ctx context.Context) (client.Event, error) {
	if s.ended.Err() != nil {
		return client.Event{}, context.Cause(s.ended)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ended, cancel)()
	event, err := s.inner.Next(ctx)
	if err != nil && s.ended.Err() != nil {
		return client.Event{}, context.Cause(s.ended)
	}
	return event, err
}

func (s *stream) Close() error {
	s.faults.mu.Lock()
	delete(s.faults.streams, s)
	s.faults.mu.Unlock()
	s.end(io.ErrClosedPipe)
	return s.inner.Close()
}
