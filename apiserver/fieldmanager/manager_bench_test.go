package fieldmanager_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/fieldmanager"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// builtinKind is a built-in kind with its behaviour, and its manager.
func builtinKind(tb testing.TB, of *kind.Kind) (*kind.Kind, *fieldmanager.Manager) {
	for _, k := range builtin.Kinds() {
		if k.Is(of) {
			if err := k.Complete(); err != nil {
				tb.Fatal(err)
			}
			return k, fieldmanager.New(func() []*kind.Kind { return []*kind.Kind{k} })
		}
	}
	tb.Fatalf("%s is not built in", of)
	return nil, nil
}

// webPod is a pod as a ReplicaSet makes it.
func webPod() *corev1.Pod {
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}}
	return &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "web-1", GenerateName: "web-", Labels: map[string]string{"app": "web", "pod-template-hash": "abc"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "1-2-3", Controller: new(true), BlockOwnerDeletion: new(true)}},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "web", Image: "example.com/web:1", LivenessProbe: probe, ReadinessProbe: probe,
				Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
				Env:   []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "POD", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("64Mi")},
					Limits:   corev1.ResourceList{"memory": resource.MustParse("128Mi")},
				},
				VolumeMounts: []corev1.VolumeMount{{Name: "config", MountPath: "/etc/web"}},
			}},
			Volumes:         []corev1.Volume{{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}}}}},
			SecurityContext: &corev1.PodSecurityContext{},
		},
	}
}

func BenchmarkUpdate(b *testing.B) {
	k, m := builtinKind(b, kind.Pod.Kind())
	ctx := b.Context()
	created := webPod()
	k.Default(created)
	b.Run("create", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			created.ManagedFields = nil
			m.Update(ctx, k, "", nil, created, "replicaset-controller")
		}
	})
	created.UID = "1"
	status := created.DeepCopy()
	status.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "127.1.2.3", PodIPs: []corev1.PodIP{{IP: "127.1.2.3"}}, Conditions: []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}, {Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}}
	b.Run("status", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			status.ManagedFields = created.ManagedFields
			m.Update(ctx, k, "status", created, status, "kubelet")
		}
	})
	again := status.DeepCopy()
	again.Status.Conditions[0].Status = corev1.ConditionFalse
	b.Run("status-again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			again.ManagedFields = status.ManagedFields
			m.Update(ctx, k, "status", status, again, "kubelet")
		}
	})
	b.Run("nothing", func(b *testing.B) {
		b.ReportAllocs()
		same := status.DeepCopy()
		for b.Loop() {
			m.Update(ctx, k, "", status, same, "somebody")
		}
	})
	labelled := status.DeepCopy()
	labelled.Labels["x"] = "y"
	b.Run("label", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			labelled.ManagedFields = status.ManagedFields
			m.Update(ctx, k, "", status, labelled, "somebody")
		}
	})
	b.Run("apply", func(b *testing.B) {
		b.ReportAllocs()
		configuration := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": "web-1", "labels": map[string]any{"x": "y"}}}
		for b.Loop() {
			if _, err := m.Apply(ctx, k, "", status, configuration, "deployer", false); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFirstWrite is what the first write of a kind costs more.
func BenchmarkFirstWrite(b *testing.B) {
	for _, of := range []*kind.Kind{kind.Pod.Kind(), kind.Namespace.Kind(), kind.ClusterRole.Kind()} {
		k, _ := builtinKind(b, of)
		b.Run(k.Name, func(b *testing.B) {
			for b.Loop() {
				m := fieldmanager.New(func() []*kind.Kind { return []*kind.Kind{k} })
				obj := k.New()
				m.Update(b.Context(), k, "", nil, obj, "x")
			}
		})
	}
}
