package apiserver

import (
	"context"
	"maps"
	"net/http"
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// scaleOf is an object's scale subresource.
func (c *call) scaleOf(obj kind.Instance) *autoscalingv1.Scale {
	scale := c.kind.Scale.Get(obj)
	scale.TypeMeta = metav1.TypeMeta{APIVersion: "autoscaling/v1", Kind: "Scale"}
	scale.ObjectMeta = metav1.ObjectMeta{
		Name: obj.GetName(), Namespace: obj.GetNamespace(), UID: obj.GetUID(),
		ResourceVersion: obj.GetResourceVersion(), CreationTimestamp: obj.GetCreationTimestamp(),
		ManagedFields: c.cache.scale.Of(c.kind, obj.GetManagedFields()),
	}
	return &scale
}

func (c *call) getScale(ctx context.Context) (*client.Response, error) {
	resp, err := c.get(ctx)
	if err == nil {
		resp.Object, resp.Forms = c.scaleOf(resp.Object), nil // the forms are those of the whole object
	}
	return resp, err
}

func (c *call) updateScale(ctx context.Context) (*client.Response, error) {
	scale, ok := c.req.Object.(*autoscalingv1.Scale)
	if !ok {
		return nil, badRequest("update %s/scale: the object is a %T, must be a *autoscaling/v1.Scale", c.kind, c.req.Object)
	}
	return c.rescale(ctx, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return scale.DeepCopy(), nil })
}

// rescale sets the replica count to what make answers for the newest object's Scale, which it must not change.
func (c *call) rescale(ctx context.Context, make func(old *autoscalingv1.Scale) (*autoscalingv1.Scale, error)) (*client.Response, error) {
	resp, err := c.modify(ctx, func(old kind.Instance) (kind.Instance, error) {
		was := c.scaleOf(old)
		scale, err := make(was)
		if err != nil {
			return nil, err
		}
		if !c.applied {
			scale.TypeMeta = was.TypeMeta
			c.cache.scale.Update(ctx, was, scale, c.manager())
		}
		if scale.Spec.Replicas < 0 {
			at := field.NewPath("spec", "replicas")
			return nil, invalid(c.kind, c.req.Name, field.ErrorList{field.Invalid(at, scale.Spec.Replicas, "must not be negative")})
		}
		obj := c.kind.Copy(old)
		obj.SetResourceVersion(scale.ResourceVersion)
		if scale.UID != "" {
			obj.SetUID(scale.UID)
		}
		c.kind.Scale.Set(obj, scale.Spec.Replicas)
		obj.SetManagedFields(c.cache.scale.Parent(c.kind, old.GetManagedFields(), scale.ManagedFields))
		return obj, nil
	})
	if err == nil {
		resp.Object, resp.Forms = c.scaleOf(resp.Object), nil // the forms are those of the whole object
	}
	return resp, err
}

// bind assigns a pod to a node: the pods/binding subresource. The answer has no object, as upstream's.
func (c *call) bind(ctx context.Context) (*client.Response, error) {
	binding, ok := c.req.Object.(*corev1.Binding)
	if !ok {
		return nil, badRequest("create pods/binding: the object is a %T, must be a *core/v1.Binding", c.req.Object)
	}
	if err := c.nameGiven(); err != nil {
		return nil, err
	}
	target := binding.Target
	var errs field.ErrorList
	if target.Kind != "" && target.Kind != "Node" {
		errs = append(errs, field.NotSupported(field.NewPath("target", "kind"), target.Kind, []string{"Node"}))
	}
	if target.Name == "" {
		errs = append(errs, field.Required(field.NewPath("target", "name"), "the node that the pod is to run on"))
	} else {
		for _, msg := range validation.NameIsDNSSubdomain(target.Name, false) {
			errs = append(errs, field.Invalid(field.NewPath("target", "name"), target.Name, msg))
		}
	}
	if len(errs) > 0 {
		return nil, invalid(c.kind, c.req.Name, errs)
	}
	_, err := c.modify(ctx, func(old kind.Instance) (kind.Instance, error) {
		pod, ok := c.kind.Copy(old).(*corev1.Pod)
		switch {
		case !ok:
			return nil, badRequest("%s cannot be bound: they are stored as %T", c.kind, old)
		case binding.UID != "" && binding.UID != pod.UID:
			return nil, conflict(c.kind, c.req.Name, "the pod's uid is %s, the binding is for the pod with uid %s", pod.UID, binding.UID)
		case pod.DeletionTimestamp != nil:
			return nil, conflict(c.kind, c.req.Name, "the pod is being deleted, it cannot be assigned to a node")
		case pod.Spec.NodeName != "":
			return nil, conflict(c.kind, c.req.Name, "the pod is already assigned to node %q", pod.Spec.NodeName)
		case len(pod.Spec.SchedulingGates) > 0:
			return nil, conflict(c.kind, c.req.Name, "the pod has scheduling gates, it cannot be assigned to a node yet")
		}
		pod.ResourceVersion = binding.ResourceVersion
		pod.Spec.NodeName = target.Name
		if len(binding.Annotations) > 0 && pod.Annotations == nil {
			pod.Annotations = make(map[string]string, len(binding.Annotations))
		}
		maps.Copy(pod.Annotations, binding.Annotations)
		setScheduled(pod)
		return pod, nil
	})
	if err != nil {
		return nil, err
	}
	return &client.Response{Created: true}, nil
}

// setScheduled makes the pod's PodScheduled condition true.
func setScheduled(pod *corev1.Pod) {
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodScheduled })
	if i < 0 {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodScheduled})
		i = len(pod.Status.Conditions) - 1
	}
	if pod.Status.Conditions[i].Status != corev1.ConditionTrue {
		pod.Status.Conditions[i] = corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now()}
	}
}

// nameGiven checks that a subresource's request says which object it is about.
func (c *call) nameGiven() error {
	if c.req.Name == "" {
		return badRequest("create %s/%s: the name of the pod is required", c.kind, c.req.Subresource)
	}
	return nil
}

// finalize replaces a namespace's spec.finalizers; a deleted namespace goes when none is left.
func (c *call) finalize(ctx context.Context) (*client.Response, error) {
	wanted, ok := c.req.Object.(*corev1.Namespace)
	if !ok {
		return nil, badRequest("update namespaces/finalize: the object is a %T, must be a *core/v1.Namespace", c.req.Object)
	}
	return c.modify(ctx, func(old kind.Instance) (kind.Instance, error) {
		ns, ok := c.kind.Copy(old).(*corev1.Namespace)
		if !ok {
			return nil, status(http.StatusInternalServerError, metav1.StatusReasonInternalError, "%s are stored as %T", c.kind, old)
		}
		ns.ResourceVersion, ns.UID = wanted.ResourceVersion, wanted.UID
		ns.Spec.Finalizers = slices.Clone(wanted.Spec.Finalizers)
		return ns, nil
	})
}
