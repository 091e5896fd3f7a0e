package etcdapi

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"

	"github.com/keelson-dev/keelson/store"
)

type watchServer struct {
	pb.UnimplementedWatchServer
	*Server
}

// noWatch is the id in responses that concern no watch, or all of a stream.
const noWatch = -1

// Why etcd says that a watch can't be made, where it has no error of its API for it.
const (
	reasonDuplicate = "mvcc: duplicate watch ID provided on the WatchStream"
	reasonEmpty     = "mvcc: watcher range is empty"
)

// Watch implements pb.WatchServer. One goroutine receives, one per watch pulls its events, and this one sends. A
// client that half-closes the stream goes on receiving.
func (s *watchServer) Watch(stream grpc.BidiStreamingServer[pb.WatchRequest, pb.WatchResponse]) error {
	leader, err := s.requireLeader(stream.Context())
	if err != nil {
		return err
	}
	defer leader.stop()
	ctx, cancel := context.WithCancel(stream.Context())
	w := &watchStream{
		server: s.Server, ctx: ctx, wake: make(chan struct{}, 1), failed: make(chan error, 1), watches: map[int64]*streamWatch{},
	}
	defer func() {
		w.mu.Lock()
		w.ending = true
		w.mu.Unlock()
		cancel()
		w.pulling.Wait()
	}()
	go func() { // ends with the stream, which ends when this method returns
		control := &turn{done: make(chan struct{}, 1)}
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil {
				err = w.handle(r, control)
			}
			if err != nil {
				w.fail(err)
				return
			}
		}
	}()
	for {
		select {
		case <-w.wake:
			for _, m := range w.take() {
				if err := s.sendWatch(stream, m); err != nil {
					return err
				}
				if m.turn != nil {
					m.turn.done <- struct{}{}
				}
				if m.progress {
					w.answered()
				}
			}
		case err := <-w.failed:
			return watchError(s.fail(err))
		case <-ctx.Done():
			return watchError(s.fail(ctx.Err()))
		case <-leader.due():
			if leader.lost(s.store) {
				return rpctypes.ErrGRPCNoLeader
			}
		case <-s.closed:
			return rpctypes.ErrGRPCStopped
		}
	}
}

// watchError is what etcd says when the client itself gave up.
func watchError(err error) error {
	if errors.Is(err, rpctypes.ErrGRPCCanceled) {
		return rpctypes.ErrGRPCWatchCanceled
	}
	return err
}

// watchStream is one stream with its watches. What is to be sent stands in one queue, so that what is decided under
// the mutex is sent in the order in which it was decided. The queue is bounded: whoever puts a response there waits
// until it is sent before it puts the next, and of answers to requests for progress one at a time is there. So a client that does not read holds up its own stream, and keeps one
// batch per watch from being freed.
type watchStream struct {
	server  *Server
	ctx     context.Context
	wake    chan struct{}
	failed  chan error
	pulling sync.WaitGroup

	mu      sync.Mutex
	ending  bool // no watch may be added any more
	queue   []watchMessage
	watches map[int64]*streamWatch
	nextID  int64
	// progress is the request for progress that is not answered yet, unsent says that the answer is queued, and again that
	// there was another request since.
	progress *progress
	unsent   bool
	again    bool
}

// watchMessage is a response on its way.
type watchMessage struct {
	response *pb.WatchResponse
	events   []store.Event // of the response, which has none itself
	fragment bool
	progress bool // the answer to a request for progress
	turn     *turn
}

// turn lets one sender go on when its response was sent.
type turn struct{ done chan struct{} }

func (t *turn) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// streamWatch is one watch.
type streamWatch struct {
	id       int64
	cursor   *store.Watcher
	notify   bool // asked to be told of progress
	fragment bool
	turn     turn
	// bare is the compact revision when the watch was made. What was before that revision's events is compacted, and so
	// they have no previous value, as in etcd, whatever this member still knows: kube-apiserver takes the lack of it for
	// a watch that is too old.
	bare int64

	// asked says that the stream's progress request waits for this watch. The stream's mutex guards it.
	asked bool
}

// progress is a request for progress on all watches. It is answered when every watch there is, whether made before or
// after it, has delivered what happened up to the revision of the answer: the client takes the answer as everyone's.
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

// put queues a response. The caller holds the mutex.
func (w *watchStream) put(r *pb.WatchResponse, revision int64, fragment bool, t *turn) {
	r.Header = w.server.at(revision)
	w.queue = append(w.queue, watchMessage{response: r, fragment: fragment, turn: t})
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watchStream) take() []watchMessage {
	w.mu.Lock()
	defer w.mu.Unlock()
	taken := w.queue
	w.queue = nil
	return taken
}

// say queues an answer to a request and waits until it is sent.
func (w *watchStream) say(r *pb.WatchResponse, revision int64, control *turn) error {
	w.mu.Lock()
	w.put(r, revision, false, control)
	w.mu.Unlock()
	return control.wait(w.ctx)
}

func (w *watchStream) handle(r *pb.WatchRequest, control *turn) error {
	switch request := r.RequestUnion.(type) {
	case *pb.WatchRequest_CreateRequest:
		if request.CreateRequest != nil {
			return w.create(request.CreateRequest, control)
		}
	case *pb.WatchRequest_CancelRequest:
		return w.cancel(request.CancelRequest.GetWatchId(), control)
	case *pb.WatchRequest_ProgressRequest:
		w.requestProgress()
	}
	return nil // etcd skips what it does not know
}

func (w *watchStream) create(r *pb.WatchCreateRequest, control *turn) error {
	refuse := func(reason string) error {
		return w.say(&pb.WatchResponse{WatchId: noWatch, Created: true, Canceled: true, CancelReason: reason}, 0, control)
	}
	if r.StartRevision < 0 {
		return refuse(rpctypes.ErrCompacted.Error())
	}
	req := store.WatchRequest{Key: r.Key, End: r.RangeEnd, Revision: r.StartRevision, PrevKV: r.PrevKv}
	if len(req.Key) == 0 {
		req.Key = []byte{0}
	}
	for _, filter := range r.Filters {
		req.NoPut = req.NoPut || filter == pb.WatchCreateRequest_NOPUT
		req.NoDelete = req.NoDelete || filter == pb.WatchCreateRequest_NODELETE
	}
	id, reason := w.newID(r.WatchId)
	if reason != "" {
		return refuse(reason)
	}
	// From now on, the newest revision has to be asked for, which takes a leader. The other watches of this stream
	// should not end because there is none.
	ctx, cancel := w.server.bounded(w.ctx)
	cursor, err := w.server.store.Watch(ctx, req)
	cancel()
	var failed *store.Error
	switch {
	case errors.Is(err, store.ErrCompacted) && errors.As(err, &failed):
		w.mu.Lock()
		w.put(&pb.WatchResponse{WatchId: id, Created: true}, 0, false, nil)
		w.put(&pb.WatchResponse{WatchId: id, Canceled: true, CompactRevision: failed.Revision}, 0, false, control)
		w.mu.Unlock()
		return control.wait(w.ctx)
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrEmptyKey):
		return refuse(reasonEmpty)
	case errors.Is(err, context.DeadlineExceeded) && w.ctx.Err() == nil:
		return refuse(rpctypes.ErrTimeoutDueToLeaderFail.Error())
	case err != nil:
		return err
	}
	// A client that has to reconnect before the first event resumes after the revision it was told here.
	at := int64(0)
	if req.Revision == 0 {
		at = cursor.Start() - 1
	}
	one := &streamWatch{
		id: id, cursor: cursor, bare: w.server.store.Position().CompactRevision, notify: r.ProgressNotify, fragment: r.Fragment, turn: turn{make(chan struct{}, 1)},
	}
	w.mu.Lock()
	if w.ending {
		w.mu.Unlock()
		return cursor.Close()
	}
	w.watches[id] = one
	w.server.encoded.busy.Add(1)
	if w.progress != nil {
		w.ask(one)
	}
	w.put(&pb.WatchResponse{WatchId: id, Created: true}, at, false, control)
	w.pulling.Go(func() { w.pull(one) })
	w.mu.Unlock()
	return control.wait(w.ctx)
}

// newID returns the id for a watch, or why there can be none.
func (w *watchStream) newID(wanted int64) (id int64, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.watches) >= w.server.cfg.MaxWatches:
		return 0, rpctypes.ErrTooManyRequests.Error()
	case wanted < 0:
		return 0, "etcdserver: watch ID is negative"
	case wanted != 0 && w.watches[wanted] != nil:
		return 0, reasonDuplicate
	case wanted != 0:
		return wanted, ""
	}
	for w.watches[w.nextID] != nil {
		w.nextID++
	}
	id = w.nextID
	w.nextID++
	return id, ""
}

func (w *watchStream) cancel(id int64, control *turn) error {
	w.mu.Lock()
	one := w.watches[id]
	if one == nil {
		w.mu.Unlock()
		return nil
	}
	w.remove(one)
	w.put(&pb.WatchResponse{WatchId: id, Canceled: true}, 0, false, control)
	w.mu.Unlock()
	if err := one.cursor.Close(); err != nil {
		return err
	}
	return control.wait(w.ctx)
}

// pull delivers one watch's events until it ends.
func (w *watchStream) pull(one *streamWatch) {
	defer one.cursor.Close() // never fails
	defer w.server.encoded.busy.Add(-1)
	var idle *time.Timer
	if one.notify {
		idle = time.AfterFunc(w.server.progressInterval(), one.cursor.Progress)
		defer idle.Stop()
	}
	for {
		batch, err := one.cursor.Next(w.ctx)
		if err != nil {
			w.ended(one, err)
			return
		}
		if idle != nil {
			idle.Reset(w.server.progressInterval())
		}
		for i := 0; i < len(batch.Events) && batch.Events[i].KV.ModRevision <= one.bare; i++ {
			batch.Events[i].PrevKV = nil
		}
		for chunk, revision := range chunks(batch) {
			w.mu.Lock()
			if w.watches[one.id] != one {
				w.mu.Unlock()
				return // canceled, and the client was told
			}
			w.put(&pb.WatchResponse{WatchId: one.id}, revision, one.fragment, &one.turn)
			w.queue[len(w.queue)-1].events = chunk
			w.mu.Unlock()
			if err := one.turn.wait(w.ctx); err != nil {
				return
			}
		}
		if len(batch.Events) == 0 && w.progressed(one, batch.Revision) {
			if err := one.turn.wait(w.ctx); err != nil {
				return
			}
		}
	}
}

// progressInterval is spread a little, so that watches made at the same time are not all told at the same time.
func (s *Server) progressInterval() time.Duration {
	return s.cfg.ProgressInterval + rand.N(s.cfg.ProgressInterval/10)
}

// ended takes a watch out whose cursor failed, and tells the client.
func (w *watchStream) ended(one *streamWatch, err error) {
	var failed *store.Error
	compacted := errors.Is(err, store.ErrCompacted) && errors.As(err, &failed)
	w.mu.Lock()
	known := w.watches[one.id] == one
	if known && compacted {
		w.remove(one)
		w.put(&pb.WatchResponse{WatchId: one.id, Canceled: true, CompactRevision: failed.Revision}, 0, false, nil)
	}
	w.mu.Unlock()
	if known && !compacted {
		w.fail(err)
	}
}

// remove forgets a watch, and lets a progress request go on without it. The caller holds the mutex.
func (w *watchStream) remove(one *streamWatch) {
	delete(w.watches, one.id)
	if one.asked {
		w.heard(one, w.progress.revision)
	}
}

// requestProgress asks all watches how far they are; the last to answer has the response sent. Requests that come
// before it is sent have one answer together, after it.
func (w *watchStream) requestProgress() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.progress != nil || w.unsent {
		w.again = true
		return
	}
	w.startProgress()
}

func (w *watchStream) startProgress() {
	revision := w.server.store.Position().Revision
	if len(w.watches) == 0 {
		w.answer(revision)
		return
	}
	w.progress = &progress{revision: revision}
	for _, one := range w.watches {
		w.ask(one)
	}
}

func (w *watchStream) ask(one *streamWatch) {
	one.asked = true
	w.progress.missing++
	one.cursor.Progress()
}

// heard takes in how far one of the watches is that were asked.
func (w *watchStream) heard(one *streamWatch, revision int64) {
	one.asked = false
	p := w.progress
	p.revision = min(p.revision, revision)
	if p.missing--; p.missing > 0 {
		return
	}
	w.answer(p.revision)
	w.progress = nil
}

// answer queues the answer to a request for progress.
func (w *watchStream) answer(revision int64) {
	w.put(&pb.WatchResponse{WatchId: noWatch}, revision, false, nil)
	w.queue[len(w.queue)-1].progress = true
	w.unsent = true
}

// answered takes in that the answer was sent, and answers the requests that came meanwhile.
func (w *watchStream) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unsent = false
	if w.again {
		w.again = false
		w.startProgress()
	}
}

// progressed takes in that a watch has delivered everything up to revision. It reports whether a response of its own
// was queued.
func (w *watchStream) progressed(one *streamWatch, revision int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watches[one.id] != one {
		return false
	}
	if one.asked {
		w.heard(one, revision)
		return false
	}
	if one.notify {
		w.put(&pb.WatchResponse{WatchId: one.id}, revision, false, &one.turn)
	}
	return one.notify
}
