package kubelet

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// shelf is a lookup over maps.
type shelf struct {
	configMaps map[string]map[string]string
	secrets    map[string]map[string][]byte
}

func (s shelf) ConfigMap(name string) (*corev1.ConfigMap, error) {
	if d, ok := s.configMaps[name]; ok {
		return &corev1.ConfigMap{Data: d}, nil
	}
	return nil, fmt.Errorf("configmap %q %w", name, errAbsent)
}

func (s shelf) Secret(name string) (*corev1.Secret, error) {
	if d, ok := s.secrets[name]; ok {
		return &corev1.Secret{Data: d}, nil
	}
	return nil, fmt.Errorf("secret %q %w", name, errAbsent)
}

func TestEnv(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "u1", Labels: map[string]string{"app": "web", "tier": "1"}},
		Spec:       corev1.PodSpec{NodeName: "n1", ServiceAccountName: "sa", EnableServiceLinks: new(bool)},
		Status: corev1.PodStatus{
			PodIP: "10.0.0.7", PodIPs: []corev1.PodIP{{IP: "10.0.0.7"}, {IP: "fd00::7"}},
			HostIP: "10.0.0.1", HostIPs: []corev1.HostIP{{IP: "10.0.0.1"}},
		},
	}
	objects := shelf{
		map[string]map[string]string{"cm": {"a": "1", "b": "2", "not a name=": "x"}},
		map[string]map[string][]byte{"sec": {"pass": []byte("s3cret")}},
	}
	node := corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("1Gi")}
	for name, tc := range map[string]struct{ in, want, err string }{
		"literal and expansion": {in: `
env: [{name: A, value: x}, {name: B, value: "$(A)-$(B)-$$(A)-$(C)-$x-$"}, {name: C, value: "$(B)"}]`,
			want: "[A=x B=x-$(B)-$(A)-$(C)-$x-$ C=x-$(B)-$(A)-$(C)-$x-$]"},
		"unclosed": {in: `env: [{name: A, value: "$(B"}]`, want: "[A=$(B]"},
		"fields": {in: `
env:
- {name: NM, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
- {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: U, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
- {name: L, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
- {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
- {name: SA, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
- {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
- {name: IPS, valueFrom: {fieldRef: {fieldPath: status.podIPs}}}
- {name: H, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}`,
			want: "[NM=p NS=ns U=u1 L=web NODE=n1 SA=sa IP=10.0.0.7 IPS=10.0.0.7,fd00::7 H=10.0.0.1]"},
		"unknown field": {in: `env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.secret}}}]`, err: `environment variable A: fieldPath "spec.secret"`},
		"resources": {in: `
resources: {limits: {cpu: 1500m}, requests: {memory: 100Mi}}
env:
- {name: CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
- {name: MILLI, valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}}
- {name: MEM, valueFrom: {resourceFieldRef: {resource: requests.memory, divisor: 1Mi}}}
- {name: ALL, valueFrom: {resourceFieldRef: {resource: limits.memory}}}`,
			want: "[CPU=2 MILLI=1500 MEM=100 ALL=1073741824]"},
		"from": {in: `
envFrom: [{prefix: P_, configMapRef: {name: cm}}, {secretRef: {name: sec}}, {configMapRef: {name: nil1, optional: true}}]
env: [{name: P_a, value: mine}, {name: Q, value: "$(P_b)$(pass)"}]`,
			want: "[P_a=mine P_b=2 pass=s3cret Q=2s3cret]"},
		"keys": {in: `
env:
- {name: A, valueFrom: {configMapKeyRef: {name: cm, key: a}}}
- {name: S, valueFrom: {secretKeyRef: {name: sec, key: pass}}}
- {name: O, valueFrom: {secretKeyRef: {name: sec, key: other, optional: true}}}`,
			want: "[A=1 S=s3cret]"},
		"missing map":  {in: `envFrom: [{configMapRef: {name: nil1}}]`, err: `configmap "nil1" not found`},
		"missing key":  {in: `env: [{name: A, valueFrom: {configMapKeyRef: {name: cm, key: z}}}]`, err: "couldn't find key z in ConfigMap ns/cm"},
		"missing name": {in: `env: [{name: A, valueFrom: {secretKeyRef: {name: nil1, key: z}}}]`, err: `secret "nil1" not found`},
	} {
		t.Run(name, func(t *testing.T) {
			var c corev1.Container
			require.NoError(t, yaml.UnmarshalStrict([]byte(tc.in), &c))
			in := envInput{pod: pod, container: &c, objects: objects, node: node}
			env, err := in.render()
			if tc.err != "" {
				require.ErrorContains(t, err, tc.err)
				return
			}
			require.NoError(t, err)
			var got []string
			for _, e := range env {
				got = append(got, e.name+"="+e.value)
			}
			require.Equal(t, tc.want, fmt.Sprint(got))
		})
	}
}

func TestServiceEnv(t *testing.T) {
	svc := func(namespace, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	}
	services := []*corev1.Service{
		svc("ns", "my-db", "10.1.0.1", corev1.ServicePort{Name: "sql-main", Port: 5432}, corev1.ServicePort{Port: 53, Protocol: corev1.ProtocolUDP}),
		svc("ns", "headless", "None", corev1.ServicePort{Port: 1}),
		svc("default", "kubernetes", "10.1.0.2", corev1.ServicePort{Name: "https", Port: 443}),
		svc("default", "other", "10.1.0.3", corev1.ServicePort{Port: 1}),
	}
	env := serviceEnv(services, "ns", true)
	for name, want := range map[string]string{
		"MY_DB_SERVICE_HOST": "10.1.0.1", "MY_DB_SERVICE_PORT": "5432", "MY_DB_SERVICE_PORT_SQL_MAIN": "5432",
		"MY_DB_PORT": "tcp://10.1.0.1:5432", "MY_DB_PORT_53_UDP": "udp://10.1.0.1:53", "MY_DB_PORT_53_UDP_ADDR": "10.1.0.1",
		"KUBERNETES_SERVICE_HOST": "10.1.0.2", "KUBERNETES_SERVICE_PORT_HTTPS": "443",
	} {
		require.Equal(t, want, env[name], name)
	}
	for _, no := range []string{"HEADLESS_SERVICE_HOST", "OTHER_SERVICE_HOST"} {
		require.NotContains(t, env, no)
	}
	require.NotContains(t, serviceEnv(services, "ns", false), "MY_DB_SERVICE_HOST")
	require.Contains(t, serviceEnv(services, "ns", false), "KUBERNETES_SERVICE_HOST")
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$(A)", "$$", "$(", "$()", "a$b$(B)$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		require.LessOrEqual(t, len(expand(s, func(string) (string, bool) { return "", true })), len(s))
		expand(s, func(string) (string, bool) { return "", false })
	})
}
