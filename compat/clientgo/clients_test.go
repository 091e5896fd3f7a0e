package clientgo

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/util/retry"

	"github.com/keelson-dev/keelson"
)

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}}, Data: map[string]string{"a": "1"}}
}

// TestTyped walks one object through all verbs, in protobuf and in JSON.
func TestTyped(t *testing.T) {
	config, _ := connect(t, keelson.Config{Without: keelson.Controllers | keelson.Scheduler})
	for _, form := range []string{runtime.ContentTypeProtobuf, runtime.ContentTypeJSON} {
		t.Run(form, func(t *testing.T) {
			own := *config
			own.ContentType, own.AcceptContentTypes = form, form
			c := clientsFor(t, &own).CoreV1().ConfigMaps("default")
			ctx := t.Context()
			made, err := c.Create(ctx, configMap("typed"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			require.NoError(t, err)
			require.NotEmpty(t, made.UID)
			_, err = c.Get(ctx, "typed", metav1.GetOptions{})
			require.True(t, apierrors.IsNotFound(err), "a dry run leaves nothing: %v", err)

			made, err = c.Create(ctx, configMap("typed"), metav1.CreateOptions{})
			require.NoError(t, err)
			_, err = c.Create(ctx, configMap("typed"), metav1.CreateOptions{})
			require.True(t, apierrors.IsAlreadyExists(err), "%v", err)
			list, err := c.List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
			require.NoError(t, err)
			require.Len(t, list.Items, 1)
			require.Equal(t, made.ResourceVersion, list.Items[0].ResourceVersion)
			events, err := c.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
			require.NoError(t, err)
			defer events.Stop()

			stale := made.DeepCopy()
			made.Data["a"] = "2"
			made, err = c.Update(ctx, made, metav1.UpdateOptions{})
			require.NoError(t, err)
			_, err = c.Update(ctx, stale, metav1.UpdateOptions{})
			require.True(t, apierrors.IsConflict(err), "%v", err)
			require.NoError(t, retry.RetryOnConflict(retry.DefaultRetry, func() error {
				now, err := c.Get(ctx, "typed", metav1.GetOptions{})
				require.NoError(t, err)
				now.Data["b"] = "3"
				_, err = c.Update(ctx, now, metav1.UpdateOptions{})
				return err
			}))
			for kind, data := range map[types.PatchType]string{
				types.JSONPatchType:           `[{"op":"add","path":"/data/json","value":"1"}]`,
				types.MergePatchType:          `{"data":{"merge":"1"}}`,
				types.StrategicMergePatchType: `{"data":{"strategic":"1"}}`,
			} {
				made, err = c.Patch(ctx, "typed", kind, []byte(data), metav1.PatchOptions{})
				require.NoError(t, err, kind)
			}
			require.Equal(t, map[string]string{"a": "2", "b": "3", "json": "1", "merge": "1", "strategic": "1"}, made.Data)
			applied, err := c.Apply(ctx, coreapply.ConfigMap("typed", "default").WithData(map[string]string{"applied": "1"}), metav1.ApplyOptions{FieldManager: "test"})
			require.NoError(t, err)
			require.Equal(t, "1", applied.Data["applied"])
			require.Equal(t, "2", applied.Data["a"])
			wrong := "no-such-uid"
			err = c.Delete(ctx, "typed", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: (*types.UID)(&wrong)}})
			require.True(t, apierrors.IsConflict(err), "%v", err)
			require.NoError(t, c.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "app=web"}))
			var seen []watch.EventType
			for len(seen) == 0 || seen[len(seen)-1] != watch.Deleted {
				e := <-events.ResultChan()
				seen = append(seen, e.Type)
				require.Equal(t, "typed", e.Object.(*corev1.ConfigMap).Name)
			}
			require.Len(t, seen, 7, "two updates, three patches, an apply, a deletion")
		})
	}
}

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "c", Image: "shell", Command: []string{"sleep", "1000"}}},
		}},
	}}
}

// TestUntyped uses the clients that know no types: dynamic, metadata, scale, discovery with a mapper.
func TestUntyped(t *testing.T) {
	config, clients := connect(t, keelson.Config{Without: keelson.Controllers | keelson.Scheduler})
	ctx := t.Context()
	_, err := clients.AppsV1().Deployments("default").Create(ctx, deployment("web", 1), metav1.CreateOptions{})
	require.NoError(t, err)
	groups, err := restmapper.GetAPIGroupResources(clients.Discovery())
	require.NoError(t, err)
	mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(appsv1.SchemeGroupVersion.WithKind("Deployment").GroupKind())
	require.NoError(t, err)
	require.Equal(t, meta.RESTScopeNameNamespace, mapping.Scope.Name())

	anything, err := dynamic.NewForConfig(config)
	require.NoError(t, err)
	object, err := anything.Resource(mapping.Resource).Namespace("default").Get(ctx, "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.NoError(t, unstructured.SetNestedField(object.Object, int64(2), "spec", "replicas"))
	object, err = anything.Resource(mapping.Resource).Namespace("default").Update(ctx, object, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, int64(2), object.GetGeneration())
	list, err := anything.Resource(mapping.Resource).List(ctx, metav1.ListOptions{Limit: 1})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)

	only, err := metadata.NewForConfig(config)
	require.NoError(t, err)
	described, err := only.Resource(mapping.Resource).Namespace("default").Get(ctx, "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, object.GetUID(), described.UID)
	_, err = only.Resource(mapping.Resource).Namespace("default").Patch(ctx, "web", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`), metav1.PatchOptions{})
	require.NoError(t, err)
	all, err := only.Resource(mapping.Resource).List(ctx, metav1.ListOptions{LabelSelector: "x=y"})
	require.NoError(t, err)
	require.Len(t, all.Items, 1)

	scales, err := scale.NewForConfig(config, restmapper.NewDiscoveryRESTMapper(groups), dynamic.LegacyAPIPathResolverFunc, scale.NewDiscoveryScaleKindResolver(clients.Discovery()))
	require.NoError(t, err)
	size, err := scales.Scales("default").Get(ctx, mapping.Resource.GroupResource(), "web", metav1.GetOptions{})
	require.NoError(t, err)
	require.Equal(t, int32(2), size.Spec.Replicas)
	size.Spec.Replicas = 3
	_, err = scales.Scales("default").Update(ctx, mapping.Resource.GroupResource(), size, metav1.UpdateOptions{})
	require.NoError(t, err)
	typed, err := clients.AppsV1().Deployments("default").UpdateScale(ctx, "web", &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Spec: autoscalingv1.ScaleSpec{Replicas: 4}}, metav1.UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, int32(4), typed.Spec.Replicas)
}

// TestExtractedApply is the read-modify-apply of controllers: what a manager owns is extracted, changed, applied.
func TestExtractedApply(t *testing.T) {
	_, clients := connect(t, keelson.Config{Without: keelson.Controllers | keelson.Scheduler})
	ctx, c := t.Context(), clients.AppsV1().Deployments("default")
	labels := map[string]string{"app": "web"}
	want := appsapply.Deployment("web", "default").WithSpec(appsapply.DeploymentSpec().WithReplicas(2).
		WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).
		WithTemplate(coreapply.PodTemplateSpec().WithLabels(labels).WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("c").WithImage("shell")))))
	_, err := c.Apply(ctx, want, metav1.ApplyOptions{FieldManager: "one"})
	require.NoError(t, err)
	two := appsapply.Deployment("web", "default").WithSpec(appsapply.DeploymentSpec().WithReplicas(5))
	_, err = c.Apply(ctx, two, metav1.ApplyOptions{FieldManager: "two"})
	require.True(t, apierrors.IsConflict(err), "%v", err)
	_, err = c.Apply(ctx, two, metav1.ApplyOptions{FieldManager: "two", Force: true})
	require.NoError(t, err)
	now, err := c.Get(ctx, "web", metav1.GetOptions{})
	require.NoError(t, err)
	mine, err := appsapply.ExtractDeployment(now, "one")
	require.NoError(t, err)
	require.Nil(t, mine.Spec.Replicas, "two owns them now")
	require.Equal(t, "shell", *mine.Spec.Template.Spec.Containers[0].Image)
	mine.Spec.Template.Spec.Containers[0].WithImage("shell:2")
	changed, err := c.Apply(ctx, mine, metav1.ApplyOptions{FieldManager: "one"})
	require.NoError(t, err)
	require.Equal(t, "shell:2", changed.Spec.Template.Spec.Containers[0].Image)
	require.Equal(t, int32(5), *changed.Spec.Replicas)
	status, err := c.ApplyStatus(ctx, appsapply.Deployment("web", "default").WithStatus(appsapply.DeploymentStatus().WithReadyReplicas(1).WithReplicas(1)), metav1.ApplyOptions{FieldManager: "three"})
	require.NoError(t, err)
	require.Equal(t, int32(1), status.Status.ReadyReplicas)
	for _, m := range status.ManagedFields {
		require.WithinDuration(t, time.Now(), m.Time.Time, time.Hour, m.Manager)
	}
}
