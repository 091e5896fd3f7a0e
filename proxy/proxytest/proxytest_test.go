package proxytest_test

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeAffinityExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		at := netip.MustParseAddrPort
		rule := proxytest.RuleFor("web", corev1.ProtocolTCP, at("10.96.0.1:80"), at("10.0.0.1:80"), at("10.0.0.2:80"))
		rule.Affinity = time.Minute
		var f proxytest.Fake
		require.NoError(t, f.Apply(t.Context(), proxy.Table{Rules: []proxy.Rule{rule}}))
		from := netip.MustParseAddr("10.1.1.1")
		connect := func() netip.AddrPort {
			b, err := f.Connect(corev1.ProtocolTCP, from, at("10.96.0.1:80"))
			require.NoError(t, err)
			return b
		}
		first := connect()
		time.Sleep(59 * time.Second)
		require.Equal(t, first, connect())
		time.Sleep(61 * time.Second)
		require.NotEqual(t, first, connect(), "the turn of the other")
		_, err := f.ConnectNode(corev1.ProtocolTCP, from, 30000)
		require.ErrorIs(t, err, proxytest.ErrRefused)
		require.NoError(t, f.Close())
		require.Error(t, f.Apply(t.Context(), proxy.Table{}))
	})
}

func TestClusterStreamsChanges(t *testing.T) {
	c := proxytest.NewCluster()
	proxytest.Set(c, kind.Service, proxytest.Service("a", "10.96.0.1", nil))
	view, err := c.View(t.Context(), &client.Request{Verb: client.List, Kind: kind.Service.Kind()})
	require.NoError(t, err)
	require.Len(t, view.Items, 1)
	proxytest.Set(c, kind.EndpointSlice, proxytest.Slice("a", "x", nil, nil))
	proxytest.Set(c, kind.Service, proxytest.Service("a", "10.96.0.2", nil))
	proxytest.Remove(c, kind.Service, "default", "a")
	for _, want := range []client.EventType{client.Modified, client.Deleted} {
		e, err := view.Watcher.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, e.Type)
		require.Greater(t, e.Revision, view.Revision)
	}
	require.NoError(t, view.Watcher.Close())
	_, err = view.Watcher.Next(t.Context())
	require.ErrorIs(t, err, io.EOF)
}

func ExampleFake() {
	at := netip.MustParseAddrPort
	var f proxytest.Fake
	err := f.Apply(context.Background(), proxy.Table{Rules: []proxy.Rule{
		proxytest.RuleFor("web", corev1.ProtocolTCP, at("10.96.0.1:80"), at("10.0.0.1:8080")),
	}})
	fmt.Println(err)
	fmt.Println(f.Connect(corev1.ProtocolTCP, netip.MustParseAddr("10.1.1.1"), at("10.96.0.1:80")))
	// Output:
	// <nil>
	// 10.0.0.1:8080 <nil>
}

func ExampleCluster() {
	c := proxytest.NewCluster()
	proxytest.Set(c, kind.Service, proxytest.Service("web", "10.96.0.1", []string{"http:80"}))
	svc, err := client.For(c, kind.Service).Get(context.Background(), "default", "web")
	fmt.Println(svc.Spec.ClusterIP, err)
	// Output: 10.96.0.1 <nil>
}
