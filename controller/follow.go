package controller

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const (
	informerBaseDelay = 50 * time.Millisecond
	informerMaxDelay  = 30 * time.Second
	steadyStream      = 10 * time.Second // a stream that lasted this long was no failure: the next retry is quick again
)

// informer is Informer without its type. Two goroutines run it: one reads the stream, the other applies what comes
// and calls handlers, so that a handler added late is served while the stream is silent.
type informer struct {
	client  client.Client
	kind    *kind.Kind
	cfg     InformerConfig
	accepts func(kind.Instance) bool
	logger  *zap.Logger
	cache   *cache
	synced  chan struct{}
	running atomic.Bool
	added   chan struct{} // holds a token when newcomers or barriers may have grown

	mu        sync.Mutex
	newcomers []func(old, new kind.Instance)
	barriers  []chan struct{} // closed when the goroutine that calls handlers comes round
	watcher   client.Watcher  // of the present stream, or nil
	switched  chan struct{}   // closed when watcher changes
}

func newInformer(c client.Client, k *kind.Kind, cfg InformerConfig, accepts func(kind.Instance) bool) *informer {
	logger := cfg.Logger
	if logger == nil {
		logger = zap.NewNop()
	}
	return &informer{
		client: c, kind: k, cfg: cfg, accepts: accepts,
		logger: logger.With(zap.String("kind", k.Name)),
		cache:  newCache(), synced: make(chan struct{}), added: make(chan struct{}, 1), switched: make(chan struct{}),
	}
}

func (i *informer) addIndex(name string, values func(kind.Instance) []string) error {
	if i.cache.hasIndex(name) {
		return nil
	}
	if i.running.Load() {
		return fmt.Errorf("add index %q to the informer of %s: %w", name, i.kind, ErrRunning)
	}
	i.cache.addIndex(name, values)
	return nil
}

func (i *informer) onChange(f func(old, new kind.Instance)) {
	i.mu.Lock()
	i.newcomers = append(i.newcomers, f)
	i.mu.Unlock()
	i.nudge()
}

func (i *informer) nudge() {
	select {
	case i.added <- struct{}{}:
	default:
	}
}

// message is what the reader passes on: a snapshot or an event.
type message struct {
	snapshot bool
	items    []kind.Instance
	event    client.Event
	revision int64
}

// Run is Informer.Run.
func (i *informer) Run(ctx context.Context) error {
	if i.running.Swap(true) {
		return fmt.Errorf("informer of %s: %w", i.kind, ErrAlreadyRun)
	}
	messages := make(chan message, 64)
	var reader sync.WaitGroup
	reader.Go(func() { i.read(ctx, messages) })
	defer reader.Wait()
	var handlers []func(old, new kind.Instance)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-i.added:
			handlers = i.welcome(handlers)
		case m := <-messages:
			handlers = i.welcome(handlers)
			i.handle(m, handlers)
		}
	}
}

// welcome takes over handlers that were added and tells them what there is.
func (i *informer) welcome(handlers []func(old, new kind.Instance)) []func(old, new kind.Instance) {
	i.mu.Lock()
	newcomers, barriers := i.newcomers, i.barriers
	i.newcomers, i.barriers = nil, nil
	i.mu.Unlock()
	for _, f := range newcomers {
		for _, obj := range i.cache.list() {
			f(nil, obj)
		}
	}
	for _, b := range barriers {
		close(b)
	}
	return append(handlers, newcomers...)
}

func (i *informer) handle(m message, handlers []func(old, new kind.Instance)) {
	var changes []change
	switch {
	case m.snapshot:
		changes = i.cache.replace(m.items)
	case m.event.Type != client.Bookmark:
		changes = i.cache.apply(m.event.Type, m.event.Object)
	}
	for _, c := range changes {
		for _, f := range handlers {
			f(c.old, c.new)
		}
	}
	i.cache.advance(m.revision)
	if m.snapshot {
		select {
		case <-i.synced:
		default:
			close(i.synced)
		}
	}
}

// read keeps a stream open until ctx ends. It continues where the last stream ended while the server has that history.
func (i *informer) read(ctx context.Context, out chan<- message) {
	retry := backoff{base: informerBaseDelay, max: informerMaxDelay}
	var revision int64 // that all before was passed on; 0 asks for a list
	for ctx.Err() == nil {
		began := time.Now()
		err := i.stream(ctx, &revision, out)
		if ctx.Err() != nil {
			return
		}
		if expired(err) {
			revision = 0
		}
		if time.Since(began) >= steadyStream {
			retry.reset()
		}
		delay := retry.next()
		switch {
		case retry.failures == 5:
			i.logger.Warn("informer cannot follow its kind, keeps trying", zap.Error(err), zap.Duration("retry", delay))
		default:
			i.logger.Debug("informer stream ended", zap.Error(err), zap.Int64("revision", revision), zap.Duration("retry", delay))
		}
		if !pause(ctx, delay) {
			return
		}
	}
}

// stream reads one stream to its end.
func (i *informer) stream(ctx context.Context, revision *int64, out chan<- message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := i.open(ctx, revision, out)
	if err != nil {
		return err
	}
	i.setWatcher(w)
	defer i.setWatcher(nil)
	defer func() { _ = w.Close() }()
	for {
		event, err := w.Next(ctx)
		if err != nil {
			return err
		}
		m, err := i.check(event)
		if err != nil {
			*revision = 0
			return err
		}
		if m.revision < *revision {
			if event.Type == client.Bookmark {
				continue
			}
			*revision = 0
			return fmt.Errorf("the server's revision went back to %d", m.revision)
		}
		if !send(ctx, out, m) {
			return ctx.Err()
		}
		*revision = m.revision
	}
}

// open continues the watch at revision or, from 0, passes a snapshot on and watches from there.
func (i *informer) open(ctx context.Context, revision *int64, out chan<- message) (client.Watcher, error) {
	if *revision > 0 {
		req := i.request(client.Watch)
		req.List.ResourceVersion = client.FormatRevision(*revision)
		req.List.AllowWatchBookmarks = true
		return i.client.Watch(ctx, req)
	}
	view, err := client.Open(ctx, i.client, i.request(client.List))
	if err != nil {
		return nil, err
	}
	for n, obj := range view.Items {
		if obj == nil || !i.accepts(obj) {
			_ = view.Watcher.Close()
			return nil, fmt.Errorf("list %s: item %d is a %T", i.kind, n, obj)
		}
	}
	if !send(ctx, out, message{snapshot: true, items: view.Items, revision: view.Revision}) {
		_ = view.Watcher.Close()
		return nil, ctx.Err()
	}
	*revision = view.Revision
	return view.Watcher, nil
}

func (i *informer) request(verb client.Verb) *client.Request {
	req := &client.Request{Verb: verb, Kind: i.kind, Namespace: i.cfg.Namespace}
	req.List.LabelSelector, req.List.FieldSelector = i.cfg.LabelSelector, i.cfg.FieldSelector
	return req
}

// check makes a message of an event, whose revision falls back to its object's.
func (i *informer) check(event client.Event) (message, error) {
	m := message{event: event, revision: event.Revision}
	switch event.Type {
	case client.Added, client.Modified, client.Deleted:
		if event.Object == nil || !i.accepts(event.Object) {
			return m, fmt.Errorf("watch %s: a %s event carries a %T", i.kind, event.Type, event.Object)
		}
	case client.Bookmark:
	default:
		return m, fmt.Errorf("watch %s: unknown event type %q", i.kind, event.Type)
	}
	if m.revision == 0 && event.Object != nil {
		revision, err := client.ParseRevision(event.Object.GetResourceVersion())
		if err != nil {
			return m, fmt.Errorf("watch %s: %w", i.kind, err)
		}
		m.revision = revision
	}
	return m, nil
}

func (i *informer) setWatcher(w client.Watcher) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.watcher = w
	close(i.switched)
	i.switched = make(chan struct{})
}

func send(ctx context.Context, out chan<- message, m message) bool {
	select {
	case out <- m:
		return true
	case <-ctx.Done():
		return false
	}
}

func expired(err error) bool { return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) }

func (i *informer) wait(ctx context.Context) error {
	select {
	case <-i.synced:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the informer of %s to sync: %w", i.kind, ctx.Err())
	}
}

func (i *informer) waitRevision(ctx context.Context, revision int64) error {
	done := i.cache.reach(revision)
	defer i.cache.dropReach(done)
	for {
		switched := i.requestProgress()
		select {
		case <-done:
			return nil
		case <-switched:
		case <-ctx.Done():
			return fmt.Errorf("wait for the informer of %s to reach revision %d, it is at %d: %w", i.kind, revision, i.cache.revisionNow(), ctx.Err())
		}
	}
}

// requestProgress asks the present stream, if it can tell, how far it is; the channel closes when there is another.
func (i *informer) requestProgress() <-chan struct{} {
	i.mu.Lock()
	w, switched := i.watcher, i.switched
	i.mu.Unlock()
	if p, ok := w.(client.Progresser); ok {
		p.RequestProgress()
	}
	return switched
}

func (i *informer) waitFor(ctx context.Context, key Key, cond func(kind.Instance) bool) (kind.Instance, error) {
	if err := i.wait(ctx); err != nil {
		return nil, err
	}
	changed := i.cache.follow(key)
	defer i.cache.unfollow(key, changed)
	for {
		obj, _ := i.cache.get(key)
		if cond(obj) {
			return obj, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return obj, fmt.Errorf("wait for %s %s: %w", i.kind, display(key), ctx.Err())
		}
	}
}

// catchUp waits until the view shows everything that the server had at the call, and handlers have been told.
func (i *informer) catchUp(ctx context.Context) error {
	if err := i.wait(ctx); err != nil {
		return err
	}
	i.mu.Lock()
	_, tells := i.watcher.(client.Progresser)
	i.mu.Unlock()
	req := i.request(client.List)
	if tells {
		req.List.Limit = 1
	}
	var revision int64
	listed := map[Key]struct{}{}
	retry := backoff{base: informerBaseDelay, max: informerMaxDelay}
	for {
		resp, err := i.client.Do(ctx, req)
		if err != nil {
			if refused(err) || !pause(ctx, retry.next()) {
				return fmt.Errorf("ask how far %s is: %w", i.kind, err)
			}
			continue
		}
		if tells {
			return i.waitRevision(ctx, resp.Revision)
		}
		for _, obj := range resp.Items {
			listed[KeyOf(obj)] = struct{}{}
			n, err := client.ParseRevision(obj.GetResourceVersion())
			if err != nil {
				return err
			}
			revision = max(revision, n)
		}
		if req.List.Continue = resp.Continue; resp.Continue == "" {
			return i.catchUpWith(ctx, listed, revision, resp.Revision)
		}
	}
}

// catchUpWith is for a server that does not tell its progress: the view has caught up with a list when it has seen
// the newest object in it, and the deletion of each that is not in it.
func (i *informer) catchUpWith(ctx context.Context, listed map[Key]struct{}, newest, at int64) error {
	if err := i.waitRevision(ctx, newest); err != nil {
		return err
	}
	for _, obj := range i.cache.list() {
		key := KeyOf(obj)
		if _, ok := listed[key]; ok {
			continue
		}
		_, err := i.waitFor(ctx, key, func(now kind.Instance) bool {
			if now == nil || i.cache.revisionNow() >= at {
				return true
			}
			n, err := client.ParseRevision(now.GetResourceVersion())
			return err == nil && n > at
		})
		if err != nil {
			return err
		}
	}
	return i.barrier(ctx)
}

// barrier waits until handlers have been told of all that the view shows: the goroutine that calls them has come round.
func (i *informer) barrier(ctx context.Context) error {
	done := make(chan struct{})
	i.mu.Lock()
	i.barriers = append(i.barriers, done)
	i.mu.Unlock()
	i.nudge()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the handlers of %s: %w", i.kind, ctx.Err())
	}
}
