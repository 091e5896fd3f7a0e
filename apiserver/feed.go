package apiserver

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

// feed follows the whole store with one watcher and hands each change to the cache of its kind. Its position is the
// revision up to which every cache is complete, so that waiting for a revision is one wait whatever the kind.
type feed struct {
	server  *Server
	routes  router
	at      atomic.Int64
	defined map[string]*defined // by key, of definitions; the feed's own

	mu       sync.Mutex
	moved    chan struct{}       // closed when the position moves; nil while nobody waits
	expected map[string]*written // writes of this process whose event has not come yet
}

// written is an object on its way to the store: when its event comes, the cache adopts it instead of decoding.
type written struct {
	obj  kind.Instance
	raw  []byte
	kind *kind.Kind // the stored version
	once sync.Once
}

// finish gives the object its version. The writer and the feed both call it, before anybody else sees the object.
func (w *written) finish(revision int64) {
	w.once.Do(func() { w.obj.SetResourceVersion(client.FormatRevision(revision)) })
}

func newFeed(s *Server, kinds *kind.Set) (*feed, error) {
	f := &feed{server: s, routes: router{}, expected: make(map[string]*written), defined: make(map[string]*defined)}
	first, err := f.serve(&served{kinds: kinds}, nil, nil)
	if err != nil {
		return nil, err
	}
	for _, c := range first.caches {
		if err := f.routes.add(c); err != nil {
			return nil, err
		}
	}
	s.served.Store(first)
	return f, nil
}

// run fills the caches and follows the store until something ends it.
func (f *feed) run(ctx context.Context) error {
	revision, err := f.load(ctx)
	if err != nil {
		return err
	}
	w, err := f.server.store.Watch(ctx, store.WatchRequest{Key: []byte{0}, End: []byte{0}, Revision: revision + 1})
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	f.advance(revision)
	select {
	case <-f.server.ready:
	default:
		close(f.server.ready)
	}
	for {
		batch, err := w.Next(ctx)
		if err != nil {
			return err
		}
		if err := f.dispatch(ctx, batch.Events); err != nil {
			return err
		}
		f.advance(batch.Revision)
	}
}

// load reads everything at one revision.
func (f *feed) load(ctx context.Context) (int64, error) {
	res, err := f.server.store.Range(ctx, store.RangeRequest{Key: []byte(registry), End: store.PrefixEnd([]byte(registry))})
	if err != nil {
		return 0, err
	}
	if err := f.define(res.KVs); err != nil {
		return 0, err
	}
	found := make(map[*cache][]*entry)
	for i := range res.KVs {
		if c := f.routes.find(string(res.KVs[i].Key)); c != nil {
			if e := c.decode(&res.KVs[i]); e != nil {
				found[c] = append(found[c], e)
			}
		}
	}
	for _, c := range f.server.served.Load().caches {
		if err := c.reset(found[c], res.Revision); err != nil {
			return 0, err
		}
	}
	f.mu.Lock()
	clear(f.expected) // what was written before is in the caches, its events will not come
	f.mu.Unlock()
	return res.Revision, nil
}

// dispatch hands the events of whole transactions on, one revision after the other.
func (f *feed) dispatch(ctx context.Context, events []store.Event) error {
	for len(events) > 0 {
		revision, n := events[0].KV.ModRevision, 1
		for n < len(events) && events[n].KV.ModRevision == revision {
			n++
		}
		if err := f.transaction(ctx, revision, events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}

func (f *feed) transaction(ctx context.Context, revision int64, events []store.Event) error {
	type part struct {
		cache   *cache
		puts    []*entry
		deleted []string
	}
	var parts []part
	for i := range events {
		key := string(events[i].KV.Key)
		c := f.routes.find(key)
		if c == nil {
			continue
		}
		at := -1
		for j := range parts {
			if parts[j].cache == c {
				at = j
			}
		}
		if at < 0 {
			parts = append(parts, part{cache: c})
			at = len(parts) - 1
		}
		var e *entry
		if events[i].Type == store.EventPut {
			e = f.adopt(c, key, events[i].KV)
		}
		if e != nil {
			parts[at].puts = append(parts[at].puts, e)
		} else {
			parts[at].deleted = append(parts[at].deleted, key) // or has become unreadable, which readers see as gone
		}
	}
	fill := func(c *cache) error { return f.fill(ctx, c, revision) }
	for _, p := range parts { // before a reader can see a definition, its kinds are served
		if !f.isDefinition(p.cache) {
			continue
		}
		for _, e := range p.puts {
			if err := f.redefine(e.key, e.obj, fill); err != nil {
				return err
			}
		}
		for _, key := range p.deleted {
			if err := f.redefine(key, nil, fill); err != nil {
				return err
			}
		}
	}
	for _, p := range parts {
		if p.cache.retired.Load() { // by a definition in the same transaction, which has read the kind anew
			continue
		}
		if err := p.cache.apply(revision, p.puts, p.deleted); err != nil {
			return err
		}
	}
	return nil
}

// adopt takes the object of the process that wrote it, or decodes.
func (f *feed) adopt(c *cache, key string, kv *store.KV) *entry {
	f.mu.Lock()
	w := f.expected[key]
	if w != nil && w.kind == c.kind && bytes.Equal(w.raw, kv.Value) {
		delete(f.expected, key)
	} else {
		w = nil
	}
	f.mu.Unlock()
	if w == nil {
		return c.decode(kv)
	}
	w.finish(kv.ModRevision)
	return c.entry(key, w.obj, kv)
}

// expect announces a write. The object and the bytes are the feed's from here on.
func (f *feed) expect(key string, w *written) {
	f.mu.Lock()
	f.expected[key] = w
	f.mu.Unlock()
}

// forget takes an announcement back, because the write did not happen.
func (f *feed) forget(key string, w *written) {
	f.mu.Lock()
	if f.expected[key] == w {
		delete(f.expected, key)
	}
	f.mu.Unlock()
}

func (f *feed) position() int64 { return f.at.Load() }

func (f *feed) advance(revision int64) {
	f.mu.Lock()
	f.at.Store(max(f.at.Load(), revision))
	moved := f.moved
	f.moved = nil
	f.mu.Unlock()
	if moved != nil {
		close(moved)
	}
}

// wait returns when the caches have everything up to revision.
func (f *feed) wait(ctx context.Context, revision int64) error {
	for {
		if f.at.Load() >= revision {
			return nil
		}
		f.mu.Lock()
		if f.at.Load() >= revision {
			f.mu.Unlock()
			return nil
		}
		if f.moved == nil {
			f.moved = make(chan struct{})
		}
		moved := f.moved
		f.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-f.server.stopped:
			return unavailable("the server has been stopped")
		}
	}
}

// current waits until the caches have everything that the store has now, and answers the revision of that.
func (f *feed) current(ctx context.Context) (int64, error) {
	revision, err := f.server.store.Revision(ctx)
	if err != nil {
		return 0, storeError(err)
	}
	return revision, f.wait(ctx, revision)
}
