package replicaset

import (
	"context"
	"errors"
	"slices"
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
	Workers int // how many ReplicaSets are reconciled side by side; 0 means 4
	Burst   int // how many pods one reconcile creates or deletes at most; 0 means 500
}

type reconciler struct {
	client   client.Client
	sets     *controller.Informer[*appsv1.ReplicaSet]
	pods     *controller.Informer[*corev1.Pod]
	owned    controller.Owned[*corev1.Pod]
	siblings controller.Owned[*appsv1.ReplicaSet]
	recorder *controller.Recorder
	burst    int
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.Burst == 0 {
		cfg.Burst = 500
	}
	r := &reconciler{
		client: m.Client(), burst: cfg.Burst, recorder: m.Recorder("replicaset-controller"),
		sets: controller.InformerFor(m, kind.ReplicaSet), pods: controller.InformerFor(m, kind.Pod),
	}
	var err error
	if r.owned, err = controller.OwnedIn(r.pods); err != nil {
		return err
	}
	if r.siblings, err = controller.OwnedIn(r.sets); err != nil {
		return err
	}
	_, err = controller.New(m, "replicaset", r, controller.Config{Workers: cfg.Workers},
		controller.For(kind.ReplicaSet), controller.Owns(kind.Pod, kind.ReplicaSet), controller.Watches(kind.Pod, r.adopters))
	return err
}

// adopters are the sets that may adopt an orphan.
func (r *reconciler) adopters(p *corev1.Pod) []controller.Key {
	if controller.OwnerOf(p) != nil || !active(p) {
		return nil
	}
	var keys []controller.Key
	for _, rs := range r.sets.InNamespace(p.Namespace) {
		if s, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector); err == nil && !s.Empty() && s.Matches(labels.Set(p.Labels)) {
			keys = append(keys, controller.KeyOf(rs))
		}
	}
	return keys
}

// Reconcile implements controller.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	rs, ok := r.sets.Get(key.Namespace, key.Name)
	if !ok {
		return controller.Result{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(rs.Spec.Selector)
	if err != nil || selector.Empty() {
		return controller.Result{}, controller.Terminal(errors.Join(errors.New("the selector selects nothing or everything"), err))
	}
	pods, err := r.claim(ctx, rs, selector)
	if err != nil {
		return controller.Result{}, err
	}
	reason, scaleErr := "", error(nil)
	if rs.DeletionTimestamp == nil {
		reason, scaleErr = r.scale(ctx, rs, pods)
		pods = r.owned.By(rs)
	}
	after, err := r.writeStatus(ctx, rs, pods, reason, scaleErr)
	return controller.Result{RequeueAfter: after}, errors.Join(scaleErr, err)
}

// claim adopts orphans that the selector matches and releases pods that it no longer does. Pods that have ended or
// are going stay as they are. It returns the set's pods.
func (r *reconciler) claim(ctx context.Context, rs *appsv1.ReplicaSet, selector labels.Selector) ([]*corev1.Pod, error) {
	if rs.DeletionTimestamp != nil {
		return r.owned.By(rs), nil
	}
	for _, p := range r.owned.By(rs) {
		if active(p) && !selector.Matches(labels.Set(p.Labels)) {
			if err := r.release(ctx, rs, p); err != nil {
				return nil, err
			}
		}
	}
	var orphans []*corev1.Pod
	for _, p := range r.owned.Orphans(rs.Namespace) {
		if active(p) && selector.Matches(labels.Set(p.Labels)) {
			orphans = append(orphans, p)
		}
	}
	if len(orphans) > 0 {
		if err := r.adopt(ctx, rs, orphans); err != nil {
			return nil, err
		}
	}
	return r.owned.By(rs), nil
}

// adopt asks the server first whether the set still lives: its deletion may be what orphaned the pods, and a pod that
// it took back would be deleted after it.
func (r *reconciler) adopt(ctx context.Context, rs *appsv1.ReplicaSet, orphans []*corev1.Pod) error {
	now, err := client.For(r.client, kind.ReplicaSet).Get(ctx, rs.Namespace, rs.Name)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if now.UID != rs.UID || now.DeletionTimestamp != nil {
		return nil
	}
	return controller.SideBySide(len(orphans), func(i int) error {
		return r.change(ctx, orphans[i], func(now *corev1.Pod) {
			if controller.OwnerOf(now) == nil && now.DeletionTimestamp == nil { // or another took it, or it is going
				controller.SetOwner(rs, now, kind.ReplicaSet.Kind())
			}
		})
	})
}

func (r *reconciler) release(ctx context.Context, rs *appsv1.ReplicaSet, p *corev1.Pod) error {
	return r.change(ctx, p, func(now *corev1.Pod) {
		now.OwnerReferences = slices.DeleteFunc(now.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == rs.UID })
	})
}

// change writes a pod, if it is still that one, and waits until the informer shows it.
func (r *reconciler) change(ctx context.Context, p *corev1.Pod, f func(*corev1.Pod)) error {
	out, err := client.For(r.client, kind.Pod).Mutate(ctx, p.Namespace, p.Name, func(now *corev1.Pod) error {
		if now.UID == p.UID {
			f(now)
		}
		return nil
	})
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	return r.pods.WaitWrite(ctx, out)
}

// scale creates or deletes pods until as many are active as the set asks for. The reason is for the ReplicaFailure
// condition.
func (r *reconciler) scale(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) (string, error) {
	want := 1
	if rs.Spec.Replicas != nil {
		want = int(*rs.Spec.Replicas)
	}
	var alive []*corev1.Pod
	for _, p := range pods {
		if active(p) {
			alive = append(alive, p)
		}
	}
	switch diff := len(alive) - want; {
	case diff < 0:
		return "FailedCreate", r.create(ctx, rs, min(-diff, r.burst))
	case diff > 0:
		return "FailedDelete", r.deleteAll(ctx, rs, surplus(alive, r.related(rs, alive), min(diff, r.burst)))
	}
	return "", nil
}

// related are the pods of all sets of the same owner.
func (r *reconciler) related(rs *appsv1.ReplicaSet, own []*corev1.Pod) []*corev1.Pod {
	ref := controller.OwnerOf(rs)
	if ref == nil {
		return own
	}
	var out []*corev1.Pod
	for _, sibling := range r.siblings.ByUID(ref.UID) {
		out = append(out, r.owned.By(sibling)...)
	}
	return out
}

// create makes n pods: one, then two, four and so on as long as all of a batch succeed, so that a set whose pods are
// refused costs one request a try.
func (r *reconciler) create(ctx context.Context, rs *appsv1.ReplicaSet, n int) error {
	for batch := 1; n > 0; batch *= 2 {
		size := min(batch, n)
		err := controller.SideBySide(size, func(int) error { return r.createOne(ctx, rs) })
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil // the set goes too
		}
		if err != nil {
			return err
		}
		n -= size
	}
	return nil
}

func (r *reconciler) createOne(ctx context.Context, rs *appsv1.ReplicaSet) error {
	pod := newPod(rs)
	controller.SetOwner(rs, pod, kind.ReplicaSet.Kind())
	out, err := client.For(r.client, kind.Pod).Create(ctx, pod)
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			r.recorder.Event(rs, corev1.EventTypeWarning, "FailedCreate", "Creating a pod failed: %v", err)
		}
		return err
	}
	r.recorder.Event(rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", out.Name)
	return r.pods.WaitWrite(ctx, out)
}

func (r *reconciler) deleteAll(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	return controller.SideBySide(len(pods), func(i int) error {
		p := pods[i]
		err := client.For(r.client, kind.Pod).Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID))
		switch {
		case err == nil:
			r.recorder.Event(rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", p.Name)
		case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err): // a conflict says that it is another pod by now
			r.recorder.Event(rs, corev1.EventTypeWarning, "FailedDelete", "Deleting pod %s failed: %v", p.Name, err)
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, controller.ViewTimeout)
		defer cancel()
		_, err = r.pods.WaitFor(ctx, p.Namespace, p.Name, func(now *corev1.Pod, exists bool) bool {
			return !exists || now.UID != p.UID || !active(now)
		})
		return err
	})
}

func (r *reconciler) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod, reason string, scaleErr error) (time.Duration, error) {
	now := time.Now()
	want, after := statusOf(rs, pods, now)
	setFailure(&want, reason, scaleErr, now)
	if equality.Semantic.DeepEqual(rs.Status, want) {
		return after, nil
	}
	_, err := client.For(r.client, kind.ReplicaSet).MutateStatus(ctx, rs.Namespace, rs.Name, func(latest *appsv1.ReplicaSet) error {
		if latest.UID == rs.UID {
			latest.Status = want
		}
		return nil
	})
	return after, client.IgnoreNotFound(err)
}
