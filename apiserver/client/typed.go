package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Typed is a client for one kind.
type Typed[T kind.Instance] struct {
	client Client
	typ    kind.Type[T]
}

// For gives c's typed face for one kind.
func For[T kind.Instance](c Client, t kind.Type[T]) Typed[T] { return Typed[T]{c, t} }

// Page is the answer to a list.
type Page[T kind.Instance] struct {
	Items    []T
	Revision int64  // a watch from here continues the list
	Continue string // token for the next page; empty when this is the last
}

func (t Typed[T]) request(verb Verb, namespace, name string, opts []Option) *Request {
	req := &Request{Verb: verb, Kind: t.typ.Kind(), Namespace: namespace, Name: name}
	for _, o := range opts {
		o(req)
	}
	return req
}

func (t Typed[T]) one(ctx context.Context, req *Request) (T, error) {
	var zero T
	resp, err := t.client.Do(ctx, req)
	if err != nil {
		return zero, err
	}
	obj, ok := resp.Object.(T)
	if !ok {
		return zero, fmt.Errorf("%s %s: the answer is a %T, want a %T", req.Verb, t.typ.Kind(), resp.Object, zero)
	}
	return obj, nil
}

// Get reads one object. It is shared and read-only.
func (t Typed[T]) Get(ctx context.Context, namespace, name string, opts ...Option) (T, error) {
	return t.one(ctx, t.request(Get, namespace, name, opts))
}

// List reads objects, of all namespaces unless InNamespace is given. They are shared and read-only.
func (t Typed[T]) List(ctx context.Context, opts ...Option) (Page[T], error) {
	resp, err := t.client.Do(ctx, t.request(List, "", "", opts))
	if err != nil {
		return Page[T]{}, err
	}
	page := Page[T]{Items: make([]T, len(resp.Items)), Revision: resp.Revision, Continue: resp.Continue}
	for i, item := range resp.Items {
		obj, ok := item.(T)
		if !ok {
			return Page[T]{}, fmt.Errorf("list %s: item %d is a %T, want a %T", t.typ.Kind(), i, item, obj)
		}
		page.Items[i] = obj
	}
	return page, nil
}

// Watch follows changes, after the present state, which comes first as Added events, or from FromRevision.
func (t Typed[T]) Watch(ctx context.Context, opts ...Option) (Watcher, error) {
	return t.client.Watch(ctx, t.request(Watch, "", "", opts))
}

// Create writes a new object and returns it as stored.
func (t Typed[T]) Create(ctx context.Context, obj T, opts ...Option) (T, error) {
	req := t.request(Create, obj.GetNamespace(), obj.GetName(), opts)
	req.Object = obj
	return t.one(ctx, req)
}

// Update replaces an object; its resourceVersion, if set, must be the stored one (409 Conflict otherwise).
func (t Typed[T]) Update(ctx context.Context, obj T, opts ...Option) (T, error) {
	return t.update(ctx, "", obj, opts)
}

// UpdateStatus replaces an object's status.
func (t Typed[T]) UpdateStatus(ctx context.Context, obj T, opts ...Option) (T, error) {
	return t.update(ctx, "status", obj, opts)
}

func (t Typed[T]) update(ctx context.Context, subresource string, obj T, opts []Option) (T, error) {
	req := t.request(Update, obj.GetNamespace(), obj.GetName(), opts)
	req.Subresource, req.Object = subresource, obj
	return t.one(ctx, req)
}

// Mutate reads an object, lets change alter a copy, and writes it, again from the start after a conflict, up to 64
// times with growing pauses, some ten seconds in all; then the conflict is the error. When change alters nothing, nothing
// is written. An error from change is returned as it is.
func (t Typed[T]) Mutate(ctx context.Context, namespace, name string, change func(T) error, opts ...Option) (T, error) {
	return t.mutate(ctx, "", namespace, name, change, opts)
}

// MutateStatus is Mutate for the status.
func (t Typed[T]) MutateStatus(ctx context.Context, namespace, name string, change func(T) error, opts ...Option) (T, error) {
	return t.mutate(ctx, "status", namespace, name, change, opts)
}

func (t Typed[T]) mutate(ctx context.Context, sub, namespace, name string, change func(T) error, opts []Option) (T, error) {
	for tries := 1; ; tries++ {
		old, err := t.Get(ctx, namespace, name)
		if err != nil {
			return old, err
		}
		obj := t.typ.Copy(old)
		if err := change(obj); err != nil {
			return old, err
		}
		if equality.Semantic.DeepEqual(old, obj) {
			return old, nil
		}
		out, err := t.update(ctx, sub, obj, opts)
		if !apierrors.IsConflict(err) || tries == mutateTries || !pause(ctx, tries) {
			return out, err
		}
	}
}

// mutateTries bounds how often a conflict is tried again: an endless one is for the caller to know.
const mutateTries = 64

// pause lets the first conflicts be tried again at once, because another writer has just got through, and then waits longer
// after each try, up to a fifth of a second, and a random part of that, so that writers who met do not meet again. It
// reports whether ctx goes on.
func pause(ctx context.Context, tries int) bool {
	const atOnce = 8
	if tries <= atOnce {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(rand.N(min(time.Millisecond<<min(tries-atOnce, 10), 200*time.Millisecond)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Patch applies a patch.
func (t Typed[T]) Patch(ctx context.Context, namespace, name string, pt types.PatchType, data []byte, opts ...Option) (T, error) {
	req := t.request(Patch, namespace, name, opts)
	req.PatchType, req.PatchData = pt, data
	return t.one(ctx, req)
}

// Delete deletes an object. That it does not exist is a NotFound error.
func (t Typed[T]) Delete(ctx context.Context, namespace, name string, opts ...Option) error {
	_, err := t.client.Do(ctx, t.request(Delete, namespace, name, opts))
	return err
}

// DeleteAll deletes what the options select.
func (t Typed[T]) DeleteAll(ctx context.Context, opts ...Option) error {
	_, err := t.client.Do(ctx, t.request(DeleteCollection, "", "", opts))
	return err
}

// Scale sets the replica count of an object of a kind that has the scale subresource.
func (t Typed[T]) Scale(ctx context.Context, namespace, name string, replicas int32, opts ...Option) error {
	req := t.request(Update, namespace, name, opts)
	req.Subresource = "scale"
	req.Object = &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       autoscalingv1.ScaleSpec{Replicas: replicas},
	}
	_, err := t.client.Do(ctx, req)
	return err
}

// Bind assigns a pod to a node.
func Bind(ctx context.Context, c Client, pod *corev1.Pod, node string) error {
	_, err := c.Do(ctx, &Request{
		Verb: Create, Kind: kind.Pod.Kind(), Subresource: "binding", Namespace: pod.Namespace, Name: pod.Name,
		Object: &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		},
	})
	return err
}

// IgnoreNotFound is nil for a NotFound error and err for any other: for whoever only wants an object gone, or changed
// if it is still there.
func IgnoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
