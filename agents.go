package keelson

import (
	"context"
	"fmt"
	"net"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/internal/memnet"
)

// agents are the in-memory listeners of node agents, for a cluster that opens no socket.
type agents struct {
	mu        sync.Mutex
	listeners map[string]*memnet.Listener
}

func (a *agents) add(node string, l *memnet.Listener) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listeners[node] = l
}

func (a *agents) dial(ctx context.Context, node *corev1.Node) (net.Conn, error) {
	a.mu.Lock()
	l, ok := a.listeners[node.Name]
	a.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("node %s has no agent in this process", node.Name)
	}
	return l.Dial(ctx)
}
