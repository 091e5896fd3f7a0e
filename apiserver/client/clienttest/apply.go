package clienttest

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// applies is server-side apply: objects are made and merged, fields have managers, and conflicts say so.
func applies(t *testing.T, f *fixture) {
	ctx := t.Context()
	wanted := func(data ...string) func(manager string, opts ...client.Option) error {
		return func(manager string, opts ...client.Option) error {
			_, err := f.maps.Apply(ctx, f.configMap("a", data...), append(opts, client.ManagedBy(manager))...)
			return err
		}
	}
	require.NoError(t, wanted("x", "1", "y", "1")("one"))
	require.NoError(t, wanted("x", "1")("two"), "both say the same")
	err := wanted("x", "2")("two")
	require.True(t, apierrors.IsConflict(err), err)
	var status apierrors.APIStatus
	require.ErrorAs(t, err, &status)
	require.Contains(t, status.Status().Details.Causes, metav1.StatusCause{Type: metav1.CauseTypeFieldManagerConflict, Message: `conflict with "one"`, Field: ".data.x"})
	require.NoError(t, wanted("x", "2")("two", client.Force()))
	require.NoError(t, wanted("z", "3")("one"))
	got, err := f.maps.Get(ctx, f.ns, "a")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"x": "2", "z": "3"}, got.Data, "what its only manager drops goes")
	require.Len(t, got.ManagedFields, 2)

	stale := f.configMap("a", "x", "9")
	stale.ResourceVersion = "1"
	_, err = f.maps.Apply(ctx, stale, client.ManagedBy("two"))
	require.True(t, apierrors.IsConflict(err), err)
	_, err = f.maps.Apply(ctx, f.configMap("a"))
	require.Error(t, err, "a manager is required")
	_, err = f.maps.Apply(ctx, f.configMap("dry"), client.ManagedBy("one"), client.DryRun())
	require.NoError(t, err)
	_, err = f.maps.Get(ctx, f.ns, "dry")
	require.True(t, apierrors.IsNotFound(err), err)

	deployments := client.For(f.client, kind.Deployment)
	d := kind.Deployment.New()
	d.Namespace, d.Name = f.ns, "d"
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
	d.Spec.Template.Labels = map[string]string{"a": "b"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "any"}}
	d, err = deployments.Apply(ctx, d, client.ManagedBy("one"))
	require.NoError(t, err)
	d = kind.Deployment.New()
	d.Namespace, d.Name, d.Status.ObservedGeneration = f.ns, "d", 1
	d, err = deployments.ApplyStatus(ctx, d, client.ManagedBy("one"))
	require.NoError(t, err)
	require.EqualValues(t, 1, d.Status.ObservedGeneration)
	require.Len(t, d.Spec.Template.Spec.Containers, 1)
}
