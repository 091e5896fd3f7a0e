package apiserver

import (
	"bytes"
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
func (c *call) manage(obj, old kind.Instance) {
	switch {
	case c.applied, c.req.Subresource == subScale:
	case c.req.Subresource == subBinding:
		obj.SetManagedFields(old.GetManagedFields())
	default:
		c.cache.fields.Update(c.req.Subresource, old, obj, c.manager())
	}
}

// encode gives the stored form, and says whether it is old's but for the times of managed fields: a write that says what
// is there already changes nothing. An object that is too large with its managed fields goes without, as upstream.
func (c *call) encode(old *entry, obj kind.Instance) (raw []byte, same bool, err error) {
	entries := obj.GetManagedFields()
	if old != nil {
		before := old.obj.GetManagedFields()
		retimed := fieldmanager.SameButTime(entries, before)
		if retimed {
			obj.SetManagedFields(before)
		}
		if raw, err = c.kind.Encode(obj); err != nil {
			return nil, false, apierrors.NewInternalError(err)
		}
		if bytes.Equal(raw, old.raw) {
			return raw, true, nil
		}
		if retimed && !sameTimes(entries, before) {
			obj.SetManagedFields(entries)
			raw = nil
		}
	}
	if raw == nil {
		if raw, err = c.kind.Encode(obj); err != nil {
			return nil, false, apierrors.NewInternalError(err)
		}
	}
	if len(raw) > maxObjectBytes && len(entries) > 0 && !c.applied {
		obj.SetManagedFields(nil)
		if raw, err = c.kind.Encode(obj); err != nil {
			return nil, false, apierrors.NewInternalError(err)
		}
	}
	if len(raw) > maxObjectBytes {
		return nil, false, tooLarge(len(raw))
	}
	return raw, false, nil
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
