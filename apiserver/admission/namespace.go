package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// NamespaceLifecycle refuses to create objects in a namespace that does not exist (404) or is being deleted (403 with
// cause NamespaceTerminating), and to delete the namespaces named immortal; none means default, kube-system and
// kube-public. c must be able to get namespaces; each create costs one read through it.
func NamespaceLifecycle(c client.Client, immortal ...string) Plugin {
	if len(immortal) == 0 {
		immortal = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic}
	}
	namespaces := client.For(c, kind.Namespace)
	return Plugin{
		Name: "NamespaceLifecycle",
		Validate: func(ctx context.Context, r *Request) error {
			isNamespace := r.Kind.Is(kind.Namespace.Kind())
			switch {
			case r.Verb == client.Delete && isNamespace && slices.Contains(immortal, r.Name):
				return Forbidden(r, "this namespace may not be deleted")
			case r.Verb != client.Create || r.Namespace == "" || isNamespace || r.Subresource != "":
				return nil
			}
			ns, err := namespaces.Get(ctx, "", r.Namespace)
			if err != nil {
				return err
			}
			if ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating {
				return nil
			}
			refused := apierrors.NewForbidden(r.Kind.GroupResource(), r.Name,
				fmt.Errorf("namespace %s is being deleted, nothing can be created in it", r.Namespace))
			refused.ErrStatus.Details.Causes = append(refused.ErrStatus.Details.Causes, metav1.StatusCause{
				Type:    corev1.NamespaceTerminatingCause,
				Message: fmt.Sprintf("namespace %s is being terminated", r.Namespace),
				Field:   "metadata.namespace",
			})
			return refused
		},
	}
}
