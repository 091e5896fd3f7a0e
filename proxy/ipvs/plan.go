package ipvs

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
)

// VirtualServer is one address of a Service port in the kernel.
type VirtualServer struct {
	Protocol    corev1.Protocol
	Addr        netip.AddrPort
	Persistence time.Duration // of client-IP affinity, whole seconds; 0 means none
	Backends    []Destination // sorted by address
}

// Destination is a backend of a virtual server.
type Destination struct {
	Addr   netip.AddrPort
	Weight int // 1, or 0 for one that keeps its connections but gets no new ones
}

func (v *VirtualServer) compare(o *VirtualServer) int {
	return cmp.Or(v.Addr.Compare(o.Addr), cmp.Compare(v.Protocol, o.Protocol))
}

func (v *VirtualServer) equal(o *VirtualServer) bool {
	return v.compare(o) == 0 && v.Persistence == o.Persistence && slices.Equal(v.Backends, o.Backends)
}

// State is what the kernel has, or shall have: addresses of the dummy interface and virtual servers, both sorted.
type State struct {
	Addrs   []netip.Addr
	Servers []VirtualServer
}

// Steps lead from one state to another. They are carried out in the order of the fields.
type Steps struct {
	Bind   []netip.Addr
	Add    []VirtualServer
	Change []VirtualServer // to what they shall be
	Remove []VirtualServer
	Unbind []netip.Addr
}

// Empty reports whether there is nothing to do.
func (s Steps) Empty() bool {
	return len(s.Bind)+len(s.Add)+len(s.Change)+len(s.Remove)+len(s.Unbind) == 0
}

// Want is the state that a table asks for, with an error for each rule or part of one that IPVS can't serve.
func Want(t proxy.Table) (State, []error) {
	var s State
	var errs []error
	owner := map[string]proxy.ServicePortName{}
	for i := range t.Rules {
		r := &t.Rules[i]
		fail := func(format string, args ...any) {
			errs = append(errs, &proxy.RuleError{Rule: r.Name, Err: fmt.Errorf(format, args...)})
		}
		if r.Protocol != corev1.ProtocolTCP && r.Protocol != corev1.ProtocolUDP && r.Protocol != corev1.ProtocolSCTP {
			fail("protocol %q is not supported, only TCP, UDP and SCTP are", r.Protocol)
			continue
		}
		if r.NodePort != 0 {
			fail("node port %d is not offered by this dataplane; nftables, iptables and userspace do", r.NodePort)
		}
		for n, vip := range r.VIPs() {
			key := string(r.Protocol) + " " + vip.String()
			if other, taken := owner[key]; taken {
				fail("%s belongs to service port %s already", key, other)
				continue
			}
			owner[key] = r.Name
			chosen := r.Internal
			if n >= len(r.ClusterIPs) {
				chosen = r.External
			}
			s.Servers = append(s.Servers, server(r, vip, chosen))
			s.Addrs = append(s.Addrs, vip.Addr())
		}
	}
	s.sort()
	return s, errs
}

func server(r *proxy.Rule, vip netip.AddrPort, chosen []netip.AddrPort) VirtualServer {
	v := VirtualServer{Protocol: r.Protocol, Addr: vip}
	if r.Affinity > 0 {
		v.Persistence = max(r.Affinity.Truncate(time.Second), time.Second)
	}
	for _, b := range chosen {
		v.Backends = append(v.Backends, Destination{b, 1})
	}
	for _, b := range r.Backends {
		if b.Serving && !slices.Contains(chosen, b.Addr) {
			v.Backends = append(v.Backends, Destination{b.Addr, 0})
		}
	}
	return v
}

func (s *State) sort() {
	slices.SortFunc(s.Addrs, netip.Addr.Compare)
	s.Addrs = slices.Compact(s.Addrs)
	slices.SortFunc(s.Servers, func(a, b VirtualServer) int { return a.compare(&b) })
	for i := range s.Servers {
		slices.SortFunc(s.Servers[i].Backends, func(a, b Destination) int { return a.Addr.Compare(b.Addr) })
	}
}

// Plan says what leads from one state to the other. Virtual servers at addresses that the interface has not are
// somebody else's and are left alone.
func Plan(have, want State) Steps {
	var steps Steps
	haveAddr, wantAddr := set(have.Addrs), set(want.Addrs)
	for _, a := range want.Addrs {
		if !haveAddr[a] {
			steps.Bind = append(steps.Bind, a)
		}
	}
	for _, a := range have.Addrs {
		if !wantAddr[a] {
			steps.Unbind = append(steps.Unbind, a)
		}
	}
	find := func(in []VirtualServer, v *VirtualServer) *VirtualServer {
		i, ok := slices.BinarySearchFunc(in, v, func(a VirtualServer, b *VirtualServer) int { return a.compare(b) })
		if !ok {
			return nil
		}
		return &in[i]
	}
	for i := range want.Servers {
		w := &want.Servers[i]
		switch h := find(have.Servers, w); {
		case h == nil:
			steps.Add = append(steps.Add, *w)
		case !h.equal(w):
			steps.Change = append(steps.Change, *w)
		}
	}
	for i := range have.Servers {
		h := &have.Servers[i]
		if find(want.Servers, h) == nil && (haveAddr[h.Addr.Addr()] || wantAddr[h.Addr.Addr()]) {
			steps.Remove = append(steps.Remove, *h)
		}
	}
	return steps
}

func set(addrs []netip.Addr) map[netip.Addr]bool {
	m := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		m[a] = true
	}
	return m
}

// errorsOf names the rules that an address belongs to.
func errorsOf(t proxy.Table, concerns func(netip.AddrPort) bool, err error) error {
	var errs []error
	for i := range t.Rules {
		if slices.ContainsFunc(t.Rules[i].VIPs(), concerns) {
			errs = append(errs, &proxy.RuleError{Rule: t.Rules[i].Name, Err: err})
		}
	}
	if len(errs) == 0 {
		return err // it was about something that is to go
	}
	return errors.Join(errs...)
}
