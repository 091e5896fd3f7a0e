package podgc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/podgc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, cfg podgc.Config) *controllertest.ControlPlane {
	cp := controllertest.New(t, controllertest.Timeout(24*time.Hour))
	require.NoError(t, podgc.New(cp.Manager, cfg))
	cp.Start()
	return cp
}

func pod(cp *controllertest.ControlPlane, name, node string) {
	cp.Apply(fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {nodeName: %q, containers: [{name: c, image: i}]}", name, node))
}

func pods(cp *controllertest.ControlPlane) string {
	var out []string
	for _, p := range controllertest.List(cp, kind.Pod, "default") {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

func TestMissingNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t, podgc.Config{})
		node := func() { cp.Apply("apiVersion: v1\nkind: Node\nmetadata: {name: node}") }
		node()
		pod(cp, "a", "node")
		pod(cp, "held", "node")
		controllertest.Mutate(cp, kind.Pod, "default", "held", func(p *corev1.Pod) { p.Finalizers = []string{"example.com/wait"} })
		<-time.After(time.Hour)
		controllertest.Delete(cp, kind.Node, "", "node")
		<-time.After(30 * time.Second)
		node() // it comes back in time, and goes again
		cp.Idle()
		<-time.After(time.Minute)
		require.Equal(t, "a held", pods(cp))
		injected := []*controllertest.Injection{
			cp.Faults.Inject(controllertest.Fault{Verb: client.Update, Kind: kind.Pod.Kind(), Subresource: "status", Count: 2, Conflict: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Delete, Kind: kind.Pod.Kind(), Count: 1, LoseReply: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Get, Kind: kind.Node.Kind(), Count: 1, Err: errors.New("broken")}),
		}
		controllertest.Delete(cp, kind.Node, "", "node")
		cp.Idle()
		<-time.After(40*time.Second - time.Nanosecond)
		cp.Idle()
		require.Equal(t, "a held", pods(cp))
		<-time.After(time.Nanosecond)
		<-time.After(time.Second) // for the faults
		cp.Idle()
		require.Equal(t, "held", pods(cp))
		p := controllertest.Get(cp, kind.Pod, "default", "held")
		require.Equal(t, corev1.PodFailed, p.Status.Phase)
		require.NotNil(t, p.DeletionTimestamp)
		require.Equal(t, "DeletionByPodGC", p.Status.Conditions[len(p.Status.Conditions)-1].Reason)
		for n, i := range injected {
			require.Positive(t, i.Hits(), "fault %d", n)
		}
	})
}

func TestOutOfService(t *testing.T) {
	cp := start(t, podgc.Config{})
	cp.Apply("apiVersion: v1\nkind: Node\nmetadata: {name: node}")
	pod(cp, "a", "node")
	pod(cp, "b", "node")
	controllertest.Delete(cp, kind.Pod, "default", "a")
	cp.Idle()
	require.Equal(t, "a b", pods(cp))
	controllertest.Mutate(cp, kind.Node, "", "node", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}}
	})
	cp.Idle()
	require.Equal(t, "b", pods(cp))
}

func TestEndedPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t, podgc.Config{TerminatedThreshold: 3})
		for n := range 8 {
			<-time.After(time.Second)
			name := fmt.Sprint("p", n)
			pod(cp, name, "")
			if n != 1 {
				controllertest.MutateStatus(cp, kind.Pod, "default", name, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
			}
		}
		cp.Idle()
		require.Len(t, strings.Fields(pods(cp)), 8)
		fault := cp.Faults.Inject(controllertest.Fault{Verb: client.Delete, Kind: kind.Pod.Kind(), Count: 2, Err: context.DeadlineExceeded})
		<-time.After(20 * time.Second)
		cp.Idle()
		require.Equal(t, "p1 p5 p6 p7", pods(cp))
		require.Equal(t, 2, fault.Hits())
	})
}

func TestConfig(t *testing.T) {
	require.Error(t, podgc.New(nil, podgc.Config{}))
	cp := controllertest.New(t)
	require.ErrorContains(t, podgc.New(cp.Manager, podgc.Config{Quarantine: -1}), "Quarantine")
}
