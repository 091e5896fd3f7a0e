package crd

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// resource is one version of a custom resource: how its objects are treated.
type resource struct {
	spec    *Spec
	version *DefinitionVersion
	root    func() (*node, error)     // its schema
	rules   func() (*ruleTree, error) // the rules in it; nil when there are none
}

func (r *resource) strategy(d *CustomResourceDefinition) kind.Strategy {
	s := kind.Strategy{
		Generation: kind.GenerationAlways, Default: r.defaults, Validate: r.validate, ValidateStatus: r.validate,
		Columns: r.columns(), Fields: r.fields(), Terminating: d.DeletionTimestamp != nil, Deprecation: r.deprecation(), NeedsVersion: true,
	}
	if !r.spec.PreserveUnknownFields {
		s.Prune = r.prune
	}
	if sub := r.version.Subresources; sub != nil {
		s.Status = sub.Status != nil
		if sub.Scale != nil {
			s.Scale = scaleOf(sub.Scale)
		}
	}
	return s
}

func (r *resource) openAPI() []byte {
	if r.version.Schema == nil || r.version.Schema.OpenAPIV3Schema == nil {
		return []byte(`{"type":"object","x-kubernetes-preserve-unknown-fields":true}`)
	}
	data, err := json.Marshal(r.version.Schema.OpenAPIV3Schema)
	if err != nil {
		return []byte(`{"type":"object"}`)
	}
	return data
}

func (r *resource) prune(obj kind.Instance) []string {
	root, err := r.root()
	if err != nil {
		return nil // validation says so
	}
	return prune(obj.(*unstructured.Unstructured).Object, root)
}

func (r *resource) defaults(obj kind.Instance) {
	if root, err := r.root(); err == nil {
		applyDefaults(obj.(*unstructured.Unstructured).Object, root)
	}
}

// validate holds an object to the schema and the rules in it; old is nil on create.
func (r *resource) validate(obj, old kind.Instance) field.ErrorList {
	root, err := r.root()
	if err != nil {
		return field.ErrorList{field.InternalError(nil, fmt.Errorf("the schema of %s cannot be used: %w", r.spec.Names.Kind, err))}
	}
	object := obj.(*unstructured.Unstructured).Object
	var errs field.ErrorList
	var before map[string]any
	if u, ok := old.(*unstructured.Unstructured); ok {
		before = u.Object
		errs = validateChange(root, nil, object, before)
	} else {
		errs = validateValue(root, nil, object)
	}
	errs = append(errs, r.validateScale(object)...)
	rules, err := r.rules()
	if err != nil {
		return append(errs, field.InternalError(nil, err))
	}
	if rules == nil {
		return errs
	}
	if blocking(errs) {
		return append(errs, field.Invalid(nil, nil, errNotChecked))
	}
	return append(errs, rules.validate(object, before)...)
}

// validateScale checks the counts that the scale subresource reads.
func (r *resource) validateScale(object map[string]any) (errs field.ErrorList) {
	if r.version.Subresources == nil || r.version.Subresources.Scale == nil {
		return nil
	}
	s := r.version.Subresources.Scale
	for _, path := range []string{s.SpecReplicasPath, s.StatusReplicasPath} {
		v, ok := get(object, names(path))
		if !ok || v == nil {
			continue
		}
		at := field.NewPath(strings.TrimPrefix(path, "."))
		n, ok := v.(int64)
		switch {
		case !ok:
			errs = append(errs, field.Invalid(at, v, "must be an integer"))
		case n < 0:
			errs = append(errs, field.Invalid(at, n, "should be a non-negative integer"))
		case n > 1<<31-1:
			errs = append(errs, field.Invalid(at, n, fmt.Sprintf("should be less than or equal to %v", 1<<31-1)))
		}
	}
	return errs
}

func scaleOf(s *ScaleSubresource) *kind.Scale {
	count := func(object map[string]any, path string) int32 {
		v, _ := get(object, names(path))
		n, _ := v.(int64)
		return int32(min(max(n, 0), 1<<31-1))
	}
	return &kind.Scale{
		Get: func(obj kind.Instance) autoscalingv1.Scale {
			object := obj.(*unstructured.Unstructured).Object
			out := autoscalingv1.Scale{
				Spec:   autoscalingv1.ScaleSpec{Replicas: count(object, s.SpecReplicasPath)},
				Status: autoscalingv1.ScaleStatus{Replicas: count(object, s.StatusReplicasPath)},
			}
			if s.LabelSelectorPath != nil && *s.LabelSelectorPath != "" {
				v, _ := get(object, names(*s.LabelSelectorPath))
				out.Status.Selector, _ = v.(string)
			}
			return out
		},
		Set: func(obj kind.Instance, replicas int32) {
			set(obj.(*unstructured.Unstructured).Object, names(s.SpecReplicasPath), int64(replicas))
		},
	}
}

// fields are the version's selectable fields.
func (r *resource) fields() map[string]func(kind.Instance) string {
	if len(r.version.SelectableFields) == 0 {
		return nil
	}
	out := make(map[string]func(kind.Instance) string, len(r.version.SelectableFields))
	for _, f := range r.version.SelectableFields {
		path := names(f.JSONPath)
		out[strings.Join(path, ".")] = func(obj kind.Instance) string {
			v, ok := get(obj.(*unstructured.Unstructured).Object, path)
			if !ok || v == nil {
				return ""
			}
			return text(v)
		}
	}
	return out
}

// deprecation is what users of a deprecated version are told.
func (r *resource) deprecation() string {
	v := r.version
	if !v.Deprecated {
		return ""
	}
	if v.DeprecationWarning != nil {
		return *v.DeprecationWarning
	}
	out := fmt.Sprintf("%s/%s %s is deprecated", r.spec.Group, v.Name, r.spec.Names.Kind)
	var better []string
	for _, other := range r.spec.Versions {
		if other.Served && !other.Deprecated && kind.CompareVersions(other.Name, v.Name) < 0 {
			better = append(better, other.Name)
		}
	}
	if len(better) > 0 {
		out += fmt.Sprintf("; use %s/%s %s", r.spec.Group, slices.MinFunc(better, kind.CompareVersions), r.spec.Names.Kind)
	}
	return out
}

// columns are what kubectl get prints: the name, and the version's own columns or else the age.
func (r *resource) columns() []kind.Column {
	out := []kind.Column{{
		Name: "Name", Type: "string", Format: "name", Description: "Name of the object, unique in its scope.",
		Cell: func(obj kind.Instance, _ time.Time) any { return obj.GetName() },
	}}
	own := r.version.AdditionalPrinterColumns
	if len(own) == 0 {
		own = []PrinterColumn{{Name: "Age", Type: "date", Description: "Time since the object was created.", JSONPath: ".metadata.creationTimestamp"}}
	}
	for _, c := range own {
		path, err := parsePath(c.JSONPath)
		out = append(out, kind.Column{
			Name: c.Name, Type: c.Type, Format: c.Format, Description: c.Description, Priority: c.Priority,
			Cell: func(obj kind.Instance, now time.Time) any {
				if err != nil {
					return nil
				}
				found := path.find(obj.(*unstructured.Unstructured).Object)
				if len(found) == 0 {
					return nil
				}
				return cell(c.Type, found[0], now)
			},
		})
	}
	return out
}

// cell is a value as a column of a type shows it; nil when it is of another type.
func cell(columnType string, v any, now time.Time) any {
	switch columnType {
	case "integer":
		switch n := v.(type) {
		case int64:
			return n
		case float64:
			return int64(n)
		}
	case "number":
		if n, ok := asFloat(v); ok {
			return n
		}
	case "boolean":
		if b, ok := v.(bool); ok {
			return b
		}
	case "string":
		if v == nil {
			return nil
		}
		return text(v)
	case "date":
		s, ok := v.(string)
		if !ok {
			return nil
		}
		var at metav1.Time
		if err := at.UnmarshalQueryParameter(s); err != nil {
			return "<invalid>"
		}
		if at.IsZero() {
			return "<unknown>"
		}
		return duration.HumanDuration(now.Sub(at.Time))
	}
	return nil
}

// definitionColumns are kubectl's for definitions themselves.
func definitionColumns() []kind.Column {
	return []kind.Column{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the definition.", Cell: func(obj kind.Instance, _ time.Time) any { return obj.GetName() }},
		{Name: "Created At", Type: "date", Description: "When the definition was created.", Cell: func(obj kind.Instance, _ time.Time) any {
			return obj.GetCreationTimestamp().UTC().Format(time.RFC3339)
		}},
	}
}
