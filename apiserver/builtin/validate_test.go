package builtin_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

const podHead = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\n"

// pod is a manifest with more in its spec and in its container, in flow style.
func podOf(spec, container string) string {
	return podHead + "spec: {" + spec + "containers: [{name: web, image: web" + container + "}]}\n"
}

func deploymentOf(spec, template string) string {
	return "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {" + spec +
		"selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {" + template + "containers: [{name: web, image: web}]}}}\n"
}

func serviceOf(spec string) string {
	return "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {" + spec + "}\n"
}

func jobOf(spec, template string) string {
	return "apiVersion: batch/v1\nkind: Job\nmetadata: {name: once}\nspec: {" + spec + "template: {spec: {" + template + "containers: [{name: a, image: a}]}}}\n"
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		manifest string
		want     []string // beginnings of the errors; none means valid
	}{
		// Pods.
		{podOf("", ""), nil},
		{podHead + "spec: {containers: []}\n", []string{"spec.containers: Required value"}},
		{podHead + "spec: {containers: [{name: a}]}\n", []string{"spec.containers[0].image: Required value"}},
		{podHead + "spec: {containers: [{name: A_, image: a}]}\n", []string{`spec.containers[0].name: Invalid value: "A_": a lowercase RFC 1123 label`}},
		{podHead + "spec: {containers: [{name: a, image: a}, {name: a, image: a}]}\n", []string{`spec.containers[1].name: Duplicate value: "a"`}},
		{podHead + "spec: {initContainers: [{name: a, image: a}], containers: [{name: a, image: a}]}\n", []string{`spec.initContainers[0].name: Duplicate value: "a"`}},
		{podHead + "spec: {initContainers: [{name: b, image: a, livenessProbe: {tcpSocket: {port: 1}}}], containers: [{name: a, image: a}]}\n", []string{"spec.initContainers[0].livenessProbe: Forbidden"}},
		{podHead + "spec: {initContainers: [{name: b, image: a, restartPolicy: Always, livenessProbe: {tcpSocket: {port: 1}}}], containers: [{name: a, image: a}]}\n", nil},
		{podOf("restartPolicy: Sometimes, ", ""), []string{`spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"`}},
		{podOf("dnsPolicy: None, ", ""), []string{"spec.dnsConfig: Required value"}},
		{podOf("", ", imagePullPolicy: Maybe"), []string{`spec.containers[0].imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent", "Never"`}},
		{podOf("", ", ports: [{containerPort: 70000}]"), []string{"spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive"}},
		{podOf("", ", ports: [{name: a, containerPort: 1}, {name: a, containerPort: 2}]"), []string{`spec.containers[0].ports[1].name: Duplicate value: "a"`}},
		{podOf("", ", ports: [{containerPort: 1, hostPort: 9}, {containerPort: 2, hostPort: 9}]"), []string{`spec.containers[0].ports[1].hostPort: Duplicate value`}},
		{podOf("", ", ports: [{containerPort: 1, protocol: ICMP}]"), []string{`spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`}},
		{podOf("hostNetwork: true, ", ", ports: [{containerPort: 1, hostPort: 2}]"), []string{"spec.containers[0].ports[0].hostPort: Invalid value: 2: must match `containerPort`"}},
		{podOf("", ", volumeMounts: [{name: gone, mountPath: /a}]"), []string{`spec.containers[0].volumeMounts[0].name: Not found: "gone"`}},
		{podOf("volumes: [{name: v}], ", ", volumeMounts: [{name: v, mountPath: /a}, {name: v, mountPath: /a}]"), []string{`spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique`}},
		{podOf("volumes: [{name: v}, {name: v}], ", ""), []string{`spec.volumes[1].name: Duplicate value: "v"`}},
		{podOf("volumes: [{name: v, emptyDir: {}, hostPath: {path: /a}}], ", ""), []string{"spec.volumes[0]: Forbidden: may not specify more than 1 volume type"}},
		{podOf("volumes: [{name: v, configMap: {name: c, items: [{key: k, path: ../k}]}}], ", ""), []string{`spec.volumes[0].configMap.items[0].path: Invalid value: "../k": must not contain '..'`}},
		{podOf("volumes: [{name: v, secret: {secretName: s, defaultMode: 512}}], ", ""), []string{"spec.volumes[0].secret.defaultMode: Invalid value: 512"}},
		{podOf("", ", resources: {requests: {cpu: 2}, limits: {cpu: 1}}"), []string{`spec.containers[0].resources.requests[cpu]: Invalid value: "2": must be less than or equal to cpu limit of 1`}},
		{podOf("", ", resources: {limits: {memory: -1}}"), []string{
			`spec.containers[0].resources.limits[memory]: Invalid value: "-1": must be greater than or equal to 0`,
			`spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0`}},
		{podOf("", ", resources: {requests: {example.com/gpu: 1}}"), []string{"spec.containers[0].resources.limits[example.com/gpu]: Required value"}},
		{podOf("", ", livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}"), []string{"spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"}},
		{podOf("", ", livenessProbe: {}"), []string{"spec.containers[0].livenessProbe: Required value: must specify a handler type"}},
		{podOf("", ", livenessProbe: {successThreshold: 2, tcpSocket: {port: 1}}"), []string{"spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"}},
		{podOf("", ", readinessProbe: {periodSeconds: -1, httpGet: {port: web_}}"), []string{
			"spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be at least 1", `spec.containers[0].readinessProbe.httpGet.port: Invalid value: "web_"`}},
		{podOf("", ", env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"), []string{"spec.containers[0].env[0].valueFrom: Invalid value"}},
		{podOf("", ", env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.x}}}]"), []string{`spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "spec.x"`}},
		{podOf("", `, env: [{name: A, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}]`), nil},
		{podOf("", ", env: [{name: 'a=b'}]"), []string{`spec.containers[0].env[0].name: Invalid value: "a=b"`}},
		{podOf("", ", envFrom: [{}]"), []string{"spec.containers[0].envFrom[0]: Invalid value"}},
		{podOf("tolerations: [{operator: Exists, value: x}], ", ""), []string{"spec.tolerations[0].value: Invalid value"}},
		{podOf("tolerations: [{key: a, tolerationSeconds: 1}], ", ""), []string{"spec.tolerations[0].effect: Invalid value"}},
		{podOf("topologySpreadConstraints: [{topologyKey: zone}], ", ""), []string{"spec.topologySpreadConstraints[0].maxSkew: Invalid value", "spec.topologySpreadConstraints[0].whenUnsatisfiable: Required value"}},
		{podOf("affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{}]}}, ", ""), []string{"spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value"}},
		{podOf("affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Near}]}]}}}, ", ""), []string{
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].operator: Unsupported value: "Near"`}},

		// Deployments and what shares their rules.
		{deploymentOf("", ""), nil},
		{strings.Replace(deploymentOf("", ""), "labels: {app: web}", "labels: {app: other}", 1), []string{"spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`"}},
		{strings.Replace(deploymentOf("", ""), "selector: {matchLabels: {app: web}}, ", "", 1), []string{"spec.selector: Required value"}},
		{strings.Replace(deploymentOf("", ""), ", image: web", "", 1), []string{"spec.template.spec.containers[0].image: Required value"}},
		{deploymentOf("", "restartPolicy: Never, "), []string{`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},
		{deploymentOf("replicas: -1, ", ""), []string{"spec.replicas: Invalid value: -1: must be greater than or equal to 0"}},
		{deploymentOf("strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}, ", ""), []string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"0\": may not be 0 when `maxSurge` is 0"}},
		{deploymentOf("strategy: {rollingUpdate: {maxSurge: many}}, ", ""), []string{`spec.strategy.rollingUpdate.maxSurge: Invalid value: "many"`}},
		{deploymentOf("strategy: {type: Recreate, rollingUpdate: {}}, ", ""), []string{"spec.strategy.rollingUpdate: Forbidden"}},
		{deploymentOf("strategy: {type: Blue}, ", ""), []string{`spec.strategy.type: Unsupported value: "Blue": supported values: "Recreate", "RollingUpdate"`}},
		{deploymentOf("minReadySeconds: 600, ", ""), []string{"spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"}},
		{strings.Replace(deploymentOf("", ""), "Deployment", "ReplicaSet", 1), nil},
		{strings.Replace(deploymentOf("", "restartPolicy: OnFailure, "), "Deployment", "ReplicaSet", 1), []string{"spec.template.spec.restartPolicy: Unsupported value"}},

		// Jobs.
		{jobOf("", ""), []string{`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
		{jobOf("", "restartPolicy: Never, "), nil},
		{jobOf("completions: -1, ", "restartPolicy: Never, "), []string{"spec.completions: Invalid value: -1"}},
		{jobOf("completionMode: Indexed, parallelism: 1, ", "restartPolicy: Never, "), []string{"spec.completions: Required value: when completion mode is Indexed"}},
		{jobOf("podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [0]}}]}, ", "restartPolicy: Never, "), []string{"spec.podFailurePolicy.rules[0].onExitCodes.values[0]: Invalid value: 0"}},

		// Services.
		{serviceOf("ports: [{port: 80}]"), nil},
		{serviceOf("selector: {a: b}"), []string{"spec.ports: Required value"}},
		{serviceOf("clusterIP: None"), nil},
		{serviceOf("ports: [{port: 80}, {port: 81}]"), []string{"spec.ports[0].name: Required value", "spec.ports[1].name: Required value"}},
		{serviceOf("ports: [{name: a, port: 80}, {name: a, port: 80}]"), []string{`spec.ports[1].name: Duplicate value: "a"`, `spec.ports[1]: Duplicate value: "80/TCP"`}},
		{serviceOf("ports: [{port: 80, nodePort: 30000}]"), []string{"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},
		{serviceOf("type: Magic, ports: [{port: 80}]"), []string{`spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`}},
		{serviceOf("type: ExternalName"), []string{"spec.externalName: Required value"}},
		{serviceOf("type: NodePort, clusterIP: None, ports: [{port: 80}]"), []string{"spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"}},
		{serviceOf("clusterIP: 10.0.0, ports: [{port: 80}]"), []string{`spec.clusterIPs[0]: Invalid value: "10.0.0"`}},
		{serviceOf("externalTrafficPolicy: Local, ports: [{port: 80}]"), []string{"spec.externalTrafficPolicy: Invalid value"}},
		{strings.Replace(serviceOf("ports: [{port: 80}]"), "name: web", "name: 1web", 1), []string{`metadata.name: Invalid value: "1web"`}},

		// Endpoints.
		{"apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{addresses: [{ip: 127.0.0.1}], ports: [{port: 1}]}]\n", []string{`subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": may not be in the loopback range`}},
		{"apiVersion: v1\nkind: Endpoints\nmetadata: {name: a}\nsubsets: [{}]\n", []string{"subsets[0]: Required value"}},
		{"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4\nendpoints: [{addresses: ['::1']}, {addresses: []}, {addresses: [169.254.1.1]}]\n", []string{
			`endpoints[0].addresses[0]: Invalid value: "::1": must be an IPv4 address`, "endpoints[1].addresses: Required value", `endpoints[2].addresses[0]: Invalid value: "169.254.1.1": may not be in the link-local range`}},
		{"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\nendpoints: []\n", []string{"addressType: Required value"}},

		// The others.
		{"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {'a/b': x}\n", []string{`data[a/b]: Invalid value: "a/b"`}},
		{"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ntype: kubernetes.io/tls\n", []string{"data[tls.crt]: Required value", "data[tls.key]: Required value"}},
		{"apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}\n", []string{`metadata.name: Invalid value: "a.b"`}},
		{"apiVersion: v1\nkind: Node\nmetadata: {name: one}\nspec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.1.0/24], taints: [{key: a, effect: Sometimes}]}\n", []string{
			`spec.taints[0].effect: Unsupported value: "Sometimes"`, `spec.podCIDRs[0]: Invalid value: "10.0.1.0/24": must be the same as spec.podCIDR`}},
		{"apiVersion: v1\nkind: Event\nmetadata: {name: a}\ninvolvedObject: {namespace: other}\n", []string{`involvedObject.namespace: Invalid value: "other": does not match event.namespace`}},
		{"apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: a}\nspec: {leaseDurationSeconds: 0}\n", []string{"spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"}},
		{"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: system-x}\nvalue: 1\n", []string{"metadata.name: Forbidden"}},
		{"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {name: x}\nvalue: 1000000001\n", []string{"value: Forbidden: maximum allowed value of a user defined priority is 1000000000"}},
		{"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {}\n", []string{"spec: Invalid value"}},
		{"apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: a}\nspec: {rules: [{host: 1.2.3.4, http: {paths: [{path: a, backend: {service: {name: b}}}]}}]}\n", []string{
			`spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address`, "spec.rules[0].http.paths[0].pathType: Required value",
			`spec.rules[0].http.paths[0].path: Invalid value: "a": must be an absolute path`, "spec.rules[0].http.paths[0].backend.service.port: Required value"}},
		{"apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: a}\nspec: {}\n", []string{"spec.controller: Required value"}},
		{"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: 'system:a'}\nrules: [{resources: [pods]}]\n", []string{"rules[0].verbs: Required value", "rules[0].apiGroups: Required value"}},
		{"apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: a}\nroleRef: {kind: Role, name: r}\nsubjects: [{kind: ServiceAccount, name: s}, {kind: User, name: u}]\n", []string{
			`roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"`, "subjects[0].namespace: Required value"}},
		{"apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default}\n", nil},
	} {
		t.Run(c.manifest, func(t *testing.T) {
			_, _, errs := created(t, c.manifest)
			contains(t, errs, c.want)
		})
	}
}

func TestValidateUpdate(t *testing.T) {
	role := "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: a}\nroleRef: {kind: Role, name: r}\n"
	frozen := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nimmutable: true\ndata: {a: b}\n"
	for _, c := range []struct {
		old, now string
		want     []string
	}{
		{podOf("", ""), podOf("", ""), nil},
		{podOf("", ""), strings.Replace(podOf("", ""), "image: web", "image: 'web:2'", 1), []string{"spec: Forbidden: pod updates may not change fields other than"}}, // the pull policy follows the tag
		{podOf("", ", imagePullPolicy: Always"), strings.Replace(podOf("", ", imagePullPolicy: Always"), "image: web", "image: 'web:2'", 1), nil},
		{podOf("", ""), podOf("activeDeadlineSeconds: 5, ", ""), nil},
		{podOf("activeDeadlineSeconds: 5, ", ""), podOf("activeDeadlineSeconds: 6, ", ""), []string{"spec.activeDeadlineSeconds: Invalid value: 6: must be less than or equal to previous value"}},
		{podOf("", ""), podOf("tolerations: [{operator: Exists}], ", ""), nil},
		{podOf("tolerations: [{operator: Exists}], ", ""), podOf("", ""), []string{"spec.tolerations: Forbidden"}},
		{podOf("", ""), podOf("nodeName: one, ", ""), []string{"spec: Forbidden: pod updates may not change"}},
		{podOf("", ""), podOf("schedulingGates: [{name: a}], ", ""), []string{"spec.schedulingGates[0]: Forbidden: only deletion is allowed"}},
		{podOf("schedulingGates: [{name: a}], ", ""), podOf("nodeSelector: {a: b}, ", ""), nil},
		{deploymentOf("", ""), deploymentOf("replicas: 3, ", "hostname: x, "), nil},
		{deploymentOf("", ""), strings.ReplaceAll(deploymentOf("", ""), "{app: web}", "{app: other}"), []string{"spec.selector: Invalid value"}},
		{serviceOf("clusterIP: 10.0.0.1, ports: [{port: 80}]"), serviceOf("ports: [{port: 81}]"), nil},
		{serviceOf("clusterIP: 10.0.0.1, ports: [{port: 80}]"), serviceOf("clusterIP: 10.0.0.2, ports: [{port: 80}]"), []string{`spec.clusterIPs[0]: Invalid value: "10.0.0.2": may not change once set`}},
		{serviceOf("clusterIP: 10.0.0.1, ports: [{port: 80}]"), serviceOf("type: ExternalName, externalName: a.b"), nil},
		{role, strings.Replace(role, "name: r", "name: s", 1), []string{"roleRef: Invalid value"}},
		{frozen, frozen, nil},
		{frozen, strings.Replace(frozen, "a: b", "a: c", 1), []string{"data: Forbidden: field is immutable when `immutable` is set"}},
		{frozen, strings.Replace(frozen, "immutable: true", "immutable: false", 1), []string{"immutable: Forbidden"}},
		{"apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: a}\nspec: {controller: a.b/c}\n", "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: a}\nspec: {controller: a.b/d}\n", []string{"spec.controller: Invalid value"}},
	} {
		t.Run(c.now, func(t *testing.T) {
			k, old, errs := created(t, c.old)
			contains(t, errs, nil)
			_, now := object(t, c.now)
			contains(t, pass(k, now, old), c.want)
		})
	}
}

func TestJobTemplateIsFixed(t *testing.T) {
	k, old, errs := created(t, jobOf("", "restartPolicy: Never, "))
	require.Empty(t, errs)
	for name, c := range map[string]struct {
		change func(old, now *batchv1.Job)
		want   []string
	}{
		"parallelism": {func(_, now *batchv1.Job) { now.Spec.Parallelism = new(int32(3)) }, nil},
		"completions": {func(_, now *batchv1.Job) { now.Spec.Completions = new(int32(3)) }, []string{"spec.completions: Invalid value: 3"}},
		"selector":    {func(_, now *batchv1.Job) { now.Spec.Selector.MatchLabels["job-name"] = "once" }, []string{"spec.selector: Invalid value"}},
		"template":    {func(_, now *batchv1.Job) { now.Spec.Template.Spec.NodeSelector = map[string]string{"a": "b"} }, []string{"spec.template: Invalid value"}},
		"suspended": {func(old, now *batchv1.Job) {
			old.Spec.Suspend = new(true)
			now.Spec.Template.Spec.NodeSelector = map[string]string{"a": "b"}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before, now := k.Copy(old), k.Copy(old)
			c.change(before.(*batchv1.Job), now.(*batchv1.Job))
			contains(t, pass(k, now, before), c.want)
		})
	}
}

func TestValidateStatus(t *testing.T) {
	now := metav1.Now()
	before := metav1.NewTime(now.Add(-time.Minute))
	for name, c := range map[string]struct {
		manifest string
		change   func(kind.Instance)
		want     []string
	}{
		"deployment": {deploymentOf("", ""), func(o kind.Instance) {
			o.(*appsv1.Deployment).Status = appsv1.DeploymentStatus{Replicas: 1, ReadyReplicas: 2, UnavailableReplicas: -1}
		}, []string{"status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas", "status.unavailableReplicas: Invalid value: -1"}},
		"job": {jobOf("", "restartPolicy: Never, "), func(o kind.Instance) {
			o.(*batchv1.Job).Status = batchv1.JobStatus{StartTime: &now, CompletionTime: &before}
		}, []string{"status.completionTime: Invalid value"}},
		"pod": {podOf("", ""), func(o kind.Instance) { o.(*corev1.Pod).Status.PodIPs = []corev1.PodIP{{IP: "1.2"}} }, []string{`status.podIPs[0]: Invalid value: "1.2"`}},
		"namespace": {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n", func(o kind.Instance) {
			o.(*corev1.Namespace).Status.Phase = corev1.NamespaceTerminating
		}, []string{"status.phase: Invalid value"}},
		"service": {serviceOf("ports: [{port: 80}]"), func(o kind.Instance) {
			o.(*corev1.Service).Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "1.2.3.4"}}
		}, []string{"status.loadBalancer.ingress: Forbidden"}},
	} {
		t.Run(name, func(t *testing.T) {
			k, obj, errs := created(t, c.manifest)
			require.Empty(t, errs)
			contains(t, k.ValidateStatus(obj, obj), nil)
			c.change(obj)
			contains(t, k.ValidateStatus(obj, obj), c.want)
		})
	}
}

func TestWarnings(t *testing.T) {
	k, obj, _ := created(t, deploymentOf("", ""))
	d := obj.(*appsv1.Deployment)
	require.Empty(t, k.Warnings(d, nil))
	c := &d.Spec.Template.Spec.Containers[0]
	c.Env = []corev1.EnvVar{{Name: "A"}, {Name: "A"}}
	c.Ports = []corev1.ContainerPort{{ContainerPort: 1}, {ContainerPort: 1}}
	require.Equal(t, []string{
		`spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`,
		"spec.template.spec.containers[0].ports[1]: duplicate port definition with spec.template.spec.containers[0].ports[0]",
	}, k.Warnings(d, nil))
}
