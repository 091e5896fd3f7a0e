package replicaset_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/replicaset"
)

const set = `
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeName: n1
      containers: [{name: web, image: "web:1"}]
`

func run(t *testing.T, test func(t *testing.T, cp *controllertest.ControlPlane)) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t, controllertest.Timeout(24*time.Hour))
		controllertest.AddNodeAgent(cp, controllertest.NodeAgent{})
		require.NoError(t, replicaset.New(cp.Manager, replicaset.Config{Burst: 20}))
		cp.Start()
		test(t, cp)
	})
}

func pods(cp *controllertest.ControlPlane) []*corev1.Pod {
	return controllertest.List(cp, kind.Pod, "default")
}

func settled(cp *controllertest.ControlPlane, n int32) *appsv1.ReplicaSet {
	return controllertest.WaitFor(cp, kind.ReplicaSet, "default", "web", func(rs *appsv1.ReplicaSet) bool {
		return rs.Status.ObservedGeneration == rs.Generation && rs.Status.AvailableReplicas == n && rs.Status.Replicas == n
	})
}

func scale(cp *controllertest.ControlPlane, n int32) {
	controllertest.Mutate(cp, kind.ReplicaSet, "default", "web", func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = &n })
}

func TestScaleAndHeal(t *testing.T) {
	run(t, func(t *testing.T, cp *controllertest.ControlPlane) {
		cp.Apply(set)
		settled(cp, 3)
		scale(cp, 50) // in steps of the burst
		settled(cp, 50)
		scale(cp, 2)
		settled(cp, 2)
		cp.Idle()
		require.Len(t, pods(cp), 2)
		gone := pods(cp)[0].Name
		controllertest.Delete(cp, kind.Pod, "default", gone)
		cp.Idle()
		settled(cp, 2)
		require.False(t, controllertest.Exists(cp, kind.Pod, "default", gone))
		ended := pods(cp)[0].Name
		controllertest.MutateStatus(cp, kind.Pod, "default", ended, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
		cp.Idle()
		settled(cp, 2)
		require.Len(t, pods(cp), 3, "one that ended stays and is replaced")
	})
}

func TestAdoptAndRelease(t *testing.T) {
	run(t, func(t *testing.T, cp *controllertest.ControlPlane) {
		cp.Apply(`
apiVersion: v1
kind: Pod
metadata: {name: mine, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: a, image: a}]}`)
		cp.Apply(set)
		settled(cp, 3)
		cp.Idle()
		rs := controllertest.Get(cp, kind.ReplicaSet, "default", "web")
		require.Len(t, pods(cp), 3)
		require.True(t, controller.OwnedBy(controllertest.Get(cp, kind.Pod, "default", "mine"), rs))

		controllertest.Mutate(cp, kind.Pod, "default", "mine", func(p *corev1.Pod) { p.Labels["app"] = "debug" })
		cp.Idle()
		require.Len(t, pods(cp), 4)
		require.Nil(t, controller.OwnerOf(controllertest.Get(cp, kind.Pod, "default", "mine")))

		controllertest.Mutate(cp, kind.Pod, "default", "mine", func(p *corev1.Pod) { p.Labels["app"] = "web" })
		cp.Idle()
		require.Len(t, pods(cp), 3, "it comes back, and one is too many")
	})
}

func TestRefusedPodsCostLittle(t *testing.T) {
	run(t, func(t *testing.T, cp *controllertest.ControlPlane) {
		refused := cp.Faults.Inject(controllertest.Fault{Verb: client.Create, Kind: kind.Pod.Kind(), Err: errors.New("quota")})
		cp.Apply(set)
		scale(cp, 20)
		controllertest.WaitFor(cp, kind.ReplicaSet, "default", "web", func(rs *appsv1.ReplicaSet) bool {
			return len(rs.Status.Conditions) == 1 && rs.Status.Conditions[0].Reason == "FailedCreate"
		})
		<-time.After(10 * time.Minute) // of virtual time
		require.Less(t, refused.Hits(), 30, "one request a try, and tries back off")
		before := controllertest.Get(cp, kind.ReplicaSet, "default", "web").ResourceVersion
		<-time.After(10 * time.Minute)
		require.Equal(t, before, controllertest.Get(cp, kind.ReplicaSet, "default", "web").ResourceVersion, "repeated failures are not written again")
		refused.Stop()
		require.Empty(t, settled(cp, 20).Status.Conditions)
	})
}

func TestLostReplies(t *testing.T) {
	run(t, func(t *testing.T, cp *controllertest.ControlPlane) {
		lost := cp.Faults.Inject(controllertest.Fault{Verb: client.Create, Kind: kind.Pod.Kind(), LoseReply: true, Count: 7})
		deletes := cp.Faults.Inject(controllertest.Fault{Verb: client.Delete, Kind: kind.Pod.Kind(), LoseReply: true, Count: 2})
		cp.Apply(set)
		scale(cp, 10)
		settled(cp, 10)
		cp.Idle()
		require.Equal(t, 7, lost.Hits())
		require.Len(t, pods(cp), 10)
		scale(cp, 1)
		settled(cp, 1)
		cp.Idle()
		require.Len(t, pods(cp), 1)
		require.Equal(t, 2, deletes.Hits())
	})
}
