package iptables_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/iptables"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

func loopback(block byte) func(int) netip.Addr {
	return func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 78, block, byte(n)}) }
}

// The real thing: the suite through the kernel, in a network namespace.
func TestSuite(t *testing.T) {
	proxytest.InNamespace(t, func(t *testing.T) {
		if _, err := iptables.New(iptables.Config{}); err != nil {
			t.Skipf("skipped: %v", err)
		}
		many := 100
		if proxytest.InUserNamespace() {
			many = 10
		}
		proxytest.Run(t, proxytest.Harness{
			Many: many,
			New: func(t *testing.T) proxy.Dataplane {
				dp, err := iptables.New(iptables.Config{})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, dp.Remove(context.Background())) })
				return dp
			},
			VIP:     loopback(1),
			Backend: loopback(2),
			Node:    netip.AddrFrom4([4]byte{127, 0, 0, 1}),
		})
	})
}

// The programs take all that render writes, in both families, and leave nothing behind.
func TestTheKernelTakesIt(t *testing.T) {
	proxytest.InNamespace(t, func(t *testing.T) {
		dp, err := iptables.New(iptables.Config{})
		if err != nil {
			t.Skipf("skipped: %v", err)
		}
		at := netip.MustParseAddrPort
		six := sample()
		six.Rules = append(six.Rules, proxytest.RuleFor("six", corev1.ProtocolTCP, at("[fd00::1]:80"), at("[fd00::a]:80"), at("[fd00::b]:80")), proxytest.RuleFor("six-none", corev1.ProtocolUDP, at("[fd00::2]:80")))
		for _, tbl := range []proxy.Table{sample(), six, {}, six} {
			require.NoError(t, dp.Apply(t.Context(), tbl))
		}
		require.NoError(t, dp.Remove(t.Context()))
		require.NoError(t, dp.Close())
	})
}

// memory is Tables that keeps chains and the last text.
type memory struct {
	texts []string
	nat   []string
	jumps []string
	fail  error
}

func (m *memory) Chains(table string) ([]string, error) {
	if table != "nat" {
		return []string{"INPUT", "KLN-REJECT"}, nil
	}
	return append([]string{"PREROUTING"}, m.nat...), nil
}

func (m *memory) Restore(_ context.Context, text string) error {
	if m.fail != nil {
		return m.fail
	}
	m.texts = append(m.texts, text)
	nat, _, _ := strings.Cut(text, "COMMIT")
	for _, line := range strings.Split(nat, "\n") {
		if rest, ok := strings.CutPrefix(line, ":"); ok {
			name, _, _ := strings.Cut(rest, " ")
			if !slices.Contains(m.nat, name) {
				m.nat = append(m.nat, name)
			}
		}
		if name, ok := strings.CutPrefix(line, "-X "); ok {
			m.nat = slices.DeleteFunc(m.nat, func(c string) bool { return c == name })
		}
	}
	return nil
}

func (m *memory) EnsureFirst(table, chain, to string) error {
	m.jumps = append(m.jumps, table+"/"+chain+" "+to)
	return nil
}

func (m *memory) Forget(table, chain, to string) error {
	m.jumps = slices.DeleteFunc(m.jumps, func(j string) bool { return j == table+"/"+chain+" "+to })
	return nil
}

func inMemory(t testing.TB) (*iptables.Dataplane, *memory, *memory) {
	t.Helper()
	four, six := &memory{}, &memory{}
	dp, err := iptables.New(iptables.Config{Tables: func(v6 bool) (iptables.Tables, error) {
		if v6 {
			return six, nil
		}
		return four, nil
	}})
	require.NoError(t, err)
	return dp, four, six
}

func sample() proxy.Table {
	at := netip.MustParseAddrPort
	web := proxytest.RuleFor("web", corev1.ProtocolTCP, at("10.96.0.1:80"), at("10.0.0.1:8080"), at("10.0.0.2:8080"))
	web.ExternalIPs, web.NodePort, web.External = []netip.AddrPort{at("192.0.2.1:80")}, 30080, web.Internal[:1]
	sticky := proxytest.RuleFor("sticky", corev1.ProtocolUDP, at("10.96.0.2:53"), at("10.0.0.3:53"))
	sticky.Affinity = 3 * time.Hour
	none := proxytest.RuleFor("none", corev1.ProtocolTCP, at("10.96.0.9:80"))
	none.NodePort = 30090
	return proxy.Table{Rules: []proxy.Rule{none, sticky, web}}
}

func TestText(t *testing.T) {
	dp, four, six := inMemory(t)
	require.NoError(t, dp.Apply(t.Context(), sample()))
	golden := filepath.Join("testdata", "restore.txt")
	if os.Getenv("UPDATE_TESTDATA") != "" {
		require.NoError(t, os.WriteFile(golden, []byte(four.texts[0]), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), four.texts[0], "set UPDATE_TESTDATA=1 to write what is")
	require.Empty(t, six.texts, "IPv6 is not touched without need")
	require.Len(t, four.jumps, 6)

	require.NoError(t, dp.Apply(t.Context(), sample()))
	require.Len(t, four.texts, 1, "nothing changed, nothing was run")
	require.NoError(t, dp.Apply(t.Context(), proxy.Table{}))
	require.ElementsMatch(t, []string{"KLN-SERVICES", "KLN-NODEPORTS", "KLN-MARK", "KLN-POSTROUTING"}, four.nat, "stale chains are gone")
	require.NoError(t, dp.Remove(t.Context()))
	require.Empty(t, four.nat)
	require.Empty(t, four.jumps)
}

func TestAnAgentFindsWhatTheLastOneLeft(t *testing.T) {
	_, four, _ := inMemory(t)
	four.nat = []string{"KLN-SVC-OLD", "OTHER"}
	dp, err := iptables.New(iptables.Config{Tables: func(bool) (iptables.Tables, error) { return four, nil }})
	require.NoError(t, err)
	require.NoError(t, dp.Apply(t.Context(), sample()))
	require.NotContains(t, four.nat, "KLN-SVC-OLD")
	require.Contains(t, four.nat, "OTHER")
}

func TestErrors(t *testing.T) {
	dp, four, _ := inMemory(t)
	four.fail = errors.New("resource problem")
	_, rest := proxy.RuleErrors(dp.Apply(t.Context(), sample()))
	require.ErrorContains(t, rest, "resource problem")
	four.fail = nil
	tbl := sample()
	tbl.Rules[0].Protocol = "ICMP"
	rules, rest := proxy.RuleErrors(dp.Apply(t.Context(), tbl))
	require.NoError(t, rest)
	require.Len(t, rules, 1)
	require.Len(t, four.texts, 1, "the others are served")

	_, err := iptables.New(iptables.Config{Tables: func(bool) (iptables.Tables, error) { return nil, errors.New("not found") }})
	require.ErrorIs(t, err, iptables.ErrUnsupported)

	noSix, err := iptables.New(iptables.Config{Tables: func(v6 bool) (iptables.Tables, error) {
		if v6 {
			return nil, errors.New("no ip6tables")
		}
		return four, nil
	}})
	require.NoError(t, err)
	at := netip.MustParseAddrPort
	rules, rest = proxy.RuleErrors(noSix.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{proxytest.RuleFor("six", corev1.ProtocolTCP, at("[fd00::1]:80"), at("[fd00::a]:80"))}}))
	require.NoError(t, rest)
	require.Len(t, rules, 1)
}

func Example() {
	tables := &memory{} // leave it out to use the iptables programs
	dp, err := iptables.New(iptables.Config{Tables: func(bool) (iptables.Tables, error) { return tables, nil }})
	if err != nil {
		fmt.Println(err)
		return
	}
	at := netip.MustParseAddrPort
	err = dp.Apply(context.Background(), proxy.Table{Rules: []proxy.Rule{
		proxytest.RuleFor("web", corev1.ProtocolTCP, at("10.96.0.1:80"), at("10.0.0.1:8080")),
	}})
	for _, line := range strings.Split(tables.texts[0], "\n") {
		if strings.Contains(line, "DNAT") {
			_, rule, _ := strings.Cut(line, " -p ")
			fmt.Println(rule, err)
		}
	}
	// Output: tcp -m tcp -j DNAT --to-destination 10.0.0.1:8080 <nil>
}
