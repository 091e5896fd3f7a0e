package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a proxy inside a bubble; the function returned ends it.
func start(t *testing.T, c client.Client, dp proxy.Dataplane, cfg proxy.Config) (*proxy.Proxy, func()) {
	t.Helper()
	p, err := proxy.New(c, dp, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	return p, func() {
		cancel()
		require.NoError(t, <-done)
		require.ErrorIs(t, p.Run(ctx), proxy.ErrAlreadyRun)
	}
}

func TestProxyFollowsTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dp := proxytest.NewCluster(), &proxytest.Fake{}
		proxytest.Set(c, kind.Service, proxytest.Service("web", "10.96.0.1", []string{"http:80"}))
		p, stop := start(t, c, dp, proxy.Config{NodeName: "a"})
		defer stop()
		<-p.Synced()
		vip, from := netip.MustParseAddrPort("10.96.0.1:80"), netip.MustParseAddr("10.1.1.1")
		_, err := dp.Connect(corev1.ProtocolTCP, from, vip)
		require.ErrorIs(t, err, proxytest.ErrRefused)

		revision := proxytest.Set(c, kind.EndpointSlice, proxytest.Slice("web", "a", []string{"http:8080"}, []string{"10.0.0.1"}))
		require.NoError(t, p.WaitFor(t.Context(), func(tbl proxy.Table) bool { return len(tbl.Rules) == 1 && len(tbl.Rules[0].Internal) == 1 }))
		b, err := dp.Connect(corev1.ProtocolTCP, from, vip)
		require.NoError(t, err)
		require.Equal(t, "10.0.0.1:8080", b.String())

		proxytest.Set(c, kind.Service, proxytest.Service("zz", "10.96.0.2", []string{"http:80"}))
		time.Sleep(time.Second)
		require.GreaterOrEqual(t, p.Revision(), revision)

		// A slice that changes hands leaves the one Service and comes to the other.
		moved := proxytest.Slice("web", "a", []string{"http:8080"}, []string{"10.0.0.1"})
		moved.Labels[discoveryv1.LabelServiceName] = "zz"
		proxytest.Set(c, kind.EndpointSlice, moved)
		time.Sleep(time.Second)
		require.Equal(t, "default/web:http TCP cluster 10.96.0.1:80 -> none\ndefault/zz:http TCP cluster 10.96.0.2:80 -> 10.0.0.1:8080\n", dp.Table().String())

		proxytest.Remove(c, kind.Service, "default", "web")
		proxytest.Remove(c, kind.EndpointSlice, "default", "web-a")
		time.Sleep(time.Second)
		require.Equal(t, "default/zz:http TCP cluster 10.96.0.2:80 -> none\n", dp.Table().String())
		require.True(t, p.Table().Equal(dp.Table()))
	})
}

func TestBurstsAreAppliedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dp := proxytest.NewCluster(), &proxytest.Fake{}
		p, stop := start(t, c, dp, proxy.Config{MinSyncPeriod: time.Second})
		defer stop()
		<-p.Synced()
		for i := range 500 {
			proxytest.Set(c, kind.Service, proxytest.Service(fmt.Sprint("s", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250+1), []string{"http:80"}))
		}
		time.Sleep(time.Minute)
		require.Len(t, dp.Table().Rules, 500)
		require.LessOrEqual(t, len(dp.Changes()), 3, "one for the start and one or two for the burst")
		applied := len(dp.Changes())
		time.Sleep(time.Hour)
		require.Len(t, dp.Changes(), applied, "nothing happened, nothing was done")
	})
}

func TestFailedApplyIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dp := proxytest.NewCluster(), &proxytest.Fake{}
		proxytest.Set(c, kind.Service, proxytest.Service("web", "10.96.0.1", []string{"http:80"}))
		dp.FailWith(errors.New("the kernel is busy"))
		p, stop := start(t, c, dp, proxy.Config{})
		defer stop()
		time.Sleep(5 * time.Minute)
		select {
		case <-p.Synced():
			t.Fatal("synced, although nothing was applied")
		default:
		}
		require.Zero(t, p.Revision())
		dp.FailWith(nil)
		began := time.Now()
		<-p.Synced()
		require.LessOrEqual(t, time.Since(began), 30*time.Second, "the back-off is bounded")
		require.Len(t, dp.Table().Rules, 1)
	})
}

func TestFailedRulesAreReportedOnceAndRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dp := proxytest.NewCluster(), &proxytest.Fake{}
		proxytest.Set(c, kind.Service, proxytest.Service("web", "10.96.0.1", []string{"http:80"}))
		dp.FailWith(&proxy.RuleError{Rule: proxy.ServicePortName{Namespace: "default", Name: "web", Port: "http"}, Err: errors.New("port 80 is taken")})
		reports := make(chan string, 10)
		p, stop := start(t, c, dp, proxy.Config{Report: func(svc *corev1.Service, reason, message string) {
			reports <- svc.Name + " " + reason + ": " + message
		}})
		defer stop()
		<-p.Synced()
		require.Equal(t, "web FailedToServe: service port default/web:http can't be served: port 80 is taken", <-reports)
		tried := len(dp.Changes())
		time.Sleep(10 * time.Minute)
		require.Greater(t, len(dp.Changes()), tried, "it is tried again")
		require.Empty(t, reports, "but told once")
		dp.FailWith(nil)
		time.Sleep(time.Minute)
		tried = len(dp.Changes())
		time.Sleep(time.Hour)
		require.Len(t, dp.Changes(), tried)
	})
}

func TestProxyOutlivesALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, dp := proxytest.NewCluster(), &proxytest.Fake{}
		c.FailWith(func(*client.Request) error { return errors.New("connection refused") })
		p, stop := start(t, c, dp, proxy.Config{})
		defer stop()
		time.Sleep(time.Minute)
		require.Empty(t, dp.Changes(), "an empty table before the first list would cut every connection")
		c.FailWith(nil)
		<-p.Synced()
	})
}

func TestNewChecks(t *testing.T) {
	_, err := proxy.New(nil, &proxytest.Fake{}, proxy.Config{})
	require.ErrorContains(t, err, "client")
	_, err = proxy.New(proxytest.NewCluster(), nil, proxy.Config{})
	require.ErrorContains(t, err, "dataplane")
	_, err = proxy.New(proxytest.NewCluster(), &proxytest.Fake{}, proxy.Config{MinSyncPeriod: -1})
	require.ErrorContains(t, err, "MinSyncPeriod")
}

func ExampleProxy() {
	c, dp := proxytest.NewCluster(), &proxytest.Fake{}
	proxytest.Set(c, kind.Service, proxytest.Service("web", "10.96.0.1", []string{"http:80"}))
	proxytest.Set(c, kind.EndpointSlice, proxytest.Slice("web", "a", []string{"http:8080"}, []string{"10.0.0.1"}))
	p, err := proxy.New(c, dp, proxy.Config{NodeName: "node-a"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	<-p.Synced()
	fmt.Println(dp.Connect(corev1.ProtocolTCP, netip.MustParseAddr("10.1.1.1"), netip.MustParseAddrPort("10.96.0.1:80")))
	cancel()
	fmt.Println(<-done)
	// Output:
	// 10.0.0.1:8080 <nil>
	// <nil>
}
