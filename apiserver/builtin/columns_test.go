package builtin_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// The clock of these tests stands at noon; objects were created five minutes before.
var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestColumns(t *testing.T) {
	for _, c := range []struct{ manifest, want string }{
		{deploymentOf("replicas: 3, ", "") + "status: {replicas: 3, readyReplicas: 2, updatedReplicas: 3, availableReplicas: 1}\n", "web | 2/3 | 3 | 1 | 5m | web | web | app=web"},
		{"apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: web-1}\nspec: {replicas: 2}\nstatus: {replicas: 1}\n", "web-1 | 2 | 1 | 0 | 5m |  |  | <none>"},
		{jobOf("", "") + "status: {succeeded: 1, startTime: '2026-01-01T11:59:00Z', completionTime: '2026-01-01T11:59:20Z', conditions: [{type: Complete, status: 'True'}]}\n", "once | Complete | 1/1 | 20s | 5m | a | a | <none>"},
		{jobOf("parallelism: 3, ", ""), "once | Running | 0/1 of 3 |  | 5m | a | a | <none>"},
		{serviceOf("clusterIP: 10.0.0.1, selector: {a: b}, ports: [{port: 80}, {port: 53, protocol: UDP, nodePort: 30053}]"), "web | ClusterIP | 10.0.0.1 | <none> | 80/TCP,53:30053/UDP | 5m | a=b"},
		{serviceOf("type: LoadBalancer, clusterIP: 10.0.0.1, ports: [{port: 80}]"), "web | LoadBalancer | 10.0.0.1 | <pending> | 80/TCP | 5m | <none>"},
		{serviceOf("type: ExternalName, externalName: a.example"), "web | ExternalName | <none> | a.example | <none> | 5m | <none>"},
		{"apiVersion: v1\nkind: Node\nmetadata: {name: one, labels: {node-role.kubernetes.io/worker: ''}}\nspec: {unschedulable: true}\nstatus: {conditions: [{type: Ready, status: 'True'}], addresses: [{type: InternalIP, address: 10.0.0.9}], nodeInfo: {kubeletVersion: v1.37.2}}\n",
			"one | Ready,SchedulingDisabled | worker | 5m | v1.37.2 | 10.0.0.9 | <none> | <unknown> | <unknown> | <unknown>"},
		{"apiVersion: v1\nkind: Event\nmetadata: {name: a.1}\ntype: Normal\nreason: Started\nmessage: 'it runs '\ninvolvedObject: {kind: Pod, name: web, fieldPath: x}\nsource: {component: kubelet, host: one}\ncount: 3\nfirstTimestamp: '2026-01-01T11:56:00Z'\nlastTimestamp: '2026-01-01T11:59:30Z'\n",
			"30s | Normal | Started | pod/web | x | kubelet, one | it runs | 4m | 3 | a.1"},
		{"apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\nsubsets: [{addresses: [{ip: 10.0.0.1}, {ip: 10.0.0.2}], ports: [{port: 80}, {port: 81}]}]\n", "web | 10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 1 more... | 5m"},
		{"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web-1}\naddressType: IPv4\nendpoints: [{addresses: [10.0.0.1]}]\nports: [{port: 80}]\n", "web-1 | IPv4 | 80 | 10.0.0.1 | 5m"},
		{"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\nstatus: {phase: Active}\n", "a | Active | 5m"},
		{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\nbinaryData: {c: eA==}\n", "a | 2 | 5m"},
		{"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: Opaque\n", "a | Opaque | 0 | 5m"},
		{"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: a}\n", "a | 5m"},
		{"apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: a}\nspec: {holderIdentity: me}\n", "a | me | 5m"},
		{"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: a}\nvalue: 7\n", "a | 7 | false | 5m | PreemptLowerPriority"},
		{"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {tls: [{}], rules: [{host: a.example}]}\nstatus: {loadBalancer: {ingress: [{ip: 1.2.3.4}]}}\n", "a | <none> | a.example | 1.2.3.4 | 80, 443 | 5m"},
		{"apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: a}\nspec: {controller: a.b/c}\n", "a | a.b/c | <none> | 5m"},
		{"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: a}\n", "a | 2026-01-01T11:55:00Z"},
		{"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a}\nroleRef: {kind: Role, name: r}\nsubjects: [{kind: User, name: u}, {kind: ServiceAccount, namespace: x, name: s}]\n", "a | Role/r | 5m | u |  | x/s"},
	} {
		t.Run(c.manifest, func(t *testing.T) {
			k, obj := object(t, c.manifest)
			if k.Default != nil {
				k.Default(obj)
			}
			obj.SetCreationTimestamp(metav1.NewTime(noon.Add(-5 * time.Minute)))
			require.Equal(t, c.want, row(k, obj, noon, true))
		})
	}
}

func TestPodColumns(t *testing.T) {
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	ended := func(code int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, FinishedAt: metav1.NewTime(noon.Add(-5 * time.Second))}}
	}
	one := func(s corev1.ContainerStatus) corev1.PodStatus {
		s.Name = "web"
		return corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{s}}
	}
	inits := func(s ...corev1.ContainerStatus) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			for _, c := range s {
				p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: c.Name})
			}
			p.Status.Phase, p.Status.InitContainerStatuses = corev1.PodPending, s
		}
	}
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.NewTime(noon)) }
	for _, c := range []struct {
		status corev1.PodStatus
		change func(*corev1.Pod)
		want   string
	}{
		{corev1.PodStatus{Phase: corev1.PodPending}, nil, "web | 0/1 | Pending | 0 | 5m"},
		{one(corev1.ContainerStatus{Ready: true, State: running}), nil, "web | 1/1 | Running | 0 | 5m"},
		{one(corev1.ContainerStatus{State: running}), nil, "web | 0/1 | Running | 0 | 5m"},
		{one(corev1.ContainerStatus{State: waiting("ContainerCreating")}), nil, "web | 0/1 | ContainerCreating | 0 | 5m"},
		{one(corev1.ContainerStatus{State: waiting("CrashLoopBackOff"), RestartCount: 3, LastTerminationState: ended(1, "Error")}), nil, "web | 0/1 | CrashLoopBackOff | 3 (5s ago) | 5m"},
		{one(corev1.ContainerStatus{State: ended(0, "Completed")}), nil, "web | 0/1 | Completed | 0 | 5m"},
		{one(corev1.ContainerStatus{State: ended(1, "Error")}), nil, "web | 0/1 | Error | 0 | 5m"},
		{one(corev1.ContainerStatus{State: ended(7, "")}), nil, "web | 0/1 | ExitCode:7 | 0 | 5m"},
		{corev1.PodStatus{}, inits(corev1.ContainerStatus{Name: "i", State: running}), "web | 0/1 | Init:0/1 | 0 | 5m"},
		{corev1.PodStatus{}, inits(corev1.ContainerStatus{Name: "i", State: ended(0, "Completed")}, corev1.ContainerStatus{Name: "j", State: ended(1, "Error"), RestartCount: 1}), "web | 0/1 | Init:Error | 1 | 5m"},
		{corev1.PodStatus{}, inits(corev1.ContainerStatus{Name: "i", State: waiting("ImagePullBackOff")}), "web | 0/1 | Init:ImagePullBackOff | 0 | 5m"},
		{one(corev1.ContainerStatus{Ready: true, State: running}), deleted, "web | 1/1 | Terminating | 0 | 5m"},
		{corev1.PodStatus{Phase: corev1.PodRunning, Reason: "NodeLost"}, deleted, "web | 0/1 | Unknown | 0 | 5m"},
		{corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted"}, nil, "web | 0/1 | Evicted | 0 | 5m"},
		{corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Reason: corev1.PodReasonSchedulingGated}}}, nil, "web | 0/1 | SchedulingGated | 0 | 5m"},
	} {
		t.Run(c.want, func(t *testing.T) {
			k, obj, _ := created(t, podOf("", ""))
			pod := obj.(*corev1.Pod)
			pod.CreationTimestamp = metav1.NewTime(noon.Add(-5 * time.Minute))
			pod.Status = c.status
			if c.change != nil {
				c.change(pod)
			}
			require.Equal(t, c.want, row(k, pod, noon, false))
		})
	}
	k, obj, _ := created(t, podOf("nodeName: one, readinessGates: [{conditionType: a.b/c}], ", ""))
	pod := obj.(*corev1.Pod)
	pod.CreationTimestamp, pod.Status.PodIPs = metav1.NewTime(noon), []corev1.PodIP{{IP: "10.0.0.3"}}
	require.Equal(t, "web | 0/1 | Pending | 0 | 0s | 10.0.0.3 | one | <none> | 0/1", row(k, pod, noon, true))
}

func TestSidecarsCountAsReady(t *testing.T) {
	k, obj, _ := created(t, podHead+"spec: {initContainers: [{name: side, image: a, restartPolicy: Always}], containers: [{name: web, image: a}]}\n")
	pod := obj.(*corev1.Pod)
	pod.CreationTimestamp = metav1.NewTime(noon)
	pod.Status = corev1.PodStatus{
		Phase:                 corev1.PodRunning,
		InitContainerStatuses: []corev1.ContainerStatus{{Name: "side", Ready: true, Started: new(true), RestartCount: 2}},
		ContainerStatuses:     []corev1.ContainerStatus{{Name: "web", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
	}
	require.Equal(t, "web | 2/2 | Running | 2 | 0s", row(k, pod, noon, false))
}

func TestFields(t *testing.T) {
	for _, c := range []struct {
		manifest, field, want string
	}{
		{podOf("hostNetwork: true, nodeName: one, ", ""), "spec.hostNetwork", "true"},
		{podOf("nodeName: one, ", ""), "spec.nodeName", "one"},
		{podOf("", ""), "spec.schedulerName", "default-scheduler"},
		{"apiVersion: v1\nkind: Node\nmetadata: {name: one}\n", "spec.unschedulable", "false"},
		{"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n", "type", "Opaque"},
		{"apiVersion: v1\nkind: Event\nmetadata: {name: a}\nreportingComponent: me\ninvolvedObject: {name: web}\n", "source", "me"},
		{"apiVersion: v1\nkind: Event\nmetadata: {name: a}\ninvolvedObject: {name: web}\n", "involvedObject.name", "web"},
		{serviceOf("clusterIP: None"), "spec.clusterIP", "None"},
		{jobOf("", "restartPolicy: Never, "), "status.successful", "0"},
	} {
		k, obj, _ := created(t, c.manifest)
		require.Contains(t, k.Fields, c.field)
		require.Equal(t, c.want, k.Fields[c.field](obj), c.field)
	}
}

func TestScale(t *testing.T) {
	for _, name := range []string{"Deployment", "ReplicaSet"} {
		k, obj, _ := created(t, "apiVersion: apps/v1\nkind: "+name+"\nmetadata: {name: a}\nspec: {selector: {matchLabels: {app: a}}, template: {}}\n")
		k.Scale.Set(obj, 4)
		got := k.Scale.Get(obj)
		require.EqualValues(t, 4, got.Spec.Replicas)
		require.Equal(t, "app=a", got.Status.Selector)
	}
	require.Nil(t, kind.Pod.Kind().Scale)
}
