package apiserver

import (
	"bytes"
	"context"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/fieldmanager"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// manager is who the managed fields say has written. A caller in this process that names nobody is known by the last part of
// its user name: system:serviceaccount:kube-system:deployment-controller writes as deployment-controller.
func (c *call) manager() string {
	if c.req.FieldManager != "" {
		return c.req.FieldManager
	}
	name := c.user.Name
	return fieldmanager.Name(name[strings.LastIndexByte(name, ':')+1:])
}

// checkOptions validates what a write says about itself.
func (c *call) checkOptions(verb client.Verb) error {
	var errs field.ErrorList
	options := ""
	switch verb {
	case client.Create:
		options = "CreateOptions"
		errs = metavalidation.ValidateCreateOptions(&metav1.CreateOptions{FieldManager: c.req.FieldManager, FieldValidation: c.req.FieldValidation})
	case client.Update:
		options = "UpdateOptions"
		errs = metavalidation.ValidateUpdateOptions(&metav1.UpdateOptions{FieldManager: c.req.FieldManager, FieldValidation: c.req.FieldValidation})
	case client.Patch:
		options = "PatchOptions"
		o := metav1.PatchOptions{FieldManager: c.req.FieldManager, FieldValidation: c.req.FieldValidation}
		if c.req.Force {
			o.Force = &c.req.Force
		}
		errs = metavalidation.ValidatePatchOptions(&o, c.req.PatchType)
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: options}, "", errs)
}

// manage settles who manages obj's fields after this write over old. What the server does to an object by itself, such as
// binding a pod, has no manager, as upstream; what an apply and a scale do is settled before.
func (c *call) manage(ctx context.Context, obj, old kind.Instance) {
	switch {
	case c.applied, c.req.Subresource == subScale:
	case c.req.Subresource == subBinding:
		obj.SetManagedFields(old.GetManagedFields())
	default:
		c.cache.fields.Update(ctx, c.kind, c.req.Subresource, old, obj, c.manager())
	}
}

// encode gives the object in the stored version, and its stored form, which is nil when it is old's but for the times of managed
// fields: a write that says what is there already changes nothing. An object that is too large with its managed fields goes
// without, as upstream.
func (c *call) encode(ctx context.Context, old *entry, obj kind.Instance) (kind.Instance, []byte, error) {
	entries := obj.GetManagedFields()
	if old != nil {
		if before := old.obj.GetManagedFields(); fieldmanager.SameButTime(entries, before) {
			obj.SetManagedFields(before)
			stored, raw, err := c.encodeAs(ctx, obj)
			if err != nil {
				return nil, nil, err
			}
			if bytes.Equal(raw, old.raw) {
				return stored, nil, nil
			}
			if sameTimes(entries, before) {
				return stored, raw, checkSize(raw)
			}
			obj.SetManagedFields(entries)
		}
	}
	stored, raw, err := c.encodeAs(ctx, obj)
	if err != nil {
		return nil, nil, err
	}
	if len(raw) > maxObjectBytes && len(entries) > 0 && !c.applied {
		obj.SetManagedFields(nil)
		if stored, raw, err = c.encodeAs(ctx, obj); err != nil {
			return nil, nil, err
		}
	}
	if old != nil && bytes.Equal(raw, old.raw) {
		return stored, nil, nil
	}
	return stored, raw, checkSize(raw)
}

func (c *call) encodeAs(ctx context.Context, obj kind.Instance) (kind.Instance, []byte, error) {
	stored, err := c.stored(ctx, obj)
	if err != nil {
		return nil, nil, err
	}
	raw, err := c.cache.kind.Encode(stored)
	if err != nil {
		return nil, nil, apierrors.NewInternalError(err)
	}
	return stored, raw, nil
}

func checkSize(raw []byte) error {
	if len(raw) > maxObjectBytes {
		return tooLarge(len(raw))
	}
	return nil
}

// sameTimes compares the times of entries that are the same otherwise.
func sameTimes(a, b []metav1.ManagedFieldsEntry) bool {
	for i := range a {
		if !a[i].Time.Equal(b[i].Time) {
			return false
		}
	}
	return true
}
