package builtin

import (
	"iter"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// behaviour is kind.Strategy over the kind's own Go type: old is nil on create.
type behaviour[T kind.Instance] struct {
	defaults        func(obj T)
	prepare         func(obj, old T)
	name            nameRule // the form of metadata.name; nil means a DNS subdomain
	validate        func(obj, old T) field.ErrorList
	prepareStatus   func(obj, old T)
	validateStatus  func(obj, old T) field.ErrorList
	parts           map[string]kind.Part
	warnings        func(obj, old T) []string
	status          bool
	orphanByDefault bool
	generation      kind.Generation
	scale           *kind.Scale
	gracePeriod     func(obj T, requested *int64) int64
	columns         []kind.Column
	fields          map[string]func(T) string
	claims          func(obj T) []string
	subresources    []string
	verbs           []string // nil means all of them
}

// of gives the kind with the behaviour b.
func (b behaviour[T]) of(t kind.Type[T]) *kind.Kind {
	s := kind.Strategy{
		Status: b.status, Generation: b.generation, OrphanByDefault: b.orphanByDefault, Scale: b.scale, Columns: b.columns, Subresources: b.subresources, Verbs: b.verbs, Parts: b.parts, NameRule: b.name,
		Default: adapt(b.defaults), Prepare: together(b.prepare), Validate: b.validator(), PrepareStatus: together(b.prepareStatus), ValidateStatus: pair(b.validateStatus), Warnings: pair(b.warnings),
	}
	if b.gracePeriod != nil {
		s.GracePeriod = func(obj kind.Instance, requested *int64) int64 { return b.gracePeriod(obj.(T), requested) }
	}
	if b.claims != nil {
		s.Claims = func(obj kind.Instance) []string { return b.claims(obj.(T)) }
	}
	if len(b.fields) > 0 {
		s.Fields = make(map[string]func(kind.Instance) string, len(b.fields))
		for name, get := range b.fields {
			s.Fields[name] = func(obj kind.Instance) string { return get(obj.(T)) }
		}
	}
	return t.With(s).Kind()
}

// together is f over plain instances; old is nil on create.
func together[T kind.Instance](f func(obj, old T)) func(obj, old kind.Instance) {
	if f == nil {
		return nil
	}
	return func(obj, old kind.Instance) {
		o, _ := old.(T)
		f(obj.(T), o)
	}
}

// part makes a subresource that writes a part of the object.
func part[T kind.Instance](take func(into, from T), validate func(obj, old T) field.ErrorList) kind.Part {
	return kind.Part{Take: together(take), Validate: pair(validate)}
}

func (b behaviour[T]) validator() func(obj, old kind.Instance) field.ErrorList {
	check := pair(b.validate)
	rule := b.name
	if rule == nil {
		rule = dnsSubdomain
	}
	return func(obj, old kind.Instance) field.ErrorList {
		var errs field.ErrorList
		if obj.GetName() != "" { // a name is required by the server, which may still generate one
			errs = checkName(obj.GetName(), field.NewPath("metadata", "name"), rule)
		}
		if check == nil {
			return errs
		}
		return append(errs, check(obj, old)...)
	}
}

func adapt[T kind.Instance](f func(T)) func(kind.Instance) {
	if f == nil {
		return nil
	}
	return func(obj kind.Instance) { f(obj.(T)) }
}

func pair[T kind.Instance, R any](f func(obj, old T) R) func(obj, old kind.Instance) R {
	if f == nil {
		return nil
	}
	return func(obj, old kind.Instance) R {
		o, _ := old.(T)
		return f(obj.(T), o)
	}
}

// column makes a column over the kind's own Go type.
func column[T kind.Instance](name, description string, cell func(obj T, now time.Time) any) kind.Column {
	return kind.Column{Name: name, Type: "string", Description: description, Cell: func(obj kind.Instance, now time.Time) any { return cell(obj.(T), now) }}
}

// wide makes a column that only -o wide shows.
func wide[T kind.Instance](name, description string, cell func(obj T, now time.Time) any) kind.Column {
	c := column(name, description, cell)
	c.Priority = 1
	return c
}

// number makes a column of integers.
func number[T kind.Instance](name, description string, cell func(obj T, now time.Time) any) kind.Column {
	c := column(name, description, cell)
	c.Type = "integer"
	return c
}

// flag makes a column of truths.
func flag[T kind.Instance](name, description string, cell func(obj T) any) kind.Column {
	c := column(name, description, func(obj T, _ time.Time) any { return cell(obj) })
	c.Type = "boolean"
	return c
}

// text makes a column of a string.
func text[T kind.Instance](name, description string, get func(obj T) string) kind.Column {
	return column(name, description, func(obj T, _ time.Time) any { return get(obj) })
}

// set gives *p a value when it has none.
func set[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// setPtr gives an optional field a value when it has none.
func setPtr[T any](p **T, value T) {
	if *p == nil {
		*p = &value
	}
}

// sorted goes through a map in the order of its keys, so that the same object gets the same errors in the same order.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}

// deref reads an optional field; absent is the zero value.
func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
