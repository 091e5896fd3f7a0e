package apiserver

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Why an update is refused, in the words of upstream, which people look for in their logs.
const (
	textModified = "the object has been modified; please apply your changes to the latest version and try again"
	textOtherUID = "Precondition failed: UID in precondition: %s, UID in object meta: %s"
)

// proposal makes the object that the client wants from the newest one, which it must not change.
type proposal func(old kind.Instance) (kind.Instance, error)

func (c *call) update(ctx context.Context) (*client.Response, error) {
	if _, err := c.object(); err != nil {
		return nil, err
	}
	if c.kind.CreateOnUpdate && c.req.Subresource == "" {
		if resp, err := c.createByUpdate(ctx); resp != nil || err != nil {
			return resp, err
		}
	}
	return c.modify(ctx, func(kind.Instance) (kind.Instance, error) { return c.object() })
}

// createByUpdate creates an object that is not there, for kinds that let an update do so. It answers nothing when the object is there.
func (c *call) createByUpdate(ctx context.Context) (*client.Response, error) {
	if _, err := c.current(ctx); !apierrors.IsNotFound(err) {
		return nil, err
	}
	if err := c.authorize(ctx, client.Create); err != nil {
		return nil, err
	}
	resp, err := c.createFrom(ctx, func() (kind.Instance, error) {
		obj, err := c.object()
		if err != nil {
			return nil, err
		}
		if uid := obj.GetUID(); uid != "" {
			return nil, conflict(c.kind, c.req.Name, textOtherUID, uid, "")
		}
		obj.SetName(c.req.Name)
		obj.SetResourceVersion("")
		return obj, nil
	})
	if apierrors.IsAlreadyExists(err) {
		return nil, nil
	}
	return resp, err
}

// modify takes a proposal through the pipeline, again when another writer was faster.
func (c *call) modify(ctx context.Context, propose proposal) (*client.Response, error) {
	for claimed := 0; ; {
		old, err := c.current(ctx)
		if err != nil {
			return nil, err
		}
		c.warnings = nil
		obj, err := propose(old.obj)
		if err != nil {
			return nil, err
		}
		if obj, err = c.changed(ctx, obj, old.obj); err != nil {
			return nil, err
		}
		var stored kind.Instance
		gone := finished(obj, old.obj)
		if gone {
			stored, err = c.remove(ctx, old)
		} else {
			stored, err = c.store(ctx, old, obj)
		}
		if err == nil {
			return &client.Response{Object: stored, Deleted: gone}, nil
		}
		if retry, err := c.again(ctx, err, &claimed); !retry {
			return nil, err
		}
	}
}

// changed takes a changed object through the pipeline, up to the store. It may answer another object than obj.
func (c *call) changed(ctx context.Context, obj, old kind.Instance) (kind.Instance, error) {
	if rv := obj.GetResourceVersion(); rv != "" && rv != old.GetResourceVersion() {
		if _, err := client.ParseRevision(rv); err != nil {
			return nil, invalid(c.kind, c.req.Name, field.ErrorList{field.Invalid(metadataPath.Child("resourceVersion"), rv, err.Error())})
		}
		return nil, conflict(c.kind, c.req.Name, "%s", textModified)
	}
	if uid := obj.GetUID(); uid != "" && uid != old.GetUID() && c.req.Verb != client.Patch { // there it is a change of an immutable field
		return nil, conflict(c.kind, c.req.Name, textOtherUID, uid, old.GetUID())
	}
	if obj.GetResourceVersion() == "" && c.kind.NeedsVersion && c.req.Verb == client.Update {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: c.kind.Group, Kind: c.kind.Plural}, c.req.Name, field.ErrorList{
			field.Invalid(metadataPath.Child("resourceVersion"), 0, "must be specified for an update")})
	}
	whole := c.req.Subresource == "" || c.req.Subresource == subScale
	part, partial := c.kind.Parts[c.req.Subresource]
	if c.req.Subresource == subStatus || partial {
		entries := obj.GetManagedFields()
		if partial {
			into := c.kind.Copy(old)
			part.Take(into, obj)
			obj = into
		} else {
			obj = c.statusOnly(obj, old)
		}
		if c.applied {
			obj.SetManagedFields(entries)
		}
	}
	c.carryOver(obj, old, whole)
	if whole {
		c.applyDefaults(obj)
	}
	if c.req.Verb == client.Update {
		c.owners(obj, textOwners)
	}
	c.manage(ctx, obj, old)
	r := c.admissionRequest(client.Update, obj, old)
	if err := c.server.admission.Mutate(ctx, r); err != nil {
		return nil, err
	}
	c.owners(obj, textOwnersAfter)
	if c.req.Subresource == subStatus && c.kind.PrepareStatus != nil {
		c.kind.PrepareStatus(obj, old)
	}
	if partial {
		c.applyDefaults(obj)
	}
	if whole {
		c.applyDefaults(obj)
		if c.kind.Prepare != nil {
			c.kind.Prepare(obj, old)
		}
	}
	if whole || partial {
		if c.kind.CountsGeneration() && !kind.SameSpec(obj, old, !c.kind.Status) {
			obj.SetGeneration(old.GetGeneration() + 1)
		}
	}
	errs := checkMeta(obj, old)
	switch {
	case whole && c.kind.Validate != nil:
		errs = merge(errs, c.kind.Validate(obj, old))
	case c.req.Subresource == subStatus && c.kind.ValidateStatus != nil:
		errs = merge(errs, c.kind.ValidateStatus(obj, old))
	case partial && part.Validate != nil:
		errs = merge(errs, part.Validate(obj, old))
	}
	if len(errs) > 0 {
		return nil, invalid(c.kind, c.req.Name, errs)
	}
	if err := c.server.admission.Validate(ctx, r); err != nil {
		return nil, err
	}
	if whole {
		c.warn(r.Warnings, obj, old)
	} else {
		c.warnings = append(c.warnings, r.Warnings...)
	}
	return obj, nil
}

// carryOver keeps what an update may leave out or may not change.
func (c *call) carryOver(obj, old kind.Instance, whole bool) {
	obj.SetName(old.GetName())
	obj.SetNamespace(old.GetNamespace())
	obj.SetResourceVersion(old.GetResourceVersion())
	obj.SetGeneration(old.GetGeneration())
	obj.SetSelfLink("")
	if obj.GetUID() == "" {
		obj.SetUID(old.GetUID())
	}
	if created := old.GetCreationTimestamp(); !created.IsZero() {
		obj.SetCreationTimestamp(created)
	}
	if at := old.GetDeletionTimestamp(); !at.IsZero() {
		obj.SetDeletionTimestamp(at.DeepCopy())
	}
	if g := old.GetDeletionGracePeriodSeconds(); obj.GetDeletionGracePeriodSeconds() == nil && g != nil {
		seconds := *g
		obj.SetDeletionGracePeriodSeconds(&seconds)
	}
	if whole && c.kind.Status {
		kind.SetStatus(obj, c.kind.Copy(old))
	}
}

// statusOnly is old with obj's status, and with its labels and annotations where it has any.
func (c *call) statusOnly(obj, old kind.Instance) kind.Instance {
	out := c.kind.Copy(old)
	kind.SetStatus(out, obj)
	if c.kind.IsDynamic() {
		return out // upstream: the status of a custom resource takes no metadata along
	}
	if l := obj.GetLabels(); l != nil {
		out.SetLabels(l)
	}
	if a := obj.GetAnnotations(); a != nil {
		out.SetAnnotations(a)
	}
	return out
}

// finished reports whether a change took away the last thing that kept a deleted object.
func finished(obj, old kind.Instance) bool {
	if old.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if ns, ok := obj.(*corev1.Namespace); ok && len(ns.Spec.Finalizers) > 0 {
		return false
	}
	grace := old.GetDeletionGracePeriodSeconds()
	return grace == nil || *grace == 0
}
