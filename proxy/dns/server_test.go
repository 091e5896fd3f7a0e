package dns_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/proxy/dns"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func filled() *proxytest.Cluster {
	c := proxytest.NewCluster()
	services, slices := cluster()
	for _, s := range services {
		proxytest.Set(c, kind.Service, s)
	}
	for _, s := range slices {
		proxytest.Set(c, kind.EndpointSlice, s)
	}
	return c
}

// start runs a server until the test ends.
func start(t testing.TB, c *proxytest.Cluster, cfg dns.Config) (*dns.Server, string) {
	t.Helper()
	s, err := dns.New(c, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	addr, err := s.Addr(t.Context())
	require.NoError(t, err)
	<-s.Synced()
	return s, addr.String()
}

func query(name string, qtype uint16) *mdns.Msg {
	return new(mdns.Msg).SetQuestion(name, qtype)
}

func TestServerAnswersOverBothTransports(t *testing.T) {
	_, addr := start(t, filled(), dns.Config{})
	for _, network := range []string{"udp", "tcp"} {
		c := mdns.Client{Net: network}
		q := query("web.default.svc.cluster.local.", mdns.TypeA)
		resp, _, err := c.Exchange(q, addr)
		require.NoError(t, err)
		require.Equal(t, q.Id, resp.Id)
		require.True(t, resp.Authoritative)
		require.False(t, resp.RecursionAvailable)
		require.Equal(t, "10.96.0.10", resp.Answer[0].(*mdns.A).A.String())
		resp, _, err = c.Exchange(query("example.com.", mdns.TypeA), addr)
		require.NoError(t, err)
		require.Equal(t, mdns.RcodeRefused, resp.Rcode)
	}
}

// Go's own resolver is a real client.
func TestGoResolver(t *testing.T) {
	_, addr := start(t, filled(), dns.Config{})
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}}
	ips, err := r.LookupHost(t.Context(), "db.default.svc.cluster.local.")
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"10.0.0.2", "10.0.0.3", "fd00::3"}, ips)
	_, srvs, err := r.LookupSRV(t.Context(), "http", "tcp", "web.default.svc.cluster.local.")
	require.NoError(t, err)
	require.Equal(t, uint16(80), srvs[0].Port)
	names, err := r.LookupAddr(t.Context(), "10.96.0.10")
	require.NoError(t, err)
	require.Equal(t, []string{"web.default.svc.cluster.local."}, names)
	_, err = r.LookupHost(t.Context(), "gone.default.svc.cluster.local.")
	var dnsErr *net.DNSError
	require.ErrorAs(t, err, &dnsErr)
	require.True(t, dnsErr.IsNotFound)
}

func TestChangesAreAnswered(t *testing.T) {
	c := filled()
	s, addr := start(t, c, dns.Config{})
	proxytest.Set(c, kind.Service, proxytest.Service("late", "10.96.0.99", nil))
	exists := func(want bool) func(*dns.Records) bool {
		return func(r *dns.Records) bool {
			msg, _ := r.Answer(mdns.Question{Name: "late.default.svc.cluster.local.", Qtype: mdns.TypeA, Qclass: mdns.ClassINET})
			return (msg.Rcode == mdns.RcodeSuccess) == want
		}
	}
	require.NoError(t, s.WaitFor(t.Context(), exists(true)))
	resp, err := mdns.Exchange(query("late.default.svc.cluster.local.", mdns.TypeA), addr)
	require.NoError(t, err)
	require.Len(t, resp.Answer, 1)
	proxytest.Remove(c, kind.Service, "default", "late")
	require.NoError(t, s.WaitFor(t.Context(), exists(false)))
}

func TestTruncation(t *testing.T) {
	c := proxytest.NewCluster()
	proxytest.Set(c, kind.Service, proxytest.Service("big", "None", []string{"p:1"}))
	var endpoints []string
	for i := range 200 {
		endpoints = append(endpoints, fmt.Sprintf("10.1.0.%d", i))
	}
	proxytest.Set(c, kind.EndpointSlice, proxytest.Slice("big", "a", []string{"p:1"}, endpoints))
	s, addr := start(t, c, dns.Config{})
	q := query("big.default.svc.cluster.local.", mdns.TypeA)
	for _, size := range []uint16{0, 600, 4096} {
		m := q.Copy()
		limit := 512
		if size > 0 {
			m.SetEdns0(size, false)
			limit = min(int(size), 1232)
		}
		resp := s.Respond(t.Context(), m, true)
		require.True(t, resp.Truncated)
		packed, err := resp.Pack()
		require.NoError(t, err)
		require.LessOrEqual(t, len(packed), limit)
		require.Equal(t, size > 0, resp.IsEdns0() != nil)
	}
	client := mdns.Client{Net: "tcp"}
	resp, _, err := client.Exchange(q, addr)
	require.NoError(t, err)
	require.False(t, resp.Truncated)
	require.Len(t, resp.Answer, 200)
}

func TestForwarding(t *testing.T) {
	up := proxytest.NewCluster()
	proxytest.Set(up, kind.Service, proxytest.Service("far", "192.0.2.7", nil))
	_, upstream := start(t, up, dns.Config{Domain: "up.example"})
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	deadAddr := dead.LocalAddr().String()
	require.NoError(t, dead.Close())

	_, addr := start(t, filled(), dns.Config{Upstreams: []string{deadAddr, upstream}})
	resp, err := mdns.Exchange(query("far.default.svc.up.example.", mdns.TypeA), addr)
	require.NoError(t, err)
	require.Equal(t, "192.0.2.7", resp.Answer[0].(*mdns.A).A.String())
	resp, err = mdns.Exchange(query("web.default.svc.cluster.local.", mdns.TypeA), addr)
	require.NoError(t, err)
	require.True(t, resp.RecursionAvailable)

	_, addr = start(t, filled(), dns.Config{Upstreams: []string{deadAddr}})
	resp, err = mdns.Exchange(query("example.com.", mdns.TypeA), addr)
	require.NoError(t, err)
	require.Equal(t, mdns.RcodeServerFailure, resp.Rcode)
}

func TestOddMessages(t *testing.T) {
	s, _ := start(t, filled(), dns.Config{})
	for name, c := range map[string]struct {
		change func(*mdns.Msg)
		rcode  int
	}{
		"update":       {func(m *mdns.Msg) { m.Opcode = mdns.OpcodeUpdate }, mdns.RcodeNotImplemented},
		"no question":  {func(m *mdns.Msg) { m.Question = nil }, mdns.RcodeFormatError},
		"two":          {func(m *mdns.Msg) { m.Question = append(m.Question, m.Question[0]) }, mdns.RcodeFormatError},
		"chaos":        {func(m *mdns.Msg) { m.Question[0].Qclass = mdns.ClassCHAOS }, mdns.RcodeRefused},
		"transfer":     {func(m *mdns.Msg) { m.Question[0].Qtype = mdns.TypeAXFR }, mdns.RcodeRefused},
		"edns version": {func(m *mdns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }, mdns.RcodeBadVers},
	} {
		q := query("web.default.svc.cluster.local.", mdns.TypeA)
		c.change(q)
		resp := s.Respond(t.Context(), q, true)
		require.Equal(t, c.rcode, resp.Rcode, name)
	}
	q := query("web.default.svc.cluster.local.", mdns.TypeA)
	q.Response = true
	require.Nil(t, s.Respond(t.Context(), q, true))
}

func TestBeforeTheFirstSnapshot(t *testing.T) {
	s, err := dns.New(filled(), dns.Config{})
	require.NoError(t, err)
	resp := s.Respond(t.Context(), query("web.default.svc.cluster.local.", mdns.TypeA), true)
	require.Equal(t, mdns.RcodeServerFailure, resp.Rcode, "not NXDOMAIN, which would be remembered")
}

func TestConfigIsChecked(t *testing.T) {
	for want, cfg := range map[string]dns.Config{
		"dns.Config.Addr":      {Addr: "localhost"},
		"dns.Config.Upstreams": {Upstreams: []string{"192.0.2.1"}},
		"dns.Config.Domain":    {Domain: "a..b"},
		"UpstreamTimeout":      {UpstreamTimeout: -1},
	} {
		_, err := dns.New(filled(), cfg)
		require.ErrorContains(t, err, want)
	}
	_, err := dns.New(nil, dns.Config{})
	require.Error(t, err)
}

func TestTakenAddress(t *testing.T) {
	_, addr := start(t, filled(), dns.Config{})
	s, err := dns.New(filled(), dns.Config{Addr: addr})
	require.NoError(t, err)
	require.ErrorContains(t, s.Run(t.Context()), addr)
	require.ErrorIs(t, s.Run(t.Context()), dns.ErrAlreadyRun)
}

func FuzzRespond(f *testing.F) {
	s, _ := start(f, filled(), dns.Config{})
	for _, q := range []*mdns.Msg{query("web.default.svc.cluster.local.", mdns.TypeA), query("10.0.96.10.in-addr.arpa.", mdns.TypePTR), query("1-2-3-4.a.pod.cluster.local.", mdns.TypeANY)} {
		q.SetEdns0(1232, true)
		packed, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		q := new(mdns.Msg)
		if q.Unpack(data) != nil {
			return
		}
		resp := s.Respond(t.Context(), q, true)
		if resp == nil {
			return
		}
		packed, err := resp.Pack()
		require.NoError(t, err)
		require.LessOrEqual(t, len(packed), 1232)
		require.Equal(t, q.Id, resp.Id)
		require.True(t, resp.Response)
	})
}

func ExampleServer() {
	c := proxytest.NewCluster()
	proxytest.Set(c, kind.Service, proxytest.Service("web", "10.96.0.10", []string{"http:80"}))
	s, err := dns.New(c, dns.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	addr, _ := s.Addr(ctx)
	<-s.Synced()
	resp, err := mdns.Exchange(new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA), addr.String())
	fmt.Println(resp.Answer[0].(*mdns.A).A, err)
	cancel()
	fmt.Println(<-done)
	// Output:
	// 10.96.0.10 <nil>
	// <nil>
}
