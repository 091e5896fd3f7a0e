package proxy_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

func local(svc *corev1.Service) {
	policy := corev1.ServiceInternalTrafficPolicyLocal
	svc.Spec.InternalTrafficPolicy = &policy
}

func nodePort(n int32) func(*corev1.Service) {
	return func(svc *corev1.Service) {
		svc.Spec.Type = corev1.ServiceTypeNodePort
		svc.Spec.Ports[0].NodePort = n
	}
}

func externalLocal(svc *corev1.Service) {
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func affinity(svc *corev1.Service) { svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }

func dualStack(svc *corev1.Service) { svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, "fd00::1") }

func TestBuildTable(t *testing.T) {
	http := []string{"http:80"}
	for name, c := range map[string]struct {
		service *corev1.Service
		slices  [][]string // of endpoints
		want    string
	}{
		"ready ones": {
			proxytest.Service("web", "10.96.0.1", http), [][]string{{"10.0.0.2", "10.0.0.1", "10.0.0.3 notready"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80,10.0.0.2:80\n",
		},
		"several slices, one address twice": {
			proxytest.Service("web", "10.96.0.1", http), [][]string{{"10.0.0.1 notready"}, {"10.0.0.1", "10.0.0.2"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80,10.0.0.2:80\n",
		},
		"none": {
			proxytest.Service("web", "10.96.0.1", http), nil,
			"default/web:http TCP cluster 10.96.0.1:80 -> none\n",
		},
		"terminating ones when nothing is ready": {
			proxytest.Service("web", "10.96.0.1", http), [][]string{{"10.0.0.1 terminating", "10.0.0.2 notready"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80\n",
		},
		"no terminating ones otherwise": {
			proxytest.Service("web", "10.96.0.1", http), [][]string{{"10.0.0.1 terminating", "10.0.0.2"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.2:80\n",
		},
		"not ready but published": {
			proxytest.Service("web", "10.96.0.1", http, func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }), [][]string{{"10.0.0.1 notready"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80\n",
		},
		"internal policy local": {
			proxytest.Service("web", "10.96.0.1", http, local), [][]string{{"10.0.0.1 node=here", "10.0.0.2 node=there"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80\n",
		},
		"internal policy local without a local one": {
			proxytest.Service("web", "10.96.0.1", http, local), [][]string{{"10.0.0.2 node=there"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> none\n",
		},
		"node port": {
			proxytest.Service("web", "10.96.0.1", http, nodePort(30080)), [][]string{{"10.0.0.1 node=here", "10.0.0.2 node=there"}},
			"default/web:http TCP cluster 10.96.0.1:80 node port 30080 -> 10.0.0.1:80,10.0.0.2:80\n",
		},
		"node port, external policy local": {
			proxytest.Service("web", "10.96.0.1", http, nodePort(30080), externalLocal), [][]string{{"10.0.0.1 node=here", "10.0.0.2 node=there"}},
			"default/web:http TCP cluster 10.96.0.1:80 node port 30080 -> 10.0.0.1:80,10.0.0.2:80; from outside -> 10.0.0.1:80\n",
		},
		"external and load-balancer addresses": {
			proxytest.Service("web", "10.96.0.1", http, func(s *corev1.Service) {
				proxied := corev1.LoadBalancerIPModeProxy
				s.Spec.Type, s.Spec.ExternalIPs = corev1.ServiceTypeLoadBalancer, []string{"192.0.2.9"}
				s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}, {IP: "192.0.2.2", IPMode: &proxied}, {Hostname: "lb.example"}}
			}), [][]string{{"10.0.0.1"}},
			"default/web:http TCP cluster 10.96.0.1:80 external 192.0.2.1:80,192.0.2.9:80 -> 10.0.0.1:80\n",
		},
		"affinity": {
			proxytest.Service("web", "10.96.0.1", http, affinity), [][]string{{"10.0.0.1"}},
			"default/web:http TCP cluster 10.96.0.1:80 affinity 3h0m0s -> 10.0.0.1:80\n",
		},
		"both families": {
			proxytest.Service("web", "10.96.0.1", http, dualStack), [][]string{{"10.0.0.1"}, {"fd00::a"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80\ndefault/web:http TCP cluster [fd00::1]:80 -> [fd00::a]:80\n",
		},
		"zone hints": {
			proxytest.Service("web", "10.96.0.1", http), [][]string{{"10.0.0.1 zone=z1", "10.0.0.2 zone=z2"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80\n",
		},
		"zone hints for other zones only": {
			proxytest.Service("web", "10.96.0.1", http), [][]string{{"10.0.0.1 zone=z3", "10.0.0.2 zone=z2"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80,10.0.0.2:80\n",
		},
		"zone hints missing on one": {
			proxytest.Service("web", "10.96.0.1", http), [][]string{{"10.0.0.1 zone=z1", "10.0.0.2"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80,10.0.0.2:80\n",
		},
		"headless":      {proxytest.Service("web", "None", http), [][]string{{"10.0.0.1"}}, ""},
		"not allocated": {proxytest.Service("web", "", http), [][]string{{"10.0.0.1"}}, ""},
		"external name": {proxytest.Service("web", "10.96.0.1", http, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil, ""},
		"another proxy's": {proxytest.Service("web", "10.96.0.1", http, func(s *corev1.Service) {
			s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "x"}
		}), nil, ""},
		"an address that is none": {
			proxytest.Service("web", "10.96.0.1", http), [][]string{{"nonsense", "10.0.0.1"}},
			"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:80\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var eps []*discoveryv1.EndpointSlice
			for i, endpoints := range c.slices {
				eps = append(eps, proxytest.Slice("web", fmt.Sprint(i), http, endpoints))
			}
			eps = append(eps, proxytest.Slice("other", "x", http, []string{"10.9.9.9"}))
			got := proxy.BuildTable([]*corev1.Service{c.service}, eps, proxy.Node{Name: "here", Zone: "z1"})
			require.Equal(t, c.want, got.String())
		})
	}
}

// Pods of one Service may have different numbers for a named port; then they stand in different slices.
func TestNamedTargetPorts(t *testing.T) {
	svc := proxytest.Service("web", "10.96.0.1", []string{"http:80", "dns:53/UDP"})
	got := proxy.BuildTable([]*corev1.Service{svc}, []*discoveryv1.EndpointSlice{
		proxytest.Slice("web", "a", []string{"http:8080", "dns:5353/UDP"}, []string{"10.0.0.1"}),
		proxytest.Slice("web", "b", []string{"http:9090", "dns:53/TCP"}, []string{"10.0.0.2"}),
	}, proxy.Node{})
	require.Equal(t, "default/web:dns UDP cluster 10.96.0.1:53 -> 10.0.0.1:5353\n"+
		"default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:8080,10.0.0.2:9090\n", got.String())
}

func TestEveryNodeIsLocal(t *testing.T) {
	svc := proxytest.Service("web", "10.96.0.1", []string{"http:80"}, local)
	eps := []*discoveryv1.EndpointSlice{proxytest.Slice("web", "a", []string{"http:80"}, []string{"10.0.0.1 node=a", "10.0.0.2 node=b", "10.0.0.3"})}
	got := proxy.BuildTable([]*corev1.Service{svc}, eps, proxy.Node{Every: true})
	require.Len(t, got.Rules[0].Internal, 3)
	require.Empty(t, proxy.BuildTable([]*corev1.Service{svc}, eps, proxy.Node{}).Rules[0].Internal)
}

func TestAffinityTimeout(t *testing.T) {
	seconds := int32(30)
	svc := proxytest.Service("web", "10.96.0.1", []string{"http:80"}, affinity, func(s *corev1.Service) {
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: &seconds}}
	})
	got := proxy.BuildTable([]*corev1.Service{svc}, nil, proxy.Node{})
	require.Equal(t, 30*time.Second, got.Rules[0].Affinity)
}

func TestDiff(t *testing.T) {
	vip := func(n byte) netip.AddrPort { return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 0, n}), 80) }
	a, b, c := proxytest.RuleFor("a", corev1.ProtocolTCP, vip(1)), proxytest.RuleFor("b", corev1.ProtocolTCP, vip(2)), proxytest.RuleFor("c", corev1.ProtocolTCP, vip(3))
	b2 := proxytest.RuleFor("b", corev1.ProtocolTCP, vip(2), vip(9))
	from, to := proxy.Table{Rules: []proxy.Rule{a, b}}, proxy.Table{Rules: []proxy.Rule{b2, c}}
	got := proxy.Diff(from, to)
	require.Equal(t, proxy.Changes{Added: []proxy.Rule{c}, Removed: []proxy.Rule{a}, Changed: []proxy.Change{{Old: b, New: b2}}}, got)
	require.True(t, proxy.Diff(from, from).Empty())
	require.False(t, from.Equal(to))
	require.Len(t, proxy.Diff(proxy.Table{}, from).Added, 2)
	require.Len(t, proxy.Diff(from, proxy.Table{}).Removed, 2)
	_, ok := to.Find(a.Name)
	require.False(t, ok)
	found, ok := to.Find(c.Name)
	require.True(t, ok)
	require.Equal(t, c, found)
}

func TestRuleErrors(t *testing.T) {
	one := &proxy.RuleError{Rule: proxy.ServicePortName{Namespace: "n", Name: "b"}, Err: errors.New("taken")}
	two := &proxy.RuleError{Rule: proxy.ServicePortName{Namespace: "n", Name: "a", Port: "p"}, Err: errors.New("low")}
	whole := errors.New("nft is gone")
	rules, rest := proxy.RuleErrors(errors.Join(one, errors.Join(two)))
	require.NoError(t, rest)
	require.Equal(t, []*proxy.RuleError{two, one}, rules)
	require.EqualError(t, rules[0], "service port n/a:p: low")
	rules, rest = proxy.RuleErrors(errors.Join(one, whole))
	require.ErrorIs(t, rest, whole)
	require.Len(t, rules, 1)
	rules, rest = proxy.RuleErrors(nil)
	require.NoError(t, rest)
	require.Empty(t, rules)
}

func ExampleBuildTable() {
	services := []*corev1.Service{proxytest.Service("web", "10.96.0.1", []string{"http:80"})}
	endpoints := []*discoveryv1.EndpointSlice{proxytest.Slice("web", "a", []string{"http:8080"}, []string{"10.0.0.1", "10.0.0.2 notready"})}
	fmt.Print(proxy.BuildTable(services, endpoints, proxy.Node{}))
	// Output: default/web:http TCP cluster 10.96.0.1:80 -> 10.0.0.1:8080
}

func ExampleDiff() {
	endpoints := []*discoveryv1.EndpointSlice{proxytest.Slice("web", "a", []string{"http:8080"}, []string{"10.0.0.1"})}
	services := []*corev1.Service{proxytest.Service("web", "10.96.0.1", []string{"http:80"})}
	before := proxy.BuildTable(services, nil, proxy.Node{})
	after := proxy.BuildTable(services, endpoints, proxy.Node{})
	for _, c := range proxy.Diff(before, after).Changed {
		fmt.Println(c.Old.Internal, "became", c.New.Internal)
	}
	// Output: [] became [10.0.0.1:8080]
}

func ExampleTable_Find() {
	t := proxy.BuildTable([]*corev1.Service{proxytest.Service("web", "10.96.0.1", []string{"http:80"})}, nil, proxy.Node{})
	r, ok := t.Find(proxy.ServicePortName{Namespace: "default", Name: "web", Port: "http"})
	fmt.Println(r.ClusterIPs, ok, slices.Equal(r.VIPs(), r.ClusterIPs))
	// Output: [10.96.0.1:80] true true
}
