package garbage_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/deployment"
	"github.com/keelson-dev/keelson/controller/garbage"
	"github.com/keelson-dev/keelson/controller/replicaset"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type (
	spec   struct{}
	status struct{}
	fleet  = kind.Object[spec, status]
)

var fleets = kind.Must(kind.Define[spec, status]("example.com/v1", "Fleet"))

func start(t *testing.T) *controllertest.ControlPlane {
	cp := controllertest.New(t, controllertest.Kinds(fleets.Kind()), controllertest.Timeout(24*time.Hour))
	require.NoError(t, garbage.New(cp.Manager, garbage.Config{Kinds: cp.Kinds}))
	return cp
}

func refTo(owner *corev1.ConfigMap) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, BlockOwnerDeletion: new(true)}
}

func add(cp *controllertest.ControlPlane, name string, refs ...metav1.OwnerReference) *corev1.ConfigMap {
	cm := kind.ConfigMap.New()
	cm.Name, cm.OwnerReferences = name, refs
	return controllertest.Create(cp, kind.ConfigMap, cm)
}

func left(cp *controllertest.ControlPlane) (out []string) {
	for _, cm := range controllertest.List(cp, kind.ConfigMap, "default") {
		out = append(out, cm.Name)
	}
	return out
}

const deploymentManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: i}]}}
`

func TestDeploymentGoes(t *testing.T) {
	for _, policy := range []metav1.DeletionPropagation{"Background", "Foreground", "Orphan"} {
		t.Run(string(policy), func(t *testing.T) {
			cp := start(t)
			require.NoError(t, deployment.New(cp.Manager, deployment.Config{}))
			require.NoError(t, replicaset.New(cp.Manager, replicaset.Config{}))
			cp.Start()
			cp.Apply(deploymentManifest)
			cp.Idle()
			require.Len(t, controllertest.List(cp, kind.Pod, "default"), 2)
			controllertest.Delete(cp, kind.Deployment, "default", "web", client.Propagation(policy))
			cp.Idle()
			require.Empty(t, controllertest.List(cp, kind.Deployment, "default"))
			sets, pods := controllertest.List(cp, kind.ReplicaSet, "default"), controllertest.List(cp, kind.Pod, "default")
			if policy == "Orphan" {
				require.Len(t, pods, 2)
				require.Len(t, sets, 1)
				require.Empty(t, sets[0].OwnerReferences)
				return
			}
			require.Empty(t, pods)
			require.Empty(t, sets)
		})
	}
}

// TestForegroundWaits has a pod that takes its time: what owns it stays until it has gone.
func TestForegroundWaits(t *testing.T) {
	cp := start(t)
	require.NoError(t, deployment.New(cp.Manager, deployment.Config{}))
	require.NoError(t, replicaset.New(cp.Manager, replicaset.Config{}))
	cp.Start()
	cp.Apply(deploymentManifest)
	cp.Idle()
	for _, p := range controllertest.List(cp, kind.Pod, "default") {
		controllertest.Mutate(cp, kind.Pod, "default", p.Name, func(p *corev1.Pod) { p.Finalizers = []string{"example.com/wait"} })
	}
	controllertest.Delete(cp, kind.Deployment, "default", "web", client.Propagation("Foreground"))
	cp.Idle()
	require.NotNil(t, controllertest.Get(cp, kind.Deployment, "default", "web").DeletionTimestamp)
	sets := controllertest.List(cp, kind.ReplicaSet, "default")
	require.Len(t, sets, 1)
	require.Contains(t, sets[0].Finalizers, metav1.FinalizerDeleteDependents, "it has dependents itself")
	for _, p := range controllertest.List(cp, kind.Pod, "default") {
		require.NotNil(t, p.DeletionTimestamp)
		controllertest.Mutate(cp, kind.Pod, "default", p.Name, func(p *corev1.Pod) { p.Finalizers = nil })
	}
	cp.Idle()
	require.Empty(t, controllertest.List(cp, kind.Deployment, "default"))
	require.Empty(t, controllertest.List(cp, kind.ReplicaSet, "default"))
}

func TestReferences(t *testing.T) {
	cp := start(t)
	cp.Start()
	cp.Apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: node}")
	a, b := add(cp, "a"), add(cp, "b")
	namesake := refTo(a)
	namesake.UID = "another"
	elsewhere := kind.ConfigMap.New()
	elsewhere.Namespace, elsewhere.Name, elsewhere.OwnerReferences = "other", "elsewhere", []metav1.OwnerReference{refTo(a)}
	controllertest.Create(cp, kind.ConfigMap, elsewhere)
	add(cp, "of-a", refTo(a))
	add(cp, "of-both", refTo(a), refTo(b))
	add(cp, "of-namesake", namesake)
	add(cp, "of-unknown", metav1.OwnerReference{APIVersion: "example.org/v9", Kind: "Thing", Name: "x", UID: "y"})
	f := fleets.New()
	f.Name, f.OwnerReferences = "fleet", []metav1.OwnerReference{refTo(b)}
	f = controllertest.Create(cp, fleets, f)
	add(cp, "of-fleet", metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Fleet", Name: f.Name, UID: f.UID})
	controllertest.Mutate(cp, kind.Node, "", "node", func(n *corev1.Node) { n.OwnerReferences = []metav1.OwnerReference{refTo(a)} })
	cp.Idle()
	require.Equal(t, []string{"a", "b", "of-a", "of-both", "of-fleet", "of-unknown"}, left(cp))
	require.False(t, controllertest.Exists(cp, kind.ConfigMap, "other", "elsewhere"), "an owner in another namespace does not exist")
	controllertest.Delete(cp, kind.ConfigMap, "default", "a")
	cp.Idle()
	require.Equal(t, []string{"b", "of-both", "of-fleet", "of-unknown"}, left(cp))
	require.Equal(t, []metav1.OwnerReference{refTo(b)}, controllertest.Get(cp, kind.ConfigMap, "default", "of-both").OwnerReferences)
	require.True(t, controllertest.Exists(cp, kind.Node, "", "node"), "its owner can't be judged")
	controllertest.Delete(cp, kind.ConfigMap, "default", "b", client.Propagation("Foreground"))
	cp.Idle()
	require.Equal(t, []string{"of-unknown"}, left(cp))
	require.Empty(t, controllertest.List[*fleet](cp, fleets, "default"))
}

// TestCircle has objects that own one another, and are deleted in the foreground: they must not wait for one another
// for ever.
func TestCircle(t *testing.T) {
	for size := range 4 {
		for _, deleted := range []int{1, size + 1} { // one of them, or all
			cp := start(t)
			names := []string{}
			var last *corev1.ConfigMap
			for n := range size + 1 {
				name := fmt.Sprint("object-", n)
				names = append(names, name)
				if last == nil {
					last = add(cp, name)
				} else {
					last = add(cp, name, refTo(last))
				}
			}
			controllertest.Mutate(cp, kind.ConfigMap, "default", names[0], func(c *corev1.ConfigMap) { c.OwnerReferences = []metav1.OwnerReference{refTo(last)} })
			if deleted == 1 {
				cp.Start()
				cp.Idle()
				require.Equal(t, names, left(cp))
			}
			for _, name := range names[:deleted] {
				controllertest.Delete(cp, kind.ConfigMap, "default", name, client.Propagation("Foreground"))
			}
			if deleted > 1 {
				cp.Start()
			}
			cp.Idle()
			require.Empty(t, left(cp), "%d of %d deleted", deleted, size+1)
		}
	}
}

// TestLateView deletes an owner while the view of its dependents is behind: it must not go before they have been
// dealt with.
func TestLateView(t *testing.T) {
	for _, policy := range []metav1.DeletionPropagation{"Foreground", "Orphan"} {
		synctest.Test(t, func(t *testing.T) {
			cp := start(t)
			cp.Start()
			f := fleets.New()
			f.Name = "owner"
			owner := controllertest.Create(cp, fleets, f)
			cp.Idle()
			k := kind.ConfigMap.Kind()
			watches := cp.Faults.Inject(controllertest.Fault{Verb: client.Watch, Kind: k, Err: errors.New("no route")})
			lists := cp.Faults.Inject(controllertest.Fault{Verb: client.List, Kind: k, Err: errors.New("no route")})
			cp.Faults.EndWatches(errors.New("broken"))
			add(cp, "dependent", metav1.OwnerReference{APIVersion: "example.com/v1", Kind: "Fleet", Name: "owner", UID: owner.UID, BlockOwnerDeletion: new(true)})
			controllertest.Delete(cp, fleets, "default", "owner", client.Propagation(policy))
			<-time.After(5 * time.Minute)
			require.True(t, controllertest.Exists(cp, fleets, "default", "owner"), policy)
			require.Positive(t, watches.Hits()+lists.Hits())
			watches.Stop()
			lists.Stop()
			<-time.After(5 * time.Minute)
			cp.Idle()
			require.False(t, controllertest.Exists(cp, fleets, "default", "owner"))
			if policy == "Foreground" {
				require.Empty(t, left(cp))
				return
			}
			require.Empty(t, controllertest.Get(cp, kind.ConfigMap, "default", "dependent").OwnerReferences)
		})
	}
}

// TestAgainstModel makes random forests of objects with one or two owners, deletes some while requests fail, and
// compares what is left with the rule: an object stays if nobody deleted it and it never had an owner, or still has
// one.
func TestAgainstModel(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			cp := start(t)
			cp.Start()
			var all []*corev1.ConfigMap
			alive := map[string]bool{}
			owners := map[string][]string{}
			for n := range 40 {
				var refs []metav1.OwnerReference
				name := fmt.Sprintf("object-%02d", n)
				for range rnd.IntN(3) {
					if n > 4 {
						o := all[rnd.IntN(n)]
						refs = append(refs, refTo(o))
						owners[name] = append(owners[name], o.Name)
					}
				}
				if len(refs) == 2 && refs[0].UID == refs[1].UID {
					refs, owners[name] = refs[:1], owners[name][:1]
				}
				all = append(all, add(cp, name, refs...))
				alive[name] = true
			}
			k := kind.ConfigMap.Kind()
			injected := []*controllertest.Injection{
				cp.Faults.Inject(controllertest.Fault{Verb: client.Delete, Kind: k, Count: 2, LoseReply: true}),
				cp.Faults.Inject(controllertest.Fault{Verb: client.Delete, Kind: k, Count: 2, Err: errors.New("broken")}),
				cp.Faults.Inject(controllertest.Fault{Verb: client.Patch, Kind: k, Count: 1, Conflict: true}),
				cp.Faults.Inject(controllertest.Fault{Verb: client.Get, Kind: k, Count: 2, Err: errors.New("broken")}),
			}
			for i, n := range rnd.Perm(10)[:5] {
				name := all[n].Name
				if !alive[name] {
					continue
				}
				controllertest.Delete(cp, kind.ConfigMap, "default", name, client.Propagation([]metav1.DeletionPropagation{"Background", "Foreground"}[i%2]))
				cp.Faults.EndWatches(controllertest.Expired())
				<-time.After(10 * time.Minute)
				cp.Idle()
				delete(alive, name)
				for _, o := range all { // owners come before their dependents
					had, has := len(owners[o.Name]), 0
					for _, owner := range owners[o.Name] {
						if alive[owner] {
							has++
						}
					}
					if had > 0 && has == 0 {
						delete(alive, o.Name)
					}
				}
				got := map[string]bool{}
				for _, name := range left(cp) {
					got[name] = true
				}
				require.Equal(t, alive, got, "seed %d, after %s", seed, name)
			}
			require.Positive(t, injected[3].Hits())
		})
	}
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := start(t)
		cp.Start()
		owner := controllertest.Create(cp, kind.ReplicaSet, &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Name: "owner"},
			Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
			}},
		})
		for n := range 5 {
			add(cp, fmt.Sprint("dependent-", n), metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "owner", UID: owner.UID, BlockOwnerDeletion: new(true)})
		}
		injected := []*controllertest.Injection{
			cp.Faults.Inject(controllertest.Fault{Verb: client.Patch, Kind: kind.ReplicaSet.Kind(), Count: 2, Conflict: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Patch, Kind: kind.ConfigMap.Kind(), Count: 2, LoseReply: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Patch, Kind: kind.ConfigMap.Kind(), Count: 2, Err: errors.New("broken")}),
		}
		controllertest.Delete(cp, kind.ReplicaSet, "default", "owner", client.Propagation("Orphan"))
		cp.Faults.EndWatches(controllertest.Expired())
		<-time.After(time.Hour)
		cp.Idle()
		require.False(t, controllertest.Exists(cp, kind.ReplicaSet, "default", "owner"))
		require.Len(t, left(cp), 5)
		for n, i := range injected {
			require.Positive(t, i.Hits(), "fault %d", n)
		}
	})
}

func TestConfig(t *testing.T) {
	require.Error(t, garbage.New(nil, garbage.Config{}))
	cp := controllertest.New(t)
	require.ErrorContains(t, garbage.New(cp.Manager, garbage.Config{}), "Kinds")
}
