package kubelet

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/kubelet/probe"
)

// hook runs a lifecycle handler until it is done or ctx ends.
func (k *Kubelet) hook(ctx context.Context, spec *corev1.Container, id, host string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		timeout := k.config.RuntimeTimeout
		if at, ok := ctx.Deadline(); ok {
			timeout = time.Until(at)
		}
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		_, stderr, err := k.runtime.ExecSync(ctx, id, h.Exec.Command, max(timeout, time.Second))
		if err != nil {
			return fmt.Errorf("exec %q: %w (%.200s)", h.Exec.Command, err, stderr)
		}
		return nil
	case h.HTTPGet != nil:
		target, r, err := httpTarget(h.HTTPGet, spec, probe.Target{Host: host, Dial: k.config.Dial})
		if err != nil {
			return err
		}
		if result := probe.HTTP(ctx, target, r); !result.OK {
			return errors.New(result.Output)
		}
		return nil
	case h.Sleep != nil:
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(h.Sleep.Seconds) * time.Second):
			return nil
		}
	}
	return errors.New("the hook names no action: want exec, httpGet or sleep")
}

// stop ends one container: its preStop hook, SIGTERM, and SIGKILL when the grace is over.
func (k *Kubelet) stop(ctx context.Context, pod *corev1.Pod, st *stop, host string) error {
	k.event(pod, corev1.EventTypeNormal, st.reason, "%s", st.message)
	end := time.Now().Add(st.grace)
	if spec := containerNamed(pod, st.container.name); spec != nil && spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil &&
		st.container.state == stateRunning && st.grace > 0 {
		bounded, cancel := context.WithDeadline(ctx, end)
		err := k.hook(bounded, spec, st.container.id, host, spec.Lifecycle.PreStop)
		cancel()
		if err != nil && ctx.Err() == nil {
			k.event(pod, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook of container %s failed: %v", spec.Name, err)
		}
	}
	left := max(time.Until(end), 0)
	seconds := int64((left + time.Second - 1) / time.Second)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(seconds)*time.Second+k.config.RuntimeTimeout)
	defer cancel()
	return k.runtime.StopContainer(ctx, st.container.id, seconds)
}
