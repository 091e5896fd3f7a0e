package controller

import (
	"context"
	"fmt"
	"io"
	"sync"

	jsonpatch "github.com/evanphx/json-patch/v5"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// fake is a small control plane in memory: objects, one revision, a log to watch. It stands for a server across the
// network (no view, no progress on demand); local makes one in the same process of it.
type fake struct {
	mu        sync.Mutex
	revision  int64
	objects   map[string]map[Key]kind.Instance
	log       []logged
	compacted int64
	changed   chan struct{}
	cut       chan struct{} // closed to end all streams
	cutErr    error
	hook      func(*client.Request) error // called first, without the lock
	lists     int
	watches   int
}

type logged struct {
	resource string
	event    client.Event
}

func newFake() *fake {
	return &fake{revision: 1, objects: map[string]map[Key]kind.Instance{}, changed: make(chan struct{}), cut: make(chan struct{})}
}

func (f *fake) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	if err := f.enter(ctx, req); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	gr := req.Kind.GroupResource()
	objs := f.objects[gr.Resource]
	if objs == nil {
		objs = map[Key]kind.Instance{}
		f.objects[gr.Resource] = objs
	}
	key := Key{Namespace: req.Namespace, Name: req.Name}
	old, exists := objs[key]
	switch req.Verb {
	case client.List:
		f.lists++
		return &client.Response{Items: f.itemsLocked(req), Revision: f.revision}, nil
	case client.Create:
		if exists {
			return nil, apierrors.NewAlreadyExists(gr, req.Name)
		}
		obj := req.Kind.Copy(req.Object)
		obj.SetUID(types.UID(fmt.Sprint("uid-", f.revision+1)))
		f.storeLocked(req.Kind, client.Added, obj)
		return &client.Response{Object: obj}, nil
	}
	if !exists {
		return nil, apierrors.NewNotFound(gr, req.Name)
	}
	switch req.Verb {
	case client.Get:
	case client.Update:
		if rv := req.Object.GetResourceVersion(); rv != "" && rv != old.GetResourceVersion() {
			return nil, apierrors.NewConflict(gr, req.Name, fmt.Errorf("stored is %s, given %s", old.GetResourceVersion(), rv))
		}
		uid := old.GetUID()
		old = req.Kind.Copy(req.Object)
		old.SetUID(uid) // another would be another object of the same name
		f.storeLocked(req.Kind, client.Modified, old)
	case client.Patch:
		data, err := req.Kind.EncodeJSON(req.Kind.Copy(old))
		if err != nil {
			return nil, err
		}
		if data, err = jsonpatch.MergePatch(data, req.PatchData); err != nil {
			return nil, err
		}
		if old, err = req.Kind.DecodeJSON(data, false); err != nil {
			return nil, err
		}
		f.storeLocked(req.Kind, client.Modified, old)
	case client.Delete:
		old = req.Kind.Copy(old)
		f.storeLocked(req.Kind, client.Deleted, old)
	default:
		return nil, apierrors.NewMethodNotSupported(gr, string(req.Verb))
	}
	return &client.Response{Object: old}, nil
}

func (f *fake) enter(ctx context.Context, req *client.Request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		return hook(req)
	}
	return nil
}

func (f *fake) storeLocked(k *kind.Kind, t client.EventType, obj kind.Instance) {
	f.revision++
	obj.SetResourceVersion(client.FormatRevision(f.revision))
	f.log = append(f.log, logged{k.Plural, client.Event{Type: t, Object: obj, Revision: f.revision}})
	if t == client.Deleted {
		delete(f.objects[k.Plural], KeyOf(obj))
	} else {
		f.objects[k.Plural][KeyOf(obj)] = obj
	}
	f.wakeLocked()
}

func (f *fake) wakeLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fake) itemsLocked(req *client.Request) []kind.Instance {
	var out []kind.Instance
	for key, obj := range f.objects[req.Kind.Plural] {
		if req.Namespace == "" || key.Namespace == req.Namespace {
			out = append(out, obj)
		}
	}
	return out
}

func (f *fake) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	if err := f.enter(ctx, req); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watches++
	from, err := client.ParseRevision(req.List.ResourceVersion)
	if err != nil {
		return nil, err
	}
	if from < f.compacted {
		return nil, apierrors.NewResourceExpired("too old")
	}
	return &fakeWatcher{fake: f, req: *req, at: from, closed: make(chan struct{}), cut: f.cut}, nil
}

// disconnect ends all streams with err.
func (f *fake) disconnect(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutErr = err
	close(f.cut)
	f.cut = make(chan struct{})
}

// compact forgets all history.
func (f *fake) compact() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.compacted = f.revision
	f.log = nil
	f.wakeLocked()
}

func (f *fake) setHook(hook func(*client.Request) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

type fakeWatcher struct {
	fake   *fake
	req    client.Request
	at     int64
	once   sync.Once
	closed chan struct{}
	cut    chan struct{}
	asked  bool // for a bookmark
}

func (w *fakeWatcher) Next(ctx context.Context) (client.Event, error) {
	for {
		event, changed, err := w.poll()
		if err != nil || event.Type != "" {
			return event, err
		}
		select {
		case <-changed:
		case <-w.cut:
			w.fake.mu.Lock()
			defer w.fake.mu.Unlock()
			return client.Event{}, w.fake.cutErr
		case <-w.closed:
			return client.Event{}, io.ErrClosedPipe
		case <-ctx.Done():
			return client.Event{}, ctx.Err()
		}
	}
}

func (w *fakeWatcher) poll() (client.Event, <-chan struct{}, error) {
	w.fake.mu.Lock()
	defer w.fake.mu.Unlock()
	if w.at < w.fake.compacted {
		return client.Event{}, nil, apierrors.NewResourceExpired("too old")
	}
	for _, l := range w.fake.log {
		if l.event.Revision <= w.at {
			continue
		}
		w.at = l.event.Revision
		if l.resource == w.req.Kind.Plural && (w.req.Namespace == "" || l.event.Object.GetNamespace() == w.req.Namespace) {
			return l.event, nil, nil
		}
	}
	if w.asked {
		w.asked = false
		return client.Event{Type: client.Bookmark, Revision: w.fake.revision}, nil, nil
	}
	return client.Event{}, w.fake.changed, nil
}

func (w *fakeWatcher) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

// local is a fake in the same process: it has views, and watchers that tell their progress.
type local struct{ *fake }

type localWatcher struct{ *fakeWatcher }

func (w localWatcher) RequestProgress() {
	w.fake.mu.Lock()
	defer w.fake.mu.Unlock()
	w.asked = true
	w.fake.wakeLocked()
}

func (l local) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	w, err := l.fake.Watch(ctx, req)
	if err != nil {
		return nil, err
	}
	return localWatcher{w.(*fakeWatcher)}, nil
}

func (l local) View(ctx context.Context, req *client.Request) (*client.View, error) {
	if err := l.enter(ctx, req); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lists++
	w := &fakeWatcher{fake: l.fake, req: *req, at: l.revision, closed: make(chan struct{}), cut: l.cut}
	return &client.View{Items: l.itemsLocked(req), Revision: l.revision, Watcher: localWatcher{w}}, nil
}

func configMap(namespace, name, value string) *corev1.ConfigMap {
	cm := kind.ConfigMap.New()
	cm.Namespace, cm.Name = namespace, name
	cm.Labels = map[string]string{"value": value}
	cm.Data = map[string]string{"value": value}
	return cm
}
