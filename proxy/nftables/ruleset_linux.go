package nftables

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"

	"github.com/keelson-dev/keelson/proxy"
)

// markMasquerade is the packet mark bit for what leaves with this node's address.
const markMasquerade = "0x4000"

// ruleset is what the table shall hold. It is a value made from a proxy.Table by render, compared to the last one.
type ruleset struct {
	chains map[string][]string // rules by chain, in order
	labels map[string]string   // comments by chain
	sets   map[string]affinitySet
	maps   map[string]map[string]string // verdicts by key ("addr . proto . port") by map
}

type affinitySet struct {
	v6      bool
	timeout time.Duration
}

// family is what differs between IPv4 and IPv6.
type family struct {
	v6                      bool
	ip, addrType, nfproto   string
	services, ports, nobody string // maps
	nobodyPorts             string
}

func families() []family {
	return []family{
		{false, "ip", "ipv4_addr", "ipv4", "services4", "node-ports4", "no-backends4", "no-backend-ports4"},
		{true, "ip6", "ipv6_addr", "ipv6", "services6", "node-ports6", "no-backends6", "no-backend-ports6"},
	}
}

func familyOf(v6 bool) family {
	if v6 {
		return families()[1]
	}
	return families()[0]
}

// baseChain is a chain that the kernel calls.
type baseChain struct {
	name     string
	kind     knftables.BaseChainType
	hook     knftables.BaseChainHook
	priority knftables.BaseChainPriority
	rules    []string
}

// baseChains are the same whatever the Services.
func baseChains() []baseChain {
	var check []string
	for _, f := range families() {
		check = append(check,
			knftables.Concat("ct state new", f.ip, "daddr . meta l4proto . th dport vmap", "@", f.nobody),
			knftables.Concat("ct state new meta nfproto", f.nfproto, "fib daddr type local meta l4proto . th dport vmap", "@", f.nobodyPorts))
	}
	const beforeNAT = "-110"
	return []baseChain{
		{"nat-prerouting", knftables.NATType, knftables.PreroutingHook, knftables.DNATPriority, []string{"jump services"}},
		{"nat-output", knftables.NATType, knftables.OutputHook, "-100", []string{"jump services"}},
		{"nat-postrouting", knftables.NATType, knftables.PostroutingHook, knftables.SNATPriority, []string{
			"meta mark & " + markMasquerade + " == 0 return",
			"oifname lo return", // comes back as it goes; and there is no address there to leave with
			"meta mark set meta mark ^ " + markMasquerade,
			"masquerade fully-random",
		}},
		{"filter-input", knftables.FilterType, knftables.InputHook, beforeNAT, check},
		{"filter-forward", knftables.FilterType, knftables.ForwardHook, beforeNAT, check},
		{"filter-output", knftables.FilterType, knftables.OutputHook, beforeNAT, check},
	}
}

// render is the ruleset for a table. It is pure. What nftables can't do is an error of the rule.
func render(t proxy.Table, cfg Config) (*ruleset, []error) {
	rs := &ruleset{chains: map[string][]string{}, labels: map[string]string{}, sets: map[string]affinitySet{}, maps: map[string]map[string]string{}}
	rs.chains["reject-it"] = []string{"reject with icmpx type port-unreachable"}
	for _, f := range families() {
		for _, m := range []string{f.services, f.ports, f.nobody, f.nobodyPorts} {
			rs.maps[m] = map[string]string{}
		}
		rs.chains["services"] = append(rs.chains["services"],
			knftables.Concat(f.ip, "daddr . meta l4proto . th dport vmap", "@", f.services),
			knftables.Concat("meta nfproto", f.nfproto, "fib daddr type local meta l4proto . th dport vmap", "@", f.ports))
	}
	var errs []error
	for i := range t.Rules {
		r := &t.Rules[i]
		proto := strings.ToLower(string(r.Protocol))
		if r.Protocol != corev1.ProtocolTCP && r.Protocol != corev1.ProtocolUDP && r.Protocol != corev1.ProtocolSCTP {
			errs = append(errs, &proxy.RuleError{Rule: r.Name, Err: fmt.Errorf("protocol %q is not supported, only TCP, UDP and SCTP are", r.Protocol)})
			continue
		}
		f := familyOf(r.IPv6)
		put := func(m, empty, key string, chosen []netip.AddrPort, external bool) {
			verdict := "goto reject-it"
			if len(chosen) > 0 {
				verdict = "goto " + rs.service(r, f, proto, chosen, external, cfg)
			} else {
				m = empty
			}
			if _, taken := rs.maps[f.services][key]; taken {
				errs = append(errs, &proxy.RuleError{Rule: r.Name, Err: fmt.Errorf("%s belongs to another service port already", key)})
				return
			}
			rs.maps[m][key] = verdict
		}
		for _, a := range r.ClusterIPs {
			put(f.services, f.nobody, addrKey(a, proto), r.Internal, false)
		}
		for _, a := range r.ExternalIPs {
			put(f.services, f.nobody, addrKey(a, proto), r.External, true)
		}
		if r.NodePort != 0 {
			put(f.ports, f.nobodyPorts, fmt.Sprintf("%s . %d", proto, r.NodePort), r.External, true)
		}
	}
	return rs, errs
}

func addrKey(a netip.AddrPort, proto string) string {
	return fmt.Sprintf("%s . %s . %d", a.Addr(), proto, a.Port())
}

// service makes the chain that chooses a backend, and returns its name.
func (rs *ruleset) service(r *proxy.Rule, f family, proto string, chosen []netip.AddrPort, external bool, cfg Config) string {
	name := "svc-" + hash(r, "")
	if external {
		name = "ext-" + hash(r, "")
	}
	if rs.chains[name] != nil {
		return name
	}
	var rules []string
	switch {
	case external && !r.ExternalLocal:
		rules = append(rules, "meta mark set meta mark | "+markMasquerade)
	case !external && len(cfg.podCIDRs(r.IPv6)) > 0:
		rules = append(rules, fmt.Sprintf("%s saddr != { %s } meta mark set meta mark | %s", f.ip, strings.Join(cfg.podCIDRs(r.IPv6), ", "), markMasquerade))
	}
	var verdicts []string
	for i, b := range chosen {
		ep, set := rs.backend(r, f, proto, b)
		if set != "" {
			rules = append(rules, knftables.Concat(f.ip, "saddr", "@", set, "goto", ep))
		}
		verdicts = append(verdicts, fmt.Sprintf("%d : goto %s", i, ep))
	}
	rules = append(rules, fmt.Sprintf("numgen random mod %d vmap { %s }", len(chosen), strings.Join(verdicts, " , ")))
	rs.chains[name], rs.labels[name] = rules, r.Name.String()
	return name
}

// backend makes the chain that sends to one backend and, for affinity, the set of its clients.
func (rs *ruleset) backend(r *proxy.Rule, f family, proto string, b netip.AddrPort) (chain, set string) {
	id := hash(r, b.String())
	chain = "ep-" + id
	rules := []string{fmt.Sprintf("%s saddr %s meta mark set meta mark | %s", f.ip, b.Addr(), markMasquerade)}
	if r.Affinity > 0 {
		// The time-out is part of the name: a set can't change its own.
		set = fmt.Sprintf("aff-%s-%d", id, int64(r.Affinity/time.Second))
		rs.sets[set] = affinitySet{r.IPv6, r.Affinity}
		rules = append(rules, knftables.Concat("update", "@", set, "{", f.ip, "saddr }"))
	}
	rules = append(rules, fmt.Sprintf("meta l4proto %s dnat %s to %s", proto, f.ip, b))
	rs.chains[chain], rs.labels[chain] = rules, r.Name.String()
	return chain, set
}

// hash names a rule, or something of it, in few characters that nft takes.
func hash(r *proxy.Rule, of string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%t\x00%s", r.Name, r.IPv6, of))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

// transaction writes what turns the table from old into new; a nil old stands for whatever is there.
func transaction(tx *knftables.Transaction, old, now *ruleset) {
	if old == nil {
		tx.Add(&knftables.Table{})
		tx.Delete(&knftables.Table{})
		tx.Add(&knftables.Table{Comment: knftables.PtrTo("rules of Keelson's proxy")})
		old = &ruleset{}
		for _, f := range families() {
			for _, m := range []string{f.services, f.nobody} {
				tx.Add(&knftables.Map{Name: m, Type: f.addrType + " . inet_proto . inet_service : verdict"})
			}
			for _, m := range []string{f.ports, f.nobodyPorts} {
				tx.Add(&knftables.Map{Name: m, Type: "inet_proto . inet_service : verdict"})
			}
		}
		defer addBaseChains(tx) // they refer to the chains made here
	}
	for _, name := range sorted(now.sets) {
		if _, ok := old.sets[name]; !ok {
			s := now.sets[name]
			tx.Add(&knftables.Set{
				Name: name, Type: familyOf(s.v6).addrType, Timeout: knftables.PtrTo(s.timeout), Size: knftables.PtrTo(uint64(1 << 16)),
				Flags: []knftables.SetFlag{knftables.DynamicFlag, knftables.TimeoutFlag},
			})
		}
	}
	var changed []string
	for _, name := range sorted(now.chains) {
		before, ok := old.chains[name]
		if !ok {
			tx.Add(&knftables.Chain{Name: name, Comment: comment(now.labels[name])})
		}
		if !ok || !slices.Equal(before, now.chains[name]) {
			changed = append(changed, name)
			if ok {
				tx.Flush(&knftables.Chain{Name: name})
			}
		}
	}
	for _, name := range changed {
		for _, rule := range now.chains[name] {
			tx.Add(&knftables.Rule{Chain: name, Rule: rule})
		}
	}
	for _, m := range sorted(now.maps) {
		for _, key := range sorted(old.maps[m]) {
			if now.maps[m][key] != old.maps[m][key] {
				tx.Delete(element(m, key, old.maps[m][key]))
			}
		}
		for _, key := range sorted(now.maps[m]) {
			if now.maps[m][key] != old.maps[m][key] {
				tx.Add(element(m, key, now.maps[m][key]))
			}
		}
	}
	remove(tx, old, now)
}

// remove takes away chains and sets that nothing refers to any more.
func remove(tx *knftables.Transaction, old, now *ruleset) {
	var stale []string
	for _, name := range sorted(old.chains) {
		if _, ok := now.chains[name]; !ok {
			stale = append(stale, name)
			tx.Flush(&knftables.Chain{Name: name}) // first all: they refer to each other
		}
	}
	for _, name := range stale {
		tx.Delete(&knftables.Chain{Name: name})
	}
	for _, name := range sorted(old.sets) {
		if _, ok := now.sets[name]; !ok {
			tx.Delete(&knftables.Set{Name: name})
		}
	}
}

func addBaseChains(tx *knftables.Transaction) {
	for _, c := range baseChains() {
		tx.Add(&knftables.Chain{Name: c.name, Type: knftables.PtrTo(c.kind), Hook: knftables.PtrTo(c.hook), Priority: knftables.PtrTo(c.priority)})
		for _, rule := range c.rules {
			tx.Add(&knftables.Rule{Chain: c.name, Rule: rule})
		}
	}
}

func element(m, key, verdict string) *knftables.Element {
	return &knftables.Element{Map: m, Key: strings.Split(key, " . "), Value: []string{verdict}}
}

func comment(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
