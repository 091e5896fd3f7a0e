package kubelet

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/kubelet/logs"
)

// begin starts a step in a goroutine of its own, so that the worker hears of changes meanwhile. The step sees copies; what
// it learned comes back as a function that the worker runs.
func (w *worker) begin(ctx context.Context, d *desired, a action) *step {
	ctx, cancel := context.WithCancel(ctx)
	s := &step{action: a, deadline: d.deadline, cancel: cancel, done: make(chan func(*worker), 1)}
	view := observed{
		sandboxes: slices.Clone(w.observed.sandboxes), containers: slices.Clone(w.observed.containers),
		retries: maps.Clone(w.observed.retries),
	}
	pod, final := d.pod, w.status
	host := ""
	if n := len(view.sandboxes); n > 0 && len(view.sandboxes[n-1].ips) > 0 {
		host = view.sandboxes[n-1].ips[0]
	}
	go func() { s.done <- w.perform(ctx, pod, a, &view, host, final) }()
	return s
}

// perform does one step and returns what the worker has to remember.
func (w *worker) perform(ctx context.Context, pod *corev1.Pod, a action, view *observed, host string, final *corev1.PodStatus) func(*worker) {
	k := w.kubelet
	switch a.verb {
	case actVolumes:
		again, err := k.volumes.prepare(ctx, k.addressed(pod, view))
		return func(w *worker) {
			w.settle(ctx, pod, stepVolumes, "FailedMount", err)
			if err == nil {
				w.observed.volumes, w.observed.stale, w.renewAt = true, false, again
			}
		}
	case actRunSandbox:
		err := k.runSandbox(ctx, pod, a.attempt)
		return func(w *worker) { w.settle(ctx, pod, stepSandbox, "FailedCreatePodSandBox", err) }
	case actStart:
		var attempt uint32
		for _, s := range view.sandboxes {
			if s.id == a.sandbox {
				attempt = s.attempt
			}
		}
		err := k.start(ctx, k.addressed(pod, view), &a, attempt, host)
		return func(w *worker) {
			if a.delay > 0 {
				w.observed.crashes[a.container.Name] = crash{a.delay}
			}
			w.settle(ctx, pod, a.container.Name, "Failed", err)
		}
	case actStop:
		errs := make([]error, len(a.stops))
		var all sync.WaitGroup
		for i := range a.stops {
			all.Go(func() { errs[i] = k.stop(ctx, pod, &a.stops[i], host) })
		}
		all.Wait()
		return func(w *worker) { w.settle(ctx, pod, stepStop, "FailedKillPod", errors.Join(errs...)) }
	case actStopSandbox:
		var errs []error
		for _, id := range a.ids {
			errs = append(errs, k.bounded(ctx, func(ctx context.Context) error { return k.runtime.StopPodSandbox(ctx, id) }))
		}
		return func(w *worker) { w.settle(ctx, pod, stepStop, "FailedKillPod", errors.Join(errs...)) }
	case actRemove:
		var errs []error
		for _, id := range a.ids {
			errs = append(errs, k.removeContainer(ctx, pod, view, id))
		}
		return func(w *worker) { w.settle(ctx, pod, stepClean, "", errors.Join(errs...)) }
	case actRemoveSandbox:
		var errs []error
		for _, id := range a.ids {
			errs = append(errs, k.removeSandbox(ctx, id))
		}
		return func(w *worker) { w.settle(ctx, pod, stepClean, "", errors.Join(errs...)) }
	case actReport:
		bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		_ = k.putStatus(bounded, pod, final) // the writer goes on trying; the pod's end doesn't wait for it
		return func(w *worker) { w.observed.reported = true }
	case actClean:
		err := k.clean(ctx, pod, view)
		return func(w *worker) {
			w.settle(ctx, pod, stepClean, "", err)
			w.observed.cleaned = err == nil
		}
	case actDelete:
		bounded, cancel := context.WithTimeout(ctx, apiTimeout)
		defer cancel()
		err := client.For(k.client, kind.Pod).Delete(bounded, pod.Namespace, pod.Name, client.GracePeriod(0), client.IfUID(pod.UID))
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			err = nil // gone already, or another pod has the name
		}
		return func(w *worker) {
			w.settle(ctx, pod, stepDelete, "", err)
			w.observed.deleted = err == nil
		}
	}
	return func(*worker) {}
}

// addressed is the pod with the addresses of its sandbox in its status, as the downward API tells them.
func (k *Kubelet) addressed(pod *corev1.Pod, view *observed) *corev1.Pod {
	out := *pod
	out.Status.HostIP, out.Status.HostIPs = k.config.Address, []corev1.HostIP{{IP: k.config.Address}}
	if s := view.current(); s != nil && len(s.ips) > 0 {
		out.Status.PodIP, out.Status.PodIPs = s.ips[0], nil
		for _, ip := range s.ips {
			out.Status.PodIPs = append(out.Status.PodIPs, corev1.PodIP{IP: ip})
		}
	}
	return &out
}

// settle remembers how a step went: after a failure when to try again, and an event that says why.
func (w *worker) settle(ctx context.Context, pod *corev1.Pod, name, eventReason string, err error) {
	if err == nil {
		delete(w.observed.retries, name)
		return
	}
	if ctx.Err() != nil {
		return // interrupted: no verdict
	}
	k := w.kubelet
	now := time.Now()
	r := retry{message: err.Error(), reason: eventReason}
	base, limit := time.Second, time.Minute
	var se *stepError
	if errors.As(err, &se) {
		r.reason, r.message = se.reason, se.err.Error()
		if se.reason == reasonPull {
			base, limit = k.config.RestartDelay, k.config.RestartDelayMax
		}
	}
	r.delay = min(max(2*w.observed.retries[name].delay, base), limit)
	r.until = now.Add(r.delay)
	if eventReason != "" {
		k.event(pod, corev1.EventTypeWarning, eventReason, "%s", "Error: "+err.Error())
	}
	if strings.HasPrefix(name, "step:") {
		r.reason = ""
	}
	if r.reason == reasonPull && w.observed.retries[name].delay > 0 {
		r.reason = reasonPullBackOff
		r.message = "Back-off pulling image: " + r.message
	}
	w.observed.retries[name] = r
}

func (k *Kubelet) bounded(ctx context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, k.config.RuntimeTimeout)
	defer cancel()
	err := call(ctx)
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}

func (k *Kubelet) runSandbox(ctx context.Context, pod *corev1.Pod, attempt uint32) error {
	if err := k.root.MkdirAll(logDir(pod), 0o755); err != nil {
		return err
	}
	handler := ""
	if pod.Spec.RuntimeClassName != nil {
		handler = *pod.Spec.RuntimeClassName
	}
	ctx, cancel := context.WithTimeout(ctx, k.config.RuntimeTimeout)
	defer cancel()
	_, err := k.runtime.RunPodSandbox(ctx, k.sandboxConfig(pod, attempt), handler)
	return err
}

func (k *Kubelet) removeContainer(ctx context.Context, pod *corev1.Pod, view *observed, id string) error {
	if err := k.bounded(ctx, func(ctx context.Context) error { return k.runtime.RemoveContainer(ctx, id) }); err != nil {
		return err
	}
	for i := range view.containers {
		if c := &view.containers[i]; c.id == id && c.state == stateExited {
			if err := k.root.Remove(path.Join(logDir(pod), logFile(c.name, c.attempt))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func (k *Kubelet) removeSandbox(ctx context.Context, id string) error {
	// A sandbox that isn't ready may still hold its network: stopping it again is harmless.
	if err := k.bounded(ctx, func(ctx context.Context) error { return k.runtime.StopPodSandbox(ctx, id) }); err != nil {
		return err
	}
	return k.bounded(ctx, func(ctx context.Context) error { return k.runtime.RemovePodSandbox(ctx, id) })
}

// clean removes everything of a pod from the node.
func (k *Kubelet) clean(ctx context.Context, pod *corev1.Pod, view *observed) error {
	var errs []error
	for _, c := range view.containers {
		errs = append(errs, k.bounded(ctx, func(ctx context.Context) error { return k.runtime.RemoveContainer(ctx, c.id) }))
	}
	for _, s := range view.sandboxes {
		errs = append(errs, k.removeSandbox(ctx, s.id))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	k.objects.use(pod.UID, nil)
	return errors.Join(k.volumes.forget(string(pod.UID)), k.root.RemoveAll(logDir(pod)))
}

// apiTimeout bounds one request to the API.
const apiTimeout = 10 * time.Second

// errReplaced ends a status write: the name belongs to another pod now.
var errReplaced = errors.New("replaced by another pod")

// putStatus writes a pod's status, whatever else was written meanwhile. A pod that is gone is no error.
func (k *Kubelet) putStatus(ctx context.Context, pod *corev1.Pod, st *corev1.PodStatus) error {
	if st == nil || pod.ResourceVersion == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := client.For(k.client, kind.Pod).MutateStatus(ctx, pod.Namespace, pod.Name, func(p *corev1.Pod) error {
		if p.UID != pod.UID {
			return errReplaced
		}
		mergeStatus(&p.Status, st)
		return nil
	})
	if apierrors.IsNotFound(err) || errors.Is(err, errReplaced) {
		return nil
	}
	return err
}

// lastWords gives an ended container the end of its log as its message, when the pod asks for that.
func (w *worker) lastWords(ctx context.Context, c *container) {
	w.mu.Lock()
	pod := w.pod
	w.mu.Unlock()
	spec := containerNamed(pod, c.name)
	if c.exitCode == 0 || spec == nil || spec.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError {
		return
	}
	lines, size := int64(80), int64(2048)
	var b strings.Builder
	err := logs.Copy(ctx, &b, w.kubelet.opener(pod, c), logs.Options{Tail: &lines, Limit: &size})
	if err == nil {
		c.message = b.String()
	}
}
