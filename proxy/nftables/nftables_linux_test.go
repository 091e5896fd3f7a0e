package nftables_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/knftables"

	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/nftables"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

func loopback(block byte) func(int) netip.Addr {
	return func(n int) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, block, byte(n)}) }
}

// The real thing: the suite through the kernel, in a network namespace.
func TestSuite(t *testing.T) {
	proxytest.InNamespace(t, func(t *testing.T) {
		if _, err := nftables.New(nftables.Config{}); err != nil {
			t.Skipf("skipped: %v", err)
		}
		many := 100
		if proxytest.InUserNamespace() {
			many = 10
		}
		proxytest.Run(t, proxytest.Harness{
			Many: many,
			New: func(t *testing.T) proxy.Dataplane {
				dp, err := nftables.New(nftables.Config{})
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

// The kernel takes all that render writes: both families, affinity, masquerading; and the steps from any to any.
func TestTheKernelTakesIt(t *testing.T) {
	proxytest.InNamespace(t, func(t *testing.T) {
		dp, err := nftables.New(nftables.Config{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}})
		if err != nil {
			t.Skipf("skipped: %v", err)
		}
		less := sample()
		less.Rules[3].Internal, less.Rules[2].Affinity = less.Rules[3].Internal[1:], time.Hour
		for _, tbl := range []proxy.Table{sample(), less, {}, sample(), {Rules: sample().Rules[1:3]}} {
			require.NoError(t, dp.Apply(t.Context(), tbl))
		}
		require.NoError(t, dp.Remove(t.Context()))
		require.NoError(t, dp.Apply(t.Context(), sample()))
		require.NoError(t, dp.Close())
	})
}

func fake(t testing.TB) (*nftables.Dataplane, *knftables.Fake) {
	t.Helper()
	nft := knftables.NewFake(knftables.InetFamily, "keelson")
	dp, err := nftables.New(nftables.Config{NFT: nft, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}})
	require.NoError(t, err)
	return dp, nft
}

func sample() proxy.Table {
	at := netip.MustParseAddrPort
	web := proxytest.RuleFor("web", corev1.ProtocolTCP, at("10.96.0.1:80"), at("10.0.0.1:8080"), at("10.0.0.2:8080"))
	web.ExternalIPs, web.NodePort, web.External = []netip.AddrPort{at("192.0.2.1:80")}, 30080, web.Internal[:1]
	sticky := proxytest.RuleFor("sticky", corev1.ProtocolUDP, at("10.96.0.2:53"), at("10.0.0.3:53"))
	sticky.Affinity = 3 * time.Hour
	six := proxytest.RuleFor("six", corev1.ProtocolTCP, at("[fd00::1]:80"), at("[fd00::a]:80"))
	none := proxytest.RuleFor("none", corev1.ProtocolTCP, at("10.96.0.9:80"))
	return proxy.Table{Rules: []proxy.Rule{none, six, sticky, web}}
}

func TestRuleset(t *testing.T) {
	dp, nft := fake(t)
	require.NoError(t, dp.Apply(t.Context(), sample()))
	golden := filepath.Join("testdata", "ruleset.nft")
	if os.Getenv("UPDATE_TESTDATA") != "" {
		require.NoError(t, os.WriteFile(golden, []byte(nft.Dump()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), nft.Dump(), "set UPDATE_TESTDATA=1 to write what is")
}

func TestOnlyTheDifferenceIsWritten(t *testing.T) {
	dp, nft := fake(t)
	tbl := sample()
	require.NoError(t, dp.Apply(t.Context(), tbl))
	first := nft.LastTransaction
	require.NoError(t, dp.Apply(t.Context(), tbl))
	require.Same(t, first, nft.LastTransaction, "nothing changed, nothing was run")

	smaller := proxy.Table{Rules: append([]proxy.Rule(nil), tbl.Rules...)}
	smaller.Rules[3].Internal = smaller.Rules[3].Internal[:1]
	require.NoError(t, dp.Apply(t.Context(), smaller))
	for _, line := range strings.Split(strings.TrimSpace(nft.LastTransaction.String()), "\n") {
		require.NotContains(t, line, "10.96.0.2", "another Service's")
		require.NotContains(t, line, "add table")
	}
	incremental := nft.Dump()
	whole, other := fake(t)
	require.NoError(t, whole.Apply(t.Context(), smaller))
	require.Equal(t, other.Dump(), incremental, "steps lead where one step leads")

	require.NoError(t, dp.Apply(t.Context(), proxy.Table{}))
	whole, other = fake(t)
	require.NoError(t, whole.Apply(t.Context(), proxy.Table{}))
	require.Equal(t, other.Dump(), nft.Dump(), "and nothing is left behind")
	require.NoError(t, dp.Remove(t.Context()))
	require.Nil(t, nft.Table)
	require.NoError(t, dp.Remove(t.Context()))
}

func TestForeignChangesAreRepaired(t *testing.T) {
	dp, nft := fake(t)
	require.NoError(t, dp.Apply(t.Context(), sample()))
	want := nft.Dump()
	tx := nft.NewTransaction()
	tx.Delete(&knftables.Table{})
	require.NoError(t, nft.Run(t.Context(), tx))
	tbl := sample()
	tbl.Rules[3].Internal = tbl.Rules[3].Internal[:1]
	require.NoError(t, dp.Apply(t.Context(), tbl))
	require.NoError(t, dp.Apply(t.Context(), sample()))
	require.Equal(t, want, nft.Dump())
}

// broken refuses every transaction.
type broken struct{ knftables.Interface }

func (broken) Run(context.Context, *knftables.Transaction) error { return errors.New("no such device") }

func TestErrors(t *testing.T) {
	dp, err := nftables.New(nftables.Config{NFT: broken{knftables.NewFake(knftables.InetFamily, "keelson")}})
	require.NoError(t, err)
	rules, rest := proxy.RuleErrors(dp.Apply(t.Context(), sample()))
	require.ErrorContains(t, rest, "no such device")
	require.Empty(t, rules)

	dp, _ = fake(t)
	tbl := sample()
	tbl.Rules[0].Protocol = "ICMP"
	rules, rest = proxy.RuleErrors(dp.Apply(t.Context(), tbl))
	require.NoError(t, rest)
	require.Len(t, rules, 1)
	require.ErrorContains(t, rules[0], `protocol "ICMP"`)

	_, err = nftables.New(nftables.Config{PodCIDRs: []netip.Prefix{{}}})
	require.ErrorContains(t, err, "PodCIDRs")
}

func Example() {
	nft := knftables.NewFake(knftables.InetFamily, "keelson") // leave it out to use the kernel's
	dp, err := nftables.New(nftables.Config{NFT: nft})
	if err != nil {
		fmt.Println(err)
		return
	}
	at := netip.MustParseAddrPort
	err = dp.Apply(context.Background(), proxy.Table{Rules: []proxy.Rule{
		proxytest.RuleFor("web", corev1.ProtocolTCP, at("10.96.0.1:80"), at("10.0.0.1:8080")),
	}})
	elements, _ := nft.ListElements(context.Background(), "map", "services4")
	fmt.Println(elements[0].Key, err)
	// Output: [10.96.0.1 tcp 80] <nil>
}
