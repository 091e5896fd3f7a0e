package scheduler

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Target is a place for units, with the units that are bound to it or assumed on it. It is immutable: a change makes a
// new one, so a snapshot stays what it was.
type Target struct {
	Name        string
	Object      kind.Instance // the object itself
	Node        *corev1.Node  // its offer in a node's terms; for nodes the object itself
	Allocatable Resources
	Requested   Resources // the sum over Units
	Units       []*Unit   // read-only
}

// Free is what is left.
func (t *Target) Free() Resources { return t.Allocatable.minus(t.Requested) }

// With is the target as it would be with one more unit.
func (t *Target) With(u *Unit) *Target {
	c := *t
	c.Units = append(t.Units[:len(t.Units):len(t.Units)], u)
	c.Requested = t.Requested.plus(u.Requests)
	return &c
}

// Without is the target as it would be when a unit had left.
func (t *Target) Without(key controller.Key) *Target {
	for i, u := range t.Units {
		if u.key == key {
			c := *t
			c.Units = append(t.Units[:i:i], t.Units[i+1:]...)
			c.Requested = t.Requested.minus(u.Requests)
			return &c
		}
	}
	return t
}

// Snapshot is all targets at one moment, sorted by name. It is immutable.
type Snapshot struct {
	Targets []*Target
	byName  map[string]*Target
}

// Target finds a target by name.
func (s *Snapshot) Target(name string) (*Target, bool) {
	t, ok := s.byName[name]
	return t, ok
}

// NewSnapshot makes a snapshot of targets that are sorted by name: for tests of stages and for simulations.
func NewSnapshot(targets []*Target) *Snapshot {
	s := &Snapshot{Targets: targets, byName: make(map[string]*Target, len(targets))}
	for _, t := range targets {
		s.byName[t.Name] = t
	}
	return s
}

// NewTarget makes the target for a node, for tests of stages and for simulations.
func NewTarget(node *corev1.Node, pods ...*corev1.Pod) *Target {
	t := &Target{Name: node.Name, Object: node, Node: node, Allocatable: ResourcesOf(node.Status.Allocatable)}
	for _, p := range pods {
		t = t.With(newUnit(p, p))
	}
	return t
}
