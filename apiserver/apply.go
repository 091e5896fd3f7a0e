package apiserver

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// apply is server-side apply: it merges a configuration into the object, or makes an object of it.
func (c *call) apply(ctx context.Context) (*client.Response, error) {
	configuration, err := c.configuration()
	if err != nil {
		return nil, err
	}
	c.applied = true
	for {
		_, err := c.current(ctx)
		if !apierrors.IsNotFound(err) || c.req.Subresource != "" {
			if err != nil {
				return nil, err
			}
			return c.modify(ctx, func(old kind.Instance) (kind.Instance, error) {
				obj, err := c.cache.fields.Apply(ctx, c.kind, c.req.Subresource, old, configuration, c.req.FieldManager, c.req.Force)
				if err != nil {
					return nil, err
				}
				return obj, c.agree(obj)
			})
		}
		if err := c.authorize(ctx, client.Create); err != nil {
			return nil, err
		}
		resp, err := c.createFrom(ctx, func() (kind.Instance, error) { return c.applyNew(ctx, configuration) })
		if !apierrors.IsAlreadyExists(err) {
			return resp, err
		}
	}
}

// applyNew makes an object of the configuration alone.
func (c *call) applyNew(ctx context.Context, configuration map[string]any) (kind.Instance, error) {
	empty := c.kind.New()
	c.kind.Stamp(empty)
	obj, err := c.cache.fields.Apply(ctx, c.kind, "", empty, configuration, c.req.FieldManager, c.req.Force)
	if err != nil {
		return nil, err
	}
	if uid := obj.GetUID(); uid != "" {
		return nil, conflict(c.kind, c.req.Name, "uid mismatch: the provided object specified uid %s, and no existing object was found", uid)
	}
	obj.SetResourceVersion("")
	return obj, c.agree(obj)
}

// agree checks that a patched object is still the one that the request names. One without a name or namespace gets them.
func (c *call) agree(obj kind.Instance) error {
	switch ns := obj.GetNamespace(); {
	case ns == "":
		obj.SetNamespace(c.req.Namespace)
	case ns != c.req.Namespace:
		return badRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	switch name := obj.GetName(); {
	case name == "":
		obj.SetName(c.req.Name)
	case name != c.req.Name:
		return badRequest("the name of the object (%s) does not match the name on the URL (%s)", name, c.req.Name)
	}
	return nil
}

// configuration reads what is applied: YAML or JSON. A key that is there twice is refused or warned of, as the client asks.
func (c *call) configuration() (map[string]any, error) {
	if deep := depth(c.req.PatchData); deep*len(c.req.PatchData) > maxPatchWork {
		return nil, badRequest("the configuration is nested %d deep, too much for its %d bytes", deep, len(c.req.PatchData))
	}
	var out map[string]any
	if err := yaml.Unmarshal(c.req.PatchData, &out); err != nil {
		return nil, badRequest("error decoding patch: %v", err)
	}
	if out == nil {
		return nil, badRequest("error decoding patch: the configuration is empty")
	}
	if c.req.FieldValidation == metav1.FieldValidationIgnore {
		return out, nil
	}
	if err := yaml.UnmarshalStrict(c.req.PatchData, &map[string]any{}); err != nil {
		if c.req.FieldValidation != metav1.FieldValidationWarn {
			return nil, badRequest("error strict decoding patch: %v", err)
		}
		c.ignored = []string{err.Error()}
	}
	return out, nil
}

// applyScale is server-side apply to the scale subresource.
func (c *call) applyScale(ctx context.Context) (*client.Response, error) {
	configuration, err := c.configuration()
	if err != nil {
		return nil, err
	}
	c.applied = true
	return c.rescale(ctx, func(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error) {
		obj, err := c.cache.scale.Apply(ctx, old, configuration, c.req.FieldManager, c.req.Force)
		if err != nil {
			return nil, err
		}
		scale, ok := obj.(*autoscalingv1.Scale)
		if !ok {
			return nil, apierrors.NewInternalError(fmt.Errorf("apply to %s/scale made a %T", c.kind, obj))
		}
		return scale, c.agree(scale)
	})
}
