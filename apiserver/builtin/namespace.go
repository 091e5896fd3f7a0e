package builtin

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func namespaces() behaviour[*corev1.Namespace] {
	return behaviour[*corev1.Namespace]{
		defaults: func(n *corev1.Namespace) {
			if n.Name == "" {
				return
			}
			if n.Labels == nil {
				n.Labels = make(map[string]string, 1)
			}
			n.Labels[corev1.LabelMetadataName] = n.Name
		},
		prepare:        prepareNamespace,
		name:           dnsLabel,
		validate:       validateNamespace,
		validateStatus: validateNamespaceStatus,
		status:         true,
		subresources:   []string{"finalize"},
		verbs:          []string{"create", "delete", "get", "list", "patch", "update", "watch"}, // all of them at once is nobody's wish
		fields: map[string]func(*corev1.Namespace) string{
			"status.phase": func(n *corev1.Namespace) string { return string(n.Status.Phase) },
		},
		columns: []kind.Column{
			nameColumn(),
			column("Status", "Phase of the namespace", func(n *corev1.Namespace, _ time.Time) any { return string(n.Status.Phase) }),
			ageColumn(),
		},
	}
}

// prepareNamespace keeps a namespace from going before its contents: the finalizer in its spec is taken off by the
// namespace controller, through the finalize subresource.
func prepareNamespace(n, old *corev1.Namespace) {
	if old != nil {
		n.Status = *old.Status.DeepCopy()
		n.Spec.Finalizers = slices.Clone(old.Spec.Finalizers)
		return
	}
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
}

func validateNamespace(n, _ *corev1.Namespace) field.ErrorList {
	if got, ok := n.Labels[corev1.LabelMetadataName]; n.Name != "" && (!ok || got != n.Name) {
		return field.ErrorList{field.Invalid(field.NewPath("metadata", "labels").Key(corev1.LabelMetadataName), got, "must be the namespace's name, "+n.Name)}
	}
	return nil
}

func validateNamespaceStatus(n, _ *corev1.Namespace) field.ErrorList {
	at := field.NewPath("status", "phase")
	if n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceActive {
		return field.ErrorList{field.Invalid(at, n.Status.Phase, "must be Active while the namespace is not being deleted")}
	}
	if !n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceTerminating {
		return field.ErrorList{field.Invalid(at, n.Status.Phase, "must be Terminating once the namespace is being deleted")}
	}
	return nil
}
