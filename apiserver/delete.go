package apiserver

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

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
	var errs field.ErrorList
	if p := o.PropagationPolicy; p != nil {
		if o.OrphanDependents != nil {
			errs = append(errs, field.Invalid(field.NewPath("propagationPolicy"), *p, "may not be given together with orphanDependents"))
		}
		all := []metav1.DeletionPropagation{metav1.DeletePropagationForeground, metav1.DeletePropagationBackground, metav1.DeletePropagationOrphan}
		if !slices.Contains(all, *p) {
			errs = append(errs, field.NotSupported(field.NewPath("propagationPolicy"), *p, all))
		}
	}
	for _, d := range o.DryRun {
		if d != metav1.DryRunAll {
			errs = append(errs, field.NotSupported(field.NewPath("dryRun"), d, []string{metav1.DryRunAll}))
		}
		c.req.DryRun = true
	}
	if len(errs) > 0 {
		return invalid(c.kind, c.req.Name, errs)
	}
	return nil
}

func (c *call) preconditions(obj kind.Instance) error {
	p := c.req.Delete.Preconditions
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != obj.GetUID() {
		return conflict(c.kind, c.req.Name, "precondition: the uid is %s, the request wants %s", obj.GetUID(), *p.UID)
	}
	if p.ResourceVersion != nil && *p.ResourceVersion != obj.GetResourceVersion() {
		return conflict(c.kind, c.req.Name, "precondition: the resourceVersion is %s, the request wants %s", obj.GetResourceVersion(), *p.ResourceVersion)
	}
	return nil
}

// marked decides what a delete does at the time at: the object goes, or stays as the answered copy, or (nil) as it is.
func (c *call) marked(old kind.Instance, at metav1.Time) (obj kind.Instance, gone bool) {
	if c.kind.Terminate != nil && old.GetDeletionTimestamp() == nil {
		old = c.kind.Copy(old)
		c.kind.Terminate(old)
	}
	var grace int64
	if c.kind.GracePeriod != nil {
		grace = max(0, c.kind.GracePeriod(old, c.req.Delete.GracePeriodSeconds))
	}
	finalizers := c.finalizers(old)
	pending := old.GetDeletionGracePeriodSeconds()
	again := old.GetDeletionTimestamp() != nil
	shorter := again && pending != nil && grace < *pending
	waits := grace > 0 && !again || again && !shorter && pending != nil && *pending > 0
	if shorter && grace > 0 {
		waits = true
	}
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
