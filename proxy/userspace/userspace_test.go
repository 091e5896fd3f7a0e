package userspace_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/proxytest"
	"github.com/keelson-dev/keelson/proxy/userspace"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback gives addresses of a random /16 of 127.0.0.0/8 on Linux, where all of them are the machine's.
func loopback(block int) func(int) netip.Addr {
	random := byte(16 + rand.IntN(200))
	return func(n int) netip.Addr {
		if runtime.GOOS != "linux" {
			return netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
		return netip.AddrFrom4([4]byte{127, random, byte(block), byte(n)})
	}
}

func dataplane(t testing.TB, cfg userspace.Config) *userspace.Dataplane {
	t.Helper()
	dp, err := userspace.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, dp.Close()) })
	return dp
}

func TestSuite(t *testing.T) {
	proxytest.Run(t, proxytest.Harness{
		New:     func(t *testing.T) proxy.Dataplane { return dataplane(t, userspace.Config{}) },
		VIP:     loopback(1),
		Backend: loopback(2),
		Node:    netip.AddrFrom4([4]byte{127, 0, 0, 1}),
	})
}

func TestConfigIsChecked(t *testing.T) {
	for field, cfg := range map[string]userspace.Config{
		"DialTimeout": {DialTimeout: -1}, "Drain": {Drain: -1}, "IdleUDP": {IdleUDP: -1}, "MaxConnections": {MaxConnections: -1}, "MaxSessions": {MaxSessions: -1}, "Balance": {Balance: 7},
	} {
		_, err := userspace.New(cfg)
		require.ErrorContains(t, err, "userspace.Config."+field)
	}
}

func web(vip netip.AddrPort, backends ...netip.AddrPort) proxy.Table {
	return proxy.Table{Rules: []proxy.Rule{proxytest.RuleFor("web", corev1.ProtocolTCP, vip, backends...)}}
}

func TestTakenAddressIsARuleError(t *testing.T) {
	dp := dataplane(t, userspace.Config{})
	backend := proxytest.NewServer(t, "tcp", "b", loopback(2)(1))
	other, err := net.Listen("tcp", netip.AddrPortFrom(loopback(1)(1), 0).String())
	require.NoError(t, err)
	taken := other.Addr().(*net.TCPAddr).AddrPort()
	free := proxytest.FreePort(t, loopback(1)(2))
	tbl := proxy.Table{Rules: []proxy.Rule{
		proxytest.RuleFor("a-taken", corev1.ProtocolTCP, taken, backend.Addr),
		proxytest.RuleFor("b-free", corev1.ProtocolTCP, free, backend.Addr),
		proxytest.RuleFor("c-strange", corev1.ProtocolSCTP, free, backend.Addr),
		proxytest.RuleFor("d-same", corev1.ProtocolTCP, free, backend.Addr),
	}}
	rules, rest := proxy.RuleErrors(dp.Apply(t.Context(), tbl))
	require.NoError(t, rest)
	require.Len(t, rules, 3)
	require.ErrorContains(t, rules[0], "service port default/a-taken:main")
	require.ErrorContains(t, rules[0], "another program listens there")
	require.ErrorContains(t, rules[1], "protocol SCTP")
	require.ErrorContains(t, rules[2], "belongs to service port default/b-free:main")
	name, err := proxytest.Which(free)
	require.NoError(t, err, "the other rule is served")
	require.Equal(t, "b", name)

	require.NoError(t, other.Close())
	rules, rest = proxy.RuleErrors(dp.Apply(t.Context(), proxy.Table{Rules: tbl.Rules[:2]}))
	require.NoError(t, rest)
	require.Empty(t, rules, "the address is free now")
	_, err = proxytest.Which(taken)
	require.NoError(t, err)
}

func TestForeignAddressIsARuleError(t *testing.T) {
	dp := dataplane(t, userspace.Config{})
	rules, rest := proxy.RuleErrors(dp.Apply(t.Context(), web(netip.MustParseAddrPort("192.0.2.1:8080"))))
	require.NoError(t, rest)
	require.Len(t, rules, 1)
	require.ErrorContains(t, rules[0], "no such address")
}

func TestLowPortIsARuleError(t *testing.T) {
	vip := netip.AddrPortFrom(loopback(1)(1), 80)
	ln, err := net.Listen("tcp", vip.String())
	if err == nil {
		require.NoError(t, ln.Close())
		t.Skip("skipped: this process may bind low ports")
	}
	if !errors.Is(err, syscall.EACCES) {
		t.Skipf("skipped: %v", err)
	}
	rules, rest := proxy.RuleErrors(dataplane(t, userspace.Config{}).Apply(t.Context(), web(vip)))
	require.NoError(t, rest)
	require.Len(t, rules, 1)
	require.ErrorContains(t, rules[0], "CAP_NET_BIND_SERVICE")
}

// A listener that waits for its first client takes nothing of the bound on connections.
func TestMoreListenersThanConnections(t *testing.T) {
	dp := dataplane(t, userspace.Config{MaxConnections: 1})
	b := proxytest.NewServer(t, "tcp", "b", loopback(2)(1))
	var tbl proxy.Table
	for i := range 20 {
		tbl.Rules = append(tbl.Rules, proxytest.RuleFor(fmt.Sprintf("s%02d", i), corev1.ProtocolTCP, proxytest.FreePort(t, loopback(3)(i+1)), b.Addr))
	}
	require.NoError(t, dp.Apply(t.Context(), tbl))
	for i := range tbl.Rules {
		require.NoError(t, request(tbl.Rules[i].ClusterIPs[0]))
	}
}

// Each request is a connection. Backends are replaced one by one, and all the time the table also lists one that died
// without the table knowing: it costs nobody a request, for the next is tried.
func TestRollingReplacementFailsNoRequest(t *testing.T) {
	dp := dataplane(t, userspace.Config{})
	vip, backendIP := proxytest.FreePort(t, loopback(1)(1)), loopback(2)
	dead := proxytest.FreePort(t, backendIP(100))
	servers := []*proxytest.Server{}
	apply := func() {
		addrs := []netip.AddrPort{dead}
		for _, s := range servers {
			addrs = append(addrs, s.Addr)
		}
		require.NoError(t, dp.Apply(t.Context(), web(vip, addrs...)))
	}
	for i := range 3 {
		servers = append(servers, proxytest.NewServer(t, "tcp", fmt.Sprint("old", i), backendIP(i+1)))
	}
	apply()

	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var done atomic.Int64
	progress := make(chan struct{}, 1)
	failed := make(chan error, 4)
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := request(vip)
				if err != nil {
					failed <- err
				}
				done.Add(1)
				select {
				case progress <- struct{}{}:
				default:
				}
				if err != nil {
					return
				}
			}
		})
	}
	for i := range 12 {
		servers = append(servers, proxytest.NewServer(t, "tcp", fmt.Sprint("new", i), backendIP(i+4)))
		apply()
		for target := done.Load() + 20; done.Load() < target && len(failed) == 0; {
			<-progress
		}
		servers = servers[1:]
		apply()
	}
	stop()
	wg.Wait()
	close(failed)
	require.NoError(t, <-failed)
	require.Greater(t, done.Load(), int64(200))
}

func request(vip netip.AddrPort) error {
	c, err := proxytest.Dial(vip)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	got, err := c.Ask("hello")
	if err == nil && got != "hello" {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

// A change of endpoints must not close the listener: a connection that waits in its queue would be lost.
func TestFlappingEndpointsKeepTheListener(t *testing.T) {
	dp := dataplane(t, userspace.Config{Drain: time.Hour})
	b := proxytest.NewServer(t, "tcp", "b", loopback(2)(1))
	vip := proxytest.FreePort(t, loopback(1)(1))
	require.NoError(t, dp.Apply(t.Context(), web(vip, b.Addr)))
	conn, err := proxytest.Dial(vip)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }()
	for i := range 200 {
		tbl := web(vip, b.Addr)
		if i%2 == 0 {
			tbl = web(vip)
		}
		require.NoError(t, dp.Apply(t.Context(), tbl))
		require.Equal(t, []string{"tcp/" + vip.String()}, dp.Listening())
		raw, err := net.Dial("tcp", vip.String()) // reset or served, but never refused
		require.NotErrorIs(t, err, syscall.ECONNREFUSED)
		if err == nil {
			require.NoError(t, raw.Close())
		}
	}
	got, err := conn.Ask("through it all")
	require.NoError(t, err)
	require.Equal(t, "through it all", got)
}

func TestDrainEndsConnectionsOfARemovedBackend(t *testing.T) {
	dp := dataplane(t, userspace.Config{Drain: time.Millisecond})
	b := proxytest.NewServer(t, "tcp", "b", loopback(2)(1))
	vip := proxytest.FreePort(t, loopback(1)(1))
	require.NoError(t, dp.Apply(t.Context(), web(vip, b.Addr)))
	conn, err := proxytest.Dial(vip)
	require.NoError(t, err)
	require.NoError(t, dp.Apply(t.Context(), web(vip)))
	_, err = conn.Line()
	require.Error(t, err)
	require.False(t, errors.Is(err, io.EOF), "cut off, not ended in order: %v", err)
	require.NoError(t, conn.Close())
}

func TestCloseEndsConnections(t *testing.T) {
	dp := dataplane(t, userspace.Config{})
	b := proxytest.NewServer(t, "tcp", "b", loopback(2)(1))
	vip := proxytest.FreePort(t, loopback(1)(1))
	require.NoError(t, dp.Apply(t.Context(), web(vip, b.Addr)))
	conn, err := proxytest.Dial(vip)
	require.NoError(t, err)
	require.NoError(t, dp.Close())
	_, err = conn.Line()
	require.Error(t, err)
	require.NoError(t, conn.Close())
	require.ErrorIs(t, dp.Apply(t.Context(), web(vip)), userspace.ErrClosed)
	require.Empty(t, dp.Listening())
	require.NoError(t, dp.Close(), "a second time")
}

func TestResetIsPassedOn(t *testing.T) {
	dp := dataplane(t, userspace.Config{})
	ln, err := net.Listen("tcp", netip.AddrPortFrom(loopback(2)(1), 0).String())
	require.NoError(t, err)
	defer func() { _ = ln.Close() }()
	vip := proxytest.FreePort(t, loopback(1)(1))
	require.NoError(t, dp.Apply(t.Context(), web(vip, ln.Addr().(*net.TCPAddr).AddrPort())))
	client, err := net.Dial("tcp", vip.String())
	require.NoError(t, err)
	defer func() { _ = client.Close() }()
	backend, err := ln.Accept()
	require.NoError(t, err)
	require.NoError(t, backend.(*net.TCPConn).SetLinger(0))
	require.NoError(t, backend.Close())
	_, err = client.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, io.EOF)
}

func TestConnectionsAreBounded(t *testing.T) {
	dp := dataplane(t, userspace.Config{MaxConnections: 2})
	b := proxytest.NewServer(t, "tcp", "b", loopback(2)(1))
	vip := proxytest.FreePort(t, loopback(1)(1))
	require.NoError(t, dp.Apply(t.Context(), web(vip, b.Addr)))
	first, err := proxytest.Dial(vip)
	require.NoError(t, err)
	second, err := proxytest.Dial(vip)
	require.NoError(t, err)
	third := make(chan error, 1)
	go func() { // waits in the kernel's queue
		c, err := proxytest.Dial(vip)
		if err == nil {
			err = c.Close()
		}
		third <- err
	}()
	_, err = second.Ask("the two that are open go on")
	require.NoError(t, err)
	require.Equal(t, 2, b.Accepted())
	require.NoError(t, first.Close())
	require.NoError(t, <-third)
	require.NoError(t, second.Close())
}

func TestUDPSessions(t *testing.T) {
	dp := dataplane(t, userspace.Config{MaxSessions: 2})
	b1 := proxytest.NewServer(t, "udp", "b1", loopback(2)(1))
	b2 := proxytest.NewServer(t, "udp", "b2", loopback(2)(2))
	vip := proxytest.FreePort(t, loopback(1)(1))
	rule := proxytest.RuleFor("dns", corev1.ProtocolUDP, vip, b1.Addr)
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{rule}}))
	c := proxytest.DialUDP(t, vip)
	for range 3 {
		got, err := c.Ask("same client")
		require.NoError(t, err)
		require.Equal(t, "b1 same client", got)
	}
	rule = proxytest.RuleFor("dns", corev1.ProtocolUDP, vip, b2.Addr)
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{rule}}))
	got, err := c.Ask("moved")
	require.NoError(t, err)
	require.Equal(t, "b2 moved", got, "its session went with its backend")

	// The bound holds: of many clients two are served, and the dataplane goes on.
	_, err = proxytest.DialUDP(t, vip).Ask("second")
	require.NoError(t, err)
	flood := proxytest.DialUDP(t, vip)
	for range 100 {
		_, err := flood.Write([]byte("flood"))
		require.NoError(t, err)
	}
	_, err = c.Ask("still served")
	require.NoError(t, err)
}

func TestUDPSessionEndsWhenIdle(t *testing.T) {
	dp := dataplane(t, userspace.Config{MaxSessions: 1, IdleUDP: time.Millisecond})
	b := proxytest.NewServer(t, "udp", "b", loopback(2)(1))
	vip := proxytest.FreePort(t, loopback(1)(1))
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{proxytest.RuleFor("dns", corev1.ProtocolUDP, vip, b.Addr)}}))
	for i := range 5 { // with room for one session, each new client needs that the last one's ended
		_, err := proxytest.DialUDP(t, vip).Ask(fmt.Sprint(i))
		require.NoError(t, err)
	}
}

func TestRandomBalance(t *testing.T) {
	dp := dataplane(t, userspace.Config{Balance: userspace.Random})
	b1 := proxytest.NewServer(t, "tcp", "b1", loopback(2)(1))
	b2 := proxytest.NewServer(t, "tcp", "b2", loopback(2)(2))
	vip := proxytest.FreePort(t, loopback(1)(1))
	require.NoError(t, dp.Apply(t.Context(), web(vip, b1.Addr, b2.Addr)))
	seen := map[string]int{}
	for len(seen) < 2 {
		name, err := proxytest.Which(vip)
		require.NoError(t, err)
		seen[name]++
	}
}

func TestAffinityExpires(t *testing.T) {
	dp := dataplane(t, userspace.Config{})
	b1 := proxytest.NewServer(t, "tcp", "b1", loopback(2)(1))
	b2 := proxytest.NewServer(t, "tcp", "b2", loopback(2)(2))
	vip := proxytest.FreePort(t, loopback(1)(1))
	rule := proxytest.RuleFor("web", corev1.ProtocolTCP, vip, b1.Addr, b2.Addr)
	rule.Affinity = time.Nanosecond
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{rule}}))
	var names []string
	for range 4 {
		name, err := proxytest.Which(vip)
		require.NoError(t, err)
		names = append(names, name)
	}
	slices.Sort(names)
	require.Equal(t, []string{"b1", "b1", "b2", "b2"}, names)
}

func BenchmarkConnection(b *testing.B) {
	dp := dataplane(b, userspace.Config{})
	s := proxytest.NewServer(b, "tcp", "b", loopback(2)(1))
	vip := proxytest.FreePort(b, loopback(1)(1))
	require.NoError(b, dp.Apply(b.Context(), web(vip, s.Addr)))
	for b.Loop() {
		if err := request(vip); err != nil {
			b.Fatal(err)
		}
	}
}
