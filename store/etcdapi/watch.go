package etcdapi

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
)

type watchServer struct {
	pb.UnimplementedWatchServer
	*Server
}

// noWatch is the id in responses that concern no watch, or all.
const noWatch = -1

// Watch implements pb.WatchServer. One goroutine receives, one per watch pulls its events, and this one sends.
func (s *watchServer) Watch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	w := &watchStream{
		server: s.Server, ctx: ctx, out: make(chan *pb.WatchResponse), failed: make(chan error, 1), watches: map[int64]*streamWatch{},
	}
	defer func() {
		w.mu.Lock()
		w.ending = true
		w.mu.Unlock()
		cancel()
		w.pulling.Wait()
	}()
	go func() { // ends with the stream, which ends when this method returns
		for {
			r, err := stream.Recv()
			if err == nil {
				err = w.handle(r)
			}
			if err != nil {
				w.fail(err)
				return
			}
		}
	}()
	for {
		select {
		case r := <-w.out:
			if err := stream.Send(r); err != nil {
				return err
			}
		case err := <-w.failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return s.fail(err)
		case <-ctx.Done():
			return s.fail(ctx.Err())
		case <-s.closed:
			return rpctypes.ErrGRPCStopped
		}
	}
}

// watchStream is one stream with its watches.
type watchStream struct {
	server  *Server
	ctx     context.Context
	out     chan *pb.WatchResponse
	failed  chan error
	pulling sync.WaitGroup

	mu      sync.Mutex
	ending  bool // no watch may be added any more
	watches map[int64]*streamWatch
	nextID  int64
}

// streamWatch is one watch.
type streamWatch struct {
	id     int64
	cursor *store.Watcher
	notify bool // asked to be told of progress

	// guarded by the stream's mutex: progress requests that wait for this watch
	waiting []*progress
}

// progress is a request for progress: answered when all watches there were have delivered what happened before it.
type progress struct {
	missing  int
	revision int64
}

func (w *watchStream) fail(err error) {
	select {
	case w.failed <- err:
	default:
	}
}

// send hands a response to the sender. It fails when the stream has ended.
func (w *watchStream) send(r *pb.WatchResponse, revision int64) error {
	header, err := w.server.header(w.ctx, revision)
	if err != nil {
		return err
	}
	r.Header = header
	select {
	case w.out <- r:
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *watchStream) handle(r *pb.WatchRequest) error {
	switch request := r.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		return w.create(request.CreateRequest)
	case *pb.WatchRequest_CancelRequest:
		return w.cancel(request.CancelRequest.GetWatchId())
	case *pb.WatchRequest_ProgressRequest:
		return w.progress()
	default:
		return nil // etcd skips what it does not know
	}
}

func (w *watchStream) create(r *pb.WatchCreateRequest) error {
	id, taken := w.newID(r.WatchId)
	if taken {
		return w.send(&pb.WatchResponse{
			WatchId: noWatch, Created: true, Canceled: true, CancelReason: "mvcc: duplicate watch ID provided on the WatchStream",
		}, 0)
	}
	req := store.WatchRequest{Key: r.Key, End: r.RangeEnd, Revision: max(0, r.StartRevision), PrevKV: r.PrevKv}
	if len(req.Key) == 0 {
		req.Key = []byte{0}
	}
	for _, filter := range r.Filters {
		req.NoPut = req.NoPut || filter == pb.WatchCreateRequest_NOPUT
		req.NoDelete = req.NoDelete || filter == pb.WatchCreateRequest_NODELETE
	}
	cursor, err := w.server.store.Watch(w.ctx, req)
	var failed *store.Error
	switch {
	case errors.Is(err, store.ErrCompacted) && errors.As(err, &failed):
		if err := w.send(&pb.WatchResponse{WatchId: id, Created: true}, 0); err != nil {
			return err
		}
		return w.send(&pb.WatchResponse{WatchId: id, Canceled: true, CompactRevision: failed.Revision}, 0)
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrEmptyKey):
		return w.send(&pb.WatchResponse{
			WatchId: noWatch, Created: true, Canceled: true, CancelReason: "mvcc: watcher range is empty",
		}, 0)
	case err != nil:
		return err
	}
	// A client that has to reconnect before the first event resumes after the revision it was told here.
	at := int64(0)
	if req.Revision == 0 {
		at = cursor.Start() - 1
	}
	if err := w.send(&pb.WatchResponse{WatchId: id, Created: true}, at); err != nil {
		return errors.Join(err, cursor.Close())
	}
	one := &streamWatch{id: id, cursor: cursor, notify: r.ProgressNotify}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ending {
		return cursor.Close()
	}
	w.watches[id] = one
	w.pulling.Go(func() { w.pull(one) })
	return nil
}

func (w *watchStream) newID(wanted int64) (id int64, taken bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if wanted != 0 {
		_, taken = w.watches[wanted]
		return wanted, taken
	}
	for w.watches[w.nextID] != nil {
		w.nextID++
	}
	id = w.nextID
	w.nextID++
	return id, false
}

// pull delivers one watch's events until it ends.
func (w *watchStream) pull(one *streamWatch) {
	var idle *time.Timer
	if one.notify {
		idle = time.AfterFunc(w.server.cfg.ProgressInterval, one.cursor.Progress)
		defer idle.Stop()
	}
	for {
		batch, err := one.cursor.Next(w.ctx)
		if err != nil {
			w.ended(one, err)
			return
		}
		if idle != nil {
			idle.Reset(w.server.cfg.ProgressInterval)
		}
		if len(batch.Events) == 0 {
			err = w.progressed(one, batch.Revision)
		} else {
			err = w.send(&pb.WatchResponse{WatchId: one.id, Events: events(batch.Events)}, batch.Revision)
		}
		if err != nil {
			w.ended(one, err)
			return
		}
	}
}

func events(batch []store.Event) []*mvccpb.Event {
	out := make([]*mvccpb.Event, len(batch))
	for i, e := range batch {
		out[i] = &mvccpb.Event{Kv: keyValue(e.KV), PrevKv: keyValue(e.PrevKV)}
		if e.Type == store.EventDelete {
			out[i].Type = mvccpb.Event_DELETE
		}
	}
	return out
}

// ended takes a watch out, and tells the client if neither it nor the stream's end was the reason.
func (w *watchStream) ended(one *streamWatch, err error) {
	_ = one.cursor.Close() // never fails
	if !w.remove(one) {
		return // by cancel, which has told the client
	}
	var failed *store.Error
	switch {
	case w.ctx.Err() != nil:
	case errors.Is(err, store.ErrCompacted) && errors.As(err, &failed):
		err = w.send(&pb.WatchResponse{WatchId: one.id, Canceled: true, CompactRevision: failed.Revision}, 0)
		if err != nil {
			w.fail(err)
		}
	default:
		w.fail(err)
	}
}

// remove forgets a watch and lets progress requests go on without it.
func (w *watchStream) remove(one *streamWatch) bool {
	w.mu.Lock()
	found := w.watches[one.id] == one
	var done []*progress
	if found {
		delete(w.watches, one.id)
		for _, p := range one.waiting {
			if p.missing--; p.missing == 0 {
				done = append(done, p)
			}
		}
		one.waiting = nil
	}
	w.mu.Unlock()
	for _, p := range done {
		if err := w.send(&pb.WatchResponse{WatchId: noWatch}, p.revision); err != nil {
			w.fail(err)
		}
	}
	return found
}

func (w *watchStream) cancel(id int64) error {
	w.mu.Lock()
	one := w.watches[id]
	w.mu.Unlock()
	if one == nil || !w.remove(one) {
		return nil
	}
	if err := one.cursor.Close(); err != nil {
		return err
	}
	return w.send(&pb.WatchResponse{WatchId: id, Canceled: true}, 0)
}

// progress asks all watches how far they are; the last to answer sends the response.
func (w *watchStream) progress() error {
	revision, err := w.server.store.Revision(w.ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	p := &progress{missing: len(w.watches), revision: revision}
	asked := make([]*streamWatch, 0, len(w.watches))
	for _, one := range w.watches {
		one.waiting = append(one.waiting, p)
		asked = append(asked, one)
	}
	w.mu.Unlock()
	if len(asked) == 0 {
		return w.send(&pb.WatchResponse{WatchId: noWatch}, revision)
	}
	for _, one := range asked {
		one.cursor.Progress()
	}
	return nil
}

// progressed takes in that a watch has delivered everything up to revision.
func (w *watchStream) progressed(one *streamWatch, revision int64) error {
	w.mu.Lock()
	waiting := one.waiting
	one.waiting = nil
	var done []*progress
	for _, p := range waiting {
		p.revision = min(p.revision, revision)
		if p.missing--; p.missing == 0 {
			done = append(done, p)
		}
	}
	w.mu.Unlock()
	for _, p := range done {
		if err := w.send(&pb.WatchResponse{WatchId: noWatch}, p.revision); err != nil {
			return err
		}
	}
	if len(waiting) == 0 && one.notify {
		return w.send(&pb.WatchResponse{WatchId: one.id}, revision)
	}
	return nil
}
