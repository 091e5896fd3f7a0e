package namespace

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	Kinds *kind.Set // the kinds that the server serves; required
	// Now answers the kinds that the server serves at the moment, for servers whose kinds come and go. Nil means Kinds for ever.
	Now     func() *kind.Set
	Workers int           // how many Namespaces are emptied side by side; 0 means 4
	MaxWait time.Duration // the longest time between two looks at what is left; 0 means 15 s
}

const parallelKinds = 8 // how many kinds of one namespace are emptied at once

type reconciler struct {
	client     client.Client
	now        func() *kind.Set
	namespaces *controller.Informer[*corev1.Namespace]
	pods       *controller.Informer[*corev1.Pod]
	maxWait    time.Duration

	mu    sync.Mutex
	tries map[controller.Key]int // looks that found something left, of namespaces that are being deleted
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	switch {
	case m == nil:
		return errors.New("namespace: the manager is nil")
	case cfg.Kinds == nil:
		return errors.New("namespace: Config: Kinds is nil: want the kinds that the server serves")
	case cfg.Workers < 0 || cfg.MaxWait < 0:
		return errors.New("namespace: Config: Workers and MaxWait must not be negative")
	}
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.MaxWait == 0 {
		cfg.MaxWait = 15 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = func() *kind.Set { return cfg.Kinds }
	}
	r := &reconciler{
		client: m.Client(), now: cfg.Now, maxWait: cfg.MaxWait, tries: map[controller.Key]int{},
		namespaces: controller.InformerFor(m, kind.Namespace), pods: controller.InformerFor(m, kind.Pod),
	}
	_, err := controller.New(m, "namespace", r, controller.Config{Workers: cfg.Workers, MaxDelay: cfg.MaxWait},
		controller.For(kind.Namespace), controller.Watches(kind.Pod, r.emptied))
	return err
}

// emptied wakes a namespace that is being deleted when its last pod has gone.
func (r *reconciler) emptied(p *corev1.Pod) []controller.Key {
	ns, ok := r.namespaces.Get("", p.Namespace)
	if !ok || ns.DeletionTimestamp == nil || len(r.pods.InNamespace(p.Namespace)) > 0 {
		return nil
	}
	return []controller.Key{{Name: p.Namespace}}
}

// Reconcile implements controller.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	ns, ok := r.namespaces.Get("", key.Name)
	if !ok || ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		r.forget(key)
		return controller.Result{}, nil
	}
	// Only a namespace that the server says is being deleted takes no new objects.
	now, err := client.For(r.client, kind.Namespace).Get(ctx, "", key.Name)
	if err != nil || now.UID != ns.UID || now.DeletionTimestamp == nil {
		return controller.Result{}, client.IgnoreNotFound(err)
	}
	o := r.empty(ctx, key.Name)
	if ctx.Err() != nil {
		return controller.Result{}, ctx.Err()
	}
	if o.empty() {
		if err := r.finalize(ctx, now); err != nil {
			return controller.Result{}, err
		}
		r.forget(key)
		return controller.Result{}, nil
	}
	_, err = client.For(r.client, kind.Namespace).MutateStatus(ctx, "", key.Name, func(now *corev1.Namespace) error {
		if now.UID == ns.UID && now.DeletionTimestamp != nil {
			now.Status.Conditions = o.conditions(now.Status.Conditions, time.Now())
		}
		return nil
	})
	return controller.Result{RequeueAfter: o.wait(r.tried(key), r.maxWait)}, client.IgnoreNotFound(err)
}

func (r *reconciler) tried(key controller.Key) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.tries[key]
	r.tries[key] = n + 1
	return n
}

func (r *reconciler) forget(key controller.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.tries, key)
}

// empty deletes all there is in a namespace and reports what stayed.
func (r *reconciler) empty(ctx context.Context, namespace string) *outcome {
	var mu sync.Mutex
	var work sync.WaitGroup
	out := newOutcome()
	var kinds []*kind.Kind
	for _, k := range r.now().Resources() {
		if k.Namespaced {
			kinds = append(kinds, k)
		}
	}
	next := make(chan *kind.Kind)
	for range min(parallelKinds, len(kinds)) {
		work.Go(func() {
			for k := range next {
				left, err := r.emptyKind(ctx, namespace, k)
				now := time.Now()
				mu.Lock()
				if err != nil {
					out.refuse(k, err)
				}
				for _, obj := range left {
					out.remains(k, obj, now)
				}
				mu.Unlock()
			}
		})
	}
	for _, k := range kinds {
		next <- k
	}
	close(next)
	work.Wait()
	slices.Sort(out.refused)
	return out
}

// emptyKind deletes the objects of one kind and lists what is left. Nothing is written for a kind of which there is
// nothing to delete.
func (r *reconciler) emptyKind(ctx context.Context, namespace string, k *kind.Kind) ([]kind.Instance, error) {
	all := client.For(r.client, kind.Untyped(k))
	page, err := all.List(ctx, client.InNamespace(namespace))
	if err != nil {
		return nil, err
	}
	var refused error
	if slices.ContainsFunc(page.Items, func(obj kind.Instance) bool { return obj.GetDeletionTimestamp() == nil }) {
		refused = all.DeleteAll(ctx, client.InNamespace(namespace), client.Propagation(metav1.DeletePropagationBackground))
		if page, err = all.List(ctx, client.InNamespace(namespace)); err != nil {
			return nil, errors.Join(refused, err)
		}
		if len(page.Items) == 0 {
			return nil, nil // gone after all, whatever the answer was
		}
	}
	return page.Items, refused
}

// finalize lets the namespace go. ns is as it was before its contents were counted; a conflict means another look.
func (r *reconciler) finalize(ctx context.Context, ns *corev1.Namespace) error {
	next := kind.Namespace.Copy(ns)
	next.Spec.Finalizers = slices.DeleteFunc(next.Spec.Finalizers, func(f corev1.FinalizerName) bool { return f == corev1.FinalizerKubernetes })
	_, err := r.client.Do(ctx, &client.Request{Verb: client.Update, Kind: kind.Namespace.Kind(), Subresource: "finalize", Name: ns.Name, Object: next})
	return client.IgnoreNotFound(err)
}
