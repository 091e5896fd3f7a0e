package ipvs_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/ipvs"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

// The real thing: the suite through the kernel, in a network namespace. Backends are the machine's own 127.0.0.0/8.
func TestSuite(t *testing.T) {
	proxytest.InNamespace(t, func(t *testing.T) {
		dp, err := ipvs.New(ipvs.Config{})
		if err != nil {
			t.Skipf("skipped: %v", err)
		}
		require.NoError(t, dp.Close())
		proxytest.Run(t, proxytest.Harness{
			New: func(t *testing.T) proxy.Dataplane {
				dp, err := ipvs.New(ipvs.Config{})
				require.NoError(t, err)
				return dp
			},
			VIP:     func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 79, 1, byte(n)}) },
			Backend: func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 79, 2, byte(n)}) },
		})
	})
}

// memory is a kernel in memory.
type memory struct {
	addrs   map[netip.Addr]bool
	servers map[string]ipvs.VirtualServer
	calls   int
	fail    func(netip.AddrPort) error
}

func newMemory() *memory {
	return &memory{addrs: map[netip.Addr]bool{}, servers: map[string]ipvs.VirtualServer{}}
}

func (m *memory) Read() (ipvs.State, error) {
	var s ipvs.State
	for a := range m.addrs {
		s.Addrs = append(s.Addrs, a)
	}
	for _, v := range m.servers {
		s.Servers = append(s.Servers, v)
	}
	return s, nil
}

func (m *memory) Bind(a netip.Addr) error   { m.calls++; m.addrs[a] = true; return nil }
func (m *memory) Unbind(a netip.Addr) error { m.calls++; delete(m.addrs, a); return nil }
func (m *memory) Close() error              { return nil }

func (m *memory) Put(v ipvs.VirtualServer) error {
	m.calls++
	if m.fail != nil {
		if err := m.fail(v.Addr); err != nil {
			return err
		}
	}
	m.servers[string(v.Protocol)+v.Addr.String()] = v
	return nil
}

func (m *memory) Remove(v ipvs.VirtualServer) error {
	m.calls++
	delete(m.servers, string(v.Protocol)+v.Addr.String())
	return nil
}

func at(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestApply(t *testing.T) {
	k := newMemory()
	foreign := ipvs.VirtualServer{Protocol: corev1.ProtocolTCP, Addr: at("192.0.2.99:80")}
	require.NoError(t, k.Put(foreign))
	dp, err := ipvs.New(ipvs.Config{Kernel: k})
	require.NoError(t, err)
	web := proxytest.RuleFor("web", corev1.ProtocolTCP, at("10.96.0.1:80"), at("10.0.0.1:80"), at("10.0.0.2:80"))
	web.Affinity = time.Minute
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{web}}))
	require.Equal(t, ipvs.VirtualServer{
		Protocol: corev1.ProtocolTCP, Addr: at("10.96.0.1:80"), Persistence: time.Minute,
		Backends: []ipvs.Destination{{Addr: at("10.0.0.1:80"), Weight: 1}, {Addr: at("10.0.0.2:80"), Weight: 1}},
	}, k.servers["TCP10.96.0.1:80"])
	calls := k.calls
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{web}}))
	require.Equal(t, calls, k.calls, "nothing changed, nothing was done")

	web.Internal = web.Internal[:1] // the other is still listed: it drains
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{web}}))
	require.Equal(t, 0, k.servers["TCP10.96.0.1:80"].Backends[1].Weight)
	delete(k.servers, "TCP10.96.0.1:80") // somebody's mistake
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{web}}))
	require.Contains(t, k.servers, "TCP10.96.0.1:80")

	require.NoError(t, dp.Remove(t.Context()))
	require.Empty(t, k.addrs)
	require.Equal(t, []ipvs.VirtualServer{foreign}, slices.Collect(func(yield func(ipvs.VirtualServer) bool) {
		for _, v := range k.servers {
			if !yield(v) {
				return
			}
		}
	}), "what is not ours stays")
	require.NoError(t, dp.Close())
	require.Error(t, dp.Apply(t.Context(), proxy.Table{}))
}

func TestErrorsNameTheRule(t *testing.T) {
	k := newMemory()
	k.fail = func(a netip.AddrPort) error {
		if a == at("10.96.0.1:80") {
			return errors.New("no memory")
		}
		return nil
	}
	dp, err := ipvs.New(ipvs.Config{Kernel: k})
	require.NoError(t, err)
	a, b := proxytest.RuleFor("a", corev1.ProtocolTCP, at("10.96.0.1:80")), proxytest.RuleFor("b", corev1.ProtocolUDP, at("10.96.0.2:53"))
	b.NodePort = 30053
	rules, rest := proxy.RuleErrors(dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{a, b}}))
	require.NoError(t, rest)
	require.Len(t, rules, 2)
	require.ErrorContains(t, rules[0], "default/a:main: add virtual server TCP 10.96.0.1:80: no memory")
	require.ErrorContains(t, rules[1], "node port 30053 is not offered")
	require.Contains(t, k.servers, "UDP10.96.0.2:53")
	_, err = ipvs.New(ipvs.Config{Interface: "a-name-that-is-too-long", Kernel: k})
	require.ErrorContains(t, err, "15 characters")
}

func TestPlanLeadsFromAnyStateToAnyOther(t *testing.T) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), 2))
	random := func() proxy.Table {
		var tbl proxy.Table
		for i := range 4 {
			if rng.IntN(3) == 0 {
				continue
			}
			var backends []netip.AddrPort
			for b := range rng.IntN(3) {
				backends = append(backends, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(b)}), uint16(80+rng.IntN(2))))
			}
			tbl.Rules = append(tbl.Rules, proxytest.RuleFor(fmt.Sprint("s", i), corev1.ProtocolTCP, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 0, byte(i / 2)}), uint16(80+i)), backends...))
		}
		return tbl
	}
	k := newMemory()
	dp, err := ipvs.New(ipvs.Config{Kernel: k})
	require.NoError(t, err)
	for range 500 {
		tbl := random()
		require.NoError(t, dp.Apply(t.Context(), tbl))
		want, errs := ipvs.Want(tbl)
		require.Empty(t, errs)
		have, err := k.Read()
		require.NoError(t, err)
		require.ElementsMatch(t, want.Addrs, have.Addrs)
		require.ElementsMatch(t, want.Servers, have.Servers)
	}
}

func ExamplePlan() {
	tbl := proxy.Table{Rules: []proxy.Rule{proxytest.RuleFor("web", corev1.ProtocolTCP, at("10.96.0.1:80"), at("10.0.0.1:80"))}}
	want, _ := ipvs.Want(tbl)
	steps := ipvs.Plan(ipvs.State{}, want)
	fmt.Println(steps.Bind, steps.Add[0].Addr, steps.Add[0].Backends, ipvs.Plan(want, want).Empty())
	// Output: [10.96.0.1] 10.96.0.1:80 [{10.0.0.1:80 1}] true
}

func ExampleNew() {
	dp, err := ipvs.New(ipvs.Config{Kernel: newMemory()}) // leave Kernel out to use the machine's
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(dp.Apply(context.Background(), proxy.Table{}), dp.Close())
	// Output: <nil> <nil>
}
