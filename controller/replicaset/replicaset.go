package replicaset

import (
	"context"
	"errors"
	"sync"
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

// viewTimeout bounds how long a reconcile waits for its own writes to show.
const viewTimeout = 10 * time.Second

type reconciler struct {
	client   client.Client
	sets     *controller.Informer[*appsv1.ReplicaSet]
	pods     *controller.Informer[*corev1.Pod]
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
	_, err := controller.New(m, "replicaset", r, controller.Config{Workers: cfg.Workers},
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
		pods = r.controlled(rs)
	}
	after, err := r.writeStatus(ctx, rs, pods, reason, scaleErr)
	return controller.Result{RequeueAfter: after}, errors.Join(scaleErr, err)
}

func (r *reconciler) controlled(rs *appsv1.ReplicaSet) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range r.pods.InNamespace(rs.Namespace) {
		if controller.OwnedBy(p, rs) {
			out = append(out, p)
		}
	}
	return out
}

// claim adopts orphans that the selector matches and releases pods that it no longer does. It returns the set's pods.
func (r *reconciler) claim(ctx context.Context, rs *appsv1.ReplicaSet, selector labels.Selector) ([]*corev1.Pod, error) {
	var mine []*corev1.Pod
	changed := false
	for _, p := range r.pods.InNamespace(rs.Namespace) {
		matches := selector.Matches(labels.Set(p.Labels))
		switch {
		case controller.OwnedBy(p, rs) && (matches || p.DeletionTimestamp != nil || rs.DeletionTimestamp != nil):
			mine = append(mine, p)
		case controller.OwnedBy(p, rs):
			if err := r.setOwner(ctx, rs, p, false); err != nil {
				return nil, err
			}
			changed = true
		case matches && controller.OwnerOf(p) == nil && active(p) && rs.DeletionTimestamp == nil:
			if err := r.setOwner(ctx, rs, p, true); err != nil {
				return nil, err
			}
			changed = true
		}
	}
	if changed {
		return r.controlled(rs), nil
	}
	return mine, nil
}

func (r *reconciler) setOwner(ctx context.Context, rs *appsv1.ReplicaSet, p *corev1.Pod, own bool) error {
	out, err := client.For(r.client, kind.Pod).Mutate(ctx, p.Namespace, p.Name, func(now *corev1.Pod) error {
		if now.UID != p.UID || own && (controller.OwnerOf(now) != nil || now.DeletionTimestamp != nil) {
			return nil // another took it, or it is going
		}
		if own {
			controller.SetOwner(rs, now, kind.ReplicaSet.Kind())
			return nil
		}
		now.OwnerReferences = without(now.OwnerReferences, rs)
		return nil
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return r.seen(ctx, out)
}

func without(refs []metav1.OwnerReference, rs *appsv1.ReplicaSet) []metav1.OwnerReference {
	var out []metav1.OwnerReference
	for _, ref := range refs {
		if ref.UID != rs.UID {
			out = append(out, ref)
		}
	}
	return out
}

// seen waits until the informer shows a write.
func (r *reconciler) seen(ctx context.Context, p *corev1.Pod) error {
	revision, err := client.ParseRevision(p.ResourceVersion)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	return r.pods.WaitRevision(ctx, revision)
}

// scale creates or deletes pods until as many are active as the set asks for. The reason is for the ReplicaFailure condition.
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
		return "FailedDelete", r.deleteAll(ctx, rs, surplus(alive, min(diff, r.burst)))
	}
	return "", nil
}

// create makes n pods: one, then two, four and so on as long as all of a batch succeed, so that a set whose pods are refused
// costs one request a try.
func (r *reconciler) create(ctx context.Context, rs *appsv1.ReplicaSet, n int) error {
	for batch := 1; n > 0; batch *= 2 {
		size := min(batch, n)
		if err := sideBySide(size, func(int) error { return r.createOne(ctx, rs) }); err != nil {
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
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil // the set goes too
		}
		r.recorder.Event(rs, corev1.EventTypeWarning, "FailedCreate", "Creating a pod failed: %v", err)
		return err
	}
	r.recorder.Event(rs, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", out.Name)
	return r.seen(ctx, out)
}

func (r *reconciler) deleteAll(ctx context.Context, rs *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	return sideBySide(len(pods), func(i int) error {
		p := pods[i]
		err := client.For(r.client, kind.Pod).Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			r.recorder.Event(rs, corev1.EventTypeWarning, "FailedDelete", "Deleting pod %s failed: %v", p.Name, err)
			return err
		}
		r.recorder.Event(rs, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", p.Name)
		ctx, cancel := context.WithTimeout(ctx, viewTimeout)
		defer cancel()
		_, err = r.pods.WaitFor(ctx, p.Namespace, p.Name, func(now *corev1.Pod, exists bool) bool {
			return !exists || now.UID != p.UID || !active(now)
		})
		return err
	})
}

// sideBySide runs f for 0 to n-1 at once and joins the errors.
func sideBySide(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
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
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	return after, err
}
