package kubelet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

// objects keeps the ConfigMaps and Secrets that pods of this node refer to, each with a watch of its own, as the node
// authorizer of Kubernetes wants it: a node sees what its pods use.
type objects struct {
	client client.Client
	logger *zap.Logger
	spawn  func(func(context.Context)) // runs it until Run ends
	poke   func(types.UID)             // an object that the pod uses has changed

	mu      sync.Mutex
	entries map[objectKey]*objectEntry
	byPod   map[types.UID]map[objectKey]bool
}

type objectKey struct {
	secret          bool
	namespace, name string
}

type objectEntry struct {
	users      map[types.UID]bool
	stop       chan struct{}
	configMaps *controller.Informer[*corev1.ConfigMap]
	secrets    *controller.Informer[*corev1.Secret]
}

// use says which objects a pod refers to, from now on; none forgets the pod.
func (o *objects) use(uid types.UID, keys map[objectKey]bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key := range o.byPod[uid] {
		if !keys[key] {
			e := o.entries[key]
			if delete(e.users, uid); len(e.users) == 0 {
				close(e.stop)
				delete(o.entries, key)
			}
		}
	}
	for key := range keys {
		e := o.entries[key]
		if e == nil {
			e = o.open(key)
			o.entries[key] = e
		}
		e.users[uid] = true
	}
	if len(keys) == 0 {
		delete(o.byPod, uid)
	} else {
		o.byPod[uid] = keys
	}
}

func (o *objects) open(key objectKey) *objectEntry {
	e := &objectEntry{users: map[types.UID]bool{}, stop: make(chan struct{})}
	cfg := controller.InformerConfig{Namespace: key.namespace, FieldSelector: "metadata.name=" + key.name, Logger: o.logger}
	var run func(context.Context) error
	if key.secret {
		e.secrets = controller.NewInformer(o.client, kind.Secret, cfg)
		e.secrets.OnChange(func(_, _ *corev1.Secret) { o.changed(key) })
		run = e.secrets.Run
	} else {
		e.configMaps = controller.NewInformer(o.client, kind.ConfigMap, cfg)
		e.configMaps.OnChange(func(_, _ *corev1.ConfigMap) { o.changed(key) })
		run = e.configMaps.Run
	}
	o.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			select {
			case <-e.stop:
				cancel()
			case <-ctx.Done():
			}
		}()
		_ = run(ctx) // it survives errors of the connection and logs them; it ends with ctx
		cancel()
		<-stopped
	})
	return e
}

func (o *objects) changed(key objectKey) {
	o.mu.Lock()
	var uids []types.UID
	if e := o.entries[key]; e != nil {
		for uid := range e.users {
			uids = append(uids, uid)
		}
	}
	o.mu.Unlock()
	for _, uid := range uids {
		o.poke(uid)
	}
}

func (o *objects) entry(key objectKey) *objectEntry {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.entries[key]
}

// podObjects is a pod's lookup. Its context bounds the wait for what has not been read yet.
type podObjects struct {
	ctx       context.Context
	objects   *objects
	namespace string
}

// objectWait is how long a step waits for an object's first reading.
const objectWait = 10 * time.Second

func synced(ctx context.Context, what, name string, ready <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, objectWait)
	defer cancel()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%s %q could not be read yet: %w", what, name, ctx.Err())
	}
}

func (p podObjects) ConfigMap(name string) (*corev1.ConfigMap, error) {
	e := p.objects.entry(objectKey{false, p.namespace, name})
	if e == nil {
		return nil, fmt.Errorf("configmap %q is not among what the pod refers to: %w", name, errAbsent)
	}
	if err := synced(p.ctx, "configmap", name, e.configMaps.Synced()); err != nil {
		return nil, err
	}
	if cm, ok := e.configMaps.Get(p.namespace, name); ok {
		return cm, nil
	}
	return nil, fmt.Errorf("configmap %q %w", name, errAbsent)
}

func (p podObjects) Secret(name string) (*corev1.Secret, error) {
	e := p.objects.entry(objectKey{true, p.namespace, name})
	if e == nil {
		return nil, fmt.Errorf("secret %q is not among what the pod refers to: %w", name, errAbsent)
	}
	if err := synced(p.ctx, "secret", name, e.secrets.Synced()); err != nil {
		return nil, err
	}
	if s, ok := e.secrets.Get(p.namespace, name); ok {
		return s, nil
	}
	return nil, fmt.Errorf("secret %q %w", name, errAbsent)
}

// references lists the ConfigMaps and Secrets that a pod's containers and volumes name.
func references(pod *corev1.Pod) map[objectKey]bool {
	out := map[objectKey]bool{}
	add := func(secret bool, name string) {
		if name != "" {
			out[objectKey{secret, pod.Namespace, name}] = true
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, f := range list[i].EnvFrom {
				if f.ConfigMapRef != nil {
					add(false, f.ConfigMapRef.Name)
				}
				if f.SecretRef != nil {
					add(true, f.SecretRef.Name)
				}
			}
			for _, e := range list[i].Env {
				if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil {
					add(false, e.ValueFrom.ConfigMapKeyRef.Name)
				}
				if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
					add(true, e.ValueFrom.SecretKeyRef.Name)
				}
			}
		}
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.ConfigMap != nil {
			add(false, v.ConfigMap.Name)
		}
		if v.Secret != nil {
			add(true, v.Secret.SecretName)
		}
		if v.Projected != nil {
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					add(false, s.ConfigMap.Name)
				}
				if s.Secret != nil {
					add(true, s.Secret.Name)
				}
			}
		}
	}
	for _, s := range pod.Spec.ImagePullSecrets {
		add(true, s.Name)
	}
	return out
}
