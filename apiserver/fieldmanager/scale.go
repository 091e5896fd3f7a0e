package fieldmanager

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Scale is the manager of a kind's scale subresource. Who manages spec.replicas of a Scale is kept in the entries of the
// object itself, at the path where the kind has its replica count.
type Scale struct {
	*Manager
	of   *kind.Kind
	path func() fieldpath.Path // nil when nothing changes as the kind is scaled
}

// NewScale makes the manager for the scale subresource of m's kind, which must have one.
func NewScale(m *Manager) *Scale {
	k := m.kind
	return &Scale{
		Manager: New(k.Sent("scale")), of: k,
		path: sync.OnceValue(func() fieldpath.Path {
			t, err := m.types()
			if err != nil {
				return nil
			}
			return replicasPath(k, t)
		}),
	}
}

// replicasPath finds the field that a kind's Scale.Set writes.
func replicasPath(k *kind.Kind, t *types) fieldpath.Path {
	var values [2]*typed.TypedValue
	for i := range values {
		obj := k.New()
		k.Stamp(obj)
		k.Scale.Set(obj, int32(i+1))
		v, err := t.ObjectToTyped(wrap(k, obj), typed.AllowDuplicates)
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

func (s *Scale) handler(parent []metav1.ManagedFieldsEntry) *managedfields.ScaleHandler {
	gv := s.of.GroupVersionKind().GroupVersion()
	return managedfields.NewScaleHandler(parent, gv, managedfields.ResourcePathMappings{gv.String(): s.path()})
}

// Of gives the entries of an object's Scale. Unreadable ones are none.
func (s *Scale) Of(parent []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	out, err := s.handler(parent).ToSubresource()
	if err != nil {
		return nil
	}
	return out
}

// Parent gives an object's entries after its Scale's have become scale.
func (s *Scale) Parent(parent, scale []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	if s.path() == nil {
		return parent
	}
	out, err := s.handler(parent).ToParent(scale)
	if err != nil {
		return parent
	}
	return out
}
