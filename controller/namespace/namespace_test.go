package namespace_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/namespace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	spec   struct{}
	status struct{}
)

var fleets = kind.Must(kind.Define[spec, status]("example.com/v1", "Fleet"))

const manifest = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: default}
---
apiVersion: example.com/v1
kind: Fleet
metadata: {name: f, namespace: shop}
`

func start(t *testing.T) *controllertest.ControlPlane {
	cp := controllertest.New(t, controllertest.Kinds(fleets.Kind()), controllertest.Timeout(24*time.Hour))
	require.NoError(t, namespace.New(cp.Manager, namespace.Config{Kinds: cp.Kinds}))
	cp.Start()
	cp.Apply(manifest)
	return cp
}

func condition(cp *controllertest.ControlPlane, t corev1.NamespaceConditionType) corev1.NamespaceCondition {
	for _, c := range controllertest.Get(cp, kind.Namespace, "", "shop").Status.Conditions {
		if c.Type == t {
			return c
		}
	}
	return corev1.NamespaceCondition{}
}

func TestNamespaceGoes(t *testing.T) {
	cp := start(t)
	cp.Idle()
	require.True(t, controllertest.Exists(cp, fleets, "shop", "f"))
	controllertest.Delete(cp, kind.Namespace, "", "shop")
	controllertest.WaitGone(cp, kind.Namespace, "", "shop")
	require.Empty(t, controllertest.List(cp, kind.ConfigMap, "shop"))
	require.Empty(t, controllertest.List(cp, fleets, "shop"))
	require.True(t, controllertest.Exists(cp, kind.ConfigMap, "default", "a"))
}

func TestPodsHaveTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t)
		cp.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: p, namespace: shop}
spec: {nodeName: node, terminationGracePeriodSeconds: 3600, containers: [{name: c, image: i}]}
`)
		controllertest.Delete(cp, kind.Namespace, "", "shop")
		<-time.After(50 * time.Minute)
		cp.Idle()
		p := controllertest.Get(cp, kind.Pod, "shop", "p")
		require.EqualValues(t, 3600, *p.DeletionGracePeriodSeconds)
		require.Equal(t, "still there: pods (1)", condition(cp, corev1.NamespaceContentRemaining).Message)
		require.Equal(t, corev1.ConditionFalse, condition(cp, corev1.NamespaceDeletionContentFailure).Status)
		controllertest.Delete(cp, kind.Pod, "shop", "p", client.GracePeriod(0)) // as the node's agent does
		cp.Idle()
		require.False(t, controllertest.Exists(cp, kind.Namespace, "", "shop"), "at once")
	})
}

func TestFinalizersAndRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t)
		controllertest.Mutate(cp, kind.ConfigMap, "shop", "a", func(c *corev1.ConfigMap) { c.Finalizers = []string{"example.com/wait"} })
		refused := cp.Faults.Inject(controllertest.Fault{Verb: client.DeleteCollection, Kind: fleets.Kind(), Err: errors.New("this kind stays")})
		others := []*controllertest.Injection{
			cp.Faults.Inject(controllertest.Fault{Verb: client.List, Kind: kind.Secret.Kind(), Count: 1, Err: errors.New("broken")}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.DeleteCollection, Kind: kind.ConfigMap.Kind(), Count: 1, LoseReply: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Update, Kind: kind.Namespace.Kind(), Subresource: "status", Count: 2, Conflict: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Update, Kind: kind.Namespace.Kind(), Subresource: "finalize", Count: 2, LoseReply: true}),
		}
		controllertest.Delete(cp, kind.Namespace, "", "shop")
		<-time.After(time.Minute)
		cp.Idle()
		c := condition(cp, corev1.NamespaceDeletionContentFailure)
		require.Equal(t, corev1.ConditionTrue, c.Status)
		require.Contains(t, c.Message, "fleets.example.com: this kind stays")
		require.Contains(t, condition(cp, corev1.NamespaceFinalizersRemaining).Message, "example.com/wait (1)")
		require.Positive(t, refused.Hits())
		refused.Stop()
		<-time.After(time.Minute)
		require.Empty(t, controllertest.List(cp, fleets, "shop"))
		require.Equal(t, corev1.ConditionFalse, condition(cp, corev1.NamespaceDeletionContentFailure).Status)
		controllertest.Mutate(cp, kind.ConfigMap, "shop", "a", func(c *corev1.ConfigMap) { c.Finalizers = nil })
		<-time.After(time.Minute)
		require.False(t, controllertest.Exists(cp, kind.Namespace, "", "shop"))
		for n, i := range others {
			require.Positive(t, i.Hits(), "fault %d", n)
		}
	})
}

func TestConfig(t *testing.T) {
	require.Error(t, namespace.New(nil, namespace.Config{}))
	cp := controllertest.New(t)
	require.ErrorContains(t, namespace.New(cp.Manager, namespace.Config{}), "Kinds")
}
