package proxytest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
)

// ErrRefused is the sentinel for a connection that nobody takes.
var ErrRefused = errors.New("connection refused")

// Fake is a dataplane in memory: it forwards nothing, but knows where each connection would go. The zero Fake works.
type Fake struct {
	mu       sync.Mutex
	table    proxy.Table
	changes  []proxy.Changes
	fail     error
	closed   bool
	next     map[proxy.Key]int
	affinity map[stayKey]stay
}

type stayKey struct {
	rule     proxy.Key
	external bool
	client   netip.Addr
}

type stay struct {
	backend netip.AddrPort
	until   time.Time
}

var _ proxy.Dataplane = (*Fake)(nil)

// Apply takes the table, unless FailWith said otherwise.
func (f *Fake) Apply(ctx context.Context, t proxy.Table) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return errors.New("fake dataplane: closed")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, rest := proxy.RuleErrors(f.fail); rest != nil {
		return f.fail
	}
	f.changes = append(f.changes, proxy.Diff(f.table, t))
	f.table = t
	return f.fail
}

// Close makes further Applies fail.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	return nil
}

// FailWith makes Apply return err from now on. When err consists of *proxy.RuleError alone the table is taken all the
// same.
func (f *Fake) FailWith(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fail = err
}

// Table is the last table taken.
func (f *Fake) Table() proxy.Table {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table
}

// Changes is what each Apply changed, oldest first.
func (f *Fake) Changes() []proxy.Changes {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.changes)
}

// Connect is the backend that a connection from client to an address goes to, by turns; with affinity the client stays.
// ErrRefused says that nobody takes it.
func (f *Fake) Connect(protocol corev1.Protocol, client netip.Addr, to netip.AddrPort) (netip.AddrPort, error) {
	return f.connect(client, func(r *proxy.Rule) (bool, bool) {
		external := slices.Contains(r.ExternalIPs, to)
		return r.Protocol == protocol && (external || slices.Contains(r.ClusterIPs, to)), external
	}, fmt.Sprintf("%s %s", protocol, to))
}

// ConnectNode is Connect to a port of the node.
func (f *Fake) ConnectNode(protocol corev1.Protocol, client netip.Addr, port uint16) (netip.AddrPort, error) {
	return f.connect(client, func(r *proxy.Rule) (bool, bool) {
		return r.Protocol == protocol && port != 0 && r.NodePort == port && r.IPv6 == client.Is6(), true
	}, fmt.Sprintf("node port %d/%s", port, protocol))
}

func (f *Fake) connect(client netip.Addr, match func(*proxy.Rule) (ok, external bool), what string) (netip.AddrPort, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.table.Rules {
		r := &f.table.Rules[i]
		ok, external := match(r)
		if !ok {
			continue
		}
		chosen := r.Internal
		if external {
			chosen = r.External
		}
		if len(chosen) == 0 {
			return netip.AddrPort{}, fmt.Errorf("%s: service port %s has no backend: %w", what, r.Name, ErrRefused)
		}
		return f.pick(r, external, chosen, client), nil
	}
	return netip.AddrPort{}, fmt.Errorf("%s: no rule: %w", what, ErrRefused)
}

func (f *Fake) pick(r *proxy.Rule, external bool, chosen []netip.AddrPort, client netip.Addr) netip.AddrPort {
	if f.next == nil {
		f.next, f.affinity = map[proxy.Key]int{}, map[stayKey]stay{}
	}
	key, now := stayKey{r.Key(), external, client}, time.Now()
	b := chosen[f.next[r.Key()]%len(chosen)]
	if s, ok := f.affinity[key]; ok && r.Affinity > 0 && now.Before(s.until) && slices.Contains(chosen, s.backend) {
		b = s.backend
	} else {
		f.next[r.Key()]++
	}
	if r.Affinity > 0 {
		f.affinity[key] = stay{b, now.Add(r.Affinity)}
	}
	return b
}
