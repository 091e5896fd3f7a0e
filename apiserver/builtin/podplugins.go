package builtin

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// tolerateSeconds is how long a pod stays on a node that does not answer, unless it says otherwise.
const tolerateSeconds int64 = 300

// DefaultServiceAccount makes pods that name no service account run as "default". The account need not exist.
func DefaultServiceAccount() admission.Plugin {
	return podPlugin("DefaultServiceAccount", func(_ context.Context, _ *admission.Request, p, old *corev1.Pod) error {
		if old == nil {
			set(&p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount)
			set(&p.Spec.ServiceAccountName, "default")
			p.Spec.DeprecatedServiceAccount = p.Spec.ServiceAccountName
		}
		return nil
	})
}

// DefaultTolerations lets pods stay for five minutes on a node that is not ready or not reachable, unless they say
// themselves for how long.
func DefaultTolerations() admission.Plugin {
	return podPlugin("DefaultTolerations", func(_ context.Context, _ *admission.Request, p, _ *corev1.Pod) error {
		for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
			if toleratesEviction(p.Spec.Tolerations, key) {
				continue
			}
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{
				Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(tolerateSeconds),
			})
		}
		return nil
	})
}

func toleratesEviction(list []corev1.Toleration, key string) bool {
	for _, t := range list {
		if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
			return true
		}
	}
	return false
}

// Priority gives pods the number that belongs to their priority class, or to the class that is the default for all, or 0,
// and refuses a second such default. c must be able to get and list PriorityClasses.
func Priority(c client.Client) admission.Plugin {
	classes := client.For(c, kind.PriorityClass)
	plugin := podPlugin("Priority", func(ctx context.Context, r *admission.Request, p, old *corev1.Pod) error {
		if old != nil {
			if p.Spec.Priority == nil && old.Spec.Priority != nil {
				p.Spec.Priority = new(*old.Spec.Priority)
			}
			if p.Spec.PreemptionPolicy == nil && old.Spec.PreemptionPolicy != nil {
				p.Spec.PreemptionPolicy = new(*old.Spec.PreemptionPolicy)
			}
			return nil
		}
		class, err := classOf(ctx, classes, p.Spec.PriorityClassName)
		if apierrors.IsNotFound(err) {
			return admission.Forbidden(r, fmt.Sprintf("no PriorityClass with name %s was found", p.Spec.PriorityClassName))
		}
		if err != nil {
			return err
		}
		if given := p.Spec.Priority; given != nil && *given != class.Value {
			return admission.Forbidden(r, fmt.Sprintf("spec.priority is %d, and the priority class gives %d: leave the number out", *given, class.Value))
		}
		p.Spec.Priority = new(class.Value)
		p.Spec.PriorityClassName = class.Name
		if class.PreemptionPolicy != nil {
			setPtr(&p.Spec.PreemptionPolicy, *class.PreemptionPolicy)
		}
		return nil
	})
	plugin.Validate = func(ctx context.Context, r *admission.Request) error {
		class, ok := r.Object.(*schedulingv1.PriorityClass)
		if !ok || r.Verb == client.Delete || !class.GlobalDefault {
			return nil
		}
		other, err := globalDefault(ctx, classes)
		if err != nil {
			return err
		}
		if other != nil && other.Name != class.Name {
			return admission.Forbidden(r, fmt.Sprintf("PriorityClass %s is already marked as default, only one default can exist", other.Name))
		}
		return nil
	}
	return plugin
}

// classOf finds a pod's class. The system's own exist without an object; no class at all is one of value 0.
func classOf(ctx context.Context, classes client.Typed[*schedulingv1.PriorityClass], name string) (*schedulingv1.PriorityClass, error) {
	none := &schedulingv1.PriorityClass{PreemptionPolicy: new(corev1.PreemptLowerPriority)}
	if name == "" {
		class, err := globalDefault(ctx, classes)
		if class == nil {
			return none, err
		}
		return class, err
	}
	if value, ok := systemPriority(name); ok {
		none.Name, none.Value = name, value
		return none, nil
	}
	return classes.Get(ctx, "", name)
}

// globalDefault is the class of pods that name none. Should two be marked, the lower one counts.
func globalDefault(ctx context.Context, classes client.Typed[*schedulingv1.PriorityClass]) (*schedulingv1.PriorityClass, error) {
	page, err := classes.List(ctx)
	if err != nil {
		return nil, err
	}
	var found *schedulingv1.PriorityClass
	for _, class := range page.Items {
		if class.GlobalDefault && (found == nil || class.Value < found.Value) {
			found = class
		}
	}
	return found, nil
}

// podPlugin is a plugin that changes pods; old is nil on create.
func podPlugin(name string, mutate func(ctx context.Context, r *admission.Request, p, old *corev1.Pod) error) admission.Plugin {
	return admission.Plugin{Name: name, Mutate: func(ctx context.Context, r *admission.Request) error {
		p, ok := r.Object.(*corev1.Pod)
		if !ok || r.Subresource != "" || r.Verb != client.Create && r.Verb != client.Update {
			return nil
		}
		old, _ := r.Old.(*corev1.Pod)
		return mutate(ctx, r, p, old)
	}}
}
