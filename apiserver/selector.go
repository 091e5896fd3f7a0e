package apiserver

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/watch"
)

// selector is what a list or watch asks for beside the namespace.
type selector struct {
	labels labels.Selector // nil selects everything
	fields []requirement
	name   string // of the only object that can match; empty means any
}

type requirement struct {
	field string
	get   func(kind.Instance) string
	value string
	equal bool // or else not equal
}

// selector reads the request's selectors.
func (c *call) selector() (*selector, error) {
	s := &selector{name: c.req.Name}
	if text := c.req.List.LabelSelector; text != "" {
		if strings.Contains(text, "\x00") { // the parser would take it for the end
			return nil, badRequest("label selector %q: it has a NUL character", text)
		}
		parsed, err := labels.Parse(text)
		if err != nil {
			return nil, badRequest("label selector %q: %v", text, err)
		}
		if !parsed.Empty() {
			s.labels = parsed
		}
	}
	text := c.req.List.FieldSelector
	if text == "" {
		return s, nil
	}
	parsed, err := fields.ParseSelector(text)
	if err != nil {
		return nil, badRequest("field selector %q: %v", text, err)
	}
	for _, r := range parsed.Requirements() {
		get := c.field(r.Field)
		if get == nil {
			return nil, badRequest("%s", unselectable(c.kind, r.Field))
		}
		equal := r.Operator != selection.NotEquals
		if equal && r.Field == "metadata.name" && s.name == "" {
			s.name = r.Value
		}
		s.fields = append(s.fields, requirement{field: r.Field, get: get, value: r.Value, equal: equal})
	}
	return s, nil
}

// unselectable says that a field can't be selected by, in upstream's words, which differ by kind.
func unselectable(k *kind.Kind, name string) string {
	switch {
	case len(k.Fields) == 0:
		return fmt.Sprintf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", name)
	case k.Is(kind.Job.Kind()):
		return fmt.Sprintf("field label %q not supported for Job", name)
	case k.Is(kind.ReplicaSet.Kind()):
		return fmt.Sprintf("field label %q not supported for ReplicaSet", name)
	}
	return "field label not supported: " + name
}

func (c *call) field(name string) func(kind.Instance) string {
	switch name {
	case "metadata.name":
		return kind.Instance.GetName
	case "metadata.namespace":
		if c.kind.Namespaced {
			return kind.Instance.GetNamespace
		}
	}
	return c.kind.Fields[name]
}

func (s *selector) everything() bool { return s.labels == nil && len(s.fields) == 0 && s.name == "" }

func (s *selector) matches(obj kind.Instance) bool {
	if s.name != "" && obj.GetName() != s.name {
		return false
	}
	for i := range s.fields {
		if r := &s.fields[i]; (r.get(obj) == r.value) != r.equal {
			return false
		}
	}
	return s.labels == nil || s.labels.Matches(labels.Set(obj.GetLabels()))
}

// events says which events of the cache's log can concern the selector: the rest never wakes the watcher.
func (s *selector) events(c *call) watch.Selector {
	if s.name != "" && (c.req.Namespace != "" || !c.kind.Namespaced) {
		return watch.Selector{Key: c.cache.key(c.req.Namespace, s.name)}
	}
	var sel watch.Selector
	if c.req.Namespace != "" {
		sel.Prefix = c.cache.scope(c.req.Namespace)
	}
	for i := range s.fields {
		if r := &s.fields[i]; r.equal && indexed(r.field) {
			sel.Terms = []string{r.field + "=" + r.value}
			break
		}
	}
	return sel
}
