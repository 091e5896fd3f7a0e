package controller

import (
	"cmp"
	"slices"
	"sync"

	"github.com/google/btree"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// cache holds objects by key and by index. One goroutine writes, any number read; the lock is held for tree
// operations only.
type cache struct {
	mu       sync.RWMutex
	objects  *btree.BTreeG[entry]
	indices  map[string]*index
	revision int64
	count    uint64 // of changes
	waiters  map[Key][]chan struct{}
	reached  []revisionWaiter
}

// entry is an object under a key and, in an index, under a value.
type entry struct {
	value string
	key   Key
	obj   kind.Instance
}

type index struct {
	values  func(kind.Instance) []string
	entries *btree.BTreeG[entry]
}

type revisionWaiter struct {
	revision int64
	done     chan struct{}
}

func entryLess(a, b entry) bool {
	if c := cmp.Compare(a.value, b.value); c != 0 {
		return c < 0
	}
	return compareKeys(a.key, b.key) < 0
}

func newCache() *cache {
	return &cache{
		objects: btree.NewG(16, entryLess),
		indices: map[string]*index{},
		waiters: map[Key][]chan struct{}{},
	}
}

// change is one object's change; old is nil for a new object, new for a deleted one.
type change struct{ old, new kind.Instance }

func (c *cache) addIndex(name string, values func(kind.Instance) []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.indices[name]; !ok {
		c.indices[name] = &index{values, btree.NewG(16, entryLess)}
	}
}

func (c *cache) hasIndex(name string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.indices[name]
	return ok
}

func (c *cache) get(key Key) (kind.Instance, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.objects.Get(entry{key: key})
	return e.obj, ok
}

func (c *cache) list() []kind.Instance {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]kind.Instance, 0, c.objects.Len())
	c.objects.Ascend(func(e entry) bool {
		out = append(out, e.obj)
		return true
	})
	return out
}

func (c *cache) inNamespace(namespace string) []kind.Instance {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []kind.Instance
	c.objects.AscendGreaterOrEqual(entry{key: Key{Namespace: namespace}}, func(e entry) bool {
		if e.key.Namespace != namespace {
			return false
		}
		out = append(out, e.obj)
		return true
	})
	return out
}

func (c *cache) byIndex(name, value string) []kind.Instance {
	c.mu.RLock()
	defer c.mu.RUnlock()
	ix, ok := c.indices[name]
	if !ok {
		return nil
	}
	var out []kind.Instance
	ix.entries.AscendGreaterOrEqual(entry{value: value}, func(e entry) bool {
		if e.value != value {
			return false
		}
		out = append(out, e.obj)
		return true
	})
	return out
}

func (c *cache) revisionNow() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

func (c *cache) changesSoFar() uint64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.count
}

// apply makes one event's change and returns it for the handlers: nothing for the deletion of what is not there, two
// changes when another object has taken the name. Only the writing goroutine calls it.
func (c *cache) apply(t client.EventType, obj kind.Instance) []change {
	key := KeyOf(obj)
	old, exists := c.get(key)
	if t == client.Deleted {
		if !exists {
			return nil
		}
		c.commit([]edit{c.edit(key, old, nil)})
		return []change{{old: obj}}
	}
	c.commit([]edit{c.edit(key, old, obj)})
	return changes(old, obj)
}

// replace makes the cache hold exactly objs and returns the difference, deletions first: their last known state is
// the one that the cache had. Only the writing goroutine calls it.
func (c *cache) replace(objs []kind.Instance) []change {
	fresh := make(map[Key]struct{}, len(objs))
	for _, obj := range objs {
		fresh[KeyOf(obj)] = struct{}{}
	}
	var out []change
	var edits []edit
	for _, old := range c.list() {
		if _, ok := fresh[KeyOf(old)]; !ok {
			edits = append(edits, c.edit(KeyOf(old), old, nil))
			out = append(out, change{old: old})
		}
	}
	for _, obj := range objs {
		key := KeyOf(obj)
		old, exists := c.get(key)
		if exists && old.GetResourceVersion() == obj.GetResourceVersion() && old.GetUID() == obj.GetUID() {
			continue
		}
		edits = append(edits, c.edit(key, old, obj))
		out = append(out, changes(old, obj)...)
	}
	c.commit(edits)
	return out
}

// changes tells a replacement by a namesake from an update: somebody may hold state by uid.
func changes(old, new kind.Instance) []change {
	if old != nil && old.GetUID() != new.GetUID() {
		return []change{{old: old}, {new: new}}
	}
	return []change{{old, new}}
}

// edit is a change of the trees, worked out before the lock is taken: index functions are the user's.
type edit struct {
	key      Key
	obj      kind.Instance // nil removes
	del, put []indexEntry
}

type indexEntry struct {
	index *index
	entry entry
}

func (c *cache) edit(key Key, old, obj kind.Instance) edit {
	e := edit{key: key, obj: obj}
	for _, ix := range c.indices { // fixed since Run began
		if old != nil {
			for _, v := range ix.values(old) {
				e.del = append(e.del, indexEntry{ix, entry{value: v, key: key}})
			}
		}
		if obj != nil {
			for _, v := range ix.values(obj) {
				e.put = append(e.put, indexEntry{ix, entry{v, key, obj}})
			}
		}
	}
	return e
}

func (c *cache) commit(edits []edit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count += uint64(len(edits))
	for _, e := range edits {
		for _, d := range e.del {
			d.index.entries.Delete(d.entry)
		}
		for _, p := range e.put {
			p.index.entries.ReplaceOrInsert(p.entry)
		}
		if e.obj == nil {
			c.objects.Delete(entry{key: e.key})
		} else {
			c.objects.ReplaceOrInsert(entry{key: e.key, obj: e.obj})
		}
		for _, w := range c.waiters[e.key] {
			select {
			case w <- struct{}{}:
			default:
			}
		}
	}
}

// advance says that everything up to revision has been applied and handed on. It may go back when the server did.
func (c *cache) advance(revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision = revision
	c.reached = slices.DeleteFunc(c.reached, func(w revisionWaiter) bool {
		if w.revision > revision {
			return false
		}
		close(w.done)
		return true
	})
}

// reach is closed when the cache is complete up to revision; drop it when no longer waited for.
func (c *cache) reach(revision int64) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := make(chan struct{})
	if c.revision >= revision {
		close(done)
		return done
	}
	c.reached = append(c.reached, revisionWaiter{revision, done})
	return done
}

func (c *cache) dropReach(done <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reached = slices.DeleteFunc(c.reached, func(w revisionWaiter) bool { return w.done == done })
}

// follow registers for changes of one key; the channel gets a token after each.
func (c *cache) follow(key Key) chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := make(chan struct{}, 1)
	c.waiters[key] = append(c.waiters[key], w)
	return w
}

func (c *cache) unfollow(key Key, w chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	rest := slices.DeleteFunc(c.waiters[key], func(o chan struct{}) bool { return o == w })
	if len(rest) == 0 {
		delete(c.waiters, key)
		return
	}
	c.waiters[key] = rest
}
