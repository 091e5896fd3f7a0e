package builtin_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// objects is a client that reads from a list.
type objects []kind.Instance

func (o objects) Do(_ context.Context, req *client.Request) (*client.Response, error) {
	var found []kind.Instance
	for _, obj := range o {
		if obj.GetObjectKind().GroupVersionKind() == req.Kind.GroupVersionKind() && (req.Name == "" || req.Name == obj.GetName()) {
			found = append(found, obj)
		}
	}
	if req.Verb == client.Get {
		if len(found) == 0 {
			return nil, apierrors.NewNotFound(req.Kind.GroupResource(), req.Name)
		}
		return &client.Response{Object: found[0]}, nil
	}
	return &client.Response{Items: found}, nil
}

func (objects) Watch(context.Context, *client.Request) (client.Watcher, error) {
	return nil, fmt.Errorf("nothing changes here")
}

// admit runs a plugin as a server does: defaults around Mutate, then Prepare, then Validate.
func admit(t *testing.T, p admission.Plugin, manifest string, old kind.Instance) (kind.Instance, error) {
	t.Helper()
	k, obj := object(t, manifest)
	r := &admission.Request{Verb: client.Create, Kind: k, Namespace: obj.GetNamespace(), Name: obj.GetName(), Object: obj, Old: old}
	if old != nil {
		r.Verb = client.Update
	}
	k.Default(obj)
	chain := admission.Chain{p}
	if err := chain.Mutate(t.Context(), r); err != nil {
		return nil, err
	}
	contains(t, pass(k, obj, old), nil)
	return obj, chain.Validate(t.Context(), r)
}

func stored(t *testing.T, manifest string) kind.Instance {
	t.Helper()
	_, obj, errs := created(t, manifest)
	contains(t, errs, nil)
	return obj
}

func TestClusterIPs(t *testing.T) {
	// Of the six addresses of a /29, five are taken.
	var taken objects
	for i := 1; i <= 5; i++ {
		svc := stored(t, serviceOf(fmt.Sprintf("clusterIP: 10.0.0.%d, ports: [{port: 80}]", i)))
		svc.SetName(fmt.Sprintf("other-%d", i))
		taken = append(taken, svc)
	}
	plugin := builtin.ClusterIPs(netip.MustParsePrefix("10.0.0.0/29"), taken)
	obj, err := admit(t, plugin, serviceOf("ports: [{port: 80}]"), nil)
	require.NoError(t, err)
	svc := obj.(*corev1.Service)
	require.Equal(t, "10.0.0.6", svc.Spec.ClusterIP)
	require.Equal(t, []string{"10.0.0.6"}, svc.Spec.ClusterIPs)
	require.Equal(t, []string{builtin.ClusterIPClaim("10.0.0.6")}, builtinKind(t, kind.Service.Kind()).Claims(svc))

	obj, err = admit(t, plugin, serviceOf("ports: [{port: 81}]"), svc)
	require.NoError(t, err, "an update keeps the address")
	require.Equal(t, "10.0.0.6", obj.(*corev1.Service).Spec.ClusterIP)

	last := svc.DeepCopy()
	last.Name = "other-6"
	_, err = admit(t, builtin.ClusterIPs(netip.MustParsePrefix("10.0.0.0/29"), append(taken, last)), serviceOf("ports: [{port: 80}]"), nil)
	require.True(t, apierrors.IsForbidden(err), err)
	require.ErrorContains(t, err, "all cluster IPs of the range 10.0.0.0/29 are taken")

	for manifest, want := range map[string]string{
		serviceOf("clusterIP: None"):                          "None",
		serviceOf("type: ExternalName, externalName: a.b"):    "",
		serviceOf("clusterIP: 10.0.0.6, ports: [{port: 80}]"): "10.0.0.6",
	} {
		obj, err := admit(t, plugin, manifest, nil)
		require.NoError(t, err)
		require.Equal(t, want, obj.(*corev1.Service).Spec.ClusterIP)
	}
	_, err = admit(t, plugin, serviceOf("clusterIP: 10.0.1.1, ports: [{port: 80}]"), nil)
	require.True(t, apierrors.IsInvalid(err), err)
	require.ErrorContains(t, err, "The range of valid IPs is 10.0.0.0/29")
	_, err = admit(t, plugin, serviceOf("clusterIP: 10.0.0.2, ports: [{port: 80}]"), nil)
	require.True(t, apierrors.IsInvalid(err), err)
	require.ErrorContains(t, err, "provided IP is already allocated")
	_, err = admit(t, plugin, serviceOf("ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]"), nil)
	require.True(t, apierrors.IsInvalid(err), err)
}

func TestClusterIPsLeaveTheBeginningToRequests(t *testing.T) {
	for range 50 {
		obj, err := admit(t, builtin.ClusterIPs(netip.MustParsePrefix("127.1.240.0/20"), objects{}), serviceOf("ports: [{port: 80}]"), nil)
		require.NoError(t, err)
		ip := netip.MustParseAddr(obj.(*corev1.Service).Spec.ClusterIP)
		require.True(t, netip.MustParsePrefix("127.1.240.0/20").Contains(ip))
		require.True(t, ip.Compare(netip.MustParseAddr("127.1.241.0")) >= 0, ip)
		require.NotEqual(t, "127.1.255.255", ip.String())
	}
	obj, err := admit(t, builtin.ClusterIPs(netip.MustParsePrefix("fd00::/108"), objects{}), serviceOf("ports: [{port: 80}]"), nil)
	require.NoError(t, err)
	require.Equal(t, []corev1.IPFamily{corev1.IPv6Protocol}, obj.(*corev1.Service).Spec.IPFamilies)
}

func TestNodePorts(t *testing.T) {
	other := stored(t, serviceOf("type: NodePort, clusterIP: 10.0.0.1, ports: [{port: 80, nodePort: 30000}]"))
	other.SetName("other")
	plugin := builtin.NodePorts(builtin.PortRange{First: 30000, Last: 30001}, objects{other})
	obj, err := admit(t, plugin, serviceOf("type: NodePort, ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]"), nil)
	require.NoError(t, err)
	svc := obj.(*corev1.Service)
	require.EqualValues(t, 30001, svc.Spec.Ports[0].NodePort)
	require.EqualValues(t, 30001, svc.Spec.Ports[1].NodePort)
	require.Equal(t, []string{"nodeport/TCP/30001", "nodeport/UDP/30001"}, builtinKind(t, kind.Service.Kind()).Claims(svc))

	obj, err = admit(t, plugin, serviceOf("type: NodePort, ports: [{name: a, port: 53}]"), svc)
	require.NoError(t, err)
	require.EqualValues(t, 30001, obj.(*corev1.Service).Spec.Ports[0].NodePort)
	obj, err = admit(t, plugin, serviceOf("ports: [{name: a, port: 53, nodePort: 30001}]"), svc)
	require.NoError(t, err, "the port goes with the type")
	require.Zero(t, obj.(*corev1.Service).Spec.Ports[0].NodePort)

	_, err = admit(t, plugin, serviceOf("type: NodePort, ports: [{name: a, port: 1}, {name: b, port: 2}]"), nil)
	require.True(t, apierrors.IsForbidden(err), err)
	_, err = admit(t, plugin, serviceOf("type: NodePort, ports: [{port: 1, nodePort: 80}]"), nil)
	require.True(t, apierrors.IsInvalid(err), err)
	require.ErrorContains(t, err, "The range of valid ports is 30000-30001")
	_, err = admit(t, plugin, serviceOf("type: NodePort, ports: [{port: 1, nodePort: 30000}]"), nil)
	require.True(t, apierrors.IsInvalid(err), err)
	require.ErrorContains(t, err, "provided port is already allocated")
}

func TestPriority(t *testing.T) {
	class := func(name string, value int32, isDefault bool) *schedulingv1.PriorityClass {
		c := kind.PriorityClass.New()
		c.Name, c.Value, c.GlobalDefault, c.PreemptionPolicy = name, value, isDefault, new(corev1.PreemptNever)
		return c
	}
	classes := objects{class("high", 100, false), class("usual", 7, true)}
	for _, c := range []struct {
		given objects
		spec  string
		want  int32
		class string
	}{
		{nil, "", 0, ""},
		{classes, "", 7, "usual"},
		{classes, "priorityClassName: high, ", 100, "high"},
		{nil, "priorityClassName: system-node-critical, ", 2000001000, "system-node-critical"},
	} {
		obj, err := admit(t, builtin.Priority(c.given), podOf(c.spec, ""), nil)
		require.NoError(t, err)
		pod := obj.(*corev1.Pod)
		require.Equal(t, c.want, *pod.Spec.Priority)
		require.Equal(t, c.class, pod.Spec.PriorityClassName)
		require.NotEmpty(t, *pod.Spec.PreemptionPolicy)
	}
	_, err := admit(t, builtin.Priority(classes), podOf("priorityClassName: gone, ", ""), nil)
	require.True(t, apierrors.IsForbidden(err), err)
	require.ErrorContains(t, err, "no PriorityClass with name gone was found")
	_, err = admit(t, builtin.Priority(classes), podOf("priority: 8, ", ""), nil)
	require.True(t, apierrors.IsForbidden(err), err)
	_, err = admit(t, builtin.Priority(classes), "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: second}\nvalue: 1\nglobalDefault: true\n", nil)
	require.ErrorContains(t, err, "PriorityClass usual is already marked as default")
}

func TestPodsGetTolerationsAndAnAccount(t *testing.T) {
	obj, err := admit(t, builtin.DefaultTolerations(), podOf("", ""), nil)
	require.NoError(t, err)
	for i, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		got := obj.(*corev1.Pod).Spec.Tolerations[i]
		require.Equal(t, key, got.Key)
		require.EqualValues(t, 300, *got.TolerationSeconds)
	}
	obj, err = admit(t, builtin.DefaultTolerations(), podOf("tolerations: [{operator: Exists}], ", ""), nil)
	require.NoError(t, err)
	require.Len(t, obj.(*corev1.Pod).Spec.Tolerations, 1)

	obj, err = admit(t, builtin.DefaultServiceAccount(), podOf("", ""), nil)
	require.NoError(t, err)
	require.Equal(t, "default", obj.(*corev1.Pod).Spec.ServiceAccountName)
	require.Equal(t, "default", obj.(*corev1.Pod).Spec.DeprecatedServiceAccount)
	obj, err = admit(t, builtin.DefaultServiceAccount(), podOf("serviceAccount: me, ", ""), nil)
	require.NoError(t, err)
	require.Equal(t, "me", obj.(*corev1.Pod).Spec.ServiceAccountName)
}

func ExampleDefaultTolerations() {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	chain := admission.Chain{builtin.DefaultTolerations(), builtin.DefaultServiceAccount()}
	err := chain.Mutate(context.Background(), &admission.Request{Verb: client.Create, Kind: kind.Pod.Kind(), Object: pod})
	fmt.Println(len(pod.Spec.Tolerations), pod.Spec.ServiceAccountName, err)
	// Output: 2 default <nil>
}

// builtinKind is a kind with its behaviour.
func builtinKind(t *testing.T, k *kind.Kind) *kind.Kind {
	t.Helper()
	kinds, err := kind.NewSet(builtin.Kinds()...)
	require.NoError(t, err)
	found, ok := kinds.Find(k)
	require.True(t, ok)
	return found
}

func TestPluginsInOrder(t *testing.T) {
	var names []string
	for _, p := range builtin.Plugins(netip.MustParsePrefix("10.0.0.0/16"), builtin.PortRange{})(objects{}) {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{"NamespaceLifecycle", "DefaultServiceAccount", "DefaultTolerations", "Priority", "NodePorts", "CertificateRequester", "ClusterIPs"}, names)
}
