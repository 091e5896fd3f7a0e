package nodelifecycle

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

var epoch = time.Unix(1_000_000, 0)

func node(conditions ...corev1.NodeCondition) *corev1.Node {
	n := kind.Node.New()
	n.Name, n.Status.Conditions = "node", conditions
	return n
}

func is(t corev1.NodeConditionType, s corev1.ConditionStatus) corev1.NodeCondition {
	return corev1.NodeCondition{Type: t, Status: s}
}

func taint(s string, at int) corev1.Taint {
	t := corev1.Taint{Key: s, Effect: corev1.TaintEffectNoExecute}
	if at >= 0 {
		t.TimeAdded = &metav1.Time{Time: epoch.Add(time.Duration(at) * time.Second)}
	}
	return t
}

func TestTaintsOf(t *testing.T) {
	for _, c := range []struct {
		name string
		node *corev1.Node
		want []string
	}{
		{"new", node(), []string{"node.kubernetes.io/not-ready:NoSchedule"}},
		{"ready", node(is("Ready", "True")), nil},
		{"not ready", node(is("Ready", "False")), []string{"node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}},
		{"unknown", node(is("Ready", "Unknown")), []string{"node.kubernetes.io/unreachable:NoSchedule", "node.kubernetes.io/unreachable:NoExecute"}},
		{"pressure", node(is("Ready", "True"), is("MemoryPressure", "True"), is("DiskPressure", "True"), is("PIDPressure", "True"), is("NetworkUnavailable", "True")), []string{
			"node.kubernetes.io/memory-pressure:NoSchedule", "node.kubernetes.io/disk-pressure:NoSchedule",
			"node.kubernetes.io/pid-pressure:NoSchedule", "node.kubernetes.io/network-unavailable:NoSchedule",
		}},
		{"no pressure", node(is("Ready", "True"), is("MemoryPressure", "False"), is("DiskPressure", "Unknown")), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := taintsOf(c.node, epoch)
			var names []string
			for _, x := range got {
				names = append(names, x.ToString())
				require.Equal(t, epoch.Unix(), x.TimeAdded.Unix())
			}
			require.Equal(t, c.want, names)
			c.node.Spec.Taints = got
			require.True(t, sameTaints(got, taintsOf(c.node, epoch.Add(time.Hour))), "stable")
			require.Equal(t, got, taintsOf(c.node, epoch.Add(time.Hour)), "times are kept")
		})
	}
	n := node(is("Ready", "True"))
	n.Spec.Unschedulable = true
	n.Spec.Taints = []corev1.Taint{taint("mine", -1), {Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}, {Key: "keep", Effect: corev1.TaintEffectNoSchedule}}
	got := taintsOf(n, epoch)
	require.Len(t, got, 3)
	require.Equal(t, "mine", got[0].Key)
	require.NotNil(t, got[0].TimeAdded, "others' NoExecute taints get a time")
	require.Equal(t, "keep", got[1].Key)
	require.Equal(t, corev1.TaintNodeUnschedulable, got[2].Key)
}

func TestEviction(t *testing.T) {
	never := time.Duration(-1)
	tolerate := func(key string, seconds int64) corev1.Toleration {
		out := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
		if seconds >= 0 {
			out.TolerationSeconds = &seconds
		}
		return out
	}
	for _, c := range []struct {
		name        string
		taints      []corev1.Taint
		tolerations []corev1.Toleration
		created     int
		want        time.Duration // after the epoch; 0 is at once
	}{
		{name: "no taint", want: never},
		{name: "NoSchedule", taints: []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}}, want: never},
		{name: "not tolerated", taints: []corev1.Taint{taint("a", 0)}, want: 0},
		{name: "another tolerated", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("b", -1)}, want: 0},
		{name: "forever", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("a", -1)}, want: never},
		{name: "everything", taints: []corev1.Taint{taint("a", 0), taint("b", 0)}, tolerations: []corev1.Toleration{tolerate("", -1)}, want: never},
		{name: "a while", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("a", 30)}, want: 30 * time.Second},
		{name: "zero seconds", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("a", 0)}, want: 0},
		{name: "the shortest", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("a", 30), tolerate("", 20), tolerate("a", -1)}, want: 20 * time.Second},
		{name: "the earliest", taints: []corev1.Taint{taint("a", 0), taint("b", 15)}, tolerations: []corev1.Toleration{tolerate("a", 30), tolerate("b", 10)}, want: 25 * time.Second},
		{name: "one of two", taints: []corev1.Taint{taint("a", 0), taint("b", 0)}, tolerations: []corev1.Toleration{tolerate("a", 30)}, want: 0},
		{name: "younger than the taint", taints: []corev1.Taint{taint("a", 0)}, tolerations: []corev1.Toleration{tolerate("a", 30)}, created: 100, want: 130 * time.Second},
		{name: "no time yet", taints: []corev1.Taint{taint("a", -1)}, tolerations: []corev1.Toleration{tolerate("a", 30)}, want: never},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := kind.Pod.New()
			p.CreationTimestamp = metav1.NewTime(epoch.Add(time.Duration(c.created) * time.Second))
			p.Spec.Tolerations = c.tolerations
			at, cause := eviction(p, c.taints)
			switch c.want {
			case never:
				require.Nil(t, cause)
			case 0:
				require.NotNil(t, cause)
				require.True(t, at.IsZero())
			default:
				require.Equal(t, epoch.Add(c.want), at)
			}
		})
	}
}

func TestTolerates(t *testing.T) {
	x := corev1.Taint{Key: "k", Value: "v", Effect: corev1.TaintEffectNoExecute}
	for _, c := range []struct {
		t    corev1.Toleration
		want bool
	}{
		{corev1.Toleration{Key: "k", Value: "v"}, true},
		{corev1.Toleration{Key: "k", Value: "v", Operator: corev1.TolerationOpEqual, Effect: corev1.TaintEffectNoExecute}, true},
		{corev1.Toleration{Key: "k", Value: "w"}, false},
		{corev1.Toleration{Key: "k", Value: "v", Effect: corev1.TaintEffectNoSchedule}, false},
		{corev1.Toleration{Operator: corev1.TolerationOpExists}, true},
		{corev1.Toleration{Value: "v"}, false},
		{corev1.Toleration{Key: "k", Operator: "Near"}, false},
	} {
		require.Equal(t, c.want, tolerates(&c.t, &x), "%v", c.t)
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(4)
	now := epoch
	for range 4 {
		require.Zero(t, l.take(now))
	}
	require.Equal(t, time.Second/4, l.take(now))
	require.Zero(t, l.take(now.Add(time.Second/4)))
	require.Positive(t, l.take(now.Add(time.Second/4)))
	l = newLimiter(0.5)
	require.Zero(t, l.take(now))
	require.Equal(t, 2*time.Second, l.take(now))
}
