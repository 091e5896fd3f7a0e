package kind

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/version"
)

// Hub says how a further version of a kind is had from the stored one. A kind with several versions is several Kinds: one,
// whose Hub is nil, in whose version objects are stored, and the others with a Hub that names it. They may be of different
// groups, as core/v1 and events.k8s.io/v1 Events are.
//
// A request is served in its own version, by that version's strategy, and converted at the store: on the way in with To, on the
// way out with From. What the further version's strategy leaves out is done by the stored version's, on converted objects.
type Hub struct {
	Kind *Kind // the stored version; one that is not in the Set is stored and not served

	// To and From convert objects to and from the stored version. They must keep name, namespace and uid, must not change what
	// they are given, which is shared, and answer as many objects as they got, in the same order.
	To, From func(ctx context.Context, objects []Instance) ([]Instance, error)
}

// Conversions is a Hub made of two functions over Go types: to gives the stored version, from the further one. Apart from
// apiVersion and kind they answer complete objects, metadata included.
func Conversions[V, H Instance](stored Type[H], to func(V) (H, error), from func(H) (V, error)) *Hub {
	return &Hub{Kind: stored.Kind(), To: each(to), From: each(from)}
}

func each[A, B Instance](convert func(A) (B, error)) func(context.Context, []Instance) ([]Instance, error) {
	return func(_ context.Context, in []Instance) ([]Instance, error) {
		out := make([]Instance, len(in))
		for i, obj := range in {
			a, ok := obj.(A)
			if !ok {
				return nil, fmt.Errorf("convert %s: the object is a %T, must be a %v", obj.GetName(), obj, reflect.TypeFor[A]())
			}
			b, err := convert(a)
			if err != nil {
				return nil, fmt.Errorf("convert %s: %w", obj.GetName(), err)
			}
			out[i] = b
		}
		return out, nil
	}
}

// Version returns t as a further version of the kind that hub names. t stays as it is.
func (t Type[T]) Version(hub *Hub) Type[T] {
	k := *t.kind
	k.Hub = hub
	return Type[T]{&k}
}

// Stored is the version of the kind in which objects are stored: often k itself.
func (k *Kind) Stored() *Kind {
	if k.Hub == nil {
		return k
	}
	return k.Hub.Kind
}

// ToStored converts one object to the stored version. The object of the stored version itself is answered as it is.
func (k *Kind) ToStored(ctx context.Context, obj Instance) (Instance, error) {
	if k.Hub == nil {
		return obj, nil
	}
	out, err := k.converted(ctx, k.Hub.To, []Instance{obj}, k.Hub.Kind)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// FromStored converts objects of the stored version. Those of the stored version itself are answered as they are.
func (k *Kind) FromStored(ctx context.Context, objects []Instance) ([]Instance, error) {
	if k.Hub == nil || len(objects) == 0 {
		return objects, nil
	}
	return k.converted(ctx, k.Hub.From, objects, k)
}

// converted checks what a conversion answers: functions of others are not taken at their word.
func (k *Kind) converted(ctx context.Context, convert func(context.Context, []Instance) ([]Instance, error), in []Instance, to *Kind) ([]Instance, error) {
	out, err := convert(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("%s: convert to %s: %w", k, to.APIVersion(), err)
	}
	if len(out) != len(in) {
		return nil, fmt.Errorf("%s: convert to %s: %d objects became %d", k, to.APIVersion(), len(in), len(out))
	}
	for i, obj := range out {
		was := in[i]
		if obj.GetName() != was.GetName() || obj.GetNamespace() != was.GetNamespace() || obj.GetUID() != was.GetUID() {
			return nil, fmt.Errorf("%s: convert to %s: the object %s/%s (uid %s) became %s/%s (uid %s): a conversion may not rename",
				k, to.APIVersion(), was.GetNamespace(), was.GetName(), was.GetUID(), obj.GetNamespace(), obj.GetName(), obj.GetUID())
		}
		to.Stamp(obj)
	}
	return out, nil
}

// inherit fills what the strategy of a further version leaves out from the stored version's.
func (k *Kind) inherit() {
	hub, s, of := k.Hub.Kind, &k.Strategy, &k.Hub.Kind.Strategy
	if s.Default == nil && of.Default != nil {
		s.Default = func(obj Instance) { k.through(obj, nil, func(obj, _ Instance) { of.Default(obj) }) }
	}
	if s.Prepare == nil && of.Prepare != nil {
		s.Prepare = func(obj, old Instance) { k.through(obj, old, of.Prepare) }
	}
	if s.Validate == nil && of.Validate != nil {
		s.Validate = func(obj, old Instance) field.ErrorList { return k.checked(obj, old, of.Validate) }
	}
	if s.ValidateStatus == nil && of.ValidateStatus != nil {
		s.ValidateStatus = func(obj, old Instance) field.ErrorList { return k.checked(obj, old, of.ValidateStatus) }
	}
	if s.Warnings == nil && of.Warnings != nil {
		s.Warnings = func(obj, old Instance) []string {
			obj, old, err := k.both(obj, old)
			if err != nil {
				return nil // validation says so
			}
			return of.Warnings(obj, old)
		}
	}
	if s.GracePeriod == nil && of.GracePeriod != nil {
		s.GracePeriod = func(obj Instance, requested *int64) int64 {
			stored, err := k.ToStored(context.Background(), obj)
			if err != nil {
				return 0
			}
			return of.GracePeriod(stored, requested)
		}
	}
	if s.Scale == nil && of.Scale != nil {
		s.Scale = k.inheritScale(of.Scale)
	}
	if s.Columns == nil {
		s.Columns = slices.Clone(of.Columns)
		for i, c := range s.Columns {
			if c.Cell != nil {
				s.Columns[i].Cell = k.cellThrough(c.Cell)
			}
		}
	}
	if s.Fields == nil && of.Fields != nil {
		s.Fields = make(map[string]func(Instance) string, len(of.Fields))
		for name, get := range of.Fields {
			s.Fields[name] = func(obj Instance) string {
				stored, err := k.ToStored(context.Background(), obj)
				if err != nil {
					return ""
				}
				return get(stored)
			}
		}
	}
	s.Status = s.Status || of.Status
	if s.Generation == GenerationWithStatus {
		s.Generation = of.Generation
	}
	if s.NameRule == nil {
		s.NameRule = of.NameRule
	}
	if s.PrepareStatus == nil && of.PrepareStatus != nil {
		s.PrepareStatus = func(obj, old Instance) { k.through(obj, old, of.PrepareStatus) }
	}
	if s.Parts == nil {
		s.Parts = k.inheritParts(of.Parts)
	}
	s.OrphanByDefault = s.OrphanByDefault || of.OrphanByDefault
	if s.Verbs == nil {
		s.Verbs = of.Verbs
	}
	if s.Subresources == nil {
		s.Subresources = of.Subresources
	}
	if k.Copy == nil {
		k.Copy = hub.Copy
	}
}

// through lets change work on the stored version of obj, and takes its result over.
func (k *Kind) through(obj, old Instance, change func(obj, old Instance)) {
	stored, before, err := k.both(obj, old)
	if err != nil {
		return // the write fails when it is converted for the store
	}
	copied := k.Hub.Kind.Copy(stored) // a conversion may share parts of what it was given
	change(copied, before)
	back, err := k.FromStored(context.Background(), []Instance{copied})
	if err == nil {
		assign(obj, k.Copy(back[0]))
	}
}

func (k *Kind) checked(obj, old Instance, check func(obj, old Instance) field.ErrorList) field.ErrorList {
	obj, old, err := k.both(obj, old)
	if err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	return check(obj, old)
}

// both converts an object and, where there is one, the one that it replaces.
func (k *Kind) both(obj, old Instance) (Instance, Instance, error) {
	stored, err := k.ToStored(context.Background(), obj)
	if err != nil || old == nil {
		return stored, nil, err
	}
	before, err := k.ToStored(context.Background(), old)
	return stored, before, err
}

func (k *Kind) inheritParts(of map[string]Part) map[string]Part {
	if of == nil {
		return nil
	}
	parts := make(map[string]Part, len(of))
	for name, p := range of {
		own := Part{Take: func(into, from Instance) {
			stored, err := k.ToStored(context.Background(), from)
			if err != nil {
				return // the write fails when it is converted for the store
			}
			k.through(into, nil, func(into, _ Instance) { p.Take(into, stored) })
		}}
		if p.Validate != nil {
			own.Validate = func(obj, old Instance) field.ErrorList { return k.checked(obj, old, p.Validate) }
		}
		parts[name] = own
	}
	return parts
}

func (k *Kind) inheritScale(of *Scale) *Scale {
	return &Scale{
		Get: func(obj Instance) autoscalingv1.Scale {
			stored, err := k.ToStored(context.Background(), obj)
			if err != nil {
				return autoscalingv1.Scale{}
			}
			return of.Get(stored)
		},
		Set: func(obj Instance, replicas int32) {
			k.through(obj, nil, func(obj, _ Instance) { of.Set(obj, replicas) })
		},
	}
}

func (k *Kind) cellThrough(cell func(Instance, time.Time) any) func(Instance, time.Time) any {
	return func(obj Instance, now time.Time) any {
		stored, err := k.ToStored(context.Background(), obj)
		if err != nil {
			return nil
		}
		return cell(stored, now)
	}
}

// CompareVersions orders versions of one group as Kubernetes prefers them: v2, v1, v1beta2, v1beta1, v1alpha1, then the rest by name.
// It is negative when a comes first.
func CompareVersions(a, b string) int {
	if c := version.CompareKubeAwareVersionStrings(b, a); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}
