package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	kruntime "github.com/keelson-dev/keelson/runtime"
)

// ErrAlreadyRun is returned by a second call of Run: make a new Kubelet.
var ErrAlreadyRun = errors.New("kubelet: Run was called before")

// Kubelet is the agent of one node.
type Kubelet struct {
	client   client.Client
	runtime  kruntime.Runtime
	config   Config
	logger   *zap.Logger
	machine  machine
	capacity corev1.ResourceList
	handler  http.Handler

	ran      atomic.Bool
	halting  atomic.Bool
	idPrefix atomic.Pointer[string]

	// Set by Run before anything else runs.
	root     *os.Root
	volumes  *volumes
	objects  *objects
	pods     *controller.Informer[*corev1.Pod]
	services *controller.Informer[*corev1.Service]
	recorder *controller.Recorder
	relists  chan struct{} // a token: list the runtime now
	jobs     sync.WaitGroup

	mu      sync.Mutex // held for moments only
	running bool
	workers map[types.UID]*worker
	byName  map[types.NamespacedName]types.UID
}

// New makes an agent for the node that config names, with a runtime that belongs to it alone. It starts nothing.
func New(c client.Client, rt kruntime.Runtime, config Config) (*Kubelet, error) {
	if c == nil || rt == nil {
		return nil, errors.New("kubelet: a client and a runtime are required")
	}
	if err := config.complete(); err != nil {
		return nil, err
	}
	capacity, err := capacityOf(&config)
	if err != nil {
		return nil, err
	}
	k := &Kubelet{
		client: c, runtime: rt, config: config, logger: config.Logger.Named("kubelet").With(zap.String("node", config.NodeName)),
		capacity: capacity, relists: make(chan struct{}, 1),
		machine: machine{base: config.RestartDelay, limit: config.RestartDelayMax, reset: config.RestartDelayReset, hash: hashOf},
		workers: map[types.UID]*worker{}, byName: map[types.NamespacedName]types.UID{},
	}
	k.recorder = controller.NewRecorder(c, "kubelet", config.NodeName)
	k.handler = newHandler(k)
	return k, nil
}

// Run registers the node and runs its pods until ctx ends; it returns nil then. Containers keep running.
func (k *Kubelet) Run(ctx context.Context) error {
	if k.ran.Swap(true) {
		return ErrAlreadyRun
	}
	if err := os.MkdirAll(k.config.Root, 0o755); err != nil {
		return fmt.Errorf("kubelet: Config.Root: %w", err)
	}
	root, err := os.OpenRoot(k.config.Root)
	if err != nil {
		return fmt.Errorf("kubelet: Config.Root: %w", err)
	}
	defer root.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer k.jobs.Wait()
	defer cancel()

	spawn := func(f func(context.Context)) { k.jobs.Go(func() { f(ctx) }) }
	k.objects = &objects{
		client: k.client, logger: k.logger, spawn: spawn, poke: k.objectsChanged,
		entries: map[objectKey]*objectEntry{}, byPod: map[types.UID]map[objectKey]bool{},
	}
	k.volumes = &volumes{
		root: root, path: k.config.Root, client: k.client, node: k.capacity, tokens: map[string]token{}, objects: k.lookup,
	}
	k.services = controller.NewInformer(k.client, kind.Service, controller.InformerConfig{Logger: k.logger})
	k.pods = controller.NewInformer(k.client, kind.Pod, controller.InformerConfig{
		FieldSelector: "spec.nodeName=" + k.config.NodeName, Logger: k.logger,
	})
	k.pods.OnChange(func(old, new *corev1.Pod) { k.podChanged(ctx, old, new) })
	k.mu.Lock()
	k.root, k.running = root, true
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		k.running = false
		k.mu.Unlock()
	}()

	spawn(func(ctx context.Context) { k.survive(ctx, "recorder", k.recorder.Run) })
	spawn(func(ctx context.Context) { k.survive(ctx, "services", k.services.Run) })
	spawn(func(ctx context.Context) { k.survive(ctx, "pods", k.pods.Run) })
	spawn(k.registerNode)
	spawn(k.heartbeat)
	spawn(k.followEvents)
	k.relist(ctx)
	return nil
}

// survive runs a part that ends only with ctx, and says so when it does not.
func (k *Kubelet) survive(ctx context.Context, part string, run func(context.Context) error) {
	if err := run(ctx); err != nil && ctx.Err() == nil {
		k.logger.Error("part ended", zap.String("part", part), zap.Error(err))
	}
}

// Handler serves what the API server asks of the node: /healthz, /pods, /containerLogs, /exec, /attach, /stats/summary. It may
// be used before Run and after it; what needs a pod's worker is answered with 404 then.
func (k *Kubelet) Handler() http.Handler { return k.handler }

func (k *Kubelet) halted() bool { return k.halting.Load() }

func (k *Kubelet) event(pod *corev1.Pod, kind, reason, format string, args ...any) {
	if pod.ResourceVersion != "" {
		k.recorder.Event(pod, kind, reason, format, args...)
	}
}

func (k *Kubelet) lookup(ctx context.Context, pod *corev1.Pod) lookup {
	return podObjects{ctx, k.objects, pod.Namespace}
}

// servicesOf is the Services whose variables a pod gets.
func (k *Kubelet) servicesOf(ctx context.Context, pod *corev1.Pod) ([]*corev1.Service, error) {
	if err := synced(ctx, "services of namespace", pod.Namespace, k.services.Synced()); err != nil {
		return nil, err
	}
	out := k.services.InNamespace(pod.Namespace)
	if master, ok := k.services.Get("default", "kubernetes"); ok && pod.Namespace != "default" {
		out = append(out, master)
	}
	return out, nil
}

// podChanged hands a change in the API to the pod's worker. It is called from one goroutine, in order.
func (k *Kubelet) podChanged(ctx context.Context, old, new *corev1.Pod) {
	if old != nil && (new == nil || new.UID != old.UID) {
		if w := k.worker(old.UID); w != nil {
			w.update(nil, old)
		}
	}
	if new == nil {
		return
	}
	k.objects.use(new.UID, references(new))
	if w := k.worker(new.UID); w != nil {
		w.update(new, nil)
		return
	}
	w := newWorker(k, new)
	w.failed = k.admit(new)
	k.employ(ctx, w)
}

func (k *Kubelet) worker(uid types.UID) *worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.workers[uid]
}

// employ starts a worker.
func (k *Kubelet) employ(ctx context.Context, w *worker) {
	k.mu.Lock()
	if k.workers[w.uid] != nil {
		k.mu.Unlock()
		return // somebody was quicker
	}
	k.workers[w.uid] = w
	k.byName[types.NamespacedName{Namespace: w.pod.Namespace, Name: w.pod.Name}] = w.uid
	k.mu.Unlock()
	k.jobs.Go(func() {
		w.run(ctx)
		if ctx.Err() != nil {
			return // the agent ends; the pod stays
		}
		k.mu.Lock()
		delete(k.workers, w.uid)
		name := types.NamespacedName{Namespace: w.pod.Namespace, Name: w.pod.Name}
		if k.byName[name] == w.uid {
			delete(k.byName, name)
		}
		k.mu.Unlock()
	})
}

func (k *Kubelet) objectsChanged(uid types.UID) {
	if w := k.worker(uid); w != nil {
		w.objectsChanged()
	}
}

// all is the present workers.
func (k *Kubelet) all() []*worker {
	k.mu.Lock()
	defer k.mu.Unlock()
	out := make([]*worker, 0, len(k.workers))
	for _, w := range k.workers {
		out = append(out, w)
	}
	return out
}

// admit tells why a pod can't be run here, or nil: the sum of what pods request must not exceed the node's capacity. A
// pod that this node has begun already is not asked again.
func (k *Kubelet) admit(pod *corev1.Pod) *failure {
	if pod.Status.StartTime != nil || pod.DeletionTimestamp != nil {
		return nil
	}
	pods := []*corev1.Pod{pod}
	for _, w := range k.all() {
		w.mu.Lock()
		p, out := w.pod, w.gone || w.failed != nil
		w.mu.Unlock()
		if !out && p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			pods = append(pods, p)
		}
	}
	return fit(pods, k.capacity)
}
