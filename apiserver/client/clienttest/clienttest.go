package clienttest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Run checks that the clients open gives behave as package client promises.
func Run(t *testing.T, open func(t *testing.T) client.Client) {
	for name, test := range map[string]func(*testing.T, *fixture){
		"read what was written":         readBack,
		"errors are statuses":           statuses,
		"lists: selectors and pages":    lists,
		"updates: optimistic":           optimistic,
		"no update is lost":             noLostUpdate,
		"patches":                       patches,
		"server-side apply":             applies,
		"status and scale":              subresources,
		"deletion":                      deletion,
		"dry run":                       dryRun,
		"watch: order and selectors":    watching,
		"watch: initial events":         initialEvents,
		"watch: ends with its context":  watchContext,
		"open: snapshot and then":       snapshotAndThen,
		"requests honour their context": honourContext,
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			ns := kind.Namespace.New()
			ns.GenerateName = "suite-"
			ns, err := client.For(c, kind.Namespace).Create(t.Context(), ns)
			require.NoError(t, err)
			test(t, &fixture{c, client.For(c, kind.ConfigMap), ns.Name})
		})
	}
}

type fixture struct {
	client client.Client
	maps   client.Typed[*corev1.ConfigMap]
	ns     string
}

func (f *fixture) configMap(name string, data ...string) *corev1.ConfigMap {
	cm := kind.ConfigMap.New()
	cm.Namespace, cm.Name, cm.Labels, cm.Data = f.ns, name, map[string]string{}, map[string]string{}
	for i := 0; i+1 < len(data); i += 2 {
		cm.Data[data[i]], cm.Labels[data[i]] = data[i+1], data[i+1]
	}
	return cm
}

func (f *fixture) create(t *testing.T, name string, data ...string) *corev1.ConfigMap {
	t.Helper()
	out, err := f.maps.Create(t.Context(), f.configMap(name, data...))
	require.NoError(t, err)
	return out
}

func readBack(t *testing.T, f *fixture) {
	given := f.configMap("a", "k", "v")
	written, err := f.maps.Create(t.Context(), given)
	require.NoError(t, err)
	require.Empty(t, given.UID, "the object that was given stays the caller's")
	require.NotEmpty(t, written.UID)
	require.NotEmpty(t, written.ResourceVersion)
	require.False(t, written.CreationTimestamp.IsZero())
	require.Equal(t, "ConfigMap", written.Kind, "objects carry their kind")
	read, err := f.maps.Get(t.Context(), f.ns, "a")
	require.NoError(t, err)
	require.Equal(t, written, read)
}

func statuses(t *testing.T, f *fixture) {
	_, err := f.maps.Get(t.Context(), f.ns, "none")
	require.True(t, apierrors.IsNotFound(err), "%v", err)
	f.create(t, "a")
	_, err = f.maps.Create(t.Context(), f.configMap("a"))
	require.True(t, apierrors.IsAlreadyExists(err), "%v", err)
	_, err = f.maps.Create(t.Context(), f.configMap("Not A Name"))
	require.True(t, apierrors.IsInvalid(err), "%v", err)
	var status apierrors.APIStatus
	require.ErrorAs(t, err, &status)
	require.Equal(t, "metadata.name", status.Status().Details.Causes[0].Field)
	_, err = f.maps.List(t.Context(), client.InNamespace(f.ns), func(r *client.Request) { r.List.LabelSelector = "a===b" })
	require.True(t, apierrors.IsBadRequest(err), "%v", err)
	_, err = f.maps.List(t.Context(), client.InNamespace(f.ns), client.Continue("nonsense"))
	require.True(t, apierrors.IsBadRequest(err), "%v", err)
	require.True(t, apierrors.IsNotFound(f.maps.Delete(t.Context(), f.ns, "none")))
	stranger := kind.Must(kind.Define[struct{}, struct{}]("stranger.example.com/v1", "Stranger"))
	_, err = client.For(f.client, stranger).Get(t.Context(), f.ns, "a")
	require.True(t, apierrors.IsNotFound(err), "a kind that is not served: %v", err)
}

func lists(t *testing.T, f *fixture) {
	for i := range 7 {
		f.create(t, fmt.Sprintf("m%d", i), "odd", fmt.Sprint(i%2))
	}
	page, err := f.maps.List(t.Context(), client.InNamespace(f.ns), client.Labels(labels.SelectorFromSet(labels.Set{"odd": "1"})))
	require.NoError(t, err)
	require.Len(t, page.Items, 3)
	page, err = f.maps.List(t.Context(), client.InNamespace(f.ns), client.Fields(fields.OneTermEqualSelector("metadata.name", "m3")))
	require.NoError(t, err)
	require.Len(t, page.Items, 1)
	require.Positive(t, page.Revision)

	var names []string
	var revision int64
	for token := ""; ; {
		page, err := f.maps.List(t.Context(), client.InNamespace(f.ns), client.Limit(3), client.Continue(token))
		require.NoError(t, err)
		require.LessOrEqual(t, len(page.Items), 3)
		for _, m := range page.Items {
			names = append(names, m.Name)
		}
		if revision == 0 {
			revision = page.Revision
			f.create(t, "m99") // not in the snapshot that the pages are of
		}
		require.Equal(t, revision, page.Revision, "all pages are of one snapshot")
		if token = page.Continue; token == "" {
			break
		}
	}
	require.Equal(t, []string{"m0", "m1", "m2", "m3", "m4", "m5", "m6"}, names)
}

func optimistic(t *testing.T, f *fixture) {
	first := f.create(t, "a")
	next := kind.ConfigMap.Copy(first)
	next.Data = map[string]string{"k": "2"}
	second, err := f.maps.Update(t.Context(), next)
	require.NoError(t, err)
	require.NotEqual(t, first.ResourceVersion, second.ResourceVersion)
	_, err = f.maps.Update(t.Context(), next) // still names the first version
	require.True(t, apierrors.IsConflict(err), "%v", err)
	next.ResourceVersion = ""
	next.Data["k"] = "3"
	_, err = f.maps.Update(t.Context(), next)
	require.NoError(t, err, "without a version the last writer wins")
	same, err := f.maps.Mutate(t.Context(), f.ns, "a", func(*corev1.ConfigMap) error { return nil })
	require.NoError(t, err)
	again, err := f.maps.Get(t.Context(), f.ns, "a")
	require.NoError(t, err)
	require.Equal(t, same.ResourceVersion, again.ResourceVersion, "a change of nothing writes nothing")
}

func noLostUpdate(t *testing.T, f *fixture) {
	f.create(t, "counter")
	const writers, times = 8, 10
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() {
			for range times {
				_, err := f.maps.Mutate(t.Context(), f.ns, "counter", func(cm *corev1.ConfigMap) error {
					if cm.Data == nil {
						cm.Data = map[string]string{}
					}
					cm.Data["n"] += "x"
					return nil
				})
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	cm, err := f.maps.Get(t.Context(), f.ns, "counter")
	require.NoError(t, err)
	require.Len(t, cm.Data["n"], writers*times)
}

func patches(t *testing.T, f *fixture) {
	f.create(t, "a", "x", "1")
	for pt, patch := range map[types.PatchType]string{
		types.MergePatchType:          `{"data":{"merge":"yes"}}`,
		types.StrategicMergePatchType: `{"data":{"strategic":"yes"}}`,
		types.JSONPatchType:           `[{"op":"add","path":"/data/json","value":"yes"}]`,
	} {
		_, err := f.maps.Patch(t.Context(), f.ns, "a", pt, []byte(patch))
		require.NoError(t, err, pt)
	}
	cm, err := f.maps.Get(t.Context(), f.ns, "a")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"x": "1", "merge": "yes", "strategic": "yes", "json": "yes"}, cm.Data)
	_, err = f.maps.Patch(t.Context(), f.ns, "a", types.JSONPatchType, []byte(`{"not":"a list"}`))
	require.True(t, apierrors.IsBadRequest(err), "%v", err)
}

func (f *fixture) deployment(t *testing.T) *appsv1.Deployment {
	t.Helper()
	d := kind.Deployment.New()
	d.Namespace, d.Name = f.ns, "web"
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	d.Spec.Template.Labels = map[string]string{"app": "web"}
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "any"}}
	d.Status.Replicas = 99 // not the client's to say
	out, err := client.For(f.client, kind.Deployment).Create(t.Context(), d)
	require.NoError(t, err)
	return out
}

func subresources(t *testing.T, f *fixture) {
	deployments := client.For(f.client, kind.Deployment)
	d := f.deployment(t)
	require.Zero(t, d.Status.Replicas)
	require.Equal(t, int32(1), *d.Spec.Replicas, "defaulted")
	d, err := deployments.MutateStatus(t.Context(), f.ns, "web", func(d *appsv1.Deployment) error {
		d.Status.ObservedGeneration = 7
		*d.Spec.Replicas = 50
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, int64(7), d.Status.ObservedGeneration)
	require.Equal(t, int32(1), *d.Spec.Replicas, "a status write leaves the spec alone")
	require.NoError(t, deployments.Scale(t.Context(), f.ns, "web", 4))
	d, err = deployments.Get(t.Context(), f.ns, "web")
	require.NoError(t, err)
	require.Equal(t, int32(4), *d.Spec.Replicas)
	require.Equal(t, int64(7), d.Status.ObservedGeneration)
}

func deletion(t *testing.T, f *fixture) {
	a := f.create(t, "a")
	err := f.maps.Delete(t.Context(), f.ns, "a", client.IfUID("another"))
	require.True(t, apierrors.IsConflict(err), "%v", err)
	require.NoError(t, f.maps.Delete(t.Context(), f.ns, "a", client.IfUID(a.UID)))
	_, err = f.maps.Get(t.Context(), f.ns, "a")
	require.True(t, apierrors.IsNotFound(err))

	held := f.configMap("held")
	held.Finalizers = []string{"example.com/hold"}
	_, err = f.maps.Create(t.Context(), held)
	require.NoError(t, err)
	require.NoError(t, f.maps.Delete(t.Context(), f.ns, "held"))
	got, err := f.maps.Get(t.Context(), f.ns, "held")
	require.NoError(t, err)
	require.NotNil(t, got.DeletionTimestamp)
	_, err = f.maps.Mutate(t.Context(), f.ns, "held", func(cm *corev1.ConfigMap) error { cm.Finalizers = nil; return nil })
	require.NoError(t, err)
	_, err = f.maps.Get(t.Context(), f.ns, "held")
	require.True(t, apierrors.IsNotFound(err), "without finalizers it goes")

	f.create(t, "one", "group", "x")
	f.create(t, "two", "group", "y")
	require.NoError(t, f.maps.DeleteAll(t.Context(), client.InNamespace(f.ns), client.Labels(labels.SelectorFromSet(labels.Set{"group": "x"}))))
	_, err = f.maps.Get(t.Context(), f.ns, "one")
	require.True(t, apierrors.IsNotFound(err))
	_, err = f.maps.Get(t.Context(), f.ns, "two")
	require.NoError(t, err)
}

func dryRun(t *testing.T, f *fixture) {
	out, err := f.maps.Create(t.Context(), f.configMap("a"), client.DryRun())
	require.NoError(t, err)
	require.Equal(t, "a", out.Name)
	_, err = f.maps.Get(t.Context(), f.ns, "a")
	require.True(t, apierrors.IsNotFound(err))
	f.create(t, "b")
	require.NoError(t, f.maps.Delete(t.Context(), f.ns, "b", client.DryRun()))
	_, err = f.maps.Get(t.Context(), f.ns, "b")
	require.NoError(t, err)
}

func honourContext(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.maps.Get(ctx, f.ns, "a")
	require.ErrorIs(t, err, context.Canceled)
	_, err = f.maps.Create(ctx, f.configMap("a"))
	require.ErrorIs(t, err, context.Canceled)
}
