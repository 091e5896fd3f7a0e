package proxy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keelson-dev/keelson/proxy"
	"github.com/keelson-dev/keelson/proxy/proxytest"
)

// mayReach is the rule of a Service in one sentence per line, asked of a single endpoint and written as naively as
// possible: may a new connection of this sort go to ip?
func mayReach(svc *corev1.Service, all []*discoveryv1.EndpointSlice, ip string, external bool, node string) bool {
	type state struct{ ready, serving, terminating, local bool }
	best := map[string]state{}
	for _, s := range all {
		if s.Labels[discoveryv1.LabelServiceName] != svc.Name {
			continue
		}
		for _, ep := range s.Endpoints {
			now := state{*ep.Conditions.Ready || svc.Spec.PublishNotReadyAddresses, *ep.Conditions.Serving || svc.Spec.PublishNotReadyAddresses, *ep.Conditions.Terminating, ep.NodeName != nil && *ep.NodeName == node}
			old, ok := best[ep.Addresses[0]]
			if !ok || now.ready && !old.ready || now.serving && !old.serving && !old.ready {
				best[ep.Addresses[0]] = now
			}
		}
	}
	onlyLocal := svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	if external {
		onlyLocal = svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	}
	anyReady := false
	for _, s := range best {
		anyReady = anyReady || s.ready && (s.local || !onlyLocal)
	}
	me, ok := best[ip]
	if !ok || onlyLocal && !me.local {
		return false
	}
	if anyReady {
		return me.ready
	}
	return me.serving && me.terminating
}

func TestBuildTableAgreesWithANaiveModel(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(s ...string) string { return s[rng.IntN(len(s))] }
	reached := 0
	for round := range 2000 {
		var services []*corev1.Service
		var eps []*discoveryv1.EndpointSlice
		for i := range 3 {
			svc := proxytest.Service(fmt.Sprint("s", i), fmt.Sprint("10.96.0.", i+1), []string{"p:80"}, nodePort(int32(30000+i)))
			svc.Spec.PublishNotReadyAddresses = rng.IntN(8) == 0
			if rng.IntN(3) == 0 {
				local(svc)
			}
			if rng.IntN(3) == 0 {
				externalLocal(svc)
			}
			services = append(services, svc)
			for j := range rng.IntN(3) {
				var endpoints []string
				for range rng.IntN(4) {
					endpoints = append(endpoints, fmt.Sprintf("10.0.0.%d %s node=%s", rng.IntN(5), pick("", "", "notready", "terminating", "terminating notready"), pick("here", "there")))
				}
				eps = append(eps, proxytest.Slice(svc.Name, fmt.Sprint(j), []string{"p:80"}, endpoints))
			}
		}
		// An address that two slices give different nodes is nobody's case: the model takes whichever it meets first.
		sameNode(eps)
		shuffledS, shuffledE := slices.Clone(services), slices.Clone(eps)
		rng.Shuffle(len(shuffledS), func(i, j int) { shuffledS[i], shuffledS[j] = shuffledS[j], shuffledS[i] })
		table := proxy.BuildTable(shuffledS, shuffledE, proxy.Node{Name: "here"})
		var fake proxytest.Fake
		require.NoError(t, fake.Apply(t.Context(), table))
		for i, svc := range services {
			rule, ok := table.Find(proxy.ServicePortName{Namespace: "default", Name: svc.Name, Port: "p"})
			require.True(t, ok)
			for n := range 5 {
				ip := fmt.Sprint("10.0.0.", n)
				at := netip.AddrPortFrom(netip.MustParseAddr(ip), 80)
				require.Equal(t, mayReach(svc, eps, ip, false, "here"), slices.Contains(rule.Internal, at), "seed %d round %d: %s from inside to %s", seed, round, svc.Name, ip)
				require.Equal(t, mayReach(svc, eps, ip, true, "here"), slices.Contains(rule.External, at), "seed %d round %d: %s from outside to %s", seed, round, svc.Name, ip)
			}
			client := netip.MustParseAddr("10.1.1.1")
			if b, err := fake.Connect(corev1.ProtocolTCP, client, netip.MustParseAddrPort(fmt.Sprintf("10.96.0.%d:80", i+1))); err == nil {
				require.True(t, mayReach(svc, eps, b.Addr().String(), false, "here"))
				reached++
			}
			if b, err := fake.ConnectNode(corev1.ProtocolTCP, client, uint16(30000+i)); err == nil {
				require.True(t, mayReach(svc, eps, b.Addr().String(), true, "here"))
			}
		}
		require.True(t, proxy.Diff(table, proxy.BuildTable(services, eps, proxy.Node{Name: "here"})).Empty(), "the order of objects does not matter")
	}
	require.Greater(t, reached, 1000, "the test tries something")
}

func sameNode(eps []*discoveryv1.EndpointSlice) {
	node := map[string]*string{}
	for _, s := range eps {
		for i := range s.Endpoints {
			key := s.Labels[discoveryv1.LabelServiceName] + s.Endpoints[i].Addresses[0]
			if node[key] == nil {
				node[key] = s.Endpoints[i].NodeName
			}
			s.Endpoints[i].NodeName = node[key]
		}
	}
}
