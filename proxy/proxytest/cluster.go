package proxytest

import (
	"context"
	"fmt"
	"io"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Cluster holds objects and answers get, list, watch, update and view for them: enough of a control plane for
// informers and status writers. Objects given to it become its own. Selectors are ignored. It works in a synctest
// bubble.
type Cluster struct {
	mu       sync.Mutex
	revision int64
	objects  map[objectKey]kind.Instance
	watchers map[*clusterWatcher]struct{}
	fail     func(*client.Request) error
}

type objectKey struct{ resource, namespace, name string }

var (
	_ client.Client = (*Cluster)(nil)
	_ client.Viewer = (*Cluster)(nil)
)

// NewCluster makes a cluster with nothing in it.
func NewCluster() *Cluster {
	return &Cluster{revision: 1, objects: map[objectKey]kind.Instance{}, watchers: map[*clusterWatcher]struct{}{}}
}

// FailWith makes requests fail with what f returns; nil ends it.
func (c *Cluster) FailWith(f func(*client.Request) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = f
}

// Set creates or replaces an object and returns the revision of the change.
func Set[T kind.Instance](c *Cluster, t kind.Type[T], obj T) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.set(t.Kind(), obj)
}

func (c *Cluster) set(k *kind.Kind, obj kind.Instance) int64 {
	c.revision++
	obj.SetResourceVersion(client.FormatRevision(c.revision))
	key := objectKey{k.String(), obj.GetNamespace(), obj.GetName()}
	event := client.Event{Type: client.Added, Object: obj, Revision: c.revision}
	if _, ok := c.objects[key]; ok {
		event.Type = client.Modified
	} else {
		obj.SetUID(types.UID("uid-" + client.FormatRevision(c.revision)))
	}
	c.objects[key] = obj
	c.publish(k, event)
	return c.revision
}

// Remove deletes an object; that it is not there is no error.
func Remove[T kind.Instance](c *Cluster, t kind.Type[T], namespace, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := objectKey{t.Kind().String(), namespace, name}
	obj, ok := c.objects[key]
	if !ok {
		return
	}
	delete(c.objects, key)
	c.revision++
	c.publish(t.Kind(), client.Event{Type: client.Deleted, Object: obj, Revision: c.revision})
}

func (c *Cluster) publish(k *kind.Kind, e client.Event) {
	for w := range c.watchers {
		if w.kind.Is(k) && (w.namespace == "" || w.namespace == e.Object.GetNamespace()) {
			w.events = append(w.events, e)
			select {
			case w.wake <- struct{}{}:
			default:
			}
		}
	}
}

// Do answers get, list and update (of the object or its status).
func (c *Cluster) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refuse(ctx, req); err != nil {
		return nil, err
	}
	key := objectKey{req.Kind.String(), req.Namespace, req.Name}
	obj, ok := c.objects[key]
	switch {
	case req.Verb == client.List:
		return &client.Response{Items: c.items(req), Revision: c.revision}, nil
	case !ok:
		return nil, apierrors.NewNotFound(req.Kind.GroupResource(), req.Name)
	case req.Verb == client.Get:
		return &client.Response{Object: obj, Revision: c.revision}, nil
	case req.Verb == client.Update:
		if rv := req.Object.GetResourceVersion(); rv != "" && rv != obj.GetResourceVersion() {
			return nil, apierrors.NewConflict(req.Kind.GroupResource(), req.Name, fmt.Errorf("revision %s is not the stored %s", rv, obj.GetResourceVersion()))
		}
		stored := req.Kind.Copy(req.Object)
		c.set(req.Kind, stored)
		return &client.Response{Object: stored, Revision: c.revision}, nil
	}
	return nil, apierrors.NewMethodNotSupported(req.Kind.GroupResource(), string(req.Verb))
}

func (c *Cluster) refuse(ctx context.Context, req *client.Request) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if c.fail != nil {
		return c.fail(req)
	}
	return nil
}

func (c *Cluster) items(req *client.Request) []kind.Instance {
	var out []kind.Instance
	for key, obj := range c.objects {
		if key.resource == req.Kind.String() && (req.Namespace == "" || req.Namespace == key.namespace) {
			out = append(out, obj)
		}
	}
	return out
}

// Watch streams changes from now on. Only a watch from the present revision is answered: an older one has expired.
func (c *Cluster) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refuse(ctx, req); err != nil {
		return nil, err
	}
	if rv := req.List.ResourceVersion; rv != "" && rv != client.FormatRevision(c.revision) {
		return nil, apierrors.NewResourceExpired("revision " + rv + " is not kept")
	}
	return c.watch(req), nil
}

// View is a snapshot and the changes after it.
func (c *Cluster) View(ctx context.Context, req *client.Request) (*client.View, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refuse(ctx, req); err != nil {
		return nil, err
	}
	return &client.View{Items: c.items(req), Revision: c.revision, Watcher: c.watch(req)}, nil
}

func (c *Cluster) watch(req *client.Request) *clusterWatcher {
	w := &clusterWatcher{cluster: c, kind: req.Kind, namespace: req.Namespace, wake: make(chan struct{}, 1), closed: make(chan struct{})}
	c.watchers[w] = struct{}{}
	return w
}

type clusterWatcher struct {
	cluster   *Cluster
	kind      *kind.Kind
	namespace string
	events    []client.Event // guarded by the cluster's mutex
	wake      chan struct{}
	closed    chan struct{}
	once      sync.Once
}

// Next is the next event.
func (w *clusterWatcher) Next(ctx context.Context) (client.Event, error) {
	for {
		w.cluster.mu.Lock()
		if len(w.events) > 0 {
			e := w.events[0]
			w.events = w.events[1:]
			w.cluster.mu.Unlock()
			return e, nil
		}
		w.cluster.mu.Unlock()
		select {
		case <-w.wake:
		case <-w.closed:
			return client.Event{}, io.EOF
		case <-ctx.Done():
			return client.Event{}, ctx.Err()
		}
	}
}

// Close ends the stream.
func (w *clusterWatcher) Close() error {
	w.once.Do(func() {
		close(w.closed)
		w.cluster.mu.Lock()
		delete(w.cluster.watchers, w)
		w.cluster.mu.Unlock()
	})
	return nil
}
