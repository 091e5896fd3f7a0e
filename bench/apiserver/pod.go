package main

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const (
	namespace        = "bench"   // of the pods that requests are for
	watchedNamespace = "watched" // of those that watchers see
	// templates is how many different pods there are: a cluster's pods are replicas.
	templates = 100
	nodes     = 500
)

// newPod makes the ith pod, as a controller of replicas would, bound to a node if bound.
func newPod(in, name string, i int, bound bool) *corev1.Pod {
	t := i % templates
	app := fmt.Sprintf("service-%02d", t)
	truth := true
	no := false
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: in,
			Labels:      map[string]string{"app.kubernetes.io/name": app, "app.kubernetes.io/part-of": "shop", "pod-template-hash": fmt.Sprintf("7c9f8d5b%02d", t)},
			Annotations: map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": "9102"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: fmt.Sprintf("%s-7c9f8d5b%02d", app, t),
				UID: types.UID(fmt.Sprintf("5a0c7d3e-1f54-4b43-9a52-0000000000%02d", t)), Controller: &truth, BlockOwnerDeletion: &truth,
			}},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{
				Name: "main", Image: fmt.Sprintf("registry.example.com/shop/%s:v1.%d.3", app, t), Args: []string{"--listen=:8080", "--log=json"},
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}, {Name: "metrics", ContainerPort: 9102}},
				Env: []corev1.EnvVar{
					{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
					{Name: "DATABASE", Value: fmt.Sprintf("postgres://%s.db.svc.cluster.local:5432/%s", app, app)},
					{Name: "REGION", Value: "eu-central-1"},
				},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m"), corev1.ResourceMemory: resource.MustParse("256Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
				},
				ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromString("http")}}},
				VolumeMounts:   []corev1.VolumeMount{{Name: "config", MountPath: "/etc/" + app}},
			}},
			Volumes: []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: app},
			}}}},
		},
	}
	if bound {
		pod.Spec.NodeName = fmt.Sprintf("node-%03d", i%nodes)
	}
	return pod
}

// setRunning gives the ith pod the status that its node agent would report.
func setRunning(pod *corev1.Pod, i int) {
	now := metav1.NewTime(time.Now().Truncate(time.Second))
	ip := fmt.Sprintf("10.%d.%d.%d", 128+i>>16, i>>8&255, i&255)
	started := true
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, HostIP: fmt.Sprintf("10.0.%d.%d", i%nodes>>8, i%nodes&255), PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		StartTime: &now, QOSClass: corev1.PodQOSBurstable,
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: "main", Ready: true, Started: &started, Image: pod.Spec.Containers[0].Image,
			State:       corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
			ImageID:     fmt.Sprintf("%s@sha256:%064x", pod.Spec.Containers[0].Image, i%templates),
			ContainerID: fmt.Sprintf("containerd://%064x", i),
		}},
	}
	for _, t := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
}

// podName is the ith of the pods that are there while requests are measured.
func podName(i int) string {
	return fmt.Sprintf("service-%02d-7c9f8d5b%02d-%06d", i%templates, i%templates, i)
}
