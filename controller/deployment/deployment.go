package deployment

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	Workers int // how many Deployments are reconciled side by side; 0 means 4
}

type reconciler struct {
	client      client.Client
	deployments *controller.Informer[*appsv1.Deployment]
	sets        *controller.Informer[*appsv1.ReplicaSet]
	ownedSets   controller.Owned[*appsv1.ReplicaSet]
	ownedPods   controller.Owned[*corev1.Pod]
	recorder    *controller.Recorder
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	r := &reconciler{
		client:      m.Client(),
		deployments: controller.InformerFor(m, kind.Deployment),
		sets:        controller.InformerFor(m, kind.ReplicaSet),
		recorder:    m.Recorder("deployment-controller"),
	}
	var err error
	if r.ownedSets, err = controller.OwnedIn(r.sets); err != nil {
		return err
	}
	if r.ownedPods, err = controller.OwnedIn(controller.InformerFor(m, kind.Pod)); err != nil {
		return err
	}
	_, err = controller.New(m, "deployment", r, controller.Config{Workers: cfg.Workers},
		controller.For(kind.Deployment), controller.Owns(kind.ReplicaSet, kind.Deployment),
		controller.Watches(kind.ReplicaSet, r.adopters), controller.Watches(kind.Pod, r.waitingToRecreate))
	return err
}

// adopters are the Deployments that may adopt an orphan.
func (r *reconciler) adopters(rs *appsv1.ReplicaSet) []controller.Key {
	if controller.OwnerOf(rs) != nil || rs.DeletionTimestamp != nil {
		return nil
	}
	var keys []controller.Key
	for _, d := range r.deployments.InNamespace(rs.Namespace) {
		if s, err := metav1.LabelSelectorAsSelector(d.Spec.Selector); err == nil && !s.Empty() && s.Matches(labels.Set(rs.Labels)) {
			keys = append(keys, controller.KeyOf(d))
		}
	}
	return keys
}

// waitingToRecreate finds the Deployment that may go on because a pod is gone: only Recreate looks at pods.
func (r *reconciler) waitingToRecreate(p *corev1.Pod) []controller.Key {
	ref := controller.OwnerOf(p)
	if ref == nil || ref.Kind != kind.ReplicaSet.Kind().Name {
		return nil
	}
	rs, ok := r.sets.Get(p.Namespace, ref.Name)
	if !ok || controller.OwnerOf(rs) == nil {
		return nil
	}
	d, ok := r.deployments.Get(p.Namespace, controller.OwnerOf(rs).Name)
	if !ok || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return []controller.Key{controller.KeyOf(d)}
}

// Reconcile implements controller.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	d, ok := r.deployments.Get(key.Namespace, key.Name)
	if !ok {
		return controller.Result{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() {
		return controller.Result{}, controller.Terminal(errors.Join(errors.New("the selector selects nothing or everything"), err))
	}
	if d.DeletionTimestamp != nil {
		present, old := split(d, r.ownedSets.By(d))
		_, err := r.writeStatus(ctx, d, present, old)
		return controller.Result{}, err
	}
	sets, err := r.claim(ctx, d, selector)
	if err != nil {
		return controller.Result{}, err
	}
	present, old := split(d, sets)
	if !d.Spec.Paused {
		if present, err = r.ensurePresent(ctx, d, present, old); err != nil {
			return controller.Result{}, err
		}
	}
	if err := r.carryOut(ctx, d, present, old); err != nil {
		return controller.Result{}, err
	}
	after, err := r.writeStatus(ctx, d, present, old)
	if err != nil {
		return controller.Result{}, err
	}
	return controller.Result{RequeueAfter: after}, r.cleanUp(ctx, d, present, old)
}

// claim gives the sets that the Deployment controls. It adopts orphans that its selector matches and lets go of sets
// that it no longer does.
func (r *reconciler) claim(ctx context.Context, d *appsv1.Deployment, selector labels.Selector) ([]*appsv1.ReplicaSet, error) {
	for _, rs := range r.ownedSets.By(d) {
		if rs.DeletionTimestamp == nil && !selector.Matches(labels.Set(rs.Labels)) {
			if _, err := r.updateSet(ctx, rs, func(now *appsv1.ReplicaSet) {
				now.OwnerReferences = slices.DeleteFunc(now.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == d.UID })
			}); err != nil {
				return nil, err
			}
		}
	}
	for _, rs := range r.ownedSets.Orphans(d.Namespace) {
		if rs.DeletionTimestamp != nil || !selector.Matches(labels.Set(rs.Labels)) {
			continue
		}
		// The server knows whether the Deployment still lives: its deletion may be what orphaned the set.
		live, err := client.For(r.client, kind.Deployment).Get(ctx, d.Namespace, d.Name)
		if err != nil {
			return nil, err
		}
		if live.UID != d.UID || live.DeletionTimestamp != nil {
			break
		}
		if _, err := r.updateSet(ctx, rs, func(now *appsv1.ReplicaSet) {
			if controller.OwnerOf(now) == nil {
				controller.SetOwner(d, now, kind.Deployment.Kind())
			}
		}); err != nil {
			return nil, err
		}
	}
	return r.ownedSets.By(d), nil
}

// split finds the set of the present template; of several, the oldest.
func split(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) {
	sorted := slices.SortedFunc(slices.Values(sets), func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, rs := range sorted {
		if present == nil && sameTemplate(&rs.Spec.Template, &d.Spec.Template) {
			present = rs
			continue
		}
		old = append(old, rs)
	}
	return present, old
}

// ensurePresent makes the set of the present template if there is none, and gives it the newest revision.
func (r *reconciler) ensurePresent(ctx context.Context, d *appsv1.Deployment, present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) (*appsv1.ReplicaSet, error) {
	var newest int64
	for _, rs := range old {
		newest = max(newest, revisionOf(rs))
	}
	if present != nil {
		return r.updateSet(ctx, present, func(rs *appsv1.ReplicaSet) {
			rs.Annotations = annotations(rs.Annotations, d, max(revisionOf(rs), newest+1))
			rs.Spec.MinReadySeconds = d.Spec.MinReadySeconds
		})
	}
	rs, err := newReplicaSet(d, newest+1)
	if err != nil {
		return nil, err
	}
	out, err := client.For(r.client, kind.ReplicaSet).Create(ctx, rs)
	if apierrors.IsAlreadyExists(err) {
		return nil, r.collision(ctx, d, rs.Name)
	}
	if err != nil {
		r.recorder.Event(d, corev1.EventTypeWarning, "ReplicaSetCreateError", "Creating ReplicaSet %s failed: %v", rs.Name, err)
		return nil, err
	}
	return out, r.sets.WaitWrite(ctx, out)
}

// collision handles a set of that name which is not in the view: our own that the view lacks, or another template's.
func (r *reconciler) collision(ctx context.Context, d *appsv1.Deployment, name string) error {
	have, err := client.For(r.client, kind.ReplicaSet).Get(ctx, d.Namespace, name)
	if err != nil {
		return err
	}
	if controller.OwnedBy(have, d) && sameTemplate(&have.Spec.Template, &d.Spec.Template) {
		return errors.Join(r.sets.WaitWrite(ctx, have), errors.New("the view lacked the Deployment's own ReplicaSet"))
	}
	out, err := client.For(r.client, kind.Deployment).MutateStatus(ctx, d.Namespace, d.Name, func(now *appsv1.Deployment) error {
		n := int32(1)
		if d.Status.CollisionCount != nil {
			n += *d.Status.CollisionCount
		}
		if now.UID == d.UID {
			now.Status.CollisionCount = &n
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(r.deployments.WaitWrite(ctx, out), errors.New("another ReplicaSet has the name of this template's hash; trying another name"))
}

// carryOut scales the sets as the plan says: up first, so that nothing is lost in between.
func (r *reconciler) carryOut(ctx context.Context, d *appsv1.Deployment, present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	sets := slices.Clone(old)
	if present != nil {
		sets = append(sets, present)
	}
	oldPods := 0
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		oldPods = r.podsOf(old)
	}
	want := plan(d, present, old, oldPods)
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Compare(replicas(a.Spec.Replicas)-want[a.Name], replicas(b.Spec.Replicas)-want[b.Name])
	})
	for _, rs := range sets {
		have, n := replicas(rs.Spec.Replicas), want[rs.Name]
		if have == 0 && n == 0 {
			continue
		}
		_, err := r.updateSet(ctx, rs, func(now *appsv1.ReplicaSet) {
			now.Spec.Replicas = &n
			now.Annotations = withSizes(now.Annotations, d)
		})
		if err != nil {
			return err
		}
		if have != n {
			verb := "up"
			if n < have {
				verb = "down"
			}
			r.recorder.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", "Scaled %s replica set %s from %d to %d", verb, rs.Name, have, n)
		}
	}
	return nil
}

func (r *reconciler) podsOf(sets []*appsv1.ReplicaSet) int {
	n := 0
	for _, rs := range sets {
		for _, p := range r.ownedPods.By(rs) {
			if !controller.PodEnded(p) {
				n++
			}
		}
	}
	return n
}

// updateSet changes a set if that changes anything, and waits until the view shows it.
func (r *reconciler) updateSet(ctx context.Context, rs *appsv1.ReplicaSet, change func(*appsv1.ReplicaSet)) (*appsv1.ReplicaSet, error) {
	probe := kind.ReplicaSet.Copy(rs)
	change(probe)
	if equality.Semantic.DeepEqual(rs, probe) {
		return rs, nil
	}
	out, err := client.For(r.client, kind.ReplicaSet).Mutate(ctx, rs.Namespace, rs.Name, func(now *appsv1.ReplicaSet) error {
		if now.UID == rs.UID {
			change(now)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, r.sets.WaitWrite(ctx, out)
}

// cleanUp deletes old sets beyond the history that the Deployment keeps, the oldest revisions first, once a rollout
// is complete or the Deployment paused: until then the way back stays open. Sets with pods stay.
func (r *reconciler) cleanUp(ctx context.Context, d *appsv1.Deployment, present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	if status, _ := statusOf(d, present, old, time.Now()); !d.Spec.Paused && !complete(d, &status) {
		return nil
	}
	keep := 10
	if d.Spec.RevisionHistoryLimit != nil {
		keep = int(*d.Spec.RevisionHistoryLimit)
	}
	var empty []*appsv1.ReplicaSet
	for _, rs := range old {
		if rs.DeletionTimestamp == nil && replicas(rs.Spec.Replicas) == 0 && rs.Status.Replicas == 0 && rs.Status.ObservedGeneration >= rs.Generation {
			empty = append(empty, rs)
		}
	}
	slices.SortFunc(empty, func(a, b *appsv1.ReplicaSet) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
	for len(empty) > keep {
		rs := empty[0]
		empty = empty[1:]
		if err := client.For(r.client, kind.ReplicaSet).Delete(ctx, rs.Namespace, rs.Name, client.IfUID(rs.UID)); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// writeStatus writes the status, and the Deployment's own revision annotation, where they changed. It looks at the
// sets as they are now. The annotation comes last: that it differs is how a status knows that a rollout begins.
func (r *reconciler) writeStatus(ctx context.Context, d *appsv1.Deployment, present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) (time.Duration, error) {
	latest := func(rs *appsv1.ReplicaSet) *appsv1.ReplicaSet {
		if now, ok := r.sets.Get(rs.Namespace, rs.Name); ok && now.UID == rs.UID {
			return now
		}
		return rs
	}
	if present != nil {
		present = latest(present)
	}
	for i := range old {
		old[i] = latest(old[i])
	}
	status, after := statusOf(d, present, old, time.Now())
	deployments := client.For(r.client, kind.Deployment)
	written := d
	if !equality.Semantic.DeepEqual(d.Status, status) {
		out, err := deployments.MutateStatus(ctx, d.Namespace, d.Name, func(now *appsv1.Deployment) error {
			if now.UID == d.UID {
				now.Status = status
			}
			return nil
		})
		if err != nil {
			return 0, client.IgnoreNotFound(err)
		}
		written = out
	}
	if present != nil && revisionOf(d) != revisionOf(present) {
		out, err := deployments.Mutate(ctx, d.Namespace, d.Name, func(now *appsv1.Deployment) error {
			if now.UID != d.UID {
				return nil
			}
			if now.Annotations == nil {
				now.Annotations = make(map[string]string)
			}
			now.Annotations[RevisionAnnotation] = strconv.FormatInt(revisionOf(present), 10)
			return nil
		})
		if err != nil {
			return 0, client.IgnoreNotFound(err)
		}
		written = out
	}
	if written == d {
		return after, nil
	}
	return after, r.deployments.WaitWrite(ctx, written) // the next decision builds on it
}
