package scheduler

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Workload says what is placed where. The zero value is pods on nodes; [Place] makes one from own kinds.
type Workload struct {
	Units   *kind.Kind
	Targets *kind.Kind

	// Pod gives a unit's needs in a pod's terms: requests, selectors, tolerations, and NodeName once it is bound. It
	// must give equal answers for equal objects, and may return the object itself when that is a pod.
	Pod func(unit kind.Instance) *corev1.Pod

	// Node gives a target's offer in a node's terms: labels, taints, status.allocatable.
	Node func(target kind.Instance) *corev1.Node

	// Bind writes the decision.
	Bind func(ctx context.Context, c client.Client, unit kind.Instance, target string) error
}

// Place makes a workload of own kinds. A Bind that returns a conflict error is tried again with the unit's next state.
func Place[U, T kind.Instance](units kind.Type[U], targets kind.Type[T], pod func(U) *corev1.Pod, node func(T) *corev1.Node,
	bind func(ctx context.Context, c client.Client, unit U, target string) error,
) Workload {
	return Workload{
		Units: units.Kind(), Targets: targets.Kind(),
		Pod:  func(obj kind.Instance) *corev1.Pod { return pod(obj.(U)) },
		Node: func(obj kind.Instance) *corev1.Node { return node(obj.(T)) },
		Bind: func(ctx context.Context, c client.Client, obj kind.Instance, target string) error {
			return bind(ctx, c, obj.(U), target)
		},
	}
}

func podsOnNodes() Workload {
	return Place(kind.Pod, kind.Node,
		func(p *corev1.Pod) *corev1.Pod { return p },
		func(n *corev1.Node) *corev1.Node { return n },
		func(ctx context.Context, c client.Client, p *corev1.Pod, target string) error {
			return client.Bind(ctx, c, p, target)
		})
}

func (w *Workload) validate() error {
	if w.Units == nil && w.Targets == nil && w.Pod == nil && w.Node == nil && w.Bind == nil {
		*w = podsOnNodes()
	}
	switch {
	case w.Units == nil:
		return errors.New("scheduler: Workload.Units: required")
	case w.Targets == nil:
		return errors.New("scheduler: Workload.Targets: required")
	case w.Pod == nil:
		return errors.New("scheduler: Workload.Pod: required")
	case w.Node == nil:
		return errors.New("scheduler: Workload.Node: required")
	case w.Bind == nil:
		return errors.New("scheduler: Workload.Bind: required")
	}
	return nil
}

// isPods says whether units are the API's own pods, whose status carries the PodScheduled condition.
func (w *Workload) isPods() bool { return w.Units.Is(kind.Pod.Kind()) }

func (w *Workload) unit(obj kind.Instance) *Unit { return newUnit(obj, w.Pod(obj)) }

func (w *Workload) target(obj kind.Instance) *Target {
	node := w.Node(obj)
	return &Target{Name: obj.GetName(), Object: obj, Node: node, Allocatable: ResourcesOf(node.Status.Allocatable)}
}

// sameUID says whether two states are of one object: a name may be deleted and used again.
func sameUID(a, b kind.Instance) bool {
	var none types.UID
	return a.GetUID() == b.GetUID() && a.GetUID() != none
}
