package plugins

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/scheduler"
)

// Default is every plugin of this package, cheap filters first.
func Default() []scheduler.Plugin {
	return []scheduler.Plugin{
		NodeName{}, Unschedulable{}, Taints{}, NodeAffinity{}, Ports{}, Resources{}, Spread{}, PodAffinity{},
	}
}

// nodeChanged is a Requeue for plugins that look at the node alone.
func nodeChanged(e scheduler.Event) bool {
	return e.Kind == scheduler.TargetAdded || e.Kind == scheduler.TargetChanged
}

// NodeName keeps a pod that names a node to that node.
type NodeName struct{}

// Name implements scheduler.Plugin.
func (NodeName) Name() string { return "NodeName" }

// Filter implements scheduler.Filter.
func (NodeName) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	if want := c.Unit.Pod.Spec.NodeName; want != "" && want != t.Name {
		return scheduler.RejectForGood("node(s) didn't match the requested node name")
	}
	return nil
}

// Requeue implements scheduler.Requeuer.
func (NodeName) Requeue(_ *scheduler.Unit, e scheduler.Event) bool {
	return e.Kind == scheduler.TargetAdded
}

// Unschedulable keeps pods off cordoned nodes.
type Unschedulable struct{}

// Name implements scheduler.Plugin.
func (Unschedulable) Name() string { return "NodeUnschedulable" }

// Filter implements scheduler.Filter. A pod that tolerates the taint of a cordoned node may go there.
func (Unschedulable) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	if !t.Node.Spec.Unschedulable {
		return nil
	}
	cordoned := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if tolerated(c.Unit.Pod.Spec.Tolerations, &cordoned) {
		return nil
	}
	return scheduler.RejectForGood("node(s) were unschedulable")
}

// Requeue implements scheduler.Requeuer.
func (Unschedulable) Requeue(_ *scheduler.Unit, e scheduler.Event) bool { return nodeChanged(e) }
