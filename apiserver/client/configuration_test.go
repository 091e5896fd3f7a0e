package client

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

func TestConfiguration(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "a", Name: "b", UID: "u", ResourceVersion: "7", Generation: 3, CreationTimestamp: metav1.Unix(9, 0),
			Labels: map[string]string{"x": ""}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
		},
		Spec: corev1.PodSpec{
			SecurityContext: &corev1.PodSecurityContext{}, TerminationGracePeriodSeconds: new(int64(0)),
			Containers: []corev1.Container{{
				Name:          "c",
				Resources:     corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}},
				Ports:         []corev1.ContainerPort{{ContainerPort: 80}},
				LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http")}}},
			}},
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
	data, err := configuration(kind.Pod.Kind(), "", pod)
	require.NoError(t, err)
	require.JSONEq(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","namespace":"a","uid":"u","resourceVersion":"7","labels":{"x":""}},"spec":{
		"securityContext":{},"terminationGracePeriodSeconds":0,"volumes":[{"name":"v","emptyDir":{}}],
		"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}},"ports":[{"containerPort":80}],"livenessProbe":{"httpGet":{"port":"http"}}}]}}`, string(data))
	data, err = configuration(kind.Pod.Kind(), "status", pod)
	require.NoError(t, err)
	require.JSONEq(t, `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"b","namespace":"a","uid":"u","resourceVersion":"7"},"status":{"phase":"Running"}}`, string(data))

	k := kind.Must(kind.Dynamic(kind.Kind{Group: "example.com", Version: "v1", Name: "Thing", Namespaced: true})).Kind()
	thing := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "b", "generation": int64(3)}, "spec": map[string]any{"size": int64(0)}, "status": map[string]any{},
	}}
	data, err = configuration(k, "", thing)
	require.NoError(t, err)
	require.JSONEq(t, `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"b"},"spec":{"size":0}}`, string(data))
}
