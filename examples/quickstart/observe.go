package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
)

func (d *demo) pods(ctx context.Context) ([]*corev1.Pod, error) {
	page, err := client.For(d.client, kind.Pod).List(ctx, client.InNamespace(ns))
	return slices.DeleteFunc(page.Items, func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil }), err
}

// await watches the pods until cond holds for those that are not being deleted.
func (d *demo) await(ctx context.Context, cond func([]*corev1.Pod) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	informer := controller.NewInformer(d.client, kind.Pod, controller.InformerConfig{Namespace: ns})
	changed := make(chan struct{}, 1)
	informer.OnChange(func(_, _ *corev1.Pod) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	done := make(chan error, 1)
	go func() { done <- informer.Run(ctx) }()
	defer func() { cancel(); <-done }()
	if err := informer.Wait(ctx); err != nil {
		return err
	}
	for {
		pods := slices.DeleteFunc(informer.List(), func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
		if cond(pods) {
			return nil
		}
		select {
		case <-changed:
		case err := <-d.ended:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w; the pods are %s", context.Cause(ctx), describe(pods))
		}
	}
}

// rolledOut waits until the Deployment has n ready pods of a version, no others, and says so itself.
func (d *demo) rolledOut(ctx context.Context, n int, version string) error {
	if err := d.await(ctx, func(pods []*corev1.Pod) bool {
		return len(pods) == n && !slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
			return !ready(p) || !strings.HasSuffix(p.Spec.Containers[0].Image, ":"+version)
		})
	}); err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		dep, err := client.For(d.client, kind.Deployment).Get(ctx, ns, app)
		return err == nil && dep.Status.ObservedGeneration == dep.Generation && dep.Status.AvailableReplicas == int32(n) && dep.Status.Replicas == int32(n), err
	})
}

func (d *demo) nodesReady(ctx context.Context, want ...string) error {
	return poll(ctx, func() (bool, error) {
		if err := d.failed(); err != nil {
			return false, err
		}
		page, err := client.For(d.client, kind.Node).List(ctx)
		n := 0
		for _, node := range page.Items {
			if slices.Contains(want, node.Name) && len(node.Spec.Taints) == 0 && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
			}) {
				n++
			}
		}
		return n == len(want), err
	})
}

// poll asks until the answer is yes. The tour's other waits are watches; this is for what has no single object to watch.
func poll(ctx context.Context, ask func() (bool, error)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ok, err := ask(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func ready(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func readyOn(pods []*corev1.Pod, node string) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range pods {
		if p.Spec.NodeName == node && ready(p) {
			out = append(out, p)
		}
	}
	return out
}

func restarts(p *corev1.Pod) int32 {
	var n int32
	for _, c := range p.Status.ContainerStatuses {
		n += c.RestartCount
	}
	return n
}

func names(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	return out
}

// describe says what state pods are in, for a wait that ran out of time.
func describe(pods []*corev1.Pod) string {
	var out []string
	for _, p := range pods {
		line := fmt.Sprintf("%s on %q %s ready=%t image=%s", p.Name, p.Spec.NodeName, p.Status.Phase, ready(p), p.Spec.Containers[0].Image)
		for _, c := range p.Status.Conditions {
			if c.Message != "" {
				line += fmt.Sprintf(" [%s: %s]", c.Type, c.Message)
			}
		}
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Waiting != nil {
				line += fmt.Sprintf(" [%s: %s]", c.State.Waiting.Reason, c.State.Waiting.Message)
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "; ")
}

// counts writes a tally in order of its keys.
func counts(tally map[string]int) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(tally)) {
		out = append(out, fmt.Sprintf("%s %d", key, tally[key]))
	}
	return strings.Join(out, ", ")
}
