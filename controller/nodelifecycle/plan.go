package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// heartbeats are the conditions that a node's agent reports all the time. Source: Kubernetes documentation, Node
// Status.
var heartbeats = [...]corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}

// second cuts a time to what the wire keeps.
func second(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

func condition(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// status of a condition; empty when the node does not have it.
func status(n *corev1.Node, t corev1.NodeConditionType) corev1.ConditionStatus {
	if c := condition(n, t); c != nil {
		return c.Status
	}
	return ""
}

// heartbeat is when the agent says that it last reported.
func heartbeat(n *corev1.Node) time.Time {
	var last time.Time
	for _, t := range heartbeats {
		if c := condition(n, t); c != nil && c.LastHeartbeatTime.After(last) {
			last = c.LastHeartbeatTime.Time
		}
	}
	return last
}

// silentIn is how long until a node counts as silent; 0 means that it does.
func silentIn(n *corev1.Node, seen, now time.Time, cfg *Config) time.Duration {
	grace := cfg.GracePeriod
	if condition(n, corev1.NodeReady) == nil {
		grace = max(grace, cfg.StartupGrace)
	}
	return max(0, seen.Add(grace).Sub(now))
}

// silence sets a node's conditions to Unknown, in place.
func silence(n *corev1.Node, now time.Time) {
	for _, t := range heartbeats {
		c := condition(n, t)
		switch {
		case c == nil:
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated", Message: "the node's agent has never reported",
				LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: second(now),
			})
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "the node's agent stopped reporting"
			c.LastTransitionTime = second(now)
		}
	}
}

type ownedTaint struct {
	key    string
	effect corev1.TaintEffect
	on     func(n *corev1.Node) bool // whether a node should have it
}

// owned are the taints that are this controller's, in the order in which they are added.
var owned = [...]ownedTaint{
	{corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule, func(n *corev1.Node) bool {
		s := status(n, corev1.NodeReady)
		return s == corev1.ConditionFalse || s == ""
	}},
	{corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute, func(n *corev1.Node) bool { return status(n, corev1.NodeReady) == corev1.ConditionFalse }},
	{corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule, func(n *corev1.Node) bool { return status(n, corev1.NodeReady) == corev1.ConditionUnknown }},
	{corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute, func(n *corev1.Node) bool { return status(n, corev1.NodeReady) == corev1.ConditionUnknown }},
	{corev1.TaintNodeMemoryPressure, corev1.TaintEffectNoSchedule, func(n *corev1.Node) bool { return status(n, corev1.NodeMemoryPressure) == corev1.ConditionTrue }},
	{corev1.TaintNodeDiskPressure, corev1.TaintEffectNoSchedule, func(n *corev1.Node) bool { return status(n, corev1.NodeDiskPressure) == corev1.ConditionTrue }},
	{corev1.TaintNodePIDPressure, corev1.TaintEffectNoSchedule, func(n *corev1.Node) bool { return status(n, corev1.NodePIDPressure) == corev1.ConditionTrue }},
	{corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule, func(n *corev1.Node) bool {
		return status(n, corev1.NodeNetworkUnavailable) == corev1.ConditionTrue
	}},
	{corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule, func(n *corev1.Node) bool { return n.Spec.Unschedulable }},
}

// taintsOf is what a node's taints should be.
func taintsOf(n *corev1.Node, now time.Time) []corev1.Taint {
	at := second(now)
	has := map[string]bool{}
	var out []corev1.Taint
	for _, t := range n.Spec.Taints {
		i := slices.IndexFunc(owned[:], func(o ownedTaint) bool { return o.key == t.Key && o.effect == t.Effect })
		if i >= 0 && !owned[i].on(n) {
			continue
		}
		if t.Effect == corev1.TaintEffectNoExecute && t.TimeAdded == nil {
			t.TimeAdded = &at
		}
		has[t.Key+":"+string(t.Effect)] = true
		out = append(out, t)
	}
	for _, o := range owned {
		if o.on(n) && !has[o.key+":"+string(o.effect)] {
			out = append(out, corev1.Taint{Key: o.key, Effect: o.effect, TimeAdded: &at})
		}
	}
	return out
}

// eviction says when a pod has to leave a node with these taints, and because of which. A zero time means at once;
// without a taint it may stay.
func eviction(p *corev1.Pod, taints []corev1.Taint) (at time.Time, cause *corev1.Taint) {
	for i := range taints {
		t := &taints[i]
		if t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		seconds, tolerated, limited := tolerance(p.Spec.Tolerations, t)
		if !tolerated || limited && seconds <= 0 {
			return time.Time{}, t
		}
		if !limited || t.TimeAdded == nil { // without a time: it is about to get one
			continue
		}
		from := t.TimeAdded.Time
		if from.Before(p.CreationTimestamp.Time) {
			from = p.CreationTimestamp.Time
		}
		if leave := from.Add(time.Duration(seconds) * time.Second); cause == nil || leave.Before(at) {
			at, cause = leave, t
		}
	}
	return at, cause
}

// tolerance is the shortest time for which a pod tolerates a taint, if it does and if the time is limited.
func tolerance(tolerations []corev1.Toleration, t *corev1.Taint) (seconds int64, tolerated, limited bool) {
	for i := range tolerations {
		tol := &tolerations[i]
		if !tolerates(tol, t) {
			continue
		}
		if s := tol.TolerationSeconds; s != nil && (!limited || *s < seconds) {
			seconds, limited = *s, true
		}
		tolerated = true
	}
	return seconds, tolerated, limited
}

// tolerates follows the rules of core/v1 Toleration.
func tolerates(tol *corev1.Toleration, t *corev1.Taint) bool {
	if tol.Effect != "" && tol.Effect != t.Effect || tol.Key != "" && tol.Key != t.Key {
		return false
	}
	switch tol.Operator {
	case corev1.TolerationOpExists:
		return true
	case "", corev1.TolerationOpEqual:
		return tol.Key != "" && tol.Value == t.Value
	}
	return false
}
