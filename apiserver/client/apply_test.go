package client_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const deployment = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "web:1", env: [{name: COLOUR, value: blue}]}
`

func kindSet(t *testing.T) *kind.Set {
	t.Helper()
	set, err := kind.NewSet(append(builtin.Kinds(), fleets.Kind())...)
	require.NoError(t, err)
	return set
}

func TestApplyCreatesThenMerges(t *testing.T) {
	ctx := t.Context()
	direct := server(t).Client(authn.System("test"))
	kinds := kindSet(t)
	out, err := client.Apply(ctx, direct, kinds, []byte(deployment+`
---
{apiVersion: games.example.com/v1, kind: Fleet, metadata: {name: lobby}, spec: {size: 3, extras: {map: moon}}}
`))
	require.NoError(t, err)
	require.Equal(t, []string{"lobby", "web"}, names(out))
	require.Equal(t, "default", out[0].GetNamespace(), "no namespace means default")

	// Somebody else sets what the manifest does not name; it stays.
	deployments, lobby := client.For(direct, kind.Deployment), client.For(direct, fleets)
	_, err = deployments.MutateStatus(ctx, "default", "web", func(d *appsv1.Deployment) error { d.Status.Replicas = 2; return nil })
	require.NoError(t, err)
	_, err = deployments.Mutate(ctx, "default", "web", func(d *appsv1.Deployment) error {
		d.Labels["seen"] = "yes"
		d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "sidecar", Image: "sidecar"})
		return nil
	})
	require.NoError(t, err)
	_, err = lobby.MutateStatus(ctx, "default", "lobby", func(f *fleet) error { f.Status.Ready = 3; return nil })
	require.NoError(t, err)

	_, err = client.Apply(ctx, direct, kinds, []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:2"}]}
---
{apiVersion: games.example.com/v1, kind: Fleet, metadata: {name: lobby}, spec: {size: 4}}
`))
	require.NoError(t, err)
	d, err := deployments.Get(ctx, "default", "web")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"app": "web", "seen": "yes"}, d.Labels)
	require.EqualValues(t, 2, *d.Spec.Replicas)
	require.EqualValues(t, 2, d.Status.Replicas)
	images := map[string]string{}
	for _, container := range d.Spec.Template.Spec.Containers {
		images[container.Name] = container.Image
	}
	require.Equal(t, map[string]string{"web": "web:2", "sidecar": "sidecar"}, images, "containers are merged by name")
	f, err := lobby.Get(ctx, "default", "lobby")
	require.NoError(t, err)
	require.Equal(t, fleetSpec{Size: 4, Extras: map[string]string{"map": "moon"}}, f.Spec)
	require.EqualValues(t, 3, f.Status.Ready)
}

func TestApplyStopsAtTheFirstError(t *testing.T) {
	ctx := t.Context()
	direct := server(t).Client(authn.System("test"))
	out, err := client.Apply(ctx, direct, kindSet(t), []byte(`
{apiVersion: v1, kind: ConfigMap, metadata: {name: first}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: Second}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: third}}
`))
	require.Equal(t, []string{"first"}, names(out))
	require.ErrorContains(t, err, "apply configmaps default/Second: ")
	require.True(t, apierrors.IsInvalid(errors.Unwrap(err)), "%v", err)
	_, err = client.For(direct, kind.ConfigMap).Get(ctx, "default", "third")
	require.True(t, apierrors.IsNotFound(err))

	_, err = client.Apply(ctx, direct, kindSet(t), []byte("{apiVersion: v1, kind: Teapot, metadata: {name: a}}"))
	require.ErrorIs(t, err, kind.ErrUnknownKind)
}

func TestApplyDryRun(t *testing.T) {
	ctx := t.Context()
	direct := server(t).Client(authn.System("test"))
	_, err := client.Apply(ctx, direct, kindSet(t), []byte(deployment), client.DryRun())
	require.NoError(t, err)
	_, err = client.For(direct, kind.Deployment).Get(ctx, "default", "web")
	require.True(t, apierrors.IsNotFound(err))
}
