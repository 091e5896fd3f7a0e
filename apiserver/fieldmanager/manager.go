package fieldmanager

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Manager keeps the managed fields of one kind's objects, in all its versions.
type Manager struct {
	versions func() []*kind.Kind

	mu    sync.Mutex
	types map[*kind.Kind]func() (*types, error)
	ready map[scope]*managedfields.FieldManager // of kinds with one version
}

// scope is what upstream has a field manager for.
type scope struct {
	kind        *kind.Kind
	subresource string
}

// New makes a manager. It does no work yet. versions answers all versions of the kind.
func New(versions func() []*kind.Kind) *Manager {
	return &Manager{
		versions: versions, types: map[*kind.Kind]func() (*types, error){}, ready: map[scope]*managedfields.FieldManager{},
	}
}

// Update sets obj's managed fields to what they are after manager has written obj over live, through a subresource or
// (empty) the main one. Live is nil when obj is new. Fields that the subresource does not write must be live's already.
//
// What obj's managed fields say counts as the client's wish, on the main resource: they replace live's, an empty list or
// one with an empty entry forgets them all, none or unreadable ones leave them. When the fields cannot be worked out, as
// with a list map whose items have no key, live's stay, as upstream.
func (m *Manager) Update(ctx context.Context, k *kind.Kind, subresource string, live, obj kind.Instance, manager string) {
	if m.quick(k, subresource, live, obj, manager) {
		return
	}
	err := m.update(ctx, k, subresource, live, obj, manager)
	if err == nil {
		return
	}
	obj.SetManagedFields(nil)
	if live != nil {
		obj.SetManagedFields(copyEntries(live.GetManagedFields()))
	}
}

func (m *Manager) update(ctx context.Context, k *kind.Kind, subresource string, live, obj kind.Instance, manager string) error {
	if live == nil {
		live = k.New()
	}
	general, err := m.general(ctx, k, subresource)
	if err != nil {
		return err
	}
	if entries := obj.GetManagedFields(); len(entries) > 0 && !sameEntries(entries, live.GetManagedFields()) {
		sorted, err := ordered(entries)
		if err != nil {
			return err
		}
		obj.SetManagedFields(sorted)
	}
	if _, err := general.Update(wrap(k, live), wrap(k, obj), manager); err != nil {
		return err
	}
	wholeSeconds(obj)
	return nil
}

// Apply merges a configuration (JSON as a map, of the kind's version) into live, which is the kind's empty object when
// there is none yet, and answers the merged object. The object is new, and complete with its managed fields; its metadata has
// what the configuration said, such as resourceVersion and uid.
//
// The error is an *apierrors.StatusError: a 409 with a cause per field when others own what the configuration changes, unless
// force takes the fields over; a 400 when the configuration does not fit the kind.
func (m *Manager) Apply(ctx context.Context, k *kind.Kind, subresource string, live kind.Instance, configuration map[string]any, manager string, force bool) (merged kind.Instance, err error) {
	general, err := m.general(ctx, k, subresource)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	defer func() { // structured-merge-diff takes some shapes of values for granted
		if v := recover(); v != nil {
			merged, err = nil, apierrors.NewBadRequest(fmt.Sprintf("the configuration does not fit the object: %v", v))
		}
	}()
	out, err := general.Apply(wrap(k, live), &unstructured.Unstructured{Object: configuration}, manager, force)
	var status *apierrors.StatusError
	switch {
	case errors.As(err, &status):
		return nil, status
	case err != nil:
		return nil, apierrors.NewBadRequest(err.Error())
	}
	obj, err := unwrap(out)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if _, ok := obj.(runtime.Unstructured); ok {
		obj = k.Copy(obj) // which shares parts with live and the configuration so far
	}
	wholeSeconds(obj)
	return obj, nil
}

// general is upstream's manager for a version and a subresource.
func (m *Manager) general(ctx context.Context, k *kind.Kind, subresource string) (*managedfields.FieldManager, error) {
	m.mu.Lock()
	f := m.ready[scope{k, subresource}]
	m.mu.Unlock()
	if f != nil {
		return f, nil
	}
	t, err := m.typesOf(k)
	if err != nil {
		return nil, err
	}
	versions := m.versions()
	c := converter{types: t, manager: m, ctx: ctx, versions: versions}
	filters := make(map[fieldpath.APIVersion]fieldpath.Filter, len(versions))
	for _, v := range versions {
		filters[fieldpath.APIVersion(v.APIVersion())] = filterOf(v, subresource)
	}
	gvk := k.GroupVersionKind()
	if f, err = managedfields.NewDefaultCRDFieldManager(c, c, c, c, gvk, gvk.GroupVersion(), subresource, filters); err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", k, err)
	}
	if len(versions) == 1 { // with others it may have to convert, which takes the context
		m.mu.Lock()
		m.ready[scope{k, subresource}] = f
		m.mu.Unlock()
	}
	return f, nil
}

// typesOf makes the merge types of a version when it is first written.
func (m *Manager) typesOf(k *kind.Kind) (*types, error) {
	m.mu.Lock()
	make := m.types[k]
	if make == nil {
		make = sync.OnceValues(func() (*types, error) { return newTypes(k) })
		m.types[k] = make
	}
	m.mu.Unlock()
	return make()
}

// filterOf keeps of a set what writes through a subresource may own; nil is everything.
func filterOf(k *kind.Kind, subresource string) fieldpath.Filter {
	switch {
	case subresource == subStatus:
		return fieldpath.NewIncludeMatcherFilter(
			fieldpath.MakePrefixMatcherOrDie("status"),
			fieldpath.MakePrefixMatcherOrDie("metadata", "labels"),
			fieldpath.MakePrefixMatcherOrDie("metadata", "annotations"),
		)
	case k.Status && subresource == "":
		return fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("status")))
	}
	return nil
}

// wholeSeconds makes the times of entries what they are once stored, and entries of one object share no memory with
// those of another.
func wholeSeconds(obj kind.Instance) {
	entries := obj.GetManagedFields()
	for i := range entries {
		if t := entries[i].Time; t != nil {
			entries[i].Time = &metav1.Time{Time: t.Truncate(time.Second).Local()}
		}
	}
	obj.SetManagedFields(entries)
}

var _ runtime.Object = object{}
