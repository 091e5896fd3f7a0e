package endpointslice_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller/controllertest"
	"github.com/keelson-dev/keelson/controller/endpointslice"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const serviceManifest = `
apiVersion: v1
kind: Service
metadata: {name: web, labels: {team: a}}
spec: {selector: {app: web}, clusterIP: None, ports: [{name: http, port: 80, targetPort: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: own}
spec: {clusterIP: None, ports: [{port: 80}]}
---
apiVersion: v1
kind: Node
metadata: {name: node, labels: {topology.kubernetes.io/zone: z1}}
`

const podManifest = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: web}}
spec: {nodeName: node, containers: [{name: c, image: i, ports: [{name: http, containerPort: 8080}]}]}
`

func run(cp *controllertest.ControlPlane, name, ip string, ready corev1.ConditionStatus) {
	cp.Apply(strings.ReplaceAll(podManifest, "NAME", name))
	controllertest.MutateStatus(cp, kind.Pod, "default", name, func(p *corev1.Pod) {
		p.Status.Phase, p.Status.PodIP, p.Status.PodIPs = corev1.PodRunning, ip, []corev1.PodIP{{IP: ip}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	})
}

// state is "address ready serving terminating" of every endpoint of a Service.
func state(cp *controllertest.ControlPlane, service string) []string {
	var out []string
	for _, s := range controllertest.List(cp, kind.EndpointSlice, "default") {
		for _, e := range s.Endpoints {
			if s.Labels[discoveryv1.LabelServiceName] == service {
				out = append(out, fmt.Sprint(e.Addresses[0], " ", *e.Conditions.Ready, " ", *e.Conditions.Serving, " ", *e.Conditions.Terminating))
			}
		}
	}
	return out
}

func TestServiceFollowsPods(t *testing.T) {
	cp := controllertest.New(t)
	require.NoError(t, endpointslice.New(cp.Manager, endpointslice.Config{}))
	cp.Start()
	cp.Apply(serviceManifest)
	cp.Idle()
	all := controllertest.List(cp, kind.EndpointSlice, "default")
	require.Len(t, all, 1, "an empty slice for web, nothing for the Service without selector")
	require.Empty(t, all[0].Endpoints)
	run(cp, "a", "10.0.0.1", corev1.ConditionTrue)
	run(cp, "b", "10.0.0.2", corev1.ConditionFalse)
	cp.Idle()
	require.Equal(t, []string{"10.0.0.1 true true false", "10.0.0.2 false false false"}, state(cp, "web"))
	s := controllertest.List(cp, kind.EndpointSlice, "default")[0]
	require.Equal(t, all[0].Name, s.Name, "the empty slice is used")
	require.Equal(t, map[string]string{
		"team": "a", "kubernetes.io/service-name": "web", "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io", "service.kubernetes.io/headless": "",
	}, s.Labels)
	require.EqualValues(t, 8080, *s.Ports[0].Port)
	require.Equal(t, "z1", *s.Endpoints[0].Zone)
	e := controllertest.Get(cp, kind.Endpoints, "default", "web")
	require.Equal(t, "10.0.0.1", e.Subsets[0].Addresses[0].IP)
	require.Equal(t, "10.0.0.2", e.Subsets[0].NotReadyAddresses[0].IP)

	controllertest.Delete(cp, kind.Pod, "default", "a") // bound: it stays for its grace period
	cp.Idle()
	require.Equal(t, []string{"10.0.0.1 false true true", "10.0.0.2 false false false"}, state(cp, "web"))
	require.Empty(t, controllertest.Get(cp, kind.Endpoints, "default", "web").Subsets[0].Addresses)
	controllertest.Delete(cp, kind.Pod, "default", "a", client.GracePeriod(0))
	controllertest.Mutate(cp, kind.Pod, "default", "b", func(p *corev1.Pod) { p.Labels["app"] = "other" })
	cp.Idle()
	require.Empty(t, state(cp, "web"))

	controllertest.Delete(cp, kind.EndpointSlice, "default", s.Name) // it is healed
	cp.Idle()
	require.Len(t, controllertest.List(cp, kind.EndpointSlice, "default"), 1)
	controllertest.Delete(cp, kind.Service, "default", "web")
	cp.Idle()
	require.Empty(t, controllertest.List(cp, kind.EndpointSlice, "default"))
	require.Empty(t, controllertest.List(cp, kind.Endpoints, "default"))
}

func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cp := controllertest.New(t, controllertest.Timeout(24*time.Hour))
		require.NoError(t, endpointslice.New(cp.Manager, endpointslice.Config{MaxEndpoints: 2}))
		k := kind.EndpointSlice.Kind()
		injected := []*controllertest.Injection{
			cp.Faults.Inject(controllertest.Fault{Verb: client.Create, Kind: k, Count: 2, LoseReply: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Update, Kind: k, Count: 3, Conflict: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Delete, Kind: k, Count: 1, Err: errors.New("refused")}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Create, Kind: kind.Endpoints.Kind(), Count: 1, LoseReply: true}),
			cp.Faults.Inject(controllertest.Fault{Verb: client.Watch, Kind: k, Count: 2, Err: controllertest.Expired()}),
		}
		cp.Start()
		cp.Apply(serviceManifest)
		var want []string
		for n := range 7 {
			run(cp, fmt.Sprint("pod-", n), fmt.Sprint("10.0.0.", n+1), corev1.ConditionTrue)
			cp.Faults.EndWatches(controllertest.Expired())
			<-time.After(time.Minute)
			want = append(want, fmt.Sprintf("10.0.0.%d true true false", n+1))
		}
		cp.Idle()
		require.ElementsMatch(t, want, state(cp, "web"))
		for n := range 7 {
			controllertest.Delete(cp, kind.Pod, "default", fmt.Sprint("pod-", n), client.GracePeriod(0))
			<-time.After(time.Minute)
		}
		cp.Idle()
		require.Empty(t, state(cp, "web"))
		require.Len(t, controllertest.List(cp, kind.EndpointSlice, "default"), 1)
		for n, i := range injected {
			require.Positive(t, i.Hits(), "fault %d", n)
		}
	})
}

func TestConfig(t *testing.T) {
	require.Error(t, endpointslice.New(nil, endpointslice.Config{}))
	cp := controllertest.New(t)
	require.ErrorContains(t, endpointslice.New(cp.Manager, endpointslice.Config{MaxEndpoints: 1001}), "MaxEndpoints")
}
