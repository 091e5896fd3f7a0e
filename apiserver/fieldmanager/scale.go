package fieldmanager

import (
	"context"
	"sync"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// The subresources that own fields of their own.
const (
	subStatus = "status"
	subScale  = "scale"
)

// Scale is the manager of a kind's scale subresource. Who manages spec.replicas of a Scale is kept in the entries of the
// object itself, at the path where the kind has its replica count.
type Scale struct {
	of    *Manager
	kind  *kind.Kind // Scale itself
	scale *Manager

	mu    sync.Mutex
	paths map[*kind.Kind]fieldpath.Path // nil when nothing changes as the version is scaled
}

// NewScale makes the manager for the scale subresource of the kind that m manages; k is any of its versions.
func NewScale(m *Manager, k *kind.Kind) *Scale {
	sent := k.Sent(subScale)
	return &Scale{
		of: m, kind: sent, scale: New(func() []*kind.Kind { return []*kind.Kind{sent} }), paths: map[*kind.Kind]fieldpath.Path{},
	}
}

// Update is [Manager.Update] for a Scale.
func (s *Scale) Update(ctx context.Context, live, scale *autoscalingv1.Scale, manager string) {
	s.scale.Update(ctx, s.kind, subScale, live, scale, manager)
}

// Apply is [Manager.Apply] for a Scale.
func (s *Scale) Apply(ctx context.Context, live *autoscalingv1.Scale, configuration map[string]any, manager string, force bool) (kind.Instance, error) {
	return s.scale.Apply(ctx, s.kind, subScale, live, configuration, manager, force)
}

// path finds the field that a version's Scale.Set writes.
func (s *Scale) path(k *kind.Kind) fieldpath.Path {
	s.mu.Lock()
	path, ok := s.paths[k]
	s.mu.Unlock()
	if ok {
		return path
	}
	if t, err := s.of.typesOf(k); err == nil && k.Scale != nil {
		path = replicasPath(k, t)
	}
	s.mu.Lock()
	s.paths[k] = path
	s.mu.Unlock()
	return path
}

func replicasPath(k *kind.Kind, t *types) fieldpath.Path {
	var values [2]*typed.TypedValue
	for i := range values {
		obj := k.New()
		k.Stamp(obj)
		k.Scale.Set(obj, int32(i+1))
		v, err := t.typed(wrap(k, obj), typed.AllowDuplicates)
		if err != nil {
			return nil
		}
		values[i] = v
	}
	compared, err := values[0].Compare(values[1])
	if err != nil {
		return nil
	}
	for path := range compared.Modified.All() {
		return path.Copy()
	}
	return nil
}

func (s *Scale) handler(k *kind.Kind, parent []metav1.ManagedFieldsEntry) *managedfields.ScaleHandler {
	paths := managedfields.ResourcePathMappings{}
	for _, v := range s.of.versions() {
		paths[v.APIVersion()] = s.path(v)
	}
	return managedfields.NewScaleHandler(parent, k.GroupVersionKind().GroupVersion(), paths)
}

// Of gives the entries of an object's Scale; k is the version that was asked for. Unreadable entries are none.
func (s *Scale) Of(k *kind.Kind, parent []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	out, err := s.handler(k, parent).ToSubresource()
	if err != nil {
		return nil
	}
	return out
}

// Parent gives an object's entries after its Scale's have become scale.
func (s *Scale) Parent(k *kind.Kind, parent, scale []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	if s.path(k) == nil {
		return parent
	}
	out, err := s.handler(k, parent).ToParent(scale)
	if err != nil {
		return parent
	}
	return out
}
