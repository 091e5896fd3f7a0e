package endpointslice

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// Config adjusts the controller.
type Config struct {
	Workers      int // how many Services are reconciled side by side; 0 means 4
	MaxEndpoints int // how many endpoints a slice holds at most; 0 means 100
}

const (
	byService = "endpointslice.service"
	byNode    = "spec.nodeName" // shared with other controllers
)

type reconciler struct {
	client    client.Client
	services  *controller.Informer[*corev1.Service]
	pods      *controller.Informer[*corev1.Pod]
	nodes     *controller.Informer[*corev1.Node]
	slices    *controller.Informer[*discoveryv1.EndpointSlice]
	endpoints *controller.Informer[*corev1.Endpoints]
	recorder  *controller.Recorder
	limit     int
}

// New registers the controller with a manager.
func New(m *controller.Manager, cfg Config) error {
	switch {
	case m == nil:
		return errors.New("endpointslice: the manager is nil")
	case cfg.Workers < 0 || cfg.MaxEndpoints < 0 || cfg.MaxEndpoints > 1000:
		return errors.New("endpointslice: Config: Workers must not be negative, MaxEndpoints must be between 0 and 1000")
	}
	if cfg.Workers == 0 {
		cfg.Workers = 4
	}
	if cfg.MaxEndpoints == 0 {
		cfg.MaxEndpoints = 100
	}
	r := &reconciler{
		client: m.Client(), limit: cfg.MaxEndpoints, recorder: m.Recorder("endpoint-slice-controller"),
		services: controller.InformerFor(m, kind.Service), pods: controller.InformerFor(m, kind.Pod), nodes: controller.InformerFor(m, kind.Node),
		slices: controller.InformerFor(m, kind.EndpointSlice), endpoints: controller.InformerFor(m, kind.Endpoints),
	}
	err := errors.Join(
		r.slices.AddIndex(byService, func(s *discoveryv1.EndpointSlice) []string {
			if !ours(s) {
				return nil
			}
			return []string{s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]}
		}),
		r.pods.AddIndex(byNode, func(p *corev1.Pod) []string { return []string{p.Spec.NodeName} }),
	)
	if err != nil {
		return err
	}
	_, err = controller.New(m, "endpointslice", r, controller.Config{Workers: cfg.Workers},
		controller.For(kind.Service),
		controller.Watches(kind.Pod, r.servicesOf, controller.Where(podMatters)),
		controller.Watches(kind.Node, r.servicesOn, controller.Where(zoneChanged)),
		controller.Watches(kind.EndpointSlice, func(s *discoveryv1.EndpointSlice) []controller.Key {
			if name := s.Labels[discoveryv1.LabelServiceName]; name != "" && ours(s) {
				return []controller.Key{{Namespace: s.Namespace, Name: name}}
			}
			return nil
		}),
		controller.For(kind.Endpoints), // of the same name
	)
	return err
}

// podMatters drops changes of pods that no endpoint shows.
func podMatters(old, now *corev1.Pod) bool {
	return old == nil || now == nil || old.UID != now.UID || wanted(old) != wanted(now) || ready(old) != ready(now) ||
		(old.DeletionTimestamp == nil) != (now.DeletionTimestamp == nil) || old.Spec.NodeName != now.Spec.NodeName ||
		old.Status.PodIP != now.Status.PodIP || !equality.Semantic.DeepEqual(old.Status.PodIPs, now.Status.PodIPs) ||
		!labels.Equals(old.Labels, now.Labels)
}

func zoneChanged(old, now *corev1.Node) bool {
	return old == nil || now == nil || old.Labels[corev1.LabelTopologyZone] != now.Labels[corev1.LabelTopologyZone]
}

func (r *reconciler) servicesOf(p *corev1.Pod) []controller.Key {
	var keys []controller.Key
	for _, svc := range r.services.InNamespace(p.Namespace) {
		if len(svc.Spec.Selector) > 0 && labels.SelectorFromSet(svc.Spec.Selector).Matches(labels.Set(p.Labels)) {
			keys = append(keys, controller.KeyOf(svc))
		}
	}
	return keys
}

func (r *reconciler) servicesOn(n *corev1.Node) []controller.Key {
	var keys []controller.Key
	for _, p := range r.pods.ByIndex(byNode, n.Name) {
		keys = append(keys, r.servicesOf(p)...)
	}
	return keys
}

// Reconcile implements controller.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, key controller.Key) (controller.Result, error) {
	svc, ok := r.services.Get(key.Namespace, key.Name)
	existing := r.slices.ByIndex(byService, key.Namespace+"/"+key.Name)
	switch {
	case !ok:
		return controller.Result{}, r.removeAll(ctx, key, existing)
	case svc.DeletionTimestamp != nil || len(svc.Spec.Selector) == 0 || svc.Spec.Type == corev1.ServiceTypeExternalName:
		return controller.Result{}, nil
	}
	selector := labels.SelectorFromSet(svc.Spec.Selector)
	var pods []*corev1.Pod
	for _, p := range r.pods.InNamespace(key.Namespace) {
		if wanted(p) && selector.Matches(labels.Set(p.Labels)) {
			pods = append(pods, p)
		}
	}
	err := errors.Join(
		r.write(ctx, planSlices(svc, groups(svc, pods, r.zone), existing, r.limit)),
		r.writeEndpoints(ctx, svc, pods),
	)
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return controller.Result{}, nil
	}
	if err != nil && !apierrors.IsConflict(err) {
		r.recorder.Event(svc, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "Updating the endpoints failed: %v", err)
	}
	return controller.Result{}, err
}

func (r *reconciler) zone(node string) string {
	n, ok := r.nodes.Get("", node)
	if !ok {
		return ""
	}
	return n.Labels[corev1.LabelTopologyZone]
}

// write carries a plan out and waits until the view shows it. Slices that gain endpoints are written before others
// are removed.
func (r *reconciler) write(ctx context.Context, p plan) error {
	slices := client.For(r.client, kind.EndpointSlice)
	var revision int64
	note := func(out *discoveryv1.EndpointSlice, err error) error {
		if err != nil {
			return err
		}
		at, err := client.ParseRevision(out.ResourceVersion)
		revision = max(revision, at)
		return err
	}
	for _, s := range p.create {
		if err := note(slices.Create(ctx, s)); err != nil {
			return err
		}
	}
	for _, s := range p.update {
		err := note(slices.Update(ctx, s))
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	waiting, cancel := context.WithTimeout(ctx, controller.ViewTimeout)
	defer cancel()
	for _, s := range p.remove {
		if err := r.remove(ctx, s); err != nil {
			return err
		}
		if _, err := r.slices.WaitFor(waiting, s.Namespace, s.Name, func(now *discoveryv1.EndpointSlice, exists bool) bool {
			return !exists || now.UID != s.UID || now.DeletionTimestamp != nil
		}); err != nil {
			return err
		}
	}
	return r.slices.WaitRevision(waiting, revision)
}

func (r *reconciler) remove(ctx context.Context, s *discoveryv1.EndpointSlice) error {
	err := client.For(r.client, kind.EndpointSlice).Delete(ctx, s.Namespace, s.Name, client.IfUID(s.UID))
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func (r *reconciler) writeEndpoints(ctx context.Context, svc *corev1.Service, pods []*corev1.Pod) error {
	old, ok := r.endpoints.Get(svc.Namespace, svc.Name)
	if !ok {
		old = nil
	}
	want := endpointsOf(svc, pods, old)
	if old != nil && equality.Semantic.DeepEqual(old, want) {
		return nil
	}
	all := client.For(r.client, kind.Endpoints)
	var out *corev1.Endpoints
	var err error
	if old == nil {
		out, err = all.Create(ctx, want)
	} else {
		out, err = all.Update(ctx, want)
	}
	if err != nil {
		return err
	}
	return r.endpoints.WaitWrite(ctx, out)
}

// removeAll removes what belonged to a Service that is gone.
func (r *reconciler) removeAll(ctx context.Context, key controller.Key, existing []*discoveryv1.EndpointSlice) error {
	var errs []error
	for _, s := range existing {
		errs = append(errs, r.remove(ctx, s))
	}
	if e, ok := r.endpoints.Get(key.Namespace, key.Name); ok && e.Labels[endpointsManagedBy] == endpointsManager {
		err := client.For(r.client, kind.Endpoints).Delete(ctx, key.Namespace, key.Name, client.IfUID(e.UID))
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
