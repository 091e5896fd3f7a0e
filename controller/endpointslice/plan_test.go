package endpointslice

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func service() *corev1.Service {
	svc := kind.Service.New()
	svc.Namespace, svc.Name, svc.UID = "default", "web", "svc"
	svc.Spec.Selector = map[string]string{"app": "web"}
	svc.Spec.ClusterIP = "10.0.0.1"
	svc.Spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}}
	return svc
}

func pod(n, port int, ready corev1.ConditionStatus) *corev1.Pod {
	p := kind.Pod.New()
	p.Namespace, p.Name, p.UID = "default", fmt.Sprint("web-", n), types.UID(fmt.Sprint("pod-", n))
	p.Spec.Containers = []corev1.Container{{Name: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: int32(port)}}}}
	p.Spec.NodeName = "node"
	p.Status.PodIP = fmt.Sprintf("10.1.%d.%d", n/250, n%250+1)
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	return p
}

func zone(string) string { return "z1" }

func TestEndpointConditions(t *testing.T) {
	for _, c := range []struct {
		name                        string
		ready, deleted, publish     bool
		wantReady, serving, leaving bool
	}{
		{name: "ready", ready: true, wantReady: true, serving: true},
		{name: "not ready"},
		{name: "not ready but published", publish: true, wantReady: true},
		{name: "deleted and ready", ready: true, deleted: true, serving: true, leaving: true},
		{name: "deleted and not ready", deleted: true, leaving: true},
		{name: "deleted, published", ready: true, deleted: true, publish: true, wantReady: true, serving: true, leaving: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			svc, p := service(), pod(1, 80, corev1.ConditionFalse)
			svc.Spec.PublishNotReadyAddresses = c.publish
			if c.ready {
				p = pod(1, 80, corev1.ConditionTrue)
			}
			if c.deleted {
				p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
			}
			gs := groups(svc, []*corev1.Pod{p}, zone)
			require.Len(t, gs, 1)
			e := gs[0].endpoints[0]
			require.Equal(t, []bool{c.wantReady, c.serving, c.leaving}, []bool{*e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating})
			require.Equal(t, "node", *e.NodeName)
			require.Equal(t, "z1", *e.Zone)
			subsets := endpointsOf(svc, []*corev1.Pod{p}, nil).Subsets
			switch {
			case c.deleted && !c.publish:
				require.Empty(t, subsets)
			case c.wantReady:
				require.Len(t, subsets[0].Addresses, 1)
			default:
				require.Len(t, subsets[0].NotReadyAddresses, 1)
			}
		})
	}
}

func TestGroups(t *testing.T) {
	svc := service()
	a, b, ended, bare := pod(1, 80, "True"), pod(2, 8080, "True"), pod(3, 80, "True"), pod(4, 80, "True")
	ended.Status.Phase = corev1.PodSucceeded
	bare.Status.PodIP = ""
	failed := pod(5, 80, "True")
	failed.Status.Phase = corev1.PodFailed
	gs := groups(svc, []*corev1.Pod{a, b, ended, bare, failed}, zone)
	require.Len(t, gs, 2, "one for each number of the named port")
	require.EqualValues(t, 8080, *gs[0].ports[0].Port)
	require.EqualValues(t, 80, *gs[1].ports[0].Port)
	require.Len(t, gs[1].endpoints, 1, "neither ended ones nor one without address")

	a.Status.PodIPs = []corev1.PodIP{{IP: a.Status.PodIP}, {IP: "fd00::1"}}
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	gs = groups(svc, []*corev1.Pod{a}, zone)
	require.Equal(t, []discoveryv1.AddressType{"IPv6", "IPv4"}, []discoveryv1.AddressType{gs[0].family, gs[1].family})
	require.Equal(t, "fd00::1", gs[0].endpoints[0].Addresses[0])

	svc = service()
	svc.Spec.ClusterIP, svc.Spec.Ports = corev1.ClusterIPNone, nil
	b.Spec.Hostname, b.Spec.Subdomain = "b", "web"
	gs = groups(svc, []*corev1.Pod{b}, zone)
	require.Empty(t, gs[0].ports)
	require.Equal(t, "b", *gs[0].endpoints[0].Hostname)
	require.Contains(t, sliceLabels(svc), corev1.IsHeadlessService)
	require.Equal(t, "b", endpointsOf(svc, []*corev1.Pod{b}, nil).Subsets[0].Addresses[0].Hostname)
}

func TestEndpointsAreTruncated(t *testing.T) {
	var pods []*corev1.Pod
	for n := range 1100 {
		pods = append(pods, pod(n, 80, map[bool]corev1.ConditionStatus{true: "True", false: "False"}[n >= 500]))
	}
	e := endpointsOf(service(), pods, nil)
	require.Equal(t, "truncated", e.Annotations[corev1.EndpointsOverCapacity])
	require.Len(t, e.Subsets[0].Addresses, 600, "ready ones come first")
	require.Len(t, e.Subsets[0].NotReadyAddresses, 400)
	require.Empty(t, endpointsOf(service(), pods[:10], e).Annotations)
}

// apply carries a plan out on a list of slices.
func apply(existing []*discoveryv1.EndpointSlice, p plan, serial *int) []*discoveryv1.EndpointSlice {
	byName := map[string]*discoveryv1.EndpointSlice{}
	var out []*discoveryv1.EndpointSlice
	for _, s := range p.update {
		byName[s.Name] = s
	}
	for _, s := range p.remove {
		byName[s.Name] = nil
	}
	for _, s := range existing {
		if now, ok := byName[s.Name]; !ok {
			out = append(out, s)
		} else if now != nil {
			out = append(out, now)
		}
	}
	for _, s := range p.create {
		*serial++
		s.Name = fmt.Sprint(s.GenerateName, *serial)
		out = append(out, s)
	}
	return out
}

// TestPlanAgainstModel changes the pods of a Service at random. After each step the slices together must say exactly
// what the pods do, none may be over its limit, and planning again must change nothing.
func TestPlanAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		svc, serial := service(), 0
		pods := map[int]*corev1.Pod{}
		var existing []*discoveryv1.EndpointSlice
		for step := range 40 {
			for range 1 + rnd.IntN(6) {
				n := rnd.IntN(40)
				if _, ok := pods[n]; ok && rnd.IntN(2) == 0 {
					delete(pods, n)
					continue
				}
				pods[n] = pod(n, 80+rnd.IntN(2), []corev1.ConditionStatus{"True", "False"}[rnd.IntN(2)])
			}
			if step == 30 {
				clear(pods)
			}
			var list []*corev1.Pod
			want := map[string]bool{}
			for n := range 40 {
				if p, ok := pods[n]; ok {
					list = append(list, p)
					want[fmt.Sprintf("%s:%d %v", p.Status.PodIP, p.Spec.Containers[0].Ports[0].ContainerPort, ready(p))] = true
				}
			}
			p := planSlices(svc, groups(svc, list, zone), existing, 5)
			existing = apply(existing, p, &serial)
			got := map[string]bool{}
			for _, s := range existing {
				require.LessOrEqual(t, len(s.Endpoints), 5)
				for _, e := range s.Endpoints {
					key := fmt.Sprintf("%s:%d %v", e.Addresses[0], *s.Ports[0].Port, *e.Conditions.Ready)
					require.False(t, got[key], "%s is in two slices", key)
					got[key] = true
				}
			}
			require.Equal(t, want, got, "seed %d step %d", seed, step)
			require.NotEmpty(t, existing)
			require.Equal(t, plan{}, planSlices(svc, groups(svc, list, zone), existing, 5), "a second plan")
		}
	}
}

func TestPlanIsMinimal(t *testing.T) {
	svc, serial := service(), 0
	var pods []*corev1.Pod
	for n := range 250 {
		pods = append(pods, pod(n, 80, "True"))
	}
	p := planSlices(svc, groups(svc, pods, zone), nil, 100)
	require.Len(t, p.create, 3)
	existing := apply(nil, p, &serial)
	existing[0].Labels["extra"] = "gone" // not the Service's
	pods[120] = pod(120, 80, "False")
	p = planSlices(svc, groups(svc, append(pods, pod(300, 80, "True")), zone), existing, 100)
	require.Empty(t, p.create)
	require.Empty(t, p.remove)
	require.Len(t, p.update, 3, "the label, the readiness, and the one with room")

	duplicate := kind.EndpointSlice.Copy(existing[2]) // a create whose answer was lost
	duplicate.Name = "duplicate"
	p = planSlices(svc, groups(svc, pods, zone), append(existing, duplicate), 100)
	require.Equal(t, []*discoveryv1.EndpointSlice{duplicate}, p.remove)
}
