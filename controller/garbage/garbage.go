package garbage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	Kinds   *kind.Set // the kinds that the server serves; required
	Workers int       // how many objects of one kind are looked at side by side; 0 means 4
}

const (
	byOwner    = "garbage.owner" // index of objects by their owners' uids
	absentSize = 4096            // how many absent owners are remembered
)

// collector is what the controllers of all kinds share.
type collector struct {
	client  client.Client
	logger  *zap.Logger
	kinds   []*watched
	byKind  map[schema.GroupKind]*watched
	absents *absentees
}

// watched is one kind: its view, and the controller whose keys are its objects.
type watched struct {
	collector  *collector
	kind       *kind.Kind
	objects    *controller.Informer[kind.Instance]
	controller *controller.Controller
}

// New registers a controller for each kind with a manager, which must not run yet.
func New(m *controller.Manager, cfg Config) error {
	switch {
	case m == nil:
		return errors.New("garbage: the manager is nil")
	case cfg.Kinds == nil:
		return errors.New("garbage: Config: Kinds is nil: want the kinds that the server serves")
	case cfg.Workers < 0:
		return fmt.Errorf("garbage: Config: Workers is %d, must not be negative", cfg.Workers)
	}
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	c := &collector{client: m.Client(), logger: m.Logger().Named("garbage"), byKind: map[schema.GroupKind]*watched{}, absents: newAbsentees(absentSize)}
	for _, k := range cfg.Kinds.Resources() {
		if k.Is(kind.Event.Kind()) {
			continue
		}
		w := &watched{collector: c, kind: k, objects: controller.InformerFor(m, kind.Untyped(k))}
		if err := w.objects.AddIndex(byOwner, ownerUIDs); err != nil {
			return fmt.Errorf("garbage: %s: %w", k, err)
		}
		var err error
		w.controller, err = controller.New(m, "garbage-"+k.String(), w, controller.Config{Workers: cfg.Workers, MaxDelay: time.Minute})
		if err != nil {
			return err
		}
		c.kinds = append(c.kinds, w)
		c.byKind[k.GroupVersionKind().GroupKind()] = w
	}
	for _, w := range c.kinds {
		w.objects.OnChange(w.changed)
	}
	return nil
}

func ownerUIDs(obj kind.Instance) []string {
	var out []string
	for _, ref := range obj.GetOwnerReferences() {
		out = append(out, string(ref.UID))
	}
	return out
}

// changed enqueues what a change of an object concerns: itself, its dependents when it goes, its owners when it stops
// to hold them.
func (w *watched) changed(old, now kind.Instance) {
	if old != nil && now != nil && old.GetUID() != now.GetUID() { // the deletion between was not seen
		w.changed(old, nil)
		old = nil
	}
	if now == nil {
		w.collector.enqueueDependents(old.GetUID())
		w.collector.enqueueOwners(old)
		return
	}
	owners := now.GetOwnerReferences()
	same := old != nil && sameOwners(old.GetOwnerReferences(), owners)
	if len(owners) > 0 && !same || deletingDependents(now) || orphaning(now) {
		w.controller.Enqueue(controller.KeyOf(now))
	}
	if old != nil && !same {
		w.collector.enqueueOwners(old)
	}
}

// dependent is an object with its kind.
type dependent struct {
	kind *watched
	obj  kind.Instance
}

func (c *collector) dependents(owner types.UID) []dependent {
	var out []dependent
	for _, w := range c.kinds {
		for _, obj := range w.objects.ByIndex(byOwner, string(owner)) {
			out = append(out, dependent{w, obj})
		}
	}
	return out
}

func (c *collector) enqueueDependents(owner types.UID) {
	for _, d := range c.dependents(owner) {
		d.kind.controller.Enqueue(controller.KeyOf(d.obj))
	}
}

// enqueueOwners wakes owners that may have waited for an object.
func (c *collector) enqueueOwners(obj kind.Instance) {
	for _, ref := range obj.GetOwnerReferences() {
		w, key, ok := c.find(ref, obj.GetNamespace())
		if !ok {
			continue
		}
		if owner, ok := w.objects.Get(key.Namespace, key.Name); ok && owner.GetUID() == ref.UID && (deletingDependents(owner) || orphaning(owner)) {
			w.controller.Enqueue(key)
		}
	}
}

// find says where the owner is that an object in a namespace refers to; false when that can't be said.
func (c *collector) find(ref metav1.OwnerReference, namespace string) (*watched, controller.Key, bool) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return nil, controller.Key{}, false
	}
	w, ok := c.byKind[schema.GroupKind{Group: gv.Group, Kind: ref.Kind}]
	switch {
	case !ok, w.kind.Namespaced && namespace == "":
		return nil, controller.Key{}, false
	case w.kind.Namespaced:
		return w, controller.Key{Namespace: namespace, Name: ref.Name}, true
	}
	return w, controller.Key{Name: ref.Name}, true
}

// caughtUp waits until all views show what was stored when obj was.
func (c *collector) caughtUp(ctx context.Context, obj kind.Instance) error {
	revision, err := client.ParseRevision(obj.GetResourceVersion())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, controller.ViewTimeout)
	defer cancel()
	for _, w := range c.kinds {
		if err := w.objects.WaitRevision(ctx, revision); err != nil {
			return fmt.Errorf("the view of %s does not reach revision %d: %w", w.kind, revision, err)
		}
	}
	return nil
}
