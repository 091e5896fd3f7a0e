package apiserver

import (
	"context"
	"maps"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

// Definitions are objects that stand for kinds, as CustomResourceDefinitions do. The server reads them as it follows the store: from
// the revision on at which a definition says that its kinds are served, every reader of that revision finds them served, on each
// server of the store.
type Definitions struct {
	Kind *kind.Kind // of the definitions; one of Config.Kinds

	// Kinds answers the kinds that a definition stands for at present, none while it is not in force. It must be quick: what is
	// costly is left to the first use of a kind. One that fails is logged, and its kinds are not served.
	Kinds func(definition kind.Instance) ([]*kind.Kind, error)

	// Same reports whether two versions of a definition stand for the same kinds. What it answers true for disturbs nobody; else
	// the kinds are read again, and their watches end.
	Same func(a, b kind.Instance) bool
}

// served is what a server serves at a moment. It is immutable.
type served struct {
	kinds  *kind.Set
	caches map[*kind.Kind]*cache // by stored version
}

// cache answers the cache of the kind that a version belongs to.
func (s *served) cache(k *kind.Kind) *cache { return s.caches[k.Stored()] }

// versions are all versions of a kind that are served, given the stored one.
func (s *served) versions(stored *kind.Kind) []*kind.Kind {
	var out []*kind.Kind
	for _, k := range s.kinds.All() {
		if k.Stored() == stored {
			out = append(out, k)
		}
	}
	return out
}

// defined is a definition as the feed knows it.
type defined struct {
	object kind.Instance
	kinds  []*kind.Kind
}

// isDefinition reports whether the cache's objects are definitions.
func (f *feed) isDefinition(c *cache) bool {
	d := f.server.cfg.Definitions
	return d != nil && c.kind.Is(d.Kind)
}

// define makes the kinds of all definitions, at the start and whenever everything is read again.
func (f *feed) define(found []store.KV) error {
	d := f.server.cfg.Definitions
	if d == nil {
		return nil
	}
	stale := maps.Clone(f.defined)
	for i := range found {
		c := f.routes.find(string(found[i].Key))
		if c == nil || !f.isDefinition(c) {
			continue
		}
		if e := c.decode(&found[i]); e != nil {
			delete(stale, e.key)
			if err := f.redefine(e.key, e.obj, nil); err != nil {
				return err
			}
		}
	}
	for key := range stale {
		if err := f.redefine(key, nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// redefine puts the kinds of one definition into force, instead of those that it stood for before; obj is nil when it is gone. New
// kinds' caches are filled by fill, which may be nil when everything is read anyway. Only the feed calls it.
func (f *feed) redefine(key string, obj kind.Instance, fill func(*cache) error) error {
	s, d := f.server, f.server.cfg.Definitions
	had := f.defined[key]
	if had != nil && obj != nil && d.Same(had.object, obj) {
		had.object = obj
		return nil
	}
	var old, kinds []*kind.Kind
	var err error
	if had != nil {
		old = had.kinds
	}
	if obj != nil {
		if kinds, err = d.Kinds(obj); err != nil {
			s.log.Error("a definition makes no sense and its kinds are not served", zap.String("key", key), zap.Error(err))
			kinds = nil
		}
	}
	now := s.served.Load()
	next, err := f.serve(now, old, kinds)
	if err != nil {
		s.log.Error("the kinds of a definition cannot be served", zap.String("key", key), zap.Error(err))
		kinds = nil
		if next, err = f.serve(now, old, nil); err != nil {
			return err
		}
	}
	for stored, c := range next.caches {
		if now.caches[stored] == nil && fill != nil {
			if err := fill(c); err != nil {
				return err
			}
		}
	}
	f.routes = router{}
	for _, c := range next.caches {
		if err := f.routes.add(c); err != nil {
			return err // serve has tried
		}
	}
	if obj == nil {
		delete(f.defined, key)
	} else {
		f.defined[key] = &defined{obj, kinds}
	}
	if len(old) == 0 && len(kinds) == 0 {
		return nil
	}
	s.served.Store(next)
	s.handler.SetKinds(next.kinds)
	for stored, c := range now.caches {
		if next.caches[stored] == nil {
			c.retired.Store(true)
			c.close(errRetired)
		}
	}
	return nil
}

// serve is now with other kinds in the place of old ones. What is new has an empty cache.
func (f *feed) serve(now *served, old, with []*kind.Kind) (*served, error) {
	set, err := now.kinds.Replace(old, with)
	if err != nil {
		return nil, err
	}
	next := &served{kinds: set, caches: make(map[*kind.Kind]*cache, len(now.caches)+1)}
	routes := router{}
	for _, k := range set.All() {
		stored := k.Stored()
		if next.caches[stored] != nil {
			continue
		}
		c := now.caches[stored]
		if c == nil {
			c = newCache(f.server, stored)
		}
		if err := routes.add(c); err != nil {
			return nil, err
		}
		next.caches[stored] = c
	}
	return next, nil
}

// fill reads a new kind's objects at a revision that the feed has reached.
func (f *feed) fill(ctx context.Context, c *cache, revision int64) error {
	res, err := f.server.store.Range(ctx, store.RangeRequest{
		Key: []byte(c.prefix), End: store.PrefixEnd([]byte(c.prefix)), Revision: revision, Serializable: true,
	})
	if err != nil {
		return err
	}
	var entries []*entry
	for i := range res.KVs {
		if e := c.decode(&res.KVs[i]); e != nil {
			entries = append(entries, e)
		}
	}
	return c.reset(entries, revision)
}
