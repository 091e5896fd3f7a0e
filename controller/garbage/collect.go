package garbage

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Reconcile implements controller.Reconciler for an object of a kind.
func (w *watched) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	obj, ok := w.objects.Get(key.Namespace, key.Name)
	if !ok {
		return controller.Result{}, nil
	}
	switch {
	case orphaning(obj):
		return controller.Result{}, client.IgnoreNotFound(w.orphan(ctx, obj))
	case deletingDependents(obj):
		return controller.Result{}, client.IgnoreNotFound(w.deleteDependents(ctx, obj))
	case obj.GetDeletionTimestamp() != nil || len(obj.GetOwnerReferences()) == 0:
		return controller.Result{}, nil
	}
	return controller.Result{}, client.IgnoreNotFound(w.collect(ctx, obj))
}

// collect deletes an object without owners, or removes its references to owners that are gone.
func (w *watched) collect(ctx context.Context, seen kind.Instance) error {
	states, err := w.collector.states(ctx, seen)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(states, func(s ownerState) bool { return s != solid }) {
		return nil
	}
	obj, err := w.typed().Get(ctx, seen.GetNamespace(), seen.GetName())
	if err != nil || obj.GetUID() != seen.GetUID() || obj.GetDeletionTimestamp() != nil {
		return err
	}
	if !sameOwners(obj.GetOwnerReferences(), seen.GetOwnerReferences()) {
		if states, err = w.collector.states(ctx, obj); err != nil {
			return err
		}
	}
	a := decide(obj, states, len(w.collector.dependents(obj.GetUID())) > 0)
	switch {
	case a.trim:
		return w.setOwners(ctx, obj, a.keep)
	case !a.remove:
		return nil
	}
	w.collector.logger.Debug("delete", zap.Stringer("kind", w.kind), zap.Stringer("key", controller.KeyOf(obj)), zap.String("propagation", string(a.policy)))
	return w.typed().Delete(ctx, obj.GetNamespace(), obj.GetName(), client.IfUID(obj.GetUID()), ifRevision(obj.GetResourceVersion()), client.Propagation(a.policy))
}

// ifRevision makes a deletion fail if the object has changed.
func ifRevision(version string) client.Option {
	return func(r *client.Request) {
		if r.Delete.Preconditions == nil {
			r.Delete.Preconditions = &metav1.Preconditions{}
		}
		r.Delete.Preconditions.ResourceVersion = &version
	}
}

func (w *watched) typed() client.Typed[kind.Instance] {
	return client.For(w.collector.client, kind.Untyped(w.kind))
}

// states looks up the owners of an object, asking the server for those that seem absent.
func (c *collector) states(ctx context.Context, obj kind.Instance) ([]ownerState, error) {
	out := make([]ownerState, len(obj.GetOwnerReferences()))
	for i, ref := range obj.GetOwnerReferences() {
		w, key, ok := c.find(ref, obj.GetNamespace())
		if !ok {
			continue
		}
		owner, ok := w.objects.Get(key.Namespace, key.Name)
		if !ok || owner.GetUID() != ref.UID {
			var err error
			if owner, err = c.confirm(ctx, w, key, ref); err != nil {
				return nil, err
			}
		}
		switch {
		case owner == nil:
			out[i] = absent
		case deletingDependents(owner):
			out[i] = waiting
		}
	}
	return out, nil
}

// confirm asks the server for an owner that a view does not show; nil means that it does not exist.
func (c *collector) confirm(ctx context.Context, w *watched, key controller.Key, ref metav1.OwnerReference) (kind.Instance, error) {
	id := identity{ref.APIVersion, ref.Kind, key.Namespace, ref.Name, string(ref.UID)}
	if c.absents.has(id) {
		return nil, nil
	}
	owner, err := w.typed().Get(ctx, key.Namespace, key.Name)
	switch {
	case err == nil && owner.GetUID() == ref.UID:
		return owner, nil
	case err == nil, apierrors.IsNotFound(err):
		c.absents.add(id)
		return nil, nil
	}
	return nil, err
}

// deleteDependents has an object's dependents deleted, and lets the object go when none holds it any more.
func (w *watched) deleteDependents(ctx context.Context, obj kind.Instance) error {
	if err := w.collector.caughtUp(ctx, obj); err != nil {
		return err
	}
	held := false
	for _, d := range w.collector.dependents(obj.GetUID()) {
		held = held || holds(d.obj, obj.GetUID()) && !w.collector.circle(obj, d.obj)
		if d.obj.GetDeletionTimestamp() == nil {
			d.kind.controller.Enqueue(controller.KeyOf(d.obj))
		}
	}
	if held {
		return nil // the last of them wakes this one
	}
	return w.removeFinalizer(ctx, obj, metav1.FinalizerDeleteDependents)
}

// circle reports whether obj waits for a dependent that itself waits for obj, perhaps through others. Then neither
// may wait.
func (c *collector) circle(obj, dependent kind.Instance) bool {
	if !deletingDependents(dependent) {
		return false
	}
	seen := map[types.UID]bool{}
	for todo := []kind.Instance{obj}; len(todo) > 0; {
		now := todo[0]
		todo = todo[1:]
		if now.GetUID() == dependent.GetUID() {
			return true
		}
		if seen[now.GetUID()] {
			continue
		}
		seen[now.GetUID()] = true
		for _, ref := range now.GetOwnerReferences() {
			w, key, ok := c.find(ref, now.GetNamespace())
			if !ok {
				continue
			}
			if owner, ok := w.objects.Get(key.Namespace, key.Name); ok && owner.GetUID() == ref.UID && deletingDependents(owner) {
				todo = append(todo, owner)
			}
		}
	}
	return false
}

// orphan removes the references to an object, and then lets it go.
func (w *watched) orphan(ctx context.Context, obj kind.Instance) error {
	if err := w.collector.caughtUp(ctx, obj); err != nil {
		return err
	}
	var errs []error
	for _, d := range w.collector.dependents(obj.GetUID()) {
		now, err := d.kind.typed().Get(ctx, d.obj.GetNamespace(), d.obj.GetName())
		if err == nil && now.GetUID() == d.obj.GetUID() {
			if refs := without(now.GetOwnerReferences(), obj.GetUID()); len(refs) < len(now.GetOwnerReferences()) {
				err = d.kind.setOwners(ctx, now, refs)
			}
		}
		errs = append(errs, client.IgnoreNotFound(err))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return w.removeFinalizer(ctx, obj, metav1.FinalizerOrphanDependents)
}

func (w *watched) removeFinalizer(ctx context.Context, seen kind.Instance, finalizer string) error {
	obj, err := w.typed().Get(ctx, seen.GetNamespace(), seen.GetName())
	if err != nil || obj.GetUID() != seen.GetUID() || !slices.Contains(obj.GetFinalizers(), finalizer) {
		return err
	}
	return w.patch(ctx, obj, map[string]any{
		"finalizers": slices.DeleteFunc(slices.Clone(obj.GetFinalizers()), func(f string) bool { return f == finalizer }),
	})
}

func (w *watched) setOwners(ctx context.Context, obj kind.Instance, refs []metav1.OwnerReference) error {
	return w.patch(ctx, obj, map[string]any{"ownerReferences": refs})
}

// patch changes the metadata of an object that is still as given.
func (w *watched) patch(ctx context.Context, obj kind.Instance, metadata map[string]any) error {
	metadata["uid"], metadata["resourceVersion"] = obj.GetUID(), obj.GetResourceVersion()
	data, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return err
	}
	_, err = w.typed().Patch(ctx, obj.GetNamespace(), obj.GetName(), types.MergePatchType, data)
	return err
}
