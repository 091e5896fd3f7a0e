package apiserver

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/btree"
	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/fieldmanager"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/watch"
)

// What a kind's event log keeps for watches that come back.
const (
	historyBytes = 32 << 20
	historyAge   = 10 * time.Minute
	treeDegree   = 32
)

// entry is one version of one object. It is immutable and shared.
type entry struct {
	key string
	obj kind.Instance
	rev int64
	raw []byte // the store's own bytes
	enc client.Forms
	sum uint64 // of the object as it was published, when mutations are detected

	stored   *entry                  // of which this one is another version, in a call; nil in the cache
	versions atomic.Pointer[version] // the object in other versions than the stored one
}

func byKey(a, b *entry) bool { return a.key < b.key }

// change is what the log tells watchers about one object: at least one side is set.
type change struct {
	now, old *entry
	gone     func() *entry // the old object as it is announced when it is deleted or leaves a selector
}

// cache holds the objects of one kind, in its stored version, sorted by key, and the log of their changes. The feed writes it, everybody reads.
type cache struct {
	kind   *kind.Kind
	prefix string
	server *Server
	fields *fieldmanager.Manager
	scale  *fieldmanager.Scale // nil for kinds that can't be scaled

	retired atomic.Bool // the kind was removed or replaced: nothing comes any more

	mu       sync.Mutex
	tree     *btree.BTreeG[*entry]
	snapshot *btree.BTreeG[*entry] // what readers share until the next write; nil when there is none yet
	revision int64                 // newest change of this kind; the tree is exact from there up to the feed's position
	log      *watch.Log[change]
}

func newCache(s *Server, k *kind.Kind) *cache {
	c := &cache{kind: k, prefix: prefixOf(k), server: s, tree: btree.NewG(treeDegree, byKey)}
	c.fields = fieldmanager.New(func() []*kind.Kind { return s.served.Load().versions(k) })
	if k.Scale != nil {
		c.scale = fieldmanager.NewScale(c.fields, k)
	}
	return c
}

// indexed are the field selectors under which watches are found without being compared.
func indexed(name string) bool { return name == "spec.nodeName" }

func (c *cache) terms(e watch.Event[change]) []string {
	var out []string
	for name, get := range c.kind.Fields {
		if !indexed(name) {
			continue
		}
		for _, side := range []*entry{e.Value.old, e.Value.now} {
			if side != nil {
				out = append(out, name+"="+get(side.obj))
			}
		}
	}
	return out
}

// reset replaces everything by what the store holds at a revision. Watches of the old log end as expired.
func (c *cache) reset(entries []*entry, revision int64) error {
	cfg := watch.Config[change]{Start: revision, MaxBytes: historyBytes, MaxAge: historyAge}
	for name := range c.kind.Fields {
		if indexed(name) {
			cfg.Index = c.terms
		}
	}
	log, err := watch.New(cfg)
	if err != nil {
		return err
	}
	tree := btree.NewG(treeDegree, byKey)
	for _, e := range entries {
		tree.ReplaceOrInsert(e)
	}
	c.mu.Lock()
	old := c.log
	c.tree, c.snapshot, c.revision, c.log = tree, nil, revision, log
	c.mu.Unlock()
	if old != nil {
		old.Close(watch.ErrCompacted)
	}
	return nil
}

func (c *cache) close(err error) {
	c.mu.Lock()
	log := c.log
	c.mu.Unlock()
	if log != nil {
		log.Close(err)
	}
}

// apply takes over the changes of one revision. Only the feed calls it.
func (c *cache) apply(revision int64, puts []*entry, deleted []string) error {
	events := make([]watch.Event[change], 0, len(puts)+len(deleted))
	var replaced []*entry
	c.mu.Lock()
	c.snapshot = nil
	for _, e := range puts {
		old, _ := c.tree.ReplaceOrInsert(e)
		events = append(events, c.event(e.key, revision, e, old))
		replaced = append(replaced, old)
	}
	for _, key := range deleted {
		if old, ok := c.tree.Delete(&entry{key: key}); ok {
			events = append(events, c.event(key, revision, nil, old))
			replaced = append(replaced, old)
		}
	}
	if len(events) > 0 {
		c.revision = revision
	}
	log := c.log
	c.mu.Unlock()
	for _, old := range replaced {
		c.verify(old)
	}
	return log.Append(revision, events)
}

func (c *cache) event(key string, revision int64, now, old *entry) watch.Event[change] {
	ch := change{now: now, old: old}
	size := len(key)
	if now != nil {
		size += len(now.raw)
	}
	if old != nil {
		ch.gone = sync.OnceValue(func() *entry { return old.at(revision) })
	}
	return watch.Event[change]{Key: key, Value: ch, Size: 2 * size}
}

// at is the same object at another revision. Its stored bytes are the same, because they carry no revision.
func (e *entry) at(revision int64) *entry {
	out := &entry{key: e.key, obj: atRevision(e.obj, revision), rev: revision, raw: e.raw}
	out.enc.Init(e.raw)
	return out
}

// atRevision is a shallow copy of an immutable object with another resourceVersion.
func atRevision(obj kind.Instance, revision int64) kind.Instance {
	out := kind.Shallow(obj)
	out.SetResourceVersion(client.FormatRevision(revision))
	return out
}

// view is a kind at a moment: nothing of the kind happened between the snapshot's last change and revision.
type view struct {
	tree       *btree.BTreeG[*entry]
	lastChange int64
	revision   int64
	log        *watch.Log[change]
}

// view takes a snapshot. It is at the feed's position or newer.
func (c *cache) view() view {
	position := c.server.feed.position()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snapshot == nil {
		c.snapshot = c.tree.Clone()
	}
	return view{tree: c.snapshot, lastChange: c.revision, revision: max(position, c.revision), log: c.log}
}

// get answers nil when there is no such object.
func (c *cache) get(key string) *entry {
	c.mu.Lock()
	e, _ := c.tree.Get(&entry{key: key})
	c.mu.Unlock()
	c.verify(e)
	return e
}

// ascend visits the entries from a key on whose keys start with prefix, in order, until visit answers false.
func (v view) ascend(prefix, from string, visit func(*entry) bool) {
	v.tree.AscendGreaterOrEqual(&entry{key: max(prefix, from)}, func(e *entry) bool {
		return strings.HasPrefix(e.key, prefix) && visit(e)
	})
}

// decode makes an entry of what the store holds; nil when it makes no sense, which is logged.
func (c *cache) decode(kv *store.KV) *entry {
	obj, err := c.kind.Decode(kv.Value)
	if err == nil && c.key(obj.GetNamespace(), obj.GetName()) != string(kv.Key) {
		err = errMisplaced
	}
	if err != nil {
		c.server.log.Error("an object in the store cannot be decoded and is skipped",
			zap.Stringer("kind", c.kind), zap.ByteString("key", kv.Key), zap.Int64("revision", kv.ModRevision), zap.Error(err))
		return nil
	}
	if c.kind.Default != nil {
		c.kind.Default(obj)
	}
	obj.SetResourceVersion(client.FormatRevision(kv.ModRevision))
	return c.entry(string(kv.Key), obj, kv)
}

func (c *cache) entry(key string, obj kind.Instance, kv *store.KV) *entry {
	e := &entry{key: key, obj: obj, rev: kv.ModRevision, raw: kv.Value, sum: c.sum(obj)}
	e.enc.Init(kv.Value)
	return e
}
