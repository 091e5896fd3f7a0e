package proxytest

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
)

// Harness says how a dataplane is tried.
type Harness struct {
	// New makes the dataplane; the suite closes it.
	New func(t *testing.T) proxy.Dataplane
	// VIP is the address of the nth Service, Backend an address that the nth backend may listen on; n counts from 1
	// to 9.
	VIP, Backend func(n int) netip.Addr
	// Node is where node ports are; invalid means that the dataplane has none.
	Node netip.Addr
	// NoUDP, NoAffinity and NoExternal leave those tests out, for a dataplane that says it has no such thing.
	NoUDP, NoAffinity, NoExternal bool
	// Many is how many Services the largest table has; 0 means 100. In a user namespace the kernel takes short
	// transactions only.
	Many int
}

// Run tries the dataplane.
func Run(t *testing.T, h Harness) {
	for _, c := range []struct {
		name string
		skip bool
		run  func(*testing.T, Harness)
	}{
		{"Spreads", false, testSpreads},
		{"RefusesWithoutBackends", false, testRefuses},
		{"RemovedBackendGetsNothingNew", false, testRemoved},
		{"ConnectionsSurviveChanges", false, testSurvive},
		{"HalfClose", false, testHalfClose},
		{"ServiceGoesAndComes", false, testGoesAndComes},
		{"Affinity", h.NoAffinity, testAffinity},
		{"External", h.NoExternal, testExternal},
		{"NodePort", !h.Node.IsValid(), testNodePort},
		{"UDP", h.NoUDP, testUDP},
		{"ManyServices", false, testMany},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.skip {
				t.Skip("skipped: the dataplane does not offer this")
			}
			c.run(t, h)
		})
	}
}

func (h Harness) dataplane(t *testing.T) proxy.Dataplane {
	dp := h.New(t)
	t.Cleanup(func() { require.NoError(t, dp.Close()) })
	return dp
}

func (h Harness) servers(t *testing.T, network string, n int) []*Server {
	var out []*Server
	for i := range n {
		out = append(out, NewServer(t, network, fmt.Sprintf("b%d", i+1), h.Backend(i+1)))
	}
	return out
}

// FreePort is a port that nobody has at an address; where the address is not the machine's own, any port is free.
func FreePort(t testing.TB, ip netip.Addr) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		return netip.AddrPortFrom(ip, 30080)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).AddrPort()
}

// RuleFor is the rule for one cluster IP in front of backends.
func RuleFor(name string, protocol corev1.Protocol, vip netip.AddrPort, backends ...netip.AddrPort) proxy.Rule {
	r := proxy.Rule{Name: proxy.ServicePortName{Namespace: "default", Name: name, Port: "main"}, Protocol: protocol, IPv6: vip.Addr().Is6(), ClusterIPs: []netip.AddrPort{vip}}
	r.Internal = slices.SortedFunc(slices.Values(backends), netip.AddrPort.Compare)
	for _, b := range r.Internal {
		r.Backends = append(r.Backends, proxy.Backend{Addr: b, Ready: true, Serving: true})
	}
	return r
}

func addrs(servers []*Server) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range servers {
		out = append(out, s.Addr)
	}
	return out
}

func table(rules ...proxy.Rule) proxy.Table {
	slices.SortFunc(rules, func(a, b proxy.Rule) int { return a.Name.Compare(b.Name) })
	return proxy.Table{Rules: rules}
}

// answers connects n times and counts who answered.
func answers(t *testing.T, to netip.AddrPort, n int) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for range n {
		name, err := Which(to)
		require.NoError(t, err)
		seen[name]++
	}
	return seen
}

func testSpreads(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 3)
	vip := FreePort(t, h.VIP(1))
	tbl := table(RuleFor("web", corev1.ProtocolTCP, vip, addrs(servers)...))
	require.NoError(t, dp.Apply(t.Context(), tbl))
	require.NoError(t, dp.Apply(t.Context(), tbl), "the same table again")
	require.Len(t, answers(t, vip, 60), 3, "60 connections reach all of three backends")
}

func testRefuses(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 1)
	vip := FreePort(t, h.VIP(1))
	require.NoError(t, dp.Apply(t.Context(), table(RuleFor("web", corev1.ProtocolTCP, vip))))
	_, err := Which(vip)
	require.Error(t, err)
	require.False(t, os.IsTimeout(err), "a Service without backends refuses, it does not hang: %v", err)
	require.NoError(t, dp.Apply(t.Context(), table(RuleFor("web", corev1.ProtocolTCP, vip, servers[0].Addr))))
	require.Equal(t, map[string]int{"b1": 3}, answers(t, vip, 3))
}

func testRemoved(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 3)
	vip := FreePort(t, h.VIP(1))
	require.NoError(t, dp.Apply(t.Context(), table(RuleFor("web", corev1.ProtocolTCP, vip, addrs(servers)...))))
	require.Len(t, answers(t, vip, 60), 3)
	require.NoError(t, dp.Apply(t.Context(), table(RuleFor("web", corev1.ProtocolTCP, vip, servers[1].Addr))))
	require.Equal(t, map[string]int{"b2": 30}, answers(t, vip, 30))
}

func testSurvive(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 2)
	vip := FreePort(t, h.VIP(1))
	rule := RuleFor("web", corev1.ProtocolTCP, vip, servers[0].Addr)
	require.NoError(t, dp.Apply(t.Context(), table(rule)))
	conn, err := Dial(vip)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	ask := func(text string) {
		t.Helper()
		got, err := conn.Ask(text)
		require.NoError(t, err)
		require.Equal(t, text, got)
	}
	ask("before")
	other := RuleFor("other", corev1.ProtocolTCP, FreePort(t, h.VIP(2)), servers[1].Addr)
	require.NoError(t, dp.Apply(t.Context(), table(rule, other)))
	ask("another Service came")
	leaving := RuleFor("web", corev1.ProtocolTCP, vip, servers[1].Addr)
	leaving.Backends = append(leaving.Backends, proxy.Backend{Addr: servers[0].Addr, Serving: true, Terminating: true})
	slices.SortFunc(leaving.Backends, func(a, b proxy.Backend) int { return a.Addr.Compare(b.Addr) })
	require.NoError(t, dp.Apply(t.Context(), table(leaving)))
	ask("its backend terminates")
	require.Equal(t, map[string]int{"b2": 9}, answers(t, vip, 9), "new connections go elsewhere")
	ask("still there")
}

func testHalfClose(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 1)
	vip := FreePort(t, h.VIP(1))
	require.NoError(t, dp.Apply(t.Context(), table(RuleFor("web", corev1.ProtocolTCP, vip, addrs(servers)...))))
	conn, err := Dial(vip)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	got, err := conn.Ask("last words")
	require.NoError(t, err)
	require.Equal(t, "last words", got)
	require.NoError(t, conn.CloseWrite())
	got, err = conn.Line()
	require.NoError(t, err)
	require.Equal(t, "end after 11", got, "the backend saw the end and could still answer")
}

func testGoesAndComes(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 1)
	vip := FreePort(t, h.VIP(1))
	tbl := table(RuleFor("web", corev1.ProtocolTCP, vip, addrs(servers)...))
	for range 3 {
		require.NoError(t, dp.Apply(t.Context(), tbl))
		require.Equal(t, map[string]int{"b1": 2}, answers(t, vip, 2))
		require.NoError(t, dp.Apply(t.Context(), proxy.Table{}))
		_, err := Which(vip)
		require.Error(t, err, "the Service is gone")
	}
}

func testAffinity(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 3)
	vip := FreePort(t, h.VIP(1))
	rule := RuleFor("web", corev1.ProtocolTCP, vip, addrs(servers)...)
	rule.Affinity = time.Hour
	require.NoError(t, dp.Apply(t.Context(), table(rule)))
	seen := answers(t, vip, 20)
	require.Len(t, seen, 1, "a client stays with its backend")
	var rest []netip.AddrPort
	for _, s := range servers {
		if seen[s.Name] == 0 {
			rest = append(rest, s.Addr)
		}
	}
	rule = RuleFor("web", corev1.ProtocolTCP, vip, rest...)
	rule.Affinity = time.Hour
	require.NoError(t, dp.Apply(t.Context(), table(rule)))
	moved := answers(t, vip, 20)
	require.Len(t, moved, 1, "it moved, and stays again")
	for name := range moved {
		require.Zero(t, seen[name], "not to the removed one")
	}
}

func testExternal(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 2)
	vip, external := FreePort(t, h.VIP(1)), FreePort(t, h.VIP(2))
	rule := RuleFor("web", corev1.ProtocolTCP, vip, servers[0].Addr)
	rule.ExternalIPs, rule.External = []netip.AddrPort{external}, []netip.AddrPort{servers[1].Addr}
	rule.Backends = append(rule.Backends, proxy.Backend{Addr: servers[1].Addr, Ready: true, Serving: true, Local: true})
	require.NoError(t, dp.Apply(t.Context(), table(rule)))
	require.Equal(t, map[string]int{"b1": 3}, answers(t, vip, 3))
	require.Equal(t, map[string]int{"b2": 3}, answers(t, external, 3), "the two sorts of traffic have their own backends")
}

func testNodePort(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 2)
	node := FreePort(t, h.Node)
	rule := RuleFor("web", corev1.ProtocolTCP, FreePort(t, h.VIP(1)), addrs(servers)...)
	rule.NodePort, rule.External = node.Port(), rule.Internal
	require.NoError(t, dp.Apply(t.Context(), table(rule)))
	require.Len(t, answers(t, node, 40), 2)
	rule.NodePort, rule.External = 0, nil
	require.NoError(t, dp.Apply(t.Context(), table(rule)))
	_, err := Which(node)
	require.Error(t, err)
}

func testUDP(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "udp", 2)
	vip := FreePort(t, h.VIP(1))
	require.NoError(t, dp.Apply(t.Context(), table(RuleFor("dns", corev1.ProtocolUDP, vip, servers[0].Addr))))
	got, err := DialUDP(t, vip).Ask("one")
	require.NoError(t, err)
	require.Equal(t, "b1 one", got)
	require.NoError(t, dp.Apply(t.Context(), table(RuleFor("dns", corev1.ProtocolUDP, vip, servers[1].Addr))))
	got, err = DialUDP(t, vip).Ask("two")
	require.NoError(t, err)
	require.Equal(t, "b2 two", got)
}

func testMany(t *testing.T, h Harness) {
	dp, servers := h.dataplane(t), h.servers(t, "tcp", 2)
	many := cmp.Or(h.Many, 100)
	var rules []proxy.Rule
	var vips []netip.AddrPort
	held := map[netip.AddrPort]bool{}
	for i := 0; len(rules) < many; i++ {
		vip := FreePort(t, h.VIP(1+i%9))
		for held[vip] {
			vip = netip.AddrPortFrom(vip.Addr(), vip.Port()+1)
		}
		held[vip] = true
		vips = append(vips, vip)
		rules = append(rules, RuleFor(fmt.Sprintf("s%03d", i), corev1.ProtocolTCP, vip, addrs(servers)...))
	}
	// An address that somebody took meanwhile is a RuleError, which the dataplane's own tests are about.
	_, rest := proxy.RuleErrors(dp.Apply(t.Context(), table(rules...)))
	require.NoError(t, rest)
	require.NotEmpty(t, answers(t, vips[0], 2))
	require.NotEmpty(t, answers(t, vips[many-1], 2))
	rules = rules[:many/2]
	_, rest = proxy.RuleErrors(dp.Apply(t.Context(), table(slices.Clone(rules)...)))
	require.NoError(t, rest)
	require.NotEmpty(t, answers(t, vips[1], 2))
	_, err := Which(vips[many-1])
	require.Error(t, err)
}
