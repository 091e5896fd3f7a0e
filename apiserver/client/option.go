package client

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Option changes one request.
type Option func(*Request)

// InNamespace restricts a list, watch or collection to a namespace.
func InNamespace(namespace string) Option { return func(r *Request) { r.Namespace = namespace } }

// Labels selects by labels.
func Labels(s labels.Selector) Option {
	return func(r *Request) { r.List.LabelSelector = s.String() }
}

// Fields selects by fields, such as spec.nodeName.
func Fields(s fields.Selector) Option {
	return func(r *Request) { r.List.FieldSelector = s.String() }
}

// Limit asks for pages of n objects.
func Limit(n int64) Option { return func(r *Request) { r.List.Limit = n } }

// Continue asks for the page that a token from the previous one names.
func Continue(token string) Option { return func(r *Request) { r.List.Continue = token } }

// FromRevision starts a watch after a revision.
func FromRevision(revision int64) Option {
	return func(r *Request) { r.List.ResourceVersion = FormatRevision(revision) }
}

// DryRun runs a write without storing it.
func DryRun() Option { return func(r *Request) { r.DryRun = true } }

// ManagedBy names the field manager of a write.
func ManagedBy(manager string) Option { return func(r *Request) { r.FieldManager = manager } }

// Force makes a server-side apply take over fields that others manage.
func Force() Option { return func(r *Request) { r.Force = true } }

// GracePeriod sets how many seconds a deletion waits; 0 deletes at once.
func GracePeriod(seconds int64) Option {
	return func(r *Request) { r.Delete.GracePeriodSeconds = &seconds }
}

// Propagation says what happens to the dependents of a deleted object.
func Propagation(p metav1.DeletionPropagation) Option {
	return func(r *Request) { r.Delete.PropagationPolicy = &p }
}

// IfUID deletes only the object with this uid.
func IfUID(uid types.UID) Option {
	return func(r *Request) {
		if r.Delete.Preconditions == nil {
			r.Delete.Preconditions = &metav1.Preconditions{}
		}
		r.Delete.Preconditions.UID = &uid
	}
}
