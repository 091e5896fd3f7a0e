package fieldmanager

import (
	"cmp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// maxUpdateManagers is how many managers of updates an object keeps apart, as upstream.
const maxUpdateManagers = 10

// unmanaged are the fields of an object's metadata that nobody manages. Source: apimachinery's stripMetaManager.
func unmanaged(name string) bool {
	switch name {
	case "name", "namespace", "creationTimestamp", "selfLink", "uid", "clusterName", "generation", "managedFields", "resourceVersion":
		return true
	}
	return false
}

// visits tells which fields of an object a write through a subresource may change the managers of. It says the same as filterOf.
func visits(k *kind.Kind, subresource string) func(parent, name string) bool {
	return func(parent, name string) bool {
		switch {
		case parent == "metadata":
			return !unmanaged(name) && (subresource != subStatus || name == "labels" || name == "annotations")
		case name == "apiVersion", name == "kind":
			return false
		case name == "metadata":
			return true
		case subresource == subStatus:
			return name == "status"
		}
		return name != "status" || !k.Status || subresource != ""
	}
}

// quick does what update does, for the writes that are the most: by objects of Go types, whose managed fields are of one version and
// come back as they were. It reports false, and has changed nothing, for all others.
func (m *Manager) quick(k *kind.Kind, subresource string, live, obj kind.Instance, manager string) bool {
	t, err := m.typesOf(k)
	if err != nil || t.shape == nil {
		return false
	}
	var entries []metav1.ManagedFieldsEntry
	if live != nil {
		entries = live.GetManagedFields()
	}
	if sent := obj.GetManagedFields(); subresource == "" && sent != nil && (len(sent) == 0 || !sameEntries(sent, entries)) {
		return false
	}
	if live != nil && len(entries) == 0 {
		if live.GetUID() == "" {
			return false
		}
		obj.SetManagedFields(nil) // nobody's so far, and so until somebody applies
		return true
	}
	old := live
	if old == nil {
		old = t.empty
	}
	var c comparison
	changed := c.objects(t.shape, old, obj, visits(k, subresource))
	if c.strange {
		return false
	}
	var gone *tree
	if c.gone {
		gone = changed.removed()
	}
	mine := metav1.ManagedFieldsEntry{
		Manager: manager, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: k.APIVersion(), FieldsType: "FieldsV1", Subresource: subresource,
	}
	if live == nil {
		obj.SetManagedFields(nil)
		if changed.empty() {
			return true
		}
		changed.sort()
		mine.Time = now()
		mine.FieldsV1 = t.sets.keep(changed.json(make([]byte, 0, 1024)))
		obj.SetManagedFields([]metav1.ManagedFieldsEntry{mine})
		return true
	}
	out, ok := revised(entries, mine, changed, gone, t.sets)
	if ok {
		obj.SetManagedFields(out)
	}
	return ok
}

// revised are the entries after mine has changed some fields and removed others.
func revised(entries []metav1.ManagedFieldsEntry, mine metav1.ManagedFieldsEntry, changed, gone *tree, sets *sets) ([]metav1.ManagedFieldsEntry, bool) {
	updates, at := 0, -1
	for i, e := range entries {
		if e.APIVersion != mine.APIVersion || e.FieldsType != "FieldsV1" || e.FieldsV1 == nil {
			return nil, false
		}
		switch e.Operation {
		case metav1.ManagedFieldsOperationUpdate:
			updates++
			if e.Manager == mine.Manager && e.Subresource == mine.Subresource {
				if at >= 0 {
					return nil, false
				}
				at = i
			}
		case metav1.ManagedFieldsOperationApply:
		default:
			return nil, false
		}
	}
	takes := !changed.empty()
	if takes && at < 0 {
		updates++
	}
	if updates > maxUpdateManagers {
		return nil, false
	}
	if !takes && gone == nil {
		return copyEntries(entries), true
	}
	changed.sort()
	out := make([]metav1.ManagedFieldsEntry, 0, len(entries)+1)
	for i, e := range entries {
		own, err := parse(rawOf(e))
		if err != nil {
			return nil, false
		}
		touched := false
		if gone != nil && own.meets(gone) {
			own.remove(gone)
			touched = true
		}
		if i == at {
			if takes && !own.holds(changed) {
				own.add(changed)
				touched = true
			}
			if takes {
				e.Time = now()
			}
		} else if takes && own.meets(changed) {
			own.remove(changed)
			touched = true
		}
		if touched {
			own.member = false // of the root, which is no path
			if own.empty() {
				continue
			}
			e.FieldsV1 = sets.keep(own.json(make([]byte, 0, len(rawOf(e))+64)))
		}
		e.Time = e.Time.DeepCopy()
		out = append(out, e)
	}
	if takes && at < 0 {
		mine.Time = now()
		mine.FieldsV1 = sets.keep(changed.json(nil))
		out = append(out, mine)
	}
	slices.SortStableFunc(out, compareEntries)
	return out, true
}

// compareEntries is the order in which upstream keeps them.
func compareEntries(a, b metav1.ManagedFieldsEntry) int {
	return cmp.Or(cmp.Compare(a.Operation, b.Operation), cmp.Compare(seconds(a.Time), seconds(b.Time)), cmp.Compare(a.Manager, b.Manager),
		cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Subresource, b.Subresource))
}

func seconds(t *metav1.Time) int64 {
	if t == nil {
		return 0
	}
	return t.Unix()
}

// now is the time as it is stored.
func now() *metav1.Time { return &metav1.Time{Time: time.Now().Truncate(time.Second).Local()} }
