package kubelet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/kubelet/probe"
)

// prober asks one running container how it is. It runs in one goroutine, so that one probe at a time is in flight.
type prober struct {
	kubelet   *Kubelet
	pod       *corev1.Pod
	spec      *corev1.Container
	container container
	host      string                              // the pod's address
	first     health                              // what was known before
	report    func(id string, h health)           // a verdict changed
	unhealthy func(kind string, out probe.Result) // a probe failed once
}

// check is one of the container's probes.
type check struct {
	kind    string
	spec    *corev1.Probe
	counter probe.Counter
	due     time.Time
}

func newCheck(kind string, spec *corev1.Probe, from time.Time) *check {
	if spec == nil {
		return nil
	}
	failure := 3
	if spec.FailureThreshold > 0 {
		failure = int(spec.FailureThreshold)
	}
	return &check{
		kind: kind, spec: spec, due: from.Add(time.Duration(spec.InitialDelaySeconds) * time.Second),
		counter: probe.Counter{Success: int(spec.SuccessThreshold), Failure: failure},
	}
}

func (c *check) period() time.Duration {
	if c.spec.PeriodSeconds > 0 {
		return time.Duration(c.spec.PeriodSeconds) * time.Second
	}
	return 10 * time.Second
}

func (c *check) timeout() time.Duration {
	return time.Duration(max(c.spec.TimeoutSeconds, 1)) * time.Second
}

// probed tells whether a container has anything to ask.
func probed(c *corev1.Container) bool {
	return c.StartupProbe != nil || c.LivenessProbe != nil || c.ReadinessProbe != nil
}

// run asks until ctx ends or the container is to be ended.
func (p *prober) run(ctx context.Context) {
	from := p.container.started
	startup := newCheck("Startup", p.spec.StartupProbe, from)
	checks := []*check{newCheck("Liveness", p.spec.LivenessProbe, from), newCheck("Readiness", p.spec.ReadinessProbe, from)}
	h := p.first
	for !h.failed {
		var next *check
		if startup != nil && !h.started {
			next = startup
		} else {
			for _, c := range checks {
				if c != nil && (next == nil || c.due.Before(next.due)) {
					next = c
				}
			}
		}
		if next == nil {
			return
		}
		if wait := time.Until(next.due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
		asked := time.Now()
		result := p.ask(ctx, next)
		if ctx.Err() != nil {
			return
		}
		next.due = asked.Add(next.period())
		if !result.OK {
			p.unhealthy(next.kind, result)
		}
		if next.counter.Add(result.OK) {
			if after := p.verdict(h, next, result.OK); after != h {
				h = after
				p.report(p.container.id, h)
			}
		}
	}
}

// verdict is the health after a probe made up its mind.
func (p *prober) verdict(h health, c *check, ok bool) health {
	switch {
	case c.kind == "Readiness":
		h.ready = ok
	case c.kind == "Startup" && ok:
		h.started = true
		h.ready = h.ready || p.spec.ReadinessProbe == nil
	case !ok:
		h.failed, h.ready = true, false
		h.graceful = c.spec.TerminationGracePeriodSeconds
		h.message = "failed " + map[string]string{"Startup": "startup", "Liveness": "liveness"}[c.kind] + " probe"
	}
	return h
}

// ask asks once, within the probe's time-out.
func (p *prober) ask(ctx context.Context, c *check) probe.Result {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	target := probe.Target{Host: p.host, Dial: p.kubelet.config.Dial}
	var err error
	switch {
	case c.spec.Exec != nil:
		return p.kubelet.execProbe(ctx, p.container.id, c.spec.Exec.Command, c.timeout())
	case c.spec.HTTPGet != nil:
		var r probe.Request
		if target, r, err = httpTarget(c.spec.HTTPGet, p.spec, target); err != nil {
			return probe.Result{Output: err.Error()}
		}
		return probe.HTTP(ctx, target, r)
	case c.spec.TCPSocket != nil:
		if target.Port, err = portOf(c.spec.TCPSocket.Port, p.spec); err != nil {
			return probe.Result{Output: err.Error()}
		}
		if c.spec.TCPSocket.Host != "" {
			target.Host = c.spec.TCPSocket.Host
		}
		return probe.TCP(ctx, target)
	case c.spec.GRPC != nil:
		target.Port = int(c.spec.GRPC.Port)
		service := ""
		if c.spec.GRPC.Service != nil {
			service = *c.spec.GRPC.Service
		}
		return probe.GRPC(ctx, target, service)
	}
	return probe.Result{Output: "the probe names no action: want exec, httpGet, tcpSocket or grpc"}
}

func (k *Kubelet) execProbe(ctx context.Context, id string, command []string, timeout time.Duration) probe.Result {
	stdout, stderr, err := k.runtime.ExecSync(ctx, id, command, timeout)
	out := string(bytes.TrimSpace(append(stdout, stderr...)))
	if err == nil {
		return probe.Result{OK: true, Output: out}
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return probe.Result{Output: fmt.Sprintf("command timed out after %v", timeout)}
	}
	if out == "" {
		out = err.Error()
	}
	return probe.Result{Output: out}
}

// httpTarget is where an HTTP action goes, for probes and hooks alike.
func httpTarget(a *corev1.HTTPGetAction, spec *corev1.Container, target probe.Target) (probe.Target, probe.Request, error) {
	port, err := portOf(a.Port, spec)
	if err != nil {
		return target, probe.Request{}, err
	}
	target.Port = port
	if a.Host != "" {
		target.Host = a.Host
	}
	header := http.Header{}
	for _, h := range a.HTTPHeaders {
		header.Add(h.Name, h.Value)
	}
	return target, probe.Request{Scheme: string(a.Scheme), Path: a.Path, Header: header}, nil
}

// portOf resolves a port that may be named.
func portOf(p intstr.IntOrString, c *corev1.Container) (int, error) {
	port := p.IntValue()
	if p.Type == intstr.String {
		for _, named := range c.Ports {
			if named.Name == p.StrVal {
				return int(named.ContainerPort), nil
			}
		}
		n, err := strconv.Atoi(p.StrVal)
		if err != nil {
			return 0, fmt.Errorf("container %s has no port named %q", c.Name, p.StrVal)
		}
		port = n
	}
	if port < 1 || port > 65535 {
		return 0, fmt.Errorf("port %d: want 1 to 65535", port)
	}
	return port, nil
}
