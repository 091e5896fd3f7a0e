package disruption

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	Workers         int           // how many budgets are reconciled side by side; 0 means 2
	EvictionTimeout time.Duration // how long an eviction counts whose pod does not go; 0 means two minutes, as upstream
}

type reconciler struct {
	client      client.Client
	budgets     *controller.Informer[*policyv1.PodDisruptionBudget]
	pods        *controller.Informer[*corev1.Pod]
	sets        *controller.Informer[*appsv1.ReplicaSet]
	deployments *controller.Informer[*appsv1.Deployment]
	stateful    *controller.Informer[*appsv1.StatefulSet]
	replication *controller.Informer[*corev1.ReplicationController]
	recorder    *controller.Recorder
	timeout     time.Duration
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	switch {
	case m == nil:
		return errors.New("disruption: the manager is nil")
	case cfg.Workers < 0 || cfg.EvictionTimeout < 0:
		return errors.New("disruption: Config: Workers and EvictionTimeout must not be negative")
	}
	if cfg.Workers == 0 {
		cfg.Workers = 2
	}
	if cfg.EvictionTimeout == 0 {
		cfg.EvictionTimeout = 2 * time.Minute
	}
	r := &reconciler{
		client: m.Client(), recorder: m.Recorder("controllermanager"), timeout: cfg.EvictionTimeout,
		budgets: controller.InformerFor(m, kind.PodDisruptionBudget), pods: controller.InformerFor(m, kind.Pod),
		sets: controller.InformerFor(m, kind.ReplicaSet), deployments: controller.InformerFor(m, kind.Deployment),
		stateful: controller.InformerFor(m, kind.StatefulSet), replication: controller.InformerFor(m, kind.ReplicationController),
	}
	_, err := controller.New(m, "disruption", r, controller.Config{Workers: cfg.Workers},
		controller.For(kind.PodDisruptionBudget), controller.Watches(kind.Pod, r.budgetsOf),
		controller.Watches(kind.ReplicaSet, func(s *appsv1.ReplicaSet) []controller.Key { return r.all(s.Namespace) }, controller.Where(resized(replicasOfSet))),
		controller.Watches(kind.Deployment, func(d *appsv1.Deployment) []controller.Key { return r.all(d.Namespace) }, controller.Where(resized(replicasOfDeployment))),
		controller.Watches(kind.StatefulSet, func(s *appsv1.StatefulSet) []controller.Key { return r.all(s.Namespace) }, controller.Where(resized(replicasOfStateful))),
		controller.Watches(kind.ReplicationController, func(c *corev1.ReplicationController) []controller.Key { return r.all(c.Namespace) }, controller.Where(resized(replicasOfController))))
	return err
}

func replicasOfSet(s *appsv1.ReplicaSet) *int32                   { return s.Spec.Replicas }
func replicasOfDeployment(d *appsv1.Deployment) *int32            { return d.Spec.Replicas }
func replicasOfStateful(s *appsv1.StatefulSet) *int32             { return s.Spec.Replicas }
func replicasOfController(c *corev1.ReplicationController) *int32 { return c.Spec.Replicas }

// count is what an owner asks for; one that does not say asks for one.
func count(replicas *int32) int {
	if replicas == nil {
		return 1
	}
	return int(*replicas)
}

// object is any object by its pointer.
type object interface {
	comparable
	kind.Instance
}

// resized tells the changes of owners after which budgets may be about another number of pods.
func resized[T object](replicas func(T) *int32) func(old, now T) bool {
	return func(old, now T) bool {
		var none T
		return old == none || now == none || count(replicas(old)) != count(replicas(now))
	}
}

// all are the budgets of a namespace that go by owners.
func (r *reconciler) all(namespace string) []controller.Key {
	var keys []controller.Key
	for _, b := range r.budgets.InNamespace(namespace) {
		if byOwners(b.Spec) {
			keys = append(keys, controller.KeyOf(b))
		}
	}
	return keys
}

// budgetsOf are the budgets that select a pod.
func (r *reconciler) budgetsOf(p *corev1.Pod) []controller.Key {
	var keys []controller.Key
	for _, b := range r.budgets.InNamespace(p.Namespace) {
		if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && s.Matches(labels.Set(p.Labels)) {
			keys = append(keys, controller.KeyOf(b))
		}
	}
	return keys
}

// Reconcile implements controller.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	b, ok := r.budgets.Get(key.Namespace, key.Name)
	if !ok || b.DeletionTimestamp != nil {
		return controller.Result{}, nil
	}
	pods, err := r.selected(b)
	if err != nil {
		return controller.Result{}, r.write(ctx, b, statusOf(b, 0, 0, 0, nil, err))
	}
	asked := 0
	if byOwners(b.Spec) {
		if asked, err = r.asked(b, pods); err != nil {
			return controller.Result{}, r.write(ctx, b, statusOf(b, 0, 0, 0, nil, err))
		}
	}
	expected, want, err := amounts(b.Spec, len(pods), asked)
	still, after, givenUp := evicted(b.Status.DisruptedPods, pods, time.Now(), r.timeout)
	for _, p := range givenUp {
		r.recorder.Event(p, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", b.Namespace, b.Name)
	}
	if err := r.write(ctx, b, statusOf(b, expected, want, healthy(pods, still), still, err)); err != nil {
		return controller.Result{}, err
	}
	return controller.Result{RequeueAfter: after}, nil
}

// selected are the pods of a budget that have not ended.
func (r *reconciler) selected(b *policyv1.PodDisruptionBudget) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("spec.selector: %w", err)
	}
	var out []*corev1.Pod
	for _, p := range r.pods.InNamespace(b.Namespace) {
		if selector.Matches(labels.Set(p.Labels)) && !controller.PodEnded(p) {
			out = append(out, p)
		}
	}
	return out, nil
}

// asked is how many pods the owners of a budget's pods ask for together. It is an error where an owner is of a kind that
// does not say.
func (r *reconciler) asked(b *policyv1.PodDisruptionBudget, pods []*corev1.Pod) (int, error) {
	sum, free := 0, 0
	seen := map[types.UID]bool{}
	for _, p := range pods {
		ref := controller.OwnerOf(p)
		if ref == nil {
			free++
			continue
		}
		if seen[ref.UID] {
			continue
		}
		seen[ref.UID] = true
		owner, n, err := r.scaleOf(p.Namespace, ref)
		if err != nil {
			return 0, err
		}
		if !seen[owner] || owner == ref.UID {
			seen[owner] = true
			sum += n
		}
	}
	if free > 0 {
		r.recorder.Event(b, corev1.EventTypeWarning, "UnmanagedPods",
			"%d of the selected pods have no owner, and don't count towards a percentage or maxUnavailable", free)
	}
	return sum, nil
}

// scaleOf finds who decides how many pods there are, and how many that is. An owner that is gone asks for none.
func (r *reconciler) scaleOf(namespace string, ref *metav1.OwnerReference) (types.UID, int, error) {
	switch ref.Kind {
	case kind.ReplicaSet.Kind().Name:
		set, ok := r.sets.Get(namespace, ref.Name)
		if !ok || set.UID != ref.UID {
			return ref.UID, 0, nil
		}
		if up := controller.OwnerOf(set); up != nil && up.Kind == kind.Deployment.Kind().Name {
			if d, ok := r.deployments.Get(namespace, up.Name); ok && d.UID == up.UID {
				return d.UID, count(d.Spec.Replicas), nil
			}
		}
		return ref.UID, count(set.Spec.Replicas), nil
	case kind.StatefulSet.Kind().Name:
		if s, ok := r.stateful.Get(namespace, ref.Name); ok && s.UID == ref.UID {
			return ref.UID, count(s.Spec.Replicas), nil
		}
		return ref.UID, 0, nil
	case kind.ReplicationController.Kind().Name:
		if c, ok := r.replication.Get(namespace, ref.Name); ok && c.UID == ref.UID {
			return ref.UID, count(c.Spec.Replicas), nil
		}
		return ref.UID, 0, nil
	}
	return "", 0, fmt.Errorf("%s %s owns selected pods, and says not how many it wants: use a number for minAvailable", ref.Kind, ref.Name)
}

// write writes a status that differs. It is made from the budget as it was read: an eviction that came between makes it a
// conflict, and the budget is looked at again.
func (r *reconciler) write(ctx context.Context, b *policyv1.PodDisruptionBudget, s policyv1.PodDisruptionBudgetStatus) error {
	if equality.Semantic.DeepEqual(b.Status, s) {
		return nil
	}
	b = b.DeepCopy()
	b.Status = s
	out, err := client.For(r.client, kind.PodDisruptionBudget).UpdateStatus(ctx, b)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	return r.budgets.WaitWrite(ctx, out)
}
