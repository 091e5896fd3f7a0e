package podgc

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	TerminatedThreshold int           // how many ended pods may stay; 0 means 12500, less than 0 any number
	CheckEvery          time.Duration // ended pods are counted at most this often; 0 means 20 s
	Quarantine          time.Duration // how long a node must be missing before its pods are deleted; 0 means 40 s
	Workers             int           // how many pods are looked at side by side; 0 means 4
}

const (
	byNode  = "spec.nodeName" // index of pods, shared with other controllers
	byEnded = "podgc.ended"   // index of pods: "yes" for those that have ended
)

type reconciler struct {
	client     client.Client
	pods       *controller.Informer[*corev1.Pod]
	nodes      *controller.Informer[*corev1.Node]
	quarantine time.Duration

	mu      sync.Mutex
	missing map[string]time.Time // since when a node that has pods is missing
}

// New registers the controllers with a manager: one for pods that can't end, one for those that have ended.
func New(m *controller.Manager, cfg Config) error {
	switch {
	case m == nil:
		return errors.New("podgc: the manager is nil")
	case cfg.CheckEvery < 0 || cfg.Quarantine < 0 || cfg.Workers < 0:
		return errors.New("podgc: Config: CheckEvery, Quarantine and Workers must not be negative")
	}
	set(&cfg.TerminatedThreshold, 12500)
	set(&cfg.CheckEvery, 20*time.Second)
	set(&cfg.Quarantine, 40*time.Second)
	set(&cfg.Workers, 4)
	r := &reconciler{
		client: m.Client(), quarantine: cfg.Quarantine, missing: map[string]time.Time{},
		pods: controller.InformerFor(m, kind.Pod), nodes: controller.InformerFor(m, kind.Node),
	}
	err := errors.Join(
		r.pods.AddIndex(byNode, func(p *corev1.Pod) []string {
			if p.Spec.NodeName == "" {
				return nil
			}
			return []string{p.Spec.NodeName}
		}),
		r.pods.AddIndex(byEnded, func(p *corev1.Pod) []string {
			if !controller.PodEnded(p) {
				return nil
			}
			return []string{"yes"}
		}),
	)
	if err != nil {
		return err
	}
	r.nodes.OnChange(func(_, now *corev1.Node) {
		if now != nil {
			r.found(now.Name)
		}
	})
	r.pods.OnChange(func(old, now *corev1.Pod) {
		if now == nil && len(r.pods.ByIndex(byNode, old.Spec.NodeName)) == 0 {
			r.found(old.Spec.NodeName) // or rather: no longer of interest
		}
	})
	_, err = controller.New(m, "podgc", r, controller.Config{Workers: cfg.Workers, MaxDelay: time.Minute},
		controller.For(kind.Pod, controller.Where(func(old, now *corev1.Pod) bool {
			return now != nil && (old == nil || old.UID != now.UID || old.Spec.NodeName != now.Spec.NodeName ||
				(old.DeletionTimestamp == nil) != (now.DeletionTimestamp == nil) || len(old.Finalizers) != len(now.Finalizers))
		})),
		controller.Watches(kind.Node, r.podsOn, controller.Where(func(old, now *corev1.Node) bool {
			return now == nil || old != nil && (old.UID != now.UID || outOfService(old) != outOfService(now) || !equality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints))
		})))
	if err != nil || cfg.TerminatedThreshold < 0 {
		return err
	}
	return newCounter(m, cfg, r)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (r *reconciler) podsOn(n *corev1.Node) []controller.Key {
	var keys []controller.Key
	for _, p := range r.pods.ByIndex(byNode, n.Name) {
		keys = append(keys, controller.KeyOf(p))
	}
	return keys
}

func (r *reconciler) found(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.missing, node)
}

// missingFor notes that a node is missing and says for how long it has been.
func (r *reconciler) missingFor(node string, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	since, ok := r.missing[node]
	if !ok {
		since = now
		r.missing[node] = now
	}
	return now.Sub(since)
}

// Reconcile implements controller.Reconciler for a pod.
func (r *reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	p, ok := r.pods.Get(key.Namespace, key.Name)
	if !ok {
		return controller.Result{}, nil
	}
	node, ok := r.nodes.Get("", p.Spec.NodeName)
	if !ok {
		node = nil
	}
	switch judge(p, node) {
	case goes:
		return controller.Result{}, r.remove(ctx, p, "the pod was being deleted, and nothing would have ended it")
	case orphaned:
		if wait := r.quarantine - r.missingFor(p.Spec.NodeName, time.Now()); wait > 0 {
			return controller.Result{RequeueAfter: wait}, nil
		}
		_, err := client.For(r.client, kind.Node).Get(ctx, "", p.Spec.NodeName)
		switch {
		case apierrors.IsNotFound(err):
			return controller.Result{}, r.remove(ctx, p, "node "+p.Spec.NodeName+" does not exist any more")
		case err == nil:
			r.found(p.Spec.NodeName)
			return controller.Result{RequeueAfter: r.quarantine}, nil // the informer is behind
		}
		return controller.Result{}, err
	}
	return controller.Result{}, nil
}

// remove deletes a pod without grace, after it has been given an end that others can see.
func (r *reconciler) remove(ctx context.Context, p *corev1.Pod, why string) error {
	pods := client.For(r.client, kind.Pod)
	_, err := pods.MutateStatus(ctx, p.Namespace, p.Name, func(now *corev1.Pod) error {
		if now.UID == p.UID && !controller.PodEnded(now) {
			fail(now, why, time.Now())
		}
		return nil
	})
	if err == nil {
		err = pods.Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID), client.GracePeriod(0))
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // gone, or another of that name
		return nil
	}
	return err
}

// fail gives a pod the phase Failed, in place.
func fail(p *corev1.Pod, why string, now time.Time) {
	p.Status.Phase = corev1.PodFailed
	want := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", Message: why,
		LastTransitionTime: metav1.NewTime(now.Truncate(time.Second)),
	}
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == want.Type {
			p.Status.Conditions[i] = want
			return
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, want)
}
