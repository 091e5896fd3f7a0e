package nodelifecycle_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/nodelifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const nodeManifest = `
apiVersion: v1
kind: Namespace
metadata: {name: kube-node-lease}
---
apiVersion: v1
kind: Node
metadata: {name: node}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: node, namespace: kube-node-lease}
`

const podManifest = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  nodeName: node
  terminationGracePeriodSeconds: 0
  containers: [{name: c, image: i}]
  tolerations: TOLERATIONS
`

func start(t *testing.T, cfg nodelifecycle.Config) *controllertest.ControlPlane {
	cp := controllertest.New(t, controllertest.Timeout(24*time.Hour))
	require.NoError(t, nodelifecycle.New(cp.Manager, cfg))
	cp.Start()
	cp.Apply(nodeManifest)
	return cp
}

// renew renews the node's lease as an agent with a clock of its own, an hour off, would.
func renew(cp *controllertest.ControlPlane) {
	controllertest.Mutate(cp, kind.Lease, "kube-node-lease", "node", func(l *coordinationv1.Lease) {
		l.Spec.RenewTime = &metav1.MicroTime{Time: time.Now().Add(-time.Hour)}
	})
}

func report(cp *controllertest.ControlPlane, ready corev1.ConditionStatus) {
	controllertest.MutateStatus(cp, kind.Node, "", "node", func(n *corev1.Node) {
		now := metav1.NewTime(time.Now().Add(-time.Hour))
		n.Status.Conditions = []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: now},
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, LastHeartbeatTime: now},
		}
	})
}

func pod(cp *controllertest.ControlPlane, name, tolerations string) {
	cp.Apply(strings.NewReplacer("NAME", name, "TOLERATIONS", tolerations).Replace(podManifest))
	controllertest.MutateStatus(cp, kind.Pod, "default", name, func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	})
}

func taints(cp *controllertest.ControlPlane) string {
	var out []string
	for _, t := range controllertest.Get(cp, kind.Node, "", "node").Spec.Taints {
		out = append(out, strings.TrimPrefix(t.ToString(), "node.kubernetes.io/"))
	}
	return strings.Join(out, " ")
}

func ready(cp *controllertest.ControlPlane) corev1.NodeCondition {
	for _, c := range controllertest.Get(cp, kind.Node, "", "node").Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return corev1.NodeCondition{}
}

func pods(cp *controllertest.ControlPlane) string {
	var out []string
	for _, p := range controllertest.List(cp, kind.Pod, "default") {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

const tolerateBoth = `[{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 300},
  {key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]`

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t, nodelifecycle.Config{})
		cp.Idle()
		require.Equal(t, "not-ready:NoSchedule", taints(cp), "new")
		report(cp, corev1.ConditionTrue)
		cp.Idle()
		require.Empty(t, taints(cp))
		pod(cp, "forever", `[{operator: Exists}]`)
		pod(cp, "minutes", tolerateBoth)
		pod(cp, "none", `[]`)
		for range 100 {
			<-time.After(10 * time.Second)
			renew(cp)
		}
		<-time.After(40*time.Second - time.Nanosecond)
		cp.Idle()
		require.Empty(t, taints(cp))
		<-time.After(time.Nanosecond)
		cp.Idle()
		silent := time.Now()
		require.Equal(t, "unreachable:NoSchedule unreachable:NoExecute", taints(cp))
		c := ready(cp)
		require.Equal(t, corev1.ConditionUnknown, c.Status)
		require.Equal(t, "NodeStatusUnknown", c.Reason)
		require.True(t, silent.Equal(c.LastTransitionTime.Time))
		require.Len(t, controllertest.Get(cp, kind.Node, "", "node").Status.Conditions, 4)
		require.Equal(t, "forever minutes", pods(cp))
		require.Equal(t, corev1.ConditionFalse, controllertest.Get(cp, kind.Pod, "default", "forever").Status.Conditions[0].Status)
		<-time.After(300*time.Second - time.Nanosecond)
		cp.Idle()
		require.Equal(t, "forever minutes", pods(cp))
		<-time.After(time.Nanosecond)
		cp.Idle()
		require.Equal(t, "forever", pods(cp))

		renew(cp)
		report(cp, corev1.ConditionTrue)
		cp.Idle()
		require.Empty(t, taints(cp))
		require.Equal(t, corev1.ConditionTrue, ready(cp).Status)
	})
}

func TestEvictionIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t, nodelifecycle.Config{})
		report(cp, corev1.ConditionTrue)
		pod(cp, "minutes", tolerateBoth)
		report(cp, corev1.ConditionFalse)
		cp.Idle()
		require.Equal(t, "not-ready:NoSchedule not-ready:NoExecute", taints(cp))
		<-time.After(35 * time.Second)
		report(cp, corev1.ConditionTrue)
		for range 60 {
			<-time.After(10 * time.Second)
			renew(cp)
		}
		cp.Idle()
		require.Equal(t, "minutes", pods(cp))
		reasons := map[string]int{}
		for _, e := range controllertest.List(cp, kind.Event, "default") {
			reasons[e.Reason]++
		}
		require.Equal(t, 1, reasons["TaintManagerEviction"])
	})
}

func TestOwnTaint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t, nodelifecycle.Config{EvictionRate: 1})
		report(cp, corev1.ConditionTrue)
		pod(cp, "a", `[{key: maintenance, operator: Exists, effect: NoExecute, tolerationSeconds: 7}]`)
		pod(cp, "b", `[]`)
		pod(cp, "c", `[]`)
		controllertest.Mutate(cp, kind.Node, "", "node", func(n *corev1.Node) {
			n.Spec.Unschedulable = true
			n.Spec.Taints = []corev1.Taint{{Key: "maintenance", Effect: corev1.TaintEffectNoExecute}}
		})
		cp.Idle()
		require.Equal(t, "maintenance:NoExecute unschedulable:NoSchedule", taints(cp))
		require.Len(t, strings.Fields(pods(cp)), 2, "one a second")
		<-time.After(time.Second)
		cp.Idle()
		require.Equal(t, "a", pods(cp))
		<-time.After(6*time.Second - time.Nanosecond)
		cp.Idle()
		require.Equal(t, "a", pods(cp))
		<-time.After(time.Nanosecond)
		cp.Idle()
		require.Empty(t, pods(cp))
		controllertest.Mutate(cp, kind.Node, "", "node", func(n *corev1.Node) { n.Spec.Unschedulable, n.Spec.Taints = false, nil })
		cp.Idle()
		require.Empty(t, taints(cp))
	})
}

// TestHungWatch has heartbeats that only the server knows of: the node must not become Unknown.
func TestHungWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t, nodelifecycle.Config{})
		report(cp, corev1.ConditionTrue)
		cp.Idle()
		watches := cp.Faults.Inject(controllertest.Fault{Verb: client.Watch, Kind: kind.Lease.Kind(), Err: errors.New("no route")})
		lists := cp.Faults.Inject(controllertest.Fault{Verb: client.List, Kind: kind.Lease.Kind(), Err: errors.New("no route")})
		cp.Faults.EndWatches(errors.New("broken"))
		for range 100 {
			<-time.After(10 * time.Second)
			renew(cp)
			require.Equal(t, corev1.ConditionTrue, ready(cp).Status)
		}
		require.Positive(t, watches.Hits()+lists.Hits())
		watches.Stop()
		lists.Stop()
	})
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t, nodelifecycle.Config{GracePeriod: time.Minute})
		report(cp, corev1.ConditionTrue)
		pod(cp, "a", `[]`)
		cp.Idle()
		injected := []*controllertest.Injection{
			cp.Faults.Inject(controllertest.Fault{Verb: client.Update, Kind: kind.Node.Kind(), Subresource: "status", Count: 2, LoseReply: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Update, Kind: kind.Node.Kind(), Count: 3, Conflict: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Get, Kind: kind.Node.Kind(), Count: 3, Err: context.DeadlineExceeded}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Delete, Kind: kind.Pod.Kind(), Count: 1, LoseReply: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Watch, Count: 3, Err: controllertest.Expired()}),
		}
		cp.Faults.EndWatches(controllertest.Expired())
		<-time.After(3 * time.Minute)
		cp.Idle()
		require.Equal(t, "unreachable:NoSchedule unreachable:NoExecute", taints(cp))
		require.Empty(t, pods(cp))
		for n, i := range injected {
			require.Positive(t, i.Hits(), "fault %d", n)
		}
		controllertest.Delete(cp, kind.Node, "", "node")
		<-time.After(time.Minute)
		cp.Idle()
	})
}

func TestConfig(t *testing.T) {
	require.Error(t, nodelifecycle.New(nil, nodelifecycle.Config{}))
	cp := controllertest.New(t)
	require.ErrorContains(t, nodelifecycle.New(cp.Manager, nodelifecycle.Config{GracePeriod: -1}), "GracePeriod")
}
