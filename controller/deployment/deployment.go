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

// viewTimeout bounds how long a reconcile waits for its own writes to show.
const viewTimeout = 10 * time.Second

type reconciler struct {
	client      client.Client
	deployments *controller.Informer[*appsv1.Deployment]
	sets        *controller.Informer[*appsv1.ReplicaSet]
	pods        *controller.Informer[*corev1.Pod]
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
		pods:        controller.InformerFor(m, kind.Pod),
		recorder:    m.Recorder("deployment-controller"),
	}
	_, err := controller.New(m, "deployment", r, controller.Config{Workers: cfg.Workers},
		controller.For(kind.Deployment), controller.Owns(kind.ReplicaSet, kind.Deployment),
		controller.Watches(kind.Pod, r.waitingToRecreate))
	return err
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
	if !ok || d.DeletionTimestamp != nil {
		return controller.Result{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil || selector.Empty() {
		return controller.Result{}, controller.Terminal(errors.Join(errors.New("the selector selects nothing or everything"), err))
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
	if err := r.cleanUp(ctx, d, old); err != nil {
		return controller.Result{}, err
	}
	after, err := r.writeStatus(ctx, d, present, old)
	return controller.Result{RequeueAfter: after}, err
}

// claim gives the sets that the Deployment controls, and adopts orphans that its selector matches.
func (r *reconciler) claim(ctx context.Context, d *appsv1.Deployment, selector labels.Selector) ([]*appsv1.ReplicaSet, error) {
	var mine []*appsv1.ReplicaSet
	for _, rs := range r.sets.InNamespace(d.Namespace) {
		switch {
		case controller.OwnedBy(rs, d):
			if rs.DeletionTimestamp == nil {
				mine = append(mine, rs)
			}
		case controller.OwnerOf(rs) == nil && rs.DeletionTimestamp == nil && selector.Matches(labels.Set(rs.Labels)):
			adopted, err := client.For(r.client, kind.ReplicaSet).Mutate(ctx, rs.Namespace, rs.Name, func(now *appsv1.ReplicaSet) error {
				if now.UID == rs.UID && controller.OwnerOf(now) == nil {
					controller.SetOwner(d, now, kind.Deployment.Kind())
				}
				return nil
			})
			if err != nil && !apierrors.IsNotFound(err) {
				return nil, err
			}
			if err == nil && controller.OwnedBy(adopted, d) {
				mine = append(mine, adopted)
			}
		}
	}
	return mine, nil
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
		revision := max(revisionOf(present), newest+1)
		if revision == newest+1 || revisionOf(present) > newest {
			return r.updateSet(ctx, present, func(rs *appsv1.ReplicaSet) {
				rs.Annotations = annotations(rs.Annotations, d, revision)
				rs.Annotations[desiredReplicasAnnotation] = present.Annotations[desiredReplicasAnnotation]
				rs.Annotations[maxReplicasAnnotation] = present.Annotations[maxReplicasAnnotation]
				rs.Spec.MinReadySeconds = d.Spec.MinReadySeconds
			})
		}
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
		return nil, err
	}
	return out, r.seen(ctx, out)
}

// collision handles a set of that name which is not in the view: our own that the view lacks, or another template's.
func (r *reconciler) collision(ctx context.Context, d *appsv1.Deployment, name string) error {
	have, err := client.For(r.client, kind.ReplicaSet).Get(ctx, d.Namespace, name)
	if err != nil {
		return err
	}
	if controller.OwnedBy(have, d) && sameTemplate(&have.Spec.Template, &d.Spec.Template) {
		return errors.Join(r.seen(ctx, have), errors.New("the view lacked the Deployment's own ReplicaSet"))
	}
	_, err = client.For(r.client, kind.Deployment).MutateStatus(ctx, d.Namespace, d.Name, func(now *appsv1.Deployment) error {
		n := int32(1)
		if now.Status.CollisionCount != nil {
			n += *now.Status.CollisionCount
		}
		now.Status.CollisionCount = &n
		return nil
	})
	return errors.Join(err, errors.New("another ReplicaSet has the name of this template's hash; trying another name"))
}

// carryOut scales the sets as the plan says: up first, so that nothing is lost in between.
func (r *reconciler) carryOut(ctx context.Context, d *appsv1.Deployment, present *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) error {
	sets := slices.Clone(old)
	if present != nil {
		sets = append(sets, present)
	}
	want := plan(d, present, old, r.podsOf(old))
	slices.SortStableFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Compare(replicas(a.Spec.Replicas)-want[a.Name], replicas(b.Spec.Replicas)-want[b.Name])
	})
	for _, rs := range sets {
		have, n := replicas(rs.Spec.Replicas), want[rs.Name]
		desired := itoa(replicas(d.Spec.Replicas))
		if have == n && rs.Annotations[desiredReplicasAnnotation] == desired {
			continue
		}
		out, err := r.updateSet(ctx, rs, func(now *appsv1.ReplicaSet) {
			now.Spec.Replicas = &n
			if now.Annotations == nil {
				now.Annotations = make(map[string]string)
			}
			now.Annotations[desiredReplicasAnnotation] = desired
			now.Annotations[maxReplicasAnnotation] = itoa(replicas(d.Spec.Replicas) + maxSurge(d))
		})
		if err != nil {
			return err
		}
		if have != n && out != nil {
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
		for _, p := range r.pods.InNamespace(rs.Namespace) {
			if controller.OwnedBy(p, rs) && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				n++
			}
		}
	}
	return n
}

// updateSet changes a set if that changes anything, and waits until the view shows it. Nil means that the set is gone.
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
	return out, r.seen(ctx, out)
}

func (r *reconciler) seen(ctx context.Context, rs *appsv1.ReplicaSet) error {
	revision, err := client.ParseRevision(rs.ResourceVersion)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	return r.sets.WaitRevision(ctx, revision)
}

// cleanUp deletes old sets beyond the history that the Deployment keeps, the oldest revisions first. Sets with pods stay.
func (r *reconciler) cleanUp(ctx context.Context, d *appsv1.Deployment, old []*appsv1.ReplicaSet) error {
	keep := 10
	if d.Spec.RevisionHistoryLimit != nil {
		keep = int(*d.Spec.RevisionHistoryLimit)
	}
	if d.Spec.Paused {
		return nil
	}
	var empty []*appsv1.ReplicaSet
	for _, rs := range old {
		if replicas(rs.Spec.Replicas) == 0 && rs.Status.Replicas == 0 && rs.Status.ObservedGeneration >= rs.Generation {
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

// writeStatus writes the status, and the Deployment's own revision annotation, where they changed. It looks at the sets as they are now.
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
	if present != nil && revisionOf(d) != revisionOf(present) {
		if _, err := deployments.Mutate(ctx, d.Namespace, d.Name, func(now *appsv1.Deployment) error {
			if now.UID != d.UID {
				return nil
			}
			if now.Annotations == nil {
				now.Annotations = make(map[string]string)
			}
			now.Annotations[RevisionAnnotation] = strconv.FormatInt(revisionOf(present), 10)
			return nil
		}); err != nil {
			return 0, ignoreGone(err)
		}
	}
	if equality.Semantic.DeepEqual(d.Status, status) {
		return after, nil
	}
	_, err := deployments.MutateStatus(ctx, d.Namespace, d.Name, func(now *appsv1.Deployment) error {
		if now.UID == d.UID {
			now.Status = status
		}
		return nil
	})
	return after, ignoreGone(err)
}

func ignoreGone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
