package plugins

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/scheduler"
)

// Resources keeps a pod off nodes that don't have what it requests, and prefers nodes that would be left with the most
// free CPU and memory, used evenly.
type Resources struct{}

// Name implements scheduler.Plugin.
func (Resources) Name() string { return "NodeResourcesFit" }

// Filter implements scheduler.Filter; the reason names every resource that is short.
func (Resources) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	need, free := &c.Unit.Requests, t.Free()
	var short []string
	if need.Pods > free.Pods {
		short = append(short, "Too many pods")
	}
	lack := func(name string, need, free int64) {
		if need > 0 && need > free {
			short = append(short, "Insufficient "+name)
		}
	}
	lack("cpu", need.MilliCPU, free.MilliCPU)
	lack("memory", need.Memory, free.Memory)
	lack("ephemeral-storage", need.EphemeralStorage, free.EphemeralStorage)
	for name, n := range need.Others {
		lack(string(name), n, free.Others[name])
	}
	if len(short) == 0 {
		return nil
	}
	slices.Sort(short)
	return scheduler.Reject("%s", strings.Join(short, ", "))
}

// Score is the mean of how much would stay free and how evenly CPU and memory would be used.
func (Resources) Score(c *scheduler.Cycle, t *scheduler.Target) int64 {
	const leastCPU, leastMemory = 100, 200 << 20 // what a container without requests is taken to use
	need := c.Unit.Requests
	cpu := used(t.Requested.MilliCPU+max(need.MilliCPU, leastCPU), t.Allocatable.MilliCPU)
	memory := used(t.Requested.Memory+max(need.Memory, leastMemory), t.Allocatable.Memory)
	free := 1 - (cpu+memory)/2
	balance := 1 - max(cpu-memory, memory-cpu)
	return int64((free + balance) / 2 * float64(scheduler.MaxScore))
}

// Requeue implements scheduler.Requeuer: units that leave free something.
func (Resources) Requeue(u *scheduler.Unit, e scheduler.Event) bool {
	if e.Kind == scheduler.UnitGone {
		return true
	}
	if e.Kind != scheduler.TargetAdded && e.Kind != scheduler.TargetChanged {
		return false
	}
	return Resources{}.Filter(scheduler.NewCycle(u, nil), e.New) == nil
}

func used(amount, of int64) float64 {
	if of <= 0 {
		return 1
	}
	return min(1, float64(amount)/float64(of))
}

// Ports keeps pods that want the same port of their node apart.
type Ports struct{}

// Name implements scheduler.Plugin.
func (Ports) Name() string { return "NodePorts" }

// Filter implements scheduler.Filter.
func (Ports) Filter(c *scheduler.Cycle, t *scheduler.Target) *scheduler.Verdict {
	for want := range hostPorts(c.Unit.Pod) {
		for _, u := range t.Units {
			for has := range hostPorts(u.Pod) {
				if want.clashes(has) {
					return scheduler.Reject("node(s) didn't have free ports for the requested pod ports")
				}
			}
		}
	}
	return nil
}

// Requeue implements scheduler.Requeuer.
func (Ports) Requeue(_ *scheduler.Unit, e scheduler.Event) bool {
	return e.Kind == scheduler.UnitGone || e.Kind == scheduler.TargetAdded
}

type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

func (p hostPort) clashes(o hostPort) bool {
	return p.port == o.port && p.protocol == o.protocol && (p.ip == o.ip || p.ip == "" || o.ip == "")
}

func hostPorts(pod *corev1.Pod) func(func(hostPort) bool) {
	return func(yield func(hostPort) bool) {
		for i := range pod.Spec.Containers {
			for _, p := range pod.Spec.Containers[i].Ports {
				if p.HostPort == 0 {
					continue
				}
				hp := hostPort{p.HostIP, p.Protocol, p.HostPort}
				if hp.ip == "0.0.0.0" || hp.ip == "::" {
					hp.ip = ""
				}
				if hp.protocol == "" {
					hp.protocol = corev1.ProtocolTCP
				}
				if !yield(hp) {
					return
				}
			}
		}
	}
}
