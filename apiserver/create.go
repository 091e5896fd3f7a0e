package apiserver

import (
	"context"
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Names made from generateName: a base of at most maxNameBase characters and randomSuffix random ones.
const (
	randomSuffix     = 5
	maxNameBase      = 63 - randomSuffix
	maxGenerateTries = 8
)

var metadataPath = field.NewPath("metadata")

func (c *call) create(ctx context.Context) (*client.Response, error) {
	if c.kind.Terminating {
		e := apierrors.NewMethodNotSupported(c.kind.GroupResource(), string(client.Create))
		e.ErrStatus.Message = "create not allowed while custom resource definition is terminating"
		return nil, e
	}
	return c.createFrom(ctx, c.object)
}

// createFrom creates what make answers, which is asked again when a generated name or a claim was taken.
func (c *call) createFrom(ctx context.Context, make func() (kind.Instance, error)) (*client.Response, error) {
	claimed, generated := 0, 0
	for {
		c.warnings = nil
		obj, err := make()
		if err != nil {
			return nil, err
		}
		if obj, err = c.newObject(ctx, obj); err != nil {
			return nil, err
		}
		name := obj.GetName()
		stored, err := c.store(ctx, nil, obj)
		if err == nil {
			return &client.Response{Object: stored, Created: true}, nil
		}
		if errors.Is(err, errExists) {
			if generated++; c.req.Name == "" && generated < maxGenerateTries {
				continue
			}
			return nil, c.exists(name)
		}
		if retry, err := c.again(ctx, err, &claimed); !retry {
			return nil, err
		}
	}
}

// exists is what the client hears when the name is taken.
func (c *call) exists(name string) error {
	if c.req.Name == "" {
		return apierrors.NewGenerateNameConflict(c.kind.GroupResource(), name, 1)
	}
	err := apierrors.NewAlreadyExists(c.kind.GroupResource(), name)
	if e := c.cache.get(c.cache.key(c.req.Namespace, name)); e != nil && e.obj.GetDeletionTimestamp() != nil {
		err.ErrStatus.Message = "object is being deleted: " + err.ErrStatus.Message
	}
	return err
}

// newObject takes the client's object through the pipeline, up to the store.
func (c *call) newObject(ctx context.Context, obj kind.Instance) (kind.Instance, error) {
	if rv := obj.GetResourceVersion(); rv != "" {
		return nil, badRequest("resourceVersion should not be set on objects to be created")
	}
	obj.SetNamespace(c.req.Namespace)
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(now())
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	obj.SetGeneration(0)
	if c.kind.CountsGeneration() {
		obj.SetGeneration(1)
	}
	if c.kind.Status && !c.kind.Is(kind.Node.Kind()) { // a node agent registers with its status
		kind.ClearStatus(obj)
	}
	if obj.GetName() == "" && obj.GetGenerateName() != "" {
		base := obj.GetGenerateName()
		if len(base) > maxNameBase {
			base = base[:maxNameBase]
		}
		obj.SetName(base + rand.String(randomSuffix))
	}
	c.applyDefaults(obj)
	c.owners(obj, textOwners)
	if !c.applied {
		c.cache.fields.Update(ctx, c.kind, "", nil, obj, c.manager())
	}
	r := c.admissionRequest(client.Create, obj, nil)
	if err := c.server.admission.Mutate(ctx, r); err != nil {
		return nil, err
	}
	c.owners(obj, textOwnersAfter)
	c.applyDefaults(obj)
	if c.kind.Prepare != nil {
		c.kind.Prepare(obj, nil)
	}
	if errs := checkSizes(obj); len(errs) > 0 {
		return nil, invalid(c.kind, obj.GetName(), errs)
	}
	errs := validation.ValidateObjectMetaAccessor(obj, c.kind.Namespaced, c.nameRule(), metadataPath)
	if c.kind.Validate != nil {
		errs = merge(errs, c.kind.Validate(obj, nil))
	}
	if len(errs) > 0 {
		return nil, invalid(c.kind, obj.GetName(), errs)
	}
	if err := c.server.admission.Validate(ctx, r); err != nil {
		return nil, err
	}
	c.warn(r.Warnings, obj, nil)
	return obj, nil
}

func (c *call) applyDefaults(obj kind.Instance) {
	if c.kind.Default != nil {
		c.kind.Default(obj)
	}
}

// warn keeps the warnings of the last attempt.
func (c *call) warn(fromAdmission []string, obj, old kind.Instance) {
	c.warnings = append(c.warnings, fromAdmission...)
	if c.kind.Warnings != nil {
		c.warnings = append(c.warnings, c.kind.Warnings(obj, old)...)
	}
}

// nameRule is what a name must be.
func (c *call) nameRule() validation.ValidateNameFunc {
	rule := c.kind.NameRule
	switch {
	case rule == nil && c.kind.Group == "rbac.authorization.k8s.io": // an authorizer's kinds may be served without their behaviour
		return path.ValidatePathSegmentName
	case rule == nil:
		return validation.NameIsDNSSubdomain
	}
	return func(name string, prefix bool) []string {
		if prefix { // of a generated name: the end may look cut off
			name = strings.TrimRight(name, "-.") + "a"
		}
		return rule(name)
	}
}

// merge adds the kind's findings to the general ones; about one field the general finding is enough.
func merge(general, own field.ErrorList) field.ErrorList {
	said := make(map[string]bool, len(general))
	for _, e := range general {
		said[e.Field] = true
	}
	for _, e := range own {
		if !said[e.Field] {
			general = append(general, e)
		}
	}
	return general
}

// maxMetaBytes bounds labels and finalizers, as annotations are bounded by validation: each of them costs a rule's
// evaluation, and every reader pays for them.
const maxMetaBytes = validation.TotalAnnotationSizeLimitB

// checkSizes finds metadata that is too large to be looked at in detail.
func checkSizes(obj metav1.Object) (errs field.ErrorList) {
	size := 0
	for k, v := range obj.GetLabels() {
		size += len(k) + len(v)
	}
	if size > maxMetaBytes {
		errs = append(errs, field.TooLong(metadataPath.Child("labels"), "", maxMetaBytes))
	}
	size = 0
	for _, f := range obj.GetFinalizers() {
		size += len(f) + 1
	}
	if size > maxMetaBytes {
		errs = append(errs, field.TooLong(metadataPath.Child("finalizers"), "", maxMetaBytes))
	}
	return errs
}

// checkMeta validates what an update does to the metadata.
func checkMeta(obj, old metav1.Object) field.ErrorList {
	if errs := checkSizes(obj); len(errs) > 0 {
		return errs
	}
	return append(validation.ValidateObjectMetaAccessorUpdate(obj, old, metadataPath),
		validation.ValidateFinalizers(obj.GetFinalizers(), metadataPath.Child("finalizers"))...)
}
