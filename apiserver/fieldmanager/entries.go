package fieldmanager

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// SameButTime reports whether two lists of entries differ in nothing but their times.
func SameButTime(a, b []metav1.ManagedFieldsEntry) bool {
	return slices.EqualFunc(a, b, func(x, y metav1.ManagedFieldsEntry) bool {
		return x.Manager == y.Manager && x.Operation == y.Operation && x.APIVersion == y.APIVersion &&
			x.FieldsType == y.FieldsType && x.Subresource == y.Subresource && bytes.Equal(rawOf(x), rawOf(y))
	})
}

// sameEntries reports whether two lists of entries say the same, times included.
func sameEntries(a, b []metav1.ManagedFieldsEntry) bool {
	return SameButTime(a, b) && slices.EqualFunc(a, b, func(x, y metav1.ManagedFieldsEntry) bool { return x.Time.Equal(y.Time) })
}

func rawOf(e metav1.ManagedFieldsEntry) []byte {
	if e.FieldsV1 == nil {
		return nil
	}
	return e.FieldsV1.GetRawBytes()
}

// copyEntries copies the list and its times. The field sets are never written to, and shared.
func copyEntries(in []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
	out := slices.Clone(in)
	for i := range out {
		out[i].Time = out[i].Time.DeepCopy()
	}
	return out
}

// maxSetDepth bounds how deep a client's field set may be nested. Paths of real objects have some twenty elements.
const maxSetDepth = 256

var errSetDepth = errors.New("the field set is nested too deeply")

// ordered gives a client's entries with the elements of each set in the order in which they are stored. The decoder takes
// the square of their number to sort them, which a client could make minutes of.
func ordered(entries []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, error) {
	out := slices.Clone(entries)
	for i := range out {
		if out[i].FieldsV1 == nil {
			continue
		}
		if nesting(rawOf(out[i])) > maxSetDepth {
			return nil, fmt.Errorf("metadata.managedFields[%d].fieldsV1: %w", i, errSetDepth)
		}
		set, err := sortedSet(rawOf(out[i]))
		if err != nil {
			return nil, fmt.Errorf("metadata.managedFields[%d].fieldsV1: %w", i, err)
		}
		out[i].FieldsV1 = &metav1.FieldsV1{}
		out[i].FieldsV1.SetRawBytes(set)
	}
	return out, nil
}

// nesting is how deep JSON is nested.
func nesting(raw []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; {
		case quoted && b == '\\':
			i++
		case b == '"':
			quoted = !quoted
		case quoted:
		case b == '{':
			now++
			deepest = max(deepest, now)
		case b == '}':
			now--
		}
	}
	return deepest
}

func sortedSet(raw []byte) ([]byte, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	type member struct {
		key     string
		element fieldpath.PathElement
	}
	var all []member
	_, self := members["."]
	for key := range members {
		if key == "." {
			continue
		}
		e, err := fieldpath.DeserializePathElement(key)
		if errors.Is(err, fieldpath.ErrUnknownPathElementType) {
			continue // as upstream: of a later version
		}
		if err != nil {
			return nil, err
		}
		all = append(all, member{key, e})
	}
	slices.SortFunc(all, func(a, b member) int { return a.element.Compare(b.element) })
	out := []byte{'{'}
	if self {
		out = append(out, `".":{}`...)
	}
	for _, m := range all {
		if len(out) > 1 {
			out = append(out, ',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		below, err := sortedSet(members[m.key])
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, key...), ':'), below...)
	}
	return append(out, '}'), nil
}
