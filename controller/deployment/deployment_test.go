package deployment_test

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/deployment"
	"github.com/keelson-dev/keelson/controller/replicaset"
)

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {kubernetes.io/change-cause: first}}
spec:
  replicas: 3
  progressDeadlineSeconds: 60
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeName: n1
      containers: [{name: web, image: "web:1"}]
`

// plane is a control plane with both controllers and a node agent; pods of an image that ends in "bad" don't become
// ready.
type plane struct {
	*controllertest.ControlPlane
	t      *testing.T
	healed atomic.Bool // bad images become ready after all
	stuck  atomic.Bool // deleted pods don't end
}

func run(t *testing.T, test func(p *plane)) {
	synctest.Test(t, func(t *testing.T) {
		p := &plane{ControlPlane: controllertest.New(t, controllertest.Timeout(24*time.Hour)), t: t}
		controllertest.AddNodeAgent(p.ControlPlane, controllertest.NodeAgent{
			Ready: func(pod *corev1.Pod) bool {
				return p.healed.Load() || !strings.HasSuffix(pod.Spec.Containers[0].Image, "bad")
			},
			Gone: func(*corev1.Pod) bool { return !p.stuck.Load() },
		})
		require.NoError(t, replicaset.New(p.Manager, replicaset.Config{}))
		require.NoError(t, deployment.New(p.Manager, deployment.Config{}))
		p.Start()
		test(p)
	})
}

func (p *plane) image(image string) {
	p.change(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = image })
}

func (p *plane) change(f func(d *appsv1.Deployment)) {
	p.t.Helper()
	controllertest.Mutate(p.ControlPlane, kind.Deployment, "default", "web", f)
}

func (p *plane) web() *appsv1.Deployment {
	p.t.Helper()
	return controllertest.Get(p.ControlPlane, kind.Deployment, "default", "web")
}

// set is the ReplicaSet of an image.
func (p *plane) set(image string) *appsv1.ReplicaSet {
	p.t.Helper()
	for _, rs := range controllertest.List(p.ControlPlane, kind.ReplicaSet, "default") {
		if rs.Spec.Template.Spec.Containers[0].Image == image {
			return rs
		}
	}
	require.Failf(p.t, "no ReplicaSet", "of image %s", image)
	return nil
}

// rolledOut waits as kubectl rollout status does, and checks what is left.
func (p *plane) rolledOut(image string, replicas int) {
	p.t.Helper()
	controllertest.WaitFor(p.ControlPlane, kind.Deployment, "default", "web", func(d *appsv1.Deployment) bool {
		s := d.Status
		return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == int32(replicas) && s.Replicas == s.UpdatedReplicas && s.AvailableReplicas == s.UpdatedReplicas
	})
	p.Idle()
	require.Equal(p.t, map[string]int{image: replicas}, p.images())
	c := condition(p.web(), appsv1.DeploymentProgressing)
	require.NotNil(p.t, c)
	require.Equal(p.t, "NewReplicaSetAvailable", c.Reason)
}

// images counts pods that exist by image.
func (p *plane) images() map[string]int {
	out := make(map[string]int)
	for _, pod := range controllertest.List(p.ControlPlane, kind.Pod, "default") {
		out[pod.Spec.Containers[0].Image]++
	}
	return out
}

func condition(d *appsv1.Deployment, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == t {
			return &d.Status.Conditions[i]
		}
	}
	return nil
}

func TestRolloutAndRollback(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(web)
		p.rolledOut("web:1", 3)
		p.change(func(d *appsv1.Deployment) {
			d.Spec.Template.Spec.Containers[0].Image = "web:2"
			d.Annotations["kubernetes.io/change-cause"] = "second"
		})
		p.rolledOut("web:2", 3)
		require.Equal(p.t, "2", p.web().Annotations[deployment.RevisionAnnotation])

		require.NoError(p.t, client.For(p.Client, kind.Deployment).Scale(p.Context(), "default", "web", 5))
		p.rolledOut("web:2", 5)
		require.NoError(p.t, client.For(p.Client, kind.Deployment).Scale(p.Context(), "default", "web", 1))
		p.rolledOut("web:2", 1)

		require.NoError(p.t, deployment.Rollback(p.Context(), p.Client, "default", "web", 0))
		p.rolledOut("web:1", 1)
		require.Equal(p.t, "3", p.web().Annotations[deployment.RevisionAnnotation])
		require.Equal(p.t, "first", p.web().Annotations["kubernetes.io/change-cause"])
		one, two := p.set("web:1"), p.set("web:2")
		require.Equal(p.t, "3", one.Annotations[deployment.RevisionAnnotation])
		require.Equal(p.t, "1", one.Annotations["deployment.kubernetes.io/revision-history"])
		require.Equal(p.t, "first", one.Annotations["kubernetes.io/change-cause"])
		require.Equal(p.t, "second", two.Annotations["kubernetes.io/change-cause"])

		require.NoError(p.t, deployment.Rollback(p.Context(), p.Client, "default", "web", 2))
		p.rolledOut("web:2", 1)
		require.ErrorContains(p.t, deployment.Rollback(p.Context(), p.Client, "default", "web", 1), "not in its history")
		require.Len(p.t, controllertest.List(p.ControlPlane, kind.ReplicaSet, "default"), 2)
	})
}

func TestRollbackInTheMiddle(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(web)
		p.rolledOut("web:1", 3)
		p.image("web:bad")
		p.Idle()
		require.Equal(p.t, map[string]int{"web:1": 3, "web:bad": 1}, p.images(), "25% of 3 is a surge of 1, none may be unavailable")
		require.NoError(p.t, deployment.Rollback(p.Context(), p.Client, "default", "web", 0))
		p.rolledOut("web:1", 3)
	})
}

func TestPause(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(web)
		p.rolledOut("web:1", 3)
		p.change(func(d *appsv1.Deployment) { d.Spec.Paused = true; d.Spec.Template.Spec.Containers[0].Image = "web:2" })
		p.Idle()
		require.Equal(p.t, map[string]int{"web:1": 3}, p.images())
		require.Equal(p.t, "DeploymentPaused", condition(p.web(), appsv1.DeploymentProgressing).Reason)
		require.ErrorContains(p.t, deployment.Rollback(p.Context(), p.Client, "default", "web", 0), "paused")
		p.change(func(d *appsv1.Deployment) { n := int32(5); d.Spec.Replicas = &n })
		p.Idle()
		require.Equal(p.t, map[string]int{"web:1": 5}, p.images())
		p.change(func(d *appsv1.Deployment) { d.Spec.Paused = false })
		p.rolledOut("web:2", 5)
	})
}

func TestRecreate(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(strings.Replace(web, "  replicas: 3", "  replicas: 3\n  strategy: {type: Recreate}\n  revisionHistoryLimit: 0", 1))
		p.rolledOut("web:1", 3)
		p.stuck.Store(true)
		p.image("web:2")
		p.Idle()
		require.Equal(p.t, map[string]int{"web:1": 3}, p.images(), "no new pod before the last old one is gone")
		require.Zero(p.t, *p.set("web:2").Spec.Replicas)
		p.stuck.Store(false)
		p.rolledOut("web:2", 3)
		require.Len(p.t, controllertest.List(p.ControlPlane, kind.ReplicaSet, "default"), 1)
	})
}

func TestHistoryLimit(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(strings.Replace(web, "  replicas: 3", "  replicas: 1\n  revisionHistoryLimit: 2", 1))
		for _, image := range []string{"web:1", "web:2", "web:3", "web:4", "web:5"} {
			p.image(image)
			p.rolledOut(image, 1)
		}
		var revisions []string
		for _, rs := range controllertest.List(p.ControlPlane, kind.ReplicaSet, "default") {
			revisions = append(revisions, rs.Annotations[deployment.RevisionAnnotation])
		}
		require.ElementsMatch(p.t, []string{"3", "4", "5"}, revisions)
	})
}

func TestMinReadySeconds(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(strings.Replace(web, "  replicas: 3", "  replicas: 3\n  minReadySeconds: 30", 1))
		p.Idle()
		require.Equal(p.t, int32(3), p.web().Status.ReadyReplicas)
		require.Zero(p.t, p.web().Status.AvailableReplicas)
		start := time.Now()
		p.rolledOut("web:1", 3)
		require.InDelta(p.t, 30, time.Since(start).Seconds(), 2, "of virtual time")
	})
}

func TestProgressDeadline(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(web)
		p.rolledOut("web:1", 3)
		p.image("web:bad")
		d := controllertest.WaitFor(p.ControlPlane, kind.Deployment, "default", "web", func(d *appsv1.Deployment) bool {
			c := condition(d, appsv1.DeploymentProgressing)
			return c != nil && c.Reason == "ProgressDeadlineExceeded"
		})
		require.Equal(p.t, corev1.ConditionFalse, condition(d, appsv1.DeploymentProgressing).Status)
		require.Equal(p.t, corev1.ConditionTrue, condition(d, appsv1.DeploymentAvailable).Status)
		<-time.After(time.Hour) // of virtual time: it stays so
		require.Equal(p.t, "ProgressDeadlineExceeded", condition(p.web(), appsv1.DeploymentProgressing).Reason)
		p.healed.Store(true)
		p.rolledOut("web:bad", 3)
	})
}

func TestHashCollision(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(web)
		p.rolledOut("web:1", 3)
		taken := kind.ReplicaSet.Copy(p.set("web:1"))
		controllertest.Delete(p.ControlPlane, kind.Deployment, "default", "web")
		p.Idle()
		controllertest.Delete(p.ControlPlane, kind.ReplicaSet, "default", taken.Name)
		p.Idle()
		taken.ObjectMeta = metav1.ObjectMeta{Name: taken.Name, Namespace: "default", Labels: map[string]string{"app": "other"}}
		taken.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "other"}}
		taken.Spec.Template.Labels = map[string]string{"app": "other"}
		taken.Spec.Template.Spec.Containers[0].Image = "other"
		none := int32(0)
		taken.Spec.Replicas = &none
		controllertest.Create(p.ControlPlane, kind.ReplicaSet, taken)
		for _, pod := range controllertest.List(p.ControlPlane, kind.Pod, "default") {
			controllertest.Delete(p.ControlPlane, kind.Pod, "default", pod.Name, client.GracePeriod(0))
		}
		p.Apply(web)
		p.rolledOut("web:1", 3)
		require.NotEqual(p.t, taken.Name, p.set("web:1").Name)
		require.Equal(p.t, int32(1), *p.web().Status.CollisionCount)
	})
}

func TestAdoptionAndRelease(t *testing.T) {
	run(t, func(p *plane) {
		p.Apply(web)
		p.rolledOut("web:1", 3)
		rs := p.set("web:1")
		disown := func(labels func(map[string]string)) {
			controllertest.Mutate(p.ControlPlane, kind.ReplicaSet, "default", rs.Name, func(rs *appsv1.ReplicaSet) {
				rs.OwnerReferences = nil
				labels(rs.Labels)
			})
		}
		disown(func(map[string]string) {})
		p.Idle()
		require.NotNil(p.t, controller.OwnerOf(p.set("web:1")), "an orphan that matches is adopted")
		require.Len(p.t, controllertest.List(p.ControlPlane, kind.ReplicaSet, "default"), 1)

		controllertest.Mutate(p.ControlPlane, kind.ReplicaSet, "default", rs.Name, func(rs *appsv1.ReplicaSet) { rs.Labels["app"] = "else" })
		p.Idle()
		require.Nil(p.t, controller.OwnerOf(controllertest.Get(p.ControlPlane, kind.ReplicaSet, "default", rs.Name)), "one that matches no more is released")
		controllertest.Mutate(p.ControlPlane, kind.ReplicaSet, "default", rs.Name, func(rs *appsv1.ReplicaSet) { rs.Labels["app"] = "web" })
		p.Idle()
		require.NotNil(p.t, controller.OwnerOf(controllertest.Get(p.ControlPlane, kind.ReplicaSet, "default", rs.Name)), "one that matches again is adopted")
	})
}

func TestFaults(t *testing.T) {
	broken := errors.New("injected")
	for name, fault := range map[string]controllertest.Fault{
		"conflicts on sets":         {Verb: client.Update, Kind: kind.ReplicaSet.Kind(), Conflict: true, Count: 20},
		"conflicts on status":       {Verb: client.Update, Kind: kind.Deployment.Kind(), Conflict: true, Count: 20},
		"lost replies after pods":   {Verb: client.Create, Kind: kind.Pod.Kind(), LoseReply: true, Count: 5},
		"lost replies after sets":   {Verb: client.Create, Kind: kind.ReplicaSet.Kind(), LoseReply: true, Count: 2},
		"lost replies after scales": {Verb: client.Update, Kind: kind.ReplicaSet.Kind(), LoseReply: true, Count: 10},
		"lost replies of deletes":   {Verb: client.Delete, Kind: kind.Pod.Kind(), LoseReply: true, Count: 3},
		"refused pods":              {Verb: client.Create, Kind: kind.Pod.Kind(), Err: broken, Count: 10},
		"slow pods":                 {Verb: client.Create, Kind: kind.Pod.Kind(), Delay: 5 * time.Second, Count: 4},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(p *plane) {
				injection := p.Faults.Inject(fault)
				p.Apply(web)
				p.rolledOut("web:1", 3)
				p.image("web:2")
				p.rolledOut("web:2", 3)
				require.Positive(p.t, injection.Hits())
				require.Len(p.t, controllertest.List(p.ControlPlane, kind.ReplicaSet, "default"), 2)
				require.Nil(p.t, p.web().Status.CollisionCount)
			})
		})
	}
}

func TestWatchesEndAllTheTime(t *testing.T) {
	for name, end := range map[string]error{"410": controllertest.Expired(), "EOF": io.EOF} {
		t.Run(name, func(t *testing.T) {
			run(t, func(p *plane) {
				p.Apply(web)
				for _, image := range []string{"web:2", "web:3", "web:4"} {
					p.image(image)
					ended := 0
					for range 20 {
						ended += p.Faults.EndWatches(end)
						<-time.After(50 * time.Millisecond) // of virtual time
					}
					require.Positive(p.t, ended)
					p.rolledOut(image, 3)
				}
			})
		})
	}
}
