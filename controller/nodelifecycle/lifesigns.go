package nodelifecycle

import (
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
)

// lifeSigns is when this process last saw something new from each node. It holds as much as there are Nodes and Leases.
type lifeSigns struct {
	mu     sync.Mutex
	nodes  map[string]time.Time
	leases map[string]time.Time
}

func newLifeSigns() *lifeSigns {
	return &lifeSigns{nodes: map[string]time.Time{}, leases: map[string]time.Time{}}
}

func (l *lifeSigns) set(m map[string]time.Time, name string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at.IsZero() {
		delete(m, name)
	} else {
		m[name] = at
	}
}

// nodeChanged and leaseChanged are informers' handlers.
func (l *lifeSigns) nodeChanged(old, now *corev1.Node) {
	switch {
	case now == nil:
		l.set(l.nodes, old.Name, time.Time{})
	case old == nil || old.UID != now.UID || !heartbeat(old).Equal(heartbeat(now)):
		l.set(l.nodes, now.Name, time.Now())
	}
}

func (l *lifeSigns) leaseChanged(old, now *coordinationv1.Lease) {
	switch {
	case now == nil:
		l.set(l.leases, old.Name, time.Time{})
	case old == nil || old.UID != now.UID || !renewed(old).Equal(renewed(now)):
		l.set(l.leases, now.Name, time.Now())
	}
}

func renewed(l *coordinationv1.Lease) time.Time {
	if l.Spec.RenewTime == nil {
		return time.Time{}
	}
	return l.Spec.RenewTime.Time
}

// last is the last sign of life of a node.
func (l *lifeSigns) last(name string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.nodes[name]
	if lease := l.leases[name]; lease.After(at) {
		at = lease
	}
	return at
}
