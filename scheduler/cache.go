package scheduler

import (
	"maps"
	"slices"
	"sync"

	"github.com/keelson-dev/keelson/controller"
)

// cache is the scheduler's picture of targets and of the units on them: what the informers reported, and what was
// assumed and not yet reported. The mutex is held for map operations only.
type cache struct {
	mu       sync.Mutex
	targets  map[string]*Target // Node nil: units are bound to a target that is not, or no longer, there
	placed   map[controller.Key]placed
	snapshot *Snapshot // nil: changed since it was made
}

type placed struct {
	unit    *Unit
	target  string
	assumed bool // decided here, and not yet reported by the informer
}

func newCache() *cache {
	return &cache{targets: make(map[string]*Target), placed: make(map[controller.Key]placed)}
}

// take gives the present snapshot.
func (c *cache) take() *Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.snapshot == nil {
		list := make([]*Target, 0, len(c.targets))
		for _, name := range slices.Sorted(maps.Keys(c.targets)) {
			if t := c.targets[name]; t.Node != nil {
				list = append(list, t)
			}
		}
		c.snapshot = NewSnapshot(list)
	}
	return c.snapshot
}

// setTarget takes a target's new offer and keeps the units on it. It returns what was known before, nil if nothing.
func (c *cache) setTarget(t *Target) (old, now *Target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.targets[t.Name]; ok {
		t.Units, t.Requested = known.Units, known.Requested
		if known.Node != nil {
			old = known
		}
	}
	c.targets[t.Name] = t
	c.snapshot = nil
	return old, t
}

func (c *cache) removeTarget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, ok := c.targets[name]
	if !ok {
		return
	}
	if len(t.Units) == 0 {
		delete(c.targets, name)
	} else {
		c.targets[name] = &Target{Name: name, Units: t.Units, Requested: t.Requested}
	}
	c.snapshot = nil
}

// place notes where a unit is. A report replaces what was assumed.
func (c *cache) place(u *Unit, target string, assumed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.placed[u.key]; ok {
		if assumed && !known.assumed {
			return // the report was faster
		}
		c.leave(known)
	}
	t, ok := c.targets[target]
	if !ok {
		t = &Target{Name: target}
	}
	c.targets[target] = t.With(u)
	c.placed[u.key] = placed{u, target, assumed}
	c.snapshot = nil
}

// remove forgets a unit and returns it as it was known; nil if it was not placed.
func (c *cache) remove(key controller.Key) *Unit {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.placed[key]
	if !ok {
		return nil
	}
	c.leave(known)
	delete(c.placed, key)
	return known.unit
}

// forget takes back an assumption, unless a report has confirmed it.
func (c *cache) forget(u *Unit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.placed[u.key]
	if !ok || !known.assumed || known.unit.Object.GetUID() != u.Object.GetUID() {
		return
	}
	c.leave(known)
	delete(c.placed, u.key)
}

func (c *cache) leave(p placed) {
	t, ok := c.targets[p.target]
	if !ok {
		return
	}
	t = t.Without(p.unit.key)
	if t.Node == nil && len(t.Units) == 0 {
		delete(c.targets, p.target)
	} else {
		c.targets[p.target] = t
	}
	c.snapshot = nil
}
