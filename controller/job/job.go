package job

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
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
	Workers int // how many Jobs are reconciled side by side; 0 means 4
	Burst   int // how many pods one reconcile creates or deletes at most; 0 means 500
}

const byJob = "job" // the index of pods by the Job that they belong to

type reconciler struct {
	client   client.Client
	jobs     *controller.Informer[*batchv1.Job]
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
		client: m.Client(), burst: cfg.Burst, recorder: m.Recorder("job-controller"),
		jobs: controller.InformerFor(m, kind.Job), pods: controller.InformerFor(m, kind.Pod),
	}
	if err := r.pods.AddIndex(byJob, func(p *corev1.Pod) []string {
		var values []string
		for _, key := range jobOf(p) {
			values = append(values, key.String())
		}
		return values
	}); err != nil {
		return err
	}
	_, err := controller.New(m, "job", r, controller.Config{Workers: cfg.Workers}, controller.For(kind.Job), controller.Watches(kind.Pod, jobOf))
	return err
}

// jobOf is the Job that a pod belongs to or, for an orphan, names in its label.
func jobOf(p *corev1.Pod) []controller.Key {
	ref := controller.OwnerOf(p)
	switch name := p.Labels[batchv1.JobNameLabel]; {
	case ref != nil && ref.Kind == kind.Job.Kind().Name && ref.APIVersion == kind.Job.Kind().APIVersion():
		return []controller.Key{{Namespace: p.Namespace, Name: ref.Name}}
	case ref == nil && name != "":
		return []controller.Key{{Namespace: p.Namespace, Name: name}}
	}
	return nil
}

// Reconcile implements controller.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	j, ok := r.jobs.Get(key.Namespace, key.Name)
	if ok && j.Spec.ManagedBy != nil && *j.Spec.ManagedBy != batchv1.JobControllerName {
		return controller.Result{}, nil
	}
	if !ok {
		j = nil
	}
	pods, err := r.claim(ctx, j, key)
	if err != nil || j == nil {
		return controller.Result{}, err
	}
	if field := unsupported(j); field != "" && j.DeletionTimestamp == nil {
		r.recorder.Event(j, corev1.EventTypeWarning, "UnsupportedField", "spec.%s is not supported; the Job is not run", field)
		return controller.Result{}, controller.Terminal(fmt.Errorf("job %s: spec.%s is not supported", key, field))
	}
	d := plan(j, pods, time.Now())
	if d.expired {
		err := client.For(r.client, kind.Job).Delete(ctx, j.Namespace, j.Name, client.IfUID(j.UID), client.Propagation(metav1.DeletePropagationBackground))
		return controller.Result{}, client.IgnoreNotFound(err)
	}
	podsErr := r.carryOut(ctx, j, &d)
	if err := r.writeStatus(ctx, j, d.status); err != nil {
		return controller.Result{}, errors.Join(podsErr, err)
	}
	err = controller.SideBySide(len(d.release), func(i int) error { return r.release(ctx, d.release[i], false) })
	return controller.Result{RequeueAfter: d.after}, errors.Join(podsErr, err)
}

// unsupported names a field that this controller can't honour.
func unsupported(j *batchv1.Job) string {
	switch {
	case j.Spec.BackoffLimitPerIndex != nil:
		return "backoffLimitPerIndex"
	case j.Spec.SuccessPolicy != nil:
		return "successPolicy"
	}
	return ""
}

// claim gives the Job's pods. It adopts orphans that the selector matches, lets go of pods that it no longer does,
// and takes the finalizer from pods that belong to no living Job. j is nil when there is none.
func (r *reconciler) claim(ctx context.Context, j *batchv1.Job, key controller.Key) ([]*corev1.Pod, error) {
	selector := labels.Nothing()
	if j != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(j.Spec.Selector); err != nil {
			return nil, controller.Terminal(err)
		}
	}
	var mine []*corev1.Pod
	for _, p := range r.pods.ByIndex(byJob, key.String()) {
		matches := selector.Matches(labels.Set(p.Labels))
		owned := j != nil && controller.OwnedBy(p, j)
		switch {
		case owned && (matches || !active(p) || j.DeletionTimestamp != nil):
			mine = append(mine, p)
		case owned:
			if err := r.release(ctx, p, true); err != nil {
				return nil, err
			}
		case matches && controller.OwnerOf(p) == nil && active(p) && j.DeletionTimestamp == nil && finished(&j.Status) == nil:
			adopted, err := r.adopt(ctx, j, p)
			if err != nil {
				return nil, err
			}
			if adopted != nil {
				mine = append(mine, adopted)
			}
		case tracked(p):
			if err := r.release(ctx, p, false); err != nil {
				return nil, err
			}
		}
	}
	return mine, nil
}

// adopt asks the server first whether the Job still lives: its deletion may be what orphaned the pod.
func (r *reconciler) adopt(ctx context.Context, j *batchv1.Job, p *corev1.Pod) (*corev1.Pod, error) {
	now, err := client.For(r.client, kind.Job).Get(ctx, j.Namespace, j.Name)
	if err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if now.UID != j.UID || now.DeletionTimestamp != nil {
		return nil, nil
	}
	out, err := client.For(r.client, kind.Pod).Mutate(ctx, p.Namespace, p.Name, func(now *corev1.Pod) error {
		if now.UID == p.UID && controller.OwnerOf(now) == nil && now.DeletionTimestamp == nil {
			controller.SetOwner(j, now, kind.Job.Kind())
			if !tracked(now) {
				now.Finalizers = append(now.Finalizers, batchv1.JobTrackingFinalizer)
			}
		}
		return nil
	})
	if err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if !controller.OwnedBy(out, j) {
		return nil, nil
	}
	return out, r.pods.WaitWrite(ctx, out)
}

// release takes the tracking finalizer from a pod and, if disown, its controlling owner.
func (r *reconciler) release(ctx context.Context, p *corev1.Pod, disown bool) error {
	out, err := client.For(r.client, kind.Pod).Mutate(ctx, p.Namespace, p.Name, func(now *corev1.Pod) error {
		if now.UID != p.UID {
			return nil
		}
		now.Finalizers = slices.DeleteFunc(now.Finalizers, func(f string) bool { return f == batchv1.JobTrackingFinalizer })
		if owner := controller.OwnerOf(p); disown && owner != nil {
			now.OwnerReferences = slices.DeleteFunc(now.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == owner.UID })
		}
		return nil
	})
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	return r.pods.WaitWrite(ctx, out)
}

// carryOut deletes and makes pods. The status keeps up: pods that were made count as active.
func (r *reconciler) carryOut(ctx context.Context, j *batchv1.Job, d *decision) error {
	discard, end := d.discard[:min(len(d.discard), r.burst)], d.end[:min(len(d.end), r.burst)]
	err := controller.SideBySide(len(discard), func(i int) error {
		if err := r.release(ctx, discard[i], false); err != nil {
			return err
		}
		return r.delete(ctx, j, discard[i])
	})
	if err == nil {
		err = controller.SideBySide(len(end), func(i int) error { return r.delete(ctx, j, end[i]) })
	}
	if err != nil {
		return err
	}
	left := d.create[:min(len(d.create), r.burst)]
	for batch := 1; len(left) > 0; batch *= 2 { // slowly at first, so that a Job whose pods are refused costs one request a try
		now := left[:min(batch, len(left))]
		if err := controller.SideBySide(len(now), func(i int) error { return r.create(ctx, j, now[i]) }); err != nil {
			return err
		}
		left = left[len(now):]
		d.status.Active += int32(len(now))
	}
	return nil
}

func (r *reconciler) create(ctx context.Context, j *batchv1.Job, index int) error {
	out, err := client.For(r.client, kind.Pod).Create(ctx, newPod(j, index))
	if err != nil {
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil // the Job goes too
		}
		r.recorder.Event(j, corev1.EventTypeWarning, "FailedCreate", "Creating a pod failed: %v", err)
		return err
	}
	r.recorder.Event(j, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", out.Name)
	return r.pods.WaitWrite(ctx, out)
}

func (r *reconciler) delete(ctx context.Context, j *batchv1.Job, p *corev1.Pod) error {
	err := client.For(r.client, kind.Pod).Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		r.recorder.Event(j, corev1.EventTypeWarning, "FailedDelete", "Deleting pod %s failed: %v", p.Name, err)
		return err
	}
	r.recorder.Event(j, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", p.Name)
	ctx, cancel := context.WithTimeout(ctx, controller.ViewTimeout)
	defer cancel()
	_, err = r.pods.WaitFor(ctx, p.Namespace, p.Name, func(now *corev1.Pod, exists bool) bool {
		return !exists || now.UID != p.UID || !active(now)
	})
	return err
}

// writeStatus writes only over the state that the decision was made on: another state means a conflict and another
// try, or pods would be counted twice. The view shows the write when it returns.
func (r *reconciler) writeStatus(ctx context.Context, j *batchv1.Job, status batchv1.JobStatus) error {
	if equality.Semantic.DeepEqual(j.Status, status) {
		return nil
	}
	next := kind.Job.Copy(j)
	next.Status = status
	out, err := client.For(r.client, kind.Job).UpdateStatus(ctx, next)
	if err != nil {
		return err
	}
	r.report(j, out)
	return r.jobs.WaitWrite(ctx, out)
}

// report makes events of conditions that changed.
func (r *reconciler) report(old, now *batchv1.Job) {
	for _, c := range now.Status.Conditions {
		if before := find(old.Status.Conditions, c.Type); before != nil && before.Status == c.Status {
			continue
		}
		switch {
		case c.Type == batchv1.JobFailed:
			r.recorder.Event(now, corev1.EventTypeWarning, c.Reason, "%s", c.Message)
		case c.Type == batchv1.JobComplete:
			r.recorder.Event(now, corev1.EventTypeNormal, "Completed", "The Job is complete")
		case c.Type == batchv1.JobSuspended && c.Status == corev1.ConditionTrue:
			r.recorder.Event(now, corev1.EventTypeNormal, "Suspended", "The Job is suspended")
		case c.Type == batchv1.JobSuspended:
			r.recorder.Event(now, corev1.EventTypeNormal, "Resumed", "The Job is resumed")
		}
	}
}
