package controller

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// InformerConfig adjusts an Informer.
type InformerConfig struct {
	Namespace     string      // only this namespace; empty means all
	LabelSelector string      // only objects with these labels; empty means all
	FieldSelector string      // such as spec.nodeName=a; empty means all
	Logger        *zap.Logger // nil means none
}

// Informer is a view of the objects of one kind that keeps itself current while Run runs. Reads are answered from
// memory. Objects are shared and read-only. Make it with [NewInformer], or shared ones with [InformerFor].
type Informer[T kind.Instance] struct{ core *informer }

// NewInformer makes an informer; Run starts it.
func NewInformer[T kind.Instance](c client.Client, t kind.Type[T], cfg InformerConfig) *Informer[T] {
	return &Informer[T]{newInformer(c, t.Kind(), cfg, func(obj kind.Instance) bool {
		_, ok := obj.(T)
		return ok
	})}
}

// AddIndex adds an index by name: values says under which values an object is found by ByIndex. It must depend on the
// object alone. A second call with the same name changes nothing, so that several users may ask for one index; a new
// name after Run began is ErrRunning.
func (i *Informer[T]) AddIndex(name string, values func(obj T) []string) error {
	return i.core.addIndex(name, func(obj kind.Instance) []string { return values(obj.(T)) })
}

// OnChange calls f for every change after the view has been updated: old is nil for a new object, new for a deleted
// one. A handler added while the informer runs is first told of all objects there are. Calls come in order, from one
// goroutine; f must not block, for it holds up the informer.
func (i *Informer[T]) OnChange(f func(old, new T)) {
	i.core.onChange(func(old, new kind.Instance) { f(as[T](old), as[T](new)) })
}

// Run keeps the view current until ctx ends, and returns nil then. Errors of the connection are survived and logged.
func (i *Informer[T]) Run(ctx context.Context) error { return i.core.Run(ctx) }

// Synced is closed when the view is complete for the first time and handlers have been told of it.
func (i *Informer[T]) Synced() <-chan struct{} { return i.core.synced }

// Wait waits for Synced.
func (i *Informer[T]) Wait(ctx context.Context) error { return i.core.wait(ctx) }

// Get finds an object; namespace is empty for cluster-scoped kinds.
func (i *Informer[T]) Get(namespace, name string) (T, bool) {
	obj, ok := i.core.cache.get(Key{Namespace: namespace, Name: name})
	return as[T](obj), ok
}

// List is all objects, ordered by namespace and name. The slice is the caller's.
func (i *Informer[T]) List() []T { return allAs[T](i.core.cache.list()) }

// InNamespace is the objects of a namespace, ordered by name. The slice is the caller's.
func (i *Informer[T]) InNamespace(namespace string) []T {
	return allAs[T](i.core.cache.inNamespace(namespace))
}

// ByIndex is the objects that an index has under value, ordered by namespace and name. It is empty when there is no
// such index. The slice is the caller's.
func (i *Informer[T]) ByIndex(index, value string) []T {
	return allAs[T](i.core.cache.byIndex(index, value))
}

// Revision is the revision that the view is known to be complete up to: of the last change, or newer when the server
// said that there was none. It is 0 before Synced.
func (i *Informer[T]) Revision() int64 { return i.core.cache.revisionNow() }

// WaitRevision waits until the view is complete up to a revision, such as that of an object just written. On a server
// that sends no progress it may take until the next change or bookmark.
func (i *Informer[T]) WaitRevision(ctx context.Context, revision int64) error {
	return i.core.waitRevision(ctx, revision)
}

// ViewTimeout is how long a reconcile may wait for a view to show what it wrote. A view that is later than that is
// cut off from the server; the reconcile fails and is tried again.
const ViewTimeout = 10 * time.Second

// WaitWrite waits until the view shows what a write returned, so that the next decision builds on it: ViewTimeout at
// most.
func (i *Informer[T]) WaitWrite(ctx context.Context, written T) error {
	revision, err := client.ParseRevision(written.GetResourceVersion())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, ViewTimeout)
	defer cancel()
	return i.WaitRevision(ctx, revision)
}

// WaitFor waits until cond holds for an object, which need not exist, and returns the object. cond sees the state at
// the call and then the latest state after changes; states that were quickly overtaken may be skipped. When ctx ends
// first, the object is the last that was seen.
func (i *Informer[T]) WaitFor(ctx context.Context, namespace, name string, cond func(obj T, exists bool) bool) (T, error) {
	obj, err := i.core.waitFor(ctx, Key{Namespace: namespace, Name: name}, func(obj kind.Instance) bool {
		return cond(as[T](obj), obj != nil)
	})
	return as[T](obj), err
}

func as[T kind.Instance](obj kind.Instance) T {
	t, _ := obj.(T)
	return t
}

func allAs[T kind.Instance](objs []kind.Instance) []T {
	out := make([]T, len(objs))
	for i, obj := range objs {
		out[i] = as[T](obj)
	}
	return out
}
