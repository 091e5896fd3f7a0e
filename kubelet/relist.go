package kubelet

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// followEvents wakes the workers of pods that the runtime reports about.
func (k *Kubelet) followEvents(ctx context.Context) {
	owners := map[string]types.UID{} // of sandboxes and containers, for events that don't say
	for ctx.Err() == nil {
		events := make(chan *runtimeapi.ContainerEventResponse, 64)
		stream, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			ended <- k.runtime.GetContainerEvents(stream, events, func(runtimeapi.RuntimeService_GetContainerEventsClient) {
				token1(k.relists) // what happened before the stream began
			})
		}()
		var err error
		for open := true; open; {
			select {
			case e := <-events:
				k.runtimeEvent(e, owners)
			case err = <-ended:
				open = false
			}
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		k.logger.Info("the runtime's events ended, opening them again", zap.Error(err))
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (k *Kubelet) runtimeEvent(e *runtimeapi.ContainerEventResponse, owners map[string]types.UID) {
	uid := types.UID(e.GetPodSandboxStatus().GetMetadata().GetUid())
	if uid == "" {
		uid = owners[e.GetContainerId()]
	} else {
		owners[e.GetContainerId()] = uid
	}
	if e.GetContainerEventType() == runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT {
		delete(owners, e.GetContainerId())
	}
	if w := k.worker(uid); w != nil {
		token1(w.wake)
		return
	}
	token1(k.relists)
}

// relist compares all that the runtime has with the last time, wakes the workers of pods that changed, and finds pods
// that the API does not have. It is the safety net below the events.
func (k *Kubelet) relist(ctx context.Context) {
	last := map[types.UID]string{}
	first := k.pods.Synced()
	ticker := time.NewTicker(k.config.RelistEvery)
	defer ticker.Stop()
	for {
		if now, pods, err := k.survey(ctx); err == nil {
			k.compare(ctx, last, now, pods)
			last = now
		} else if ctx.Err() == nil {
			k.logger.Warn("list the runtime", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-k.relists:
		case <-first: // now strangers can be told from pods
			first = nil
		}
	}
}

func (k *Kubelet) synced() bool {
	select {
	case <-k.pods.Synced():
		return true
	default:
		return false
	}
}

// survey lists the runtime: a fingerprint by pod, and what its sandbox tells about the pod.
func (k *Kubelet) survey(ctx context.Context) (map[types.UID]string, map[types.UID]*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, k.config.queryTimeout())
	defer cancel()
	sandboxes, err := k.runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	containers, err := k.runtime.ListContainers(ctx, nil)
	if err != nil {
		return nil, nil, err
	}
	prints, pods := map[types.UID]string{}, map[types.UID]*corev1.Pod{}
	for _, s := range sandboxes {
		uid := types.UID(s.GetLabels()[labelPodUID])
		if uid == "" {
			continue // not ours
		}
		prints[uid] += fmt.Sprintf("%s=%d;", s.Id, s.State)
		pods[uid] = strangerOf(s)
	}
	for _, c := range containers {
		if uid := types.UID(c.GetLabels()[labelPodUID]); uid != "" {
			prints[uid] += fmt.Sprintf("%s=%d;", c.Id, c.State)
		}
	}
	return prints, pods, nil
}

// strangerOf is what a sandbox tells about its pod: enough to end it with its grace.
func strangerOf(s *runtimeapi.PodSandbox) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: s.GetLabels()[labelPodNamespace], Name: s.GetLabels()[labelPodName], UID: types.UID(s.GetLabels()[labelPodUID]),
	}}
	if seconds, err := strconv.ParseInt(s.GetAnnotations()[annotationGrace], 10, 64); err == nil {
		pod.Spec.TerminationGracePeriodSeconds = &seconds
	}
	return pod
}

func (k *Kubelet) compare(ctx context.Context, last, now map[types.UID]string, pods map[types.UID]*corev1.Pod) {
	for uid, print := range now {
		w := k.worker(uid)
		switch {
		case w != nil && print != last[uid]:
			token1(w.wake)
		case w == nil && pods[uid] != nil && k.synced():
			k.logger.Info("ending a pod that the API does not have", zap.String("pod", pods[uid].Namespace+"/"+pods[uid].Name))
			stranger := newWorker(k, pods[uid])
			stranger.gone = true
			k.employ(ctx, stranger)
		}
	}
	for uid := range last {
		if w := k.worker(uid); w != nil && now[uid] == "" {
			token1(w.wake)
		}
	}
}

// StopPods ends all pods of the node within their grace periods, for a shutdown that leaves nothing behind. The API's
// objects stay: the next agent starts them again. It returns when nothing runs any more, or with ctx's error. It works
// while Run runs (with preStop hooks and status) and after it (from the runtime alone).
func (k *Kubelet) StopPods(ctx context.Context) error {
	k.halting.Store(true)
	k.mu.Lock()
	running := k.running
	k.mu.Unlock()
	if running {
		for _, w := range k.all() {
			token1(w.wake)
		}
		for _, w := range k.all() {
			select {
			case <-w.resting:
			case <-ctx.Done():
				return fmt.Errorf("stop pods: %s/%s still runs: %w", w.pod.Namespace, w.pod.Name, ctx.Err())
			}
		}
		if k.active() {
			return nil
		}
		// Run ended meanwhile, and its workers with it.
	}
	return k.stopDirectly(ctx)
}

// stopDirectly stops what the runtime has, without workers.
func (k *Kubelet) stopDirectly(ctx context.Context) error {
	sandboxes, err := k.runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		return fmt.Errorf("stop pods: %w", err)
	}
	containers, err := k.runtime.ListContainers(ctx, nil)
	if err != nil {
		return fmt.Errorf("stop pods: %w", err)
	}
	errs := make([]error, len(sandboxes))
	var all sync.WaitGroup
	for i, s := range sandboxes {
		if s.GetLabels()[labelPodUID] == "" {
			continue
		}
		seconds := int64(grace(strangerOf(s)) / time.Second)
		all.Go(func() {
			failed := make([]error, len(containers))
			var some sync.WaitGroup
			for j, c := range containers {
				if c.PodSandboxId == s.Id && c.State == runtimeapi.ContainerState_CONTAINER_RUNNING {
					some.Go(func() { failed[j] = k.runtime.StopContainer(ctx, c.Id, seconds) })
				}
			}
			some.Wait()
			errs[i] = errors.Join(errors.Join(failed...), k.runtime.StopPodSandbox(ctx, s.Id))
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop pods: %w", err)
	}
	return nil
}
