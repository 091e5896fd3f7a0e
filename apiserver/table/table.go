package table

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Unknown is what a cell shows for a time that is not known.
const Unknown = "<unknown>"

// Definitions are the headings of a kind's table.
func Definitions(k *kind.Kind) []metav1.TableColumnDefinition {
	cols := Columns(k)
	out := make([]metav1.TableColumnDefinition, len(cols))
	for i, c := range cols {
		out[i] = metav1.TableColumnDefinition{Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority}
		if out[i].Type == "" || out[i].Type == "date" {
			out[i].Type = "string" // a date is sent as an age, which is text
		}
	}
	return out
}

// Columns are the kind's columns, or the default ones when it has none.
func Columns(k *kind.Kind) []kind.Column {
	if len(k.Columns) > 0 {
		return k.Columns
	}
	return []kind.Column{Name(), AgeColumn()}
}

// Name is the column with the object's name.
func Name() kind.Column {
	return kind.Column{
		Name: "Name", Type: "string", Format: "name", Description: "Name of the object, unique in its namespace.",
		Cell: func(obj kind.Instance, _ time.Time) any { return obj.GetName() },
	}
}

// AgeColumn is the column with the time since the object's creation.
func AgeColumn() kind.Column {
	return kind.Column{
		Name: "Age", Type: "string", Description: "Time since the object was created.",
		Cell: func(obj kind.Instance, now time.Time) any { return Age(obj.GetCreationTimestamp(), now) },
	}
}

// Age is the time since t as kubectl prints it, such as 5m or 3d4h.
func Age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return Unknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// Include says which form of the object travels with its row.
type Include string

// The forms, as the includeObject parameter names them; empty means Metadata.
const (
	None     = Include(metav1.IncludeNone)
	Metadata = Include(metav1.IncludeMetadata)
	Object   = Include(metav1.IncludeObject)
)

// ParseInclude reads the includeObject parameter.
func ParseInclude(s string) (Include, error) {
	switch i := Include(s); i {
	case "":
		return Metadata, nil
	case None, Metadata, Object:
		return i, nil
	}
	return "", fmt.Errorf("includeObject %q: want None, Metadata or Object", s)
}

// Row is one object's row.
func Row(k *kind.Kind, obj kind.Instance, include Include, now time.Time) (metav1.TableRow, error) {
	cols := Columns(k)
	row := metav1.TableRow{Cells: make([]any, len(cols))}
	for i := range cols {
		row.Cells[i] = Cell(&cols[i], obj, now)
	}
	switch include {
	case None:
	case Object:
		if obj.GetObjectKind().GroupVersionKind() != k.GroupVersionKind() {
			obj = k.Copy(obj) // shared: EncodeJSON may not write to it
		}
		data, err := k.EncodeJSON(obj)
		if err != nil {
			return row, err
		}
		row.Object = runtime.RawExtension{Raw: data}
	default:
		row.Object = runtime.RawExtension{Object: Partial(obj)}
	}
	return row, nil
}

// Cell is what stands in a column for an object: text, a number, a truth value or nil.
func Cell(c *kind.Column, obj kind.Instance, now time.Time) any {
	if c.Cell == nil {
		return nil
	}
	return cell(c.Cell(obj, now), now)
}

// cell turns what a column's function gives into what a table may hold: text, a number, a truth value or nil.
func cell(v any, now time.Time) any {
	switch t := v.(type) {
	case nil, string, bool, int64, float64:
		return v
	case int:
		return int64(t)
	case int32:
		return int64(t)
	case uint32:
		return int64(t)
	case metav1.Time:
		return Age(t, now)
	case *metav1.Time:
		if t == nil {
			return Unknown
		}
		return Age(*t, now)
	case time.Time:
		return Age(metav1.NewTime(t), now)
	case time.Duration:
		return duration.HumanDuration(t)
	}
	return fmt.Sprint(v)
}

// Of is the table of objects. The caller sets the list metadata.
func Of(k *kind.Kind, objects []kind.Instance, include Include, now time.Time) (*metav1.Table, error) {
	t := &metav1.Table{
		TypeMeta:          metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "Table"},
		ColumnDefinitions: Definitions(k),
		Rows:              make([]metav1.TableRow, len(objects)),
	}
	for i, obj := range objects {
		row, err := Row(k, obj, include, now)
		if err != nil {
			return nil, err
		}
		t.Rows[i] = row
	}
	return t, nil
}

// Partial is an object's metadata as an object of its own.
func Partial(obj kind.Instance) *metav1.PartialObjectMetadata {
	p := &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"}}
	if m, ok := obj.(interface{ GetObjectMeta() metav1.Object }); ok {
		if meta, ok := m.GetObjectMeta().(*metav1.ObjectMeta); ok {
			p.ObjectMeta = *meta
			return p
		}
	}
	p.ObjectMeta = metav1.ObjectMeta{
		Name: obj.GetName(), GenerateName: obj.GetGenerateName(), Namespace: obj.GetNamespace(), SelfLink: obj.GetSelfLink(),
		UID: obj.GetUID(), ResourceVersion: obj.GetResourceVersion(), Generation: obj.GetGeneration(),
		CreationTimestamp: obj.GetCreationTimestamp(), DeletionTimestamp: obj.GetDeletionTimestamp(),
		DeletionGracePeriodSeconds: obj.GetDeletionGracePeriodSeconds(), Labels: obj.GetLabels(), Annotations: obj.GetAnnotations(),
		OwnerReferences: obj.GetOwnerReferences(), Finalizers: obj.GetFinalizers(), ManagedFields: obj.GetManagedFields(),
	}
	return p
}
