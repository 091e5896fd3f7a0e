package builtin_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestDefaults(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"pod": {`
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
  - name: web
    image: registry:5000/web
    ports: [{containerPort: 80}]
    resources: {limits: {cpu: 1, memory: 1Gi}}
    livenessProbe: {httpGet: {port: 80}}
    readinessProbe: {grpc: {port: 80}}
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
  volumes: [{name: tmp}, {name: conf, configMap: {name: conf}}]
`, `
dnsPolicy: ClusterFirst
enableServiceLinks: true
restartPolicy: Always
schedulerName: default-scheduler
securityContext: {}
terminationGracePeriodSeconds: 30
containers:
- name: web
  image: registry:5000/web
  imagePullPolicy: Always
  ports: [{containerPort: 80, protocol: TCP}]
  resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: "1", memory: 1Gi}}
  livenessProbe: {httpGet: {port: 80, path: /, scheme: HTTP}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
  readinessProbe: {grpc: {port: 80, service: ""}, timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3}
  env: [{name: IP, valueFrom: {fieldRef: {apiVersion: v1, fieldPath: status.podIP}}}]
  terminationMessagePath: /dev/termination-log
  terminationMessagePolicy: File
volumes: [{name: tmp, emptyDir: {}}, {name: conf, configMap: {name: conf, defaultMode: 420}}]
`},
		"deployment": {`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: "web:1"}]}}
`, `
replicas: 1
revisionHistoryLimit: 10
progressDeadlineSeconds: 600
selector: {matchLabels: {app: web}}
strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}
template:
  metadata: {labels: {app: web}}
  spec:
    dnsPolicy: ClusterFirst
    restartPolicy: Always
    schedulerName: default-scheduler
    securityContext: {}
    terminationGracePeriodSeconds: 30
    containers:
    - {name: web, image: "web:1", imagePullPolicy: IfNotPresent, resources: {}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}
`},
		"job": {`
apiVersion: batch/v1
kind: Job
metadata: {name: once}
spec:
  template: {spec: {restartPolicy: Never, containers: [{name: a, image: a@sha256:0}]}}
`, `
backoffLimit: 6
completionMode: NonIndexed
completions: 1
manualSelector: false
parallelism: 1
podReplacementPolicy: TerminatingOrFailed
suspend: false
selector: {matchLabels: {batch.kubernetes.io/controller-uid: u-1}}
template:
  metadata:
    labels: {batch.kubernetes.io/controller-uid: u-1, controller-uid: u-1, batch.kubernetes.io/job-name: once, job-name: once}
  spec:
    dnsPolicy: ClusterFirst
    restartPolicy: Never
    schedulerName: default-scheduler
    securityContext: {}
    terminationGracePeriodSeconds: 30
    containers:
    - {name: a, image: a@sha256:0, imagePullPolicy: IfNotPresent, resources: {}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}
`},
		"service": {`
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, sessionAffinity: ClientIP, ports: [{port: 80}]}
`, `
type: NodePort
sessionAffinity: ClientIP
sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}
externalTrafficPolicy: Cluster
internalTrafficPolicy: Cluster
ipFamilies: [IPv4]
ipFamilyPolicy: SingleStack
ports: [{port: 80, targetPort: 80, protocol: TCP}]
`},
		"namespace": {`
apiVersion: v1
kind: Namespace
metadata: {name: team}
`, `finalizers: [kubernetes]`},
	} {
		t.Run(name, func(t *testing.T) {
			k, obj, errs := created(t, c.in)
			require.Empty(t, texts(errs))
			data, err := k.EncodeJSON(obj)
			require.NoError(t, err)
			var got struct{ Spec any }
			require.NoError(t, yaml.Unmarshal(data, &got))
			var want any
			require.NoError(t, yaml.Unmarshal([]byte(c.want), &want))
			require.Equal(t, want, got.Spec)
		})
	}
}

func TestPullPolicy(t *testing.T) {
	for image, want := range map[string]corev1.PullPolicy{
		"web": corev1.PullAlways, "web:latest": corev1.PullAlways, "host:5000/web": corev1.PullAlways, "web:latest@sha256:0": corev1.PullAlways,
		"web:1": corev1.PullIfNotPresent, "host:5000/web:1": corev1.PullIfNotPresent, "web@sha256:0": corev1.PullIfNotPresent, "web:1@sha256:0": corev1.PullIfNotPresent,
	} {
		_, obj, _ := created(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: '"+image+"'}]}\n")
		require.Equal(t, want, obj.(*corev1.Pod).Spec.Containers[0].ImagePullPolicy, image)
	}
}

func TestPreparedOnCreate(t *testing.T) {
	_, obj, errs := created(t, `
apiVersion: v1
kind: Secret
metadata: {name: key}
data: {a: eA==, b: eA==}
stringData: {a: new}
`)
	require.Empty(t, errs)
	s := obj.(*corev1.Secret)
	require.Equal(t, corev1.SecretTypeOpaque, s.Type)
	require.Equal(t, map[string][]byte{"a": []byte("new"), "b": []byte("x")}, s.Data)
	require.Nil(t, s.StringData)

	_, obj, errs = created(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: team}\nstatus: {phase: Terminating}\n")
	require.Empty(t, errs)
	require.Equal(t, corev1.NamespaceActive, obj.(*corev1.Namespace).Status.Phase)
	require.Equal(t, "team", obj.GetLabels()["kubernetes.io/metadata.name"])
}

func TestQualityOfService(t *testing.T) {
	for resources, want := range map[string]corev1.PodQOSClass{
		`{}`:                               corev1.PodQOSBestEffort,
		`{requests: {example.com/gpu: 1}}`: corev1.PodQOSBestEffort,
		`{requests: {cpu: 1}}`:             corev1.PodQOSBurstable,
		`{limits: {cpu: 1}}`:               corev1.PodQOSBurstable,
		`{limits: {cpu: 1, memory: 1Gi}}`:  corev1.PodQOSGuaranteed,
		`{limits: {cpu: 1000m, memory: 1024Mi}, requests: {cpu: 1, memory: 1Gi}}`: corev1.PodQOSGuaranteed,
		`{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}`:                  corev1.PodQOSBurstable,
	} {
		_, obj, _ := created(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: a, resources: "+resources+"}]}\n")
		status := obj.(*corev1.Pod).Status
		require.Equal(t, want, status.QOSClass, resources)
		require.Equal(t, corev1.PodPending, status.Phase)
	}
}

func TestGracePeriod(t *testing.T) {
	k, obj, _ := created(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {nodeName: one, containers: [{name: a, image: a}]}\n")
	pod := obj.(*corev1.Pod)
	for _, c := range []struct {
		requested *int64
		want      int64
	}{{nil, 30}, {new(int64(5)), 5}, {new(int64(0)), 0}, {new(int64(-1)), 1}} {
		require.Equal(t, c.want, k.GracePeriod(pod, c.requested))
	}
	pod.Status.Phase = corev1.PodSucceeded
	require.Zero(t, k.GracePeriod(pod, new(int64(5))))
	pod.Status.Phase, pod.Spec.NodeName = corev1.PodRunning, ""
	require.Zero(t, k.GracePeriod(pod, nil))
}

// What the server allocated stays with a service whose manifest does not mention it, by port and protocol.
func TestServiceUpdateKeepsAllocations(t *testing.T) {
	k, old, errs := created(t, serviceOf("type: NodePort, clusterIP: 10.0.0.1, ports: [{name: a, port: 80, nodePort: 30080}, {name: b, port: 81, nodePort: 30081}]"))
	require.Empty(t, texts(errs))
	_, now := object(t, serviceOf("type: NodePort, ports: [{name: b, port: 81}, {name: c, port: 82, nodePort: 30080}, {name: a, port: 80}]"))
	require.Empty(t, texts(pass(k, now, old)))
	svc := now.(*corev1.Service)
	require.Equal(t, []string{"10.0.0.1"}, svc.Spec.ClusterIPs)
	var got []int32
	for _, p := range svc.Spec.Ports {
		got = append(got, p.NodePort)
	}
	require.Equal(t, []int32{30081, 30080, 0}, got, "the port that was asked for elsewhere is not kept")

	_, now = object(t, serviceOf("type: LoadBalancer, externalTrafficPolicy: Local, healthCheckNodePort: 30090, ports: [{name: a, port: 80}]"))
	require.Empty(t, texts(pass(k, now, old)))
	balancer := k.Copy(now)
	_, now = object(t, serviceOf("type: ExternalName, externalName: a.example, ports: [{name: a, port: 80}]"))
	require.Empty(t, texts(pass(k, now, balancer)))
	require.Empty(t, k.Claims(now), "an ExternalName holds nothing")
}
