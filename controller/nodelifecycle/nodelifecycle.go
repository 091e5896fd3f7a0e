package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	GracePeriod  time.Duration // how long a node may be silent before its conditions become Unknown; 0 means 40 s
	StartupGrace time.Duration // the same for nodes that have never reported, if it is longer; 0 means 60 s
	CheckEvery   time.Duration // how often each node is looked at, beside when it changes or its period ends; 0 means 5 s
	EvictionRate float64       // how many pods a second are evicted, in all and after a burst of as many; 0 means 100
	Workers      int           // how many nodes, and how many pods, are worked on side by side; 0 means 4
}

func (c *Config) complete() error {
	if c.GracePeriod < 0 || c.StartupGrace < 0 || c.CheckEvery < 0 || c.EvictionRate < 0 || c.Workers < 0 {
		return fmt.Errorf("nodelifecycle: Config: GracePeriod %v, StartupGrace %v, CheckEvery %v, EvictionRate %v, Workers %d: none may be negative",
			c.GracePeriod, c.StartupGrace, c.CheckEvery, c.EvictionRate, c.Workers)
	}
	set(&c.GracePeriod, 40*time.Second)
	set(&c.StartupGrace, time.Minute)
	set(&c.CheckEvery, 5*time.Second)
	set(&c.EvictionRate, 100)
	set(&c.Workers, 4)
	return nil
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// byNode is an index of pods, shared with other controllers.
const byNode = "spec.nodeName"

type reconciler struct {
	cfg      Config
	client   client.Client
	nodes    *controller.Informer[*corev1.Node]
	leases   *controller.Informer[*coordinationv1.Lease]
	pods     *controller.Informer[*corev1.Pod]
	recorder *controller.Recorder
	signs    *lifeSigns
}

// New registers the controllers with a manager: one for nodes, one for evictions.
func New(m *controller.Manager, cfg Config) error {
	if m == nil {
		return errors.New("nodelifecycle: the manager is nil")
	}
	if err := cfg.complete(); err != nil {
		return err
	}
	r := &reconciler{
		cfg: cfg, client: m.Client(), recorder: m.Recorder("node-controller"), signs: newLifeSigns(),
		nodes: controller.InformerFor(m, kind.Node), pods: controller.InformerFor(m, kind.Pod),
		leases: controller.SelectedInformer(m, kind.Lease, controller.InformerConfig{Namespace: corev1.NamespaceNodeLease}),
	}
	if err := r.pods.AddIndex(byNode, func(p *corev1.Pod) []string {
		if p.Spec.NodeName == "" {
			return nil
		}
		return []string{p.Spec.NodeName}
	}); err != nil {
		return err
	}
	r.nodes.OnChange(r.signs.nodeChanged)
	r.leases.OnChange(r.signs.leaseChanged)
	if _, err := controller.New(m, "nodelifecycle", r, controller.Config{Workers: cfg.Workers, MaxDelay: 10 * time.Second}, controller.For(kind.Node)); err != nil {
		return err
	}
	return newEvictor(m, cfg, r)
}

// Reconcile implements controller.Reconciler for a node.
func (r *reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	node, ok := r.nodes.Get("", key.Name)
	if !ok {
		return controller.Result{}, nil
	}
	again := controller.Result{RequeueAfter: r.cfg.CheckEvery}
	wait := silentIn(node, r.signs.last(node.Name), time.Now(), &r.cfg)
	switch {
	case wait > 0:
		again.RequeueAfter = min(again.RequeueAfter, wait)
	case status(node, corev1.NodeReady) != corev1.ConditionUnknown:
		alive, err := r.aliveAfterAll(ctx, node)
		if err != nil || alive {
			return controller.Result{RequeueAfter: time.Millisecond}, err // by then the informers show it
		}
		if node, err = r.markUnknown(ctx, node); err != nil {
			return controller.Result{}, client.IgnoreNotFound(err)
		}
	}
	node, err := r.writeTaints(ctx, node)
	if err != nil {
		return controller.Result{}, client.IgnoreNotFound(err)
	}
	if wait == 0 && status(node, corev1.NodeReady) == corev1.ConditionUnknown { // an agent that is back knows better
		return again, r.markPods(ctx, node.Name)
	}
	return again, nil
}

// aliveAfterAll asks the server whether it knows more than the informers do. That it does is a sign of life.
func (r *reconciler) aliveAfterAll(ctx context.Context, node *corev1.Node) (bool, error) {
	now, err := client.For(r.client, kind.Node).Get(ctx, "", node.Name)
	if err != nil {
		return apierrors.IsNotFound(err), client.IgnoreNotFound(err)
	}
	lease, err := client.For(r.client, kind.Lease).Get(ctx, corev1.NamespaceNodeLease, node.Name)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, err
	}
	known, ok := r.leases.Get(corev1.NamespaceNodeLease, node.Name)
	fresh := err == nil && (!ok || !renewed(lease).Equal(renewed(known)))
	if now.UID != node.UID || !heartbeat(now).Equal(heartbeat(node)) || fresh {
		r.signs.set(r.signs.nodes, node.Name, time.Now())
		return true, nil
	}
	return false, nil
}

func (r *reconciler) markUnknown(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	out, err := client.For(r.client, kind.Node).MutateStatus(ctx, "", node.Name, func(now *corev1.Node) error {
		if now.UID == node.UID && heartbeat(now).Equal(heartbeat(node)) {
			silence(now, time.Now())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if status(node, corev1.NodeReady) != status(out, corev1.NodeReady) {
		r.recorder.Event(out, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", out.Name)
	}
	return out, nil
}

func (r *reconciler) writeTaints(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	if sameTaints(node.Spec.Taints, taintsOf(node, time.Now())) {
		return node, nil
	}
	return client.For(r.client, kind.Node).Mutate(ctx, "", node.Name, func(now *corev1.Node) error {
		if now.UID != node.UID {
			return nil
		}
		if want := taintsOf(now, time.Now()); !sameTaints(now.Spec.Taints, want) {
			now.Spec.Taints = want
		}
		return nil
	})
}

// sameTaints ignores times, except whether there is one.
func sameTaints(a, b []corev1.Taint) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !a[i].MatchTaint(&b[i]) || a[i].Value != b[i].Value || (a[i].TimeAdded == nil) != (b[i].TimeAdded == nil) {
			return false
		}
	}
	return true
}

// markPods says of a silent node's pods that they are not ready, so that Services send nothing there.
func (r *reconciler) markPods(ctx context.Context, node string) error {
	var errs []error
	for _, p := range r.pods.ByIndex(byNode, node) {
		if !podReady(p) {
			continue
		}
		_, err := client.For(r.client, kind.Pod).MutateStatus(ctx, p.Namespace, p.Name, func(now *corev1.Pod) error {
			if now.UID == p.UID && podReady(now) {
				setPodCondition(now, corev1.PodCondition{
					Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "NodeNotReady", Message: "the node's agent stopped reporting",
				})
			}
			return nil
		})
		errs = append(errs, client.IgnoreNotFound(err))
	}
	return errors.Join(errs...)
}

func podReady(p *corev1.Pod) bool {
	_, ready := controller.PodReady(p)
	return ready
}

// setPodCondition sets a condition, in place.
func setPodCondition(p *corev1.Pod, want corev1.PodCondition) {
	want.LastTransitionTime = second(time.Now())
	for i := range p.Status.Conditions {
		if c := &p.Status.Conditions[i]; c.Type == want.Type {
			if c.Status == want.Status {
				want.LastTransitionTime = c.LastTransitionTime
			}
			*c = want
			return
		}
	}
	p.Status.Conditions = append(p.Status.Conditions, want)
}
