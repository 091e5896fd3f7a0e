package scheduler

import (
	"maps"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Unit is what is placed. It is immutable.
type Unit struct {
	Object   kind.Instance // the object itself
	Pod      *corev1.Pod   // its needs in a pod's terms; for pods the object itself
	Requests Resources     // what it asks for

	key controller.Key
}

// Key names the unit.
func (u *Unit) Key() controller.Key { return u.key }

func newUnit(obj kind.Instance, pod *corev1.Pod) *Unit {
	return &Unit{Object: obj, Pod: pod, Requests: RequestsOf(pod), key: controller.KeyOf(obj)}
}

func (u *Unit) priority() int32 {
	if u.Pod.Spec.Priority == nil {
		return 0
	}
	return *u.Pod.Spec.Priority
}

// target is where the unit is bound; empty means that it still waits.
func (u *Unit) target() string { return u.Pod.Spec.NodeName }

// finished units hold nothing any more.
func (u *Unit) finished() bool {
	return controller.PodEnded(u.Pod)
}

// Resources is an amount of each resource: CPU in thousandths of a core, memory and storage in bytes, others in their
// own unit.
type Resources struct {
	MilliCPU         int64
	Memory           int64
	EphemeralStorage int64
	Pods             int64
	Others           map[corev1.ResourceName]int64 // extended resources; read-only
}

// ResourcesOf reads a resource list.
func ResourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.EphemeralStorage = q.Value()
		case corev1.ResourcePods:
			r.Pods = q.Value()
		default:
			if r.Others == nil {
				r.Others = make(map[corev1.ResourceName]int64)
			}
			r.Others[name] = q.Value()
		}
	}
	return r
}

// RequestsOf is what a pod needs at its largest: the sum of its containers and sidecars, or a larger init container
// with the sidecars started before it, plus overhead. Source: KEP-753 (sidecar containers).
func RequestsOf(pod *corev1.Pod) Resources {
	var sum, initial, sidecars Resources
	for i := range pod.Spec.Containers {
		sum = sum.plus(ResourcesOf(pod.Spec.Containers[i].Resources.Requests))
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		need := ResourcesOf(c.Resources.Requests)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars = sidecars.plus(need)
			initial = initial.max(sidecars)
			continue
		}
		initial = initial.max(sidecars.plus(need))
	}
	r := sum.plus(sidecars).max(initial).plus(ResourcesOf(pod.Spec.Overhead))
	r.Pods = 1
	return r
}

func (r Resources) plus(o Resources) Resources {
	return r.merge(o, func(a, b int64) int64 { return a + b })
}

func (r Resources) minus(o Resources) Resources {
	return r.merge(o, func(a, b int64) int64 { return a - b })
}

func (r Resources) max(o Resources) Resources {
	return r.merge(o, func(a, b int64) int64 { return max(a, b) })
}

func (r Resources) merge(o Resources, f func(a, b int64) int64) Resources {
	out := Resources{
		MilliCPU:         f(r.MilliCPU, o.MilliCPU),
		Memory:           f(r.Memory, o.Memory),
		EphemeralStorage: f(r.EphemeralStorage, o.EphemeralStorage),
		Pods:             f(r.Pods, o.Pods),
		Others:           r.Others,
	}
	if len(o.Others) > 0 {
		out.Others = maps.Clone(r.Others)
		if out.Others == nil {
			out.Others = make(map[corev1.ResourceName]int64, len(o.Others))
		}
		for name, v := range o.Others {
			out.Others[name] = f(out.Others[name], v)
		}
	}
	return out
}
