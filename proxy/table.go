package proxy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// ServicePortName names one port of one Service. Port is empty when the Service's only port has no name.
type ServicePortName struct{ Namespace, Name, Port string }

// String is ns/name:port, without the colon when the port has no name.
func (n ServicePortName) String() string {
	s := n.Namespace + "/" + n.Name
	if n.Port != "" {
		s += ":" + n.Port
	}
	return s
}

// Compare orders names by namespace, name and port.
func (n ServicePortName) Compare(o ServicePortName) int {
	return cmp.Or(strings.Compare(n.Namespace, o.Namespace), strings.Compare(n.Name, o.Name), strings.Compare(n.Port, o.Port))
}

// Backend is one endpoint of a service port.
type Backend struct {
	Addr        netip.AddrPort
	Ready       bool // takes new connections
	Serving     bool // answers, though it may be terminating
	Terminating bool // its pod is being deleted
	Local       bool // it is on this node
}

// Rule says where connections to one service port in one address family go. Slices are sorted by address.
type Rule struct {
	Name     ServicePortName
	Protocol corev1.Protocol // TCP, UDP or SCTP
	IPv6     bool            // which family the addresses are of

	ClusterIPs  []netip.AddrPort // connections to these go to one of Internal
	ExternalIPs []netip.AddrPort // external and load-balancer addresses: connections go to one of External
	NodePort    uint16           // 0 means none; connections to this port of the node go to one of External

	Affinity time.Duration // how long a client stays with its backend after its last new connection; 0 means no affinity

	Internal      []netip.AddrPort // backends for cluster IPs; empty refuses connections
	External      []netip.AddrPort // backends for the other addresses
	ExternalLocal bool             // External was restricted to this node: kernel dataplanes then keep the client's address

	// Backends is every endpoint that there is, chosen for new connections or not. A connection whose backend is still
	// listed may go on; one whose backend is not should be drained.
	Backends []Backend
}

// Key identifies a rule in its table.
type Key struct {
	Name ServicePortName
	IPv6 bool
}

// Key is the rule's identity.
func (r *Rule) Key() Key { return Key{r.Name, r.IPv6} }

// VIPs lists the rule's addresses of both sorts, cluster IPs first.
func (r *Rule) VIPs() []netip.AddrPort { return slices.Concat(r.ClusterIPs, r.ExternalIPs) }

// Equal reports whether two rules say the same.
func (r *Rule) Equal(o *Rule) bool {
	return r.Name == o.Name && r.Protocol == o.Protocol && r.IPv6 == o.IPv6 && r.NodePort == o.NodePort && r.Affinity == o.Affinity &&
		r.ExternalLocal == o.ExternalLocal && slices.Equal(r.ClusterIPs, o.ClusterIPs) && slices.Equal(r.ExternalIPs, o.ExternalIPs) &&
		slices.Equal(r.Internal, o.Internal) && slices.Equal(r.External, o.External) && slices.Equal(r.Backends, o.Backends)
}

// String is the rule in one line, for logs and transcripts.
func (r *Rule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s", r.Name, r.Protocol)
	if len(r.ClusterIPs) > 0 {
		fmt.Fprintf(&b, " cluster %s", joined(r.ClusterIPs))
	}
	if len(r.ExternalIPs) > 0 {
		fmt.Fprintf(&b, " external %s", joined(r.ExternalIPs))
	}
	if r.NodePort != 0 {
		fmt.Fprintf(&b, " node port %d", r.NodePort)
	}
	if r.Affinity > 0 {
		fmt.Fprintf(&b, " affinity %s", r.Affinity)
	}
	fmt.Fprintf(&b, " -> %s", joined(r.Internal))
	if !slices.Equal(r.Internal, r.External) && (r.NodePort != 0 || len(r.ExternalIPs) > 0) {
		fmt.Fprintf(&b, "; from outside -> %s", joined(r.External))
	}
	return b.String()
}

func joined(addrs []netip.AddrPort) string {
	if len(addrs) == 0 {
		return "none"
	}
	s := make([]string, len(addrs))
	for i, a := range addrs {
		s[i] = a.String()
	}
	return strings.Join(s, ",")
}

// Table is all rules, sorted by name, IPv4 before IPv6. It is a value: whoever has one must not change what it refers
// to.
type Table struct{ Rules []Rule }

// Find returns the IPv4 rule of a service port, or its IPv6 rule when that is all there is.
func (t Table) Find(name ServicePortName) (Rule, bool) {
	i, ok := slices.BinarySearchFunc(t.Rules, name, func(r Rule, n ServicePortName) int { return r.Name.Compare(n) })
	if !ok {
		return Rule{}, false
	}
	return t.Rules[i], true
}

// Equal reports whether two tables say the same.
func (t Table) Equal(o Table) bool {
	return slices.EqualFunc(t.Rules, o.Rules, func(a, b Rule) bool { return a.Equal(&b) })
}

// String is one line per rule.
func (t Table) String() string {
	var b strings.Builder
	for i := range t.Rules {
		b.WriteString(t.Rules[i].String())
		b.WriteByte('\n')
	}
	return b.String()
}

func compareRules(a, b Rule) int {
	if c := a.Name.Compare(b.Name); c != 0 || a.IPv6 == b.IPv6 {
		return c
	}
	if b.IPv6 {
		return -1
	}
	return 1
}

// Change is a rule that differs between two tables.
type Change struct{ Old, New Rule }

// Changes is the difference of two tables, each list in table order.
type Changes struct {
	Added   []Rule
	Removed []Rule
	Changed []Change
}

// Empty reports whether there is no difference.
func (c Changes) Empty() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// Diff says what turns one table into another.
func Diff(from, to Table) Changes {
	var c Changes
	i, j := 0, 0
	for i < len(from.Rules) || j < len(to.Rules) {
		order := 0
		switch {
		case i == len(from.Rules):
			order = 1
		case j == len(to.Rules):
			order = -1
		default:
			order = compareRules(from.Rules[i], to.Rules[j])
		}
		switch {
		case order < 0:
			c.Removed = append(c.Removed, from.Rules[i])
			i++
		case order > 0:
			c.Added = append(c.Added, to.Rules[j])
			j++
		default:
			if !from.Rules[i].Equal(&to.Rules[j]) {
				c.Changed = append(c.Changed, Change{from.Rules[i], to.Rules[j]})
			}
			i, j = i+1, j+1
		}
	}
	return c
}
