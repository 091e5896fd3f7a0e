package apiserver

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// parallelDeletes is how many objects of a collection are deleted at once, so that they share the store's disk syncs.
const parallelDeletes = 16

func (c *call) delete(ctx context.Context) (*client.Response, error) {
	if err := c.checkDelete(); err != nil {
		return nil, err
	}
	for claimed := 0; ; {
		old, err := c.current(ctx)
		if err != nil {
			return nil, err
		}
		if err := c.preconditions(old.obj); err != nil {
			return nil, err
		}
		if c.beside, err = c.guarded(ctx, old); err != nil {
			return nil, err
		}
		r := c.admissionRequest(client.Delete, nil, old.obj)
		if err := c.server.admission.Mutate(ctx, r); err != nil {
			return nil, err
		}
		if err := c.server.admission.Validate(ctx, r); err != nil {
			return nil, err
		}
		c.warnings = r.Warnings
		marked, gone := c.marked(old.obj, now())
		var stored kind.Instance
		switch {
		case gone:
			stored, err = c.remove(ctx, old)
		case marked == nil:
			stored = old.obj
		default:
			stored, err = c.store(ctx, old, marked)
		}
		if err == nil {
			return &client.Response{Object: stored, Deleted: gone}, nil
		}
		if retry, err := c.again(ctx, err, &claimed); !retry {
			return nil, err
		}
	}
}

func (c *call) checkDelete() error {
	o := &c.req.Delete
	if errs := metavalidation.ValidateDeleteOptions(o); len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	c.req.DryRun = c.req.DryRun || len(o.DryRun) > 0
	if o.GracePeriodSeconds != nil && *o.GracePeriodSeconds < 0 {
		o.GracePeriodSeconds = new(int64(1)) // what a negative period has always meant upstream
	}
	return nil
}

func (c *call) preconditions(obj kind.Instance) error {
	p := c.req.Delete.Preconditions
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != obj.GetUID() {
		return conflict(c.kind, c.req.Name, "the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated",
			*p.UID, obj.GetUID())
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != obj.GetResourceVersion() {
		return conflict(c.kind, c.req.Name, "the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified",
			*p.ResourceVersion, obj.GetResourceVersion())
	}
	return nil
}

// marked decides what a delete does at the time at: the object goes, or stays as the answered copy, or (nil) as it is.
func (c *call) marked(old kind.Instance, at metav1.Time) (obj kind.Instance, gone bool) {
	requested, pending := c.req.Delete.GracePeriodSeconds, old.GetDeletionGracePeriodSeconds()
	again := old.GetDeletionTimestamp() != nil
	waiting := again && pending != nil && *pending > 0
	shorter := waiting && requested != nil && *requested < *pending
	if waiting && !shorter {
		return nil, false // a deletion that has begun can only be made quicker
	}
	if c.kind.Terminate != nil && !again {
		old = c.kind.Copy(old)
		c.kind.Terminate(old)
	}
	var grace int64
	switch {
	case shorter:
		grace = *requested
	case c.kind.GracePeriod != nil && !again:
		grace = max(0, c.kind.GracePeriod(old, requested))
	}
	finalizers := c.finalizers(old)
	waits := grace > 0
	if !waits && len(finalizers) == 0 && !keptBySpec(old) {
		return nil, true
	}
	if again && !shorter && slices.Equal(finalizers, old.GetFinalizers()) {
		return nil, false
	}
	obj = c.kind.Copy(old)
	obj.SetFinalizers(finalizers)
	if !again {
		ends := metav1.NewTime(at.Add(time.Duration(grace) * time.Second))
		obj.SetDeletionTimestamp(&ends)
		obj.SetDeletionGracePeriodSeconds(&grace)
		if g := obj.GetGeneration(); g > 0 {
			obj.SetGeneration(g + 1)
		}
		if ns, ok := obj.(*corev1.Namespace); ok {
			ns.Status.Phase = corev1.NamespaceTerminating
		}
	} else if shorter {
		began := old.GetDeletionTimestamp().Add(-time.Duration(*pending) * time.Second)
		ends := metav1.NewTime(began.Add(time.Duration(grace) * time.Second))
		if ends.Before(&at) {
			ends = at
			grace = min(grace, 1) // it is over, and who stops the object still has to be told
		}
		obj.SetDeletionTimestamp(&ends)
		obj.SetDeletionGracePeriodSeconds(&grace)
	}
	return obj, false
}

// keptBySpec reports whether a namespace still waits for its controller.
func keptBySpec(obj kind.Instance) bool {
	ns, ok := obj.(*corev1.Namespace)
	return ok && len(ns.Spec.Finalizers) > 0
}

// finalizers are the object's with those that the propagation policy stands for.
func (c *call) finalizers(obj kind.Instance) []string {
	had := obj.GetFinalizers()
	orphan, foreground := slices.Contains(had, metav1.FinalizerOrphanDependents), slices.Contains(had, metav1.FinalizerDeleteDependents)
	o := &c.req.Delete
	switch {
	case o.OrphanDependents != nil:
		orphan, foreground = *o.OrphanDependents, false
	case o.PropagationPolicy != nil:
		orphan, foreground = *o.PropagationPolicy == metav1.DeletePropagationOrphan, *o.PropagationPolicy == metav1.DeletePropagationForeground
	case !orphan && !foreground:
		orphan = c.kind.OrphanByDefault
	}
	var out []string
	for _, f := range had {
		keep := f != metav1.FinalizerOrphanDependents && f != metav1.FinalizerDeleteDependents ||
			f == metav1.FinalizerOrphanDependents && orphan || f == metav1.FinalizerDeleteDependents && foreground
		if keep {
			out = append(out, f)
		}
	}
	if orphan && !slices.Contains(out, metav1.FinalizerOrphanDependents) {
		out = append(out, metav1.FinalizerOrphanDependents)
	}
	if foreground && !slices.Contains(out, metav1.FinalizerDeleteDependents) {
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	return out
}

// deleteCollection deletes what a list would answer, each object as a delete would. The answer has the objects as they were when the
// collection was read; an object that others delete meanwhile is no error.
func (c *call) deleteCollection(ctx context.Context) (*client.Response, error) {
	if err := c.checkDelete(); err != nil {
		return nil, err
	}
	resp, err := c.list(ctx)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelDeletes)
	for _, obj := range resp.Items {
		one := *c
		one.req.Namespace, one.req.Name = obj.GetNamespace(), obj.GetName()
		if p := one.req.Delete.Preconditions; p == nil { // not another object that has the name by now
			uid := obj.GetUID()
			one.req.Delete.Preconditions = &metav1.Preconditions{UID: &uid}
		}
		group.Go(func() error {
			_, err := one.delete(ctx)
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) && c.req.Delete.Preconditions == nil {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return resp, nil
}
