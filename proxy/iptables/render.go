package iptables

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
)

// The chains that are there whatever the Services.
const (
	prefix           = "KLN-"
	chainServices    = prefix + "SERVICES"
	chainNodePorts   = prefix + "NODEPORTS"
	chainMark        = prefix + "MARK"
	chainPostrouting = prefix + "POSTROUTING"
	chainReject      = prefix + "REJECT"

	mark = "0x4000/0x4000" // what leaves with this node's address
)

// jump is a rule in one of the kernel's own chains.
type jump struct{ table, chain, to string }

func jumps() []jump {
	return []jump{
		{"nat", "PREROUTING", chainServices}, {"nat", "OUTPUT", chainServices}, {"nat", "POSTROUTING", chainPostrouting},
		{"filter", "INPUT", chainReject}, {"filter", "FORWARD", chainReject}, {"filter", "OUTPUT", chainReject},
	}
}

// ruleset is what iptables shall hold for one family.
type ruleset struct {
	chains []string            // of table nat, in the order made
	nat    map[string][]string // rules by chain
	reject []string
	errs   []error
	taken  map[string]bool
}

// render is the ruleset of one family for a table. It is pure.
func render(t proxy.Table, v6 bool) *ruleset {
	rs := &ruleset{nat: map[string][]string{}, taken: map[string]bool{}}
	for _, c := range []string{chainServices, chainNodePorts, chainMark, chainPostrouting} {
		rs.add(c)
	}
	rs.add(chainMark, "-j MARK --set-xmark "+mark)
	rs.add(chainPostrouting,
		"-m mark ! --mark "+mark+" -j RETURN",
		"-o lo -j RETURN", // comes back as it goes; and there is no address there to leave with
		"-j MARK --set-xmark 0x0/0x4000",
		"-j MASQUERADE")
	for i := range t.Rules {
		if r := &t.Rules[i]; r.IPv6 == v6 {
			rs.rule(r)
		}
	}
	rs.add(chainServices, "-m addrtype --dst-type LOCAL -j "+chainNodePorts)
	return rs
}

func (rs *ruleset) add(chain string, rules ...string) {
	if _, ok := rs.nat[chain]; !ok {
		rs.chains = append(rs.chains, chain)
	}
	rs.nat[chain] = append(rs.nat[chain], rules...)
}

func (rs *ruleset) fail(r *proxy.Rule, format string, args ...any) {
	rs.errs = append(rs.errs, &proxy.RuleError{Rule: r.Name, Err: fmt.Errorf(format, args...)})
}

func (rs *ruleset) rule(r *proxy.Rule) {
	if r.Protocol != corev1.ProtocolTCP && r.Protocol != corev1.ProtocolUDP && r.Protocol != corev1.ProtocolSCTP {
		rs.fail(r, "protocol %q is not supported, only TCP, UDP and SCTP are", r.Protocol)
		return
	}
	proto := strings.ToLower(string(r.Protocol))
	dport := func(port uint16) string { return fmt.Sprintf("-p %s -m %s --dport %d", proto, proto, port) }
	lead := func(chain, match string, chosen []netip.AddrPort, external bool) {
		if rs.taken[match] {
			rs.fail(r, "%s belongs to another service port already", match)
			return
		}
		rs.taken[match] = true
		if len(chosen) == 0 {
			local := ""
			if chain == chainNodePorts {
				local = "-m addrtype --dst-type LOCAL "
			}
			rs.reject = append(rs.reject, "-m conntrack --ctstate NEW "+local+match+" -j REJECT")
			return
		}
		rs.add(chain, match+" -j "+rs.service(r, proto, chosen, external))
	}
	for _, a := range r.ClusterIPs {
		lead(chainServices, "-d "+host(a.Addr())+" "+dport(a.Port()), r.Internal, false)
	}
	for _, a := range r.ExternalIPs {
		lead(chainServices, "-d "+host(a.Addr())+" "+dport(a.Port()), r.External, true)
	}
	if r.NodePort != 0 {
		lead(chainNodePorts, dport(r.NodePort), r.External, true)
	}
}

// service makes the chain that chooses a backend, and returns its name.
func (rs *ruleset) service(r *proxy.Rule, proto string, chosen []netip.AddrPort, external bool) string {
	name := prefix + "SVC-" + hash(r, "")
	if external {
		name = prefix + "EXT-" + hash(r, "")
	}
	if _, ok := rs.nat[name]; ok {
		return name
	}
	rs.add(name)
	if external && !r.ExternalLocal {
		rs.add(name, "-j "+chainMark)
	}
	backends := make([]string, len(chosen))
	for i, b := range chosen {
		backends[i] = rs.backend(r, proto, b)
		if seconds := int64(r.Affinity / time.Second); seconds > 0 {
			rs.add(name, fmt.Sprintf("-m recent --name %s --rcheck --seconds %d --reap --rsource -j %s", backends[i], seconds, backends[i]))
		}
	}
	for i, b := range backends {
		if rest := len(backends) - i; rest > 1 {
			rs.add(name, fmt.Sprintf("-m statistic --mode random --probability %.10f -j %s", 1/float64(rest), b))
		} else {
			rs.add(name, "-j "+b)
		}
	}
	return name
}

// backend makes the chain that sends to one backend.
func (rs *ruleset) backend(r *proxy.Rule, proto string, b netip.AddrPort) string {
	name := prefix + "EP-" + hash(r, b.String())
	if _, ok := rs.nat[name]; ok {
		return name
	}
	rs.add(name, "-s "+host(b.Addr())+" -j "+chainMark)
	if r.Affinity >= time.Second {
		rs.add(name, "-m recent --name "+name+" --set --rsource")
	}
	rs.add(name, fmt.Sprintf("-p %s -m %s -j DNAT --to-destination %s", proto, proto, b))
	return name
}

// text is the input of iptables-restore --noflush; stale chains of table nat are taken away by it.
func (rs *ruleset) text(stale []string) string {
	var b strings.Builder
	b.WriteString("*nat\n")
	for _, c := range slices.Concat(rs.chains, stale) {
		fmt.Fprintf(&b, ":%s - [0:0]\n", c) // makes a chain, or empties it
	}
	for _, c := range rs.chains {
		for _, rule := range rs.nat[c] {
			fmt.Fprintf(&b, "-A %s %s\n", c, rule)
		}
	}
	for _, c := range stale {
		fmt.Fprintf(&b, "-X %s\n", c)
	}
	b.WriteString("COMMIT\n*filter\n")
	fmt.Fprintf(&b, ":%s - [0:0]\n", chainReject)
	for _, rule := range rs.reject {
		fmt.Fprintf(&b, "-A %s %s\n", chainReject, rule)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func host(ip netip.Addr) string { return netip.PrefixFrom(ip, ip.BitLen()).String() }

// hash names a rule, or something of it, within the 28 characters that a chain's name may have.
func hash(r *proxy.Rule, of string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%t\x00%s", r.Name, r.IPv6, of))
	return base32.StdEncoding.EncodeToString(sum[:10])
}
