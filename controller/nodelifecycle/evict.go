package nodelifecycle

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// evictor deletes pods by their nodes' NoExecute taints. Its keys are pods.
type evictor struct {
	client   client.Client
	nodes    *controller.Informer[*corev1.Node]
	pods     *controller.Informer[*corev1.Pod]
	recorder *controller.Recorder
	rate     *limiter

	mu      sync.Mutex
	pending map[controller.Key]struct{} // pods that will be evicted later, to tell when they are not
}

func newEvictor(m *controller.Manager, cfg Config, r *reconciler) error {
	e := &evictor{
		client: m.Client(), nodes: r.nodes, pods: r.pods, recorder: m.Recorder("taint-eviction-controller"),
		rate: newLimiter(cfg.EvictionRate), pending: map[controller.Key]struct{}{},
	}
	_, err := controller.New(m, "tainteviction", e, controller.Config{Workers: cfg.Workers, MaxDelay: time.Minute},
		controller.For(kind.Pod, controller.Where(func(old, now *corev1.Pod) bool {
			return old == nil || now == nil || old.UID != now.UID || old.Spec.NodeName != now.Spec.NodeName ||
				(old.DeletionTimestamp == nil) != (now.DeletionTimestamp == nil) || !equality.Semantic.DeepEqual(old.Spec.Tolerations, now.Spec.Tolerations)
		})),
		controller.Watches(kind.Node, e.podsOn, controller.Where(func(old, now *corev1.Node) bool {
			return now != nil && (old == nil || !equality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints))
		})))
	return err
}

func (e *evictor) podsOn(n *corev1.Node) []controller.Key {
	var keys []controller.Key
	for _, p := range e.pods.ByIndex(byNode, n.Name) {
		keys = append(keys, controller.KeyOf(p))
	}
	return keys
}

// Reconcile implements controller.Reconciler for a pod.
func (e *evictor) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	p, ok := e.pods.Get(key.Namespace, key.Name)
	if !ok {
		e.forget(key)
		return controller.Result{}, nil
	}
	node, known := e.nodes.Get("", p.Spec.NodeName)
	if p.Spec.NodeName == "" || !known || p.DeletionTimestamp != nil {
		e.forget(key)
		return controller.Result{}, nil
	}
	at, cause := eviction(p, node.Spec.Taints)
	if cause == nil {
		if e.forget(key) {
			e.recorder.Event(p, corev1.EventTypeNormal, "TaintManagerEviction", "Not deleting the pod any more: node %s has no taint that it must leave for", node.Name)
		}
		return controller.Result{}, nil
	}
	if wait := time.Until(at); wait > 0 {
		e.note(p)
		return controller.Result{RequeueAfter: wait}, nil
	}
	// The decision can't be taken back, so it is made again on what the server has.
	node, err := client.For(e.client, kind.Node).Get(ctx, "", p.Spec.NodeName)
	if err != nil {
		return controller.Result{}, client.IgnoreNotFound(err)
	}
	if at, cause = eviction(p, node.Spec.Taints); cause == nil || time.Until(at) > 0 {
		return controller.Result{RequeueAfter: time.Second}, nil // the informer is behind
	}
	if wait := e.rate.take(time.Now()); wait > 0 {
		return controller.Result{RequeueAfter: wait}, nil
	}
	return controller.Result{}, e.evict(ctx, p, cause)
}

func (e *evictor) evict(ctx context.Context, p *corev1.Pod, cause *corev1.Taint) error {
	pods := client.For(e.client, kind.Pod)
	out, err := pods.MutateStatus(ctx, p.Namespace, p.Name, func(now *corev1.Pod) error {
		if now.UID == p.UID && now.DeletionTimestamp == nil {
			setPodCondition(now, corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByTaintManager", Message: "the node has taint " + cause.ToString(),
			})
		}
		return nil
	})
	if err == nil && out.UID == p.UID && out.DeletionTimestamp == nil {
		e.recorder.Event(p, corev1.EventTypeNormal, "TaintManagerEviction", "Deleting the pod: node %s has taint %s", p.Spec.NodeName, cause.ToString())
		err = pods.Delete(ctx, p.Namespace, p.Name, client.IfUID(p.UID))
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	e.forget(controller.KeyOf(p))
	return nil
}

func (e *evictor) note(p *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending[controller.KeyOf(p)] = struct{}{}
}

// forget reports whether the pod was about to be evicted.
func (e *evictor) forget(key controller.Key) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, was := e.pending[key]
	delete(e.pending, key)
	return was
}

// limiter lets a burst of as many as its rate through, then so many a second (the generic cell rate algorithm).
type limiter struct {
	interval time.Duration
	slack    time.Duration

	mu   sync.Mutex
	next time.Time // when one more would be exactly on time
}

func newLimiter(perSecond float64) *limiter {
	interval := time.Duration(float64(time.Second) / perSecond)
	return &limiter{interval: interval, slack: max(0, time.Second-interval)}
}

// take is 0 if one more may pass now, or how long until it is worth asking again.
func (l *limiter) take(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next.Before(now) {
		l.next = now
	}
	if wait := l.next.Sub(now) - l.slack; wait > 0 {
		return wait
	}
	l.next = l.next.Add(l.interval)
	return 0
}
