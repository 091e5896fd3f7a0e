package apiserver_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/admission"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

func put(t *testing.T, s *apiserver.Server, key string, value []byte) {
	t.Helper()
	_, err := s.Store().Put(t.Context(), store.PutRequest{Key: []byte(key), Value: value})
	require.NoError(t, err)
}

func TestDelete(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	f, err := typed.Create(ctx, newFleet("lobby", 1))
	require.NoError(t, err)
	err = typed.Delete(ctx, "default", "lobby", client.IfUID("other"))
	require.True(t, apierrors.IsConflict(err), err)
	resp, err := c.Do(ctx, &client.Request{Verb: client.Delete, Kind: fleets.Kind(), Namespace: "default", Name: "lobby"})
	require.NoError(t, err)
	require.True(t, resp.Deleted)
	require.Equal(t, f.UID, resp.Object.GetUID())
	require.True(t, apierrors.IsNotFound(typed.Delete(ctx, "default", "lobby")))
	err = typed.Delete(ctx, "default", "lobby", client.Propagation("Sideways"))
	require.True(t, apierrors.IsInvalid(err), err)
}

func TestFinalizers(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, fleets)
	for _, tc := range []struct {
		had    []string
		policy metav1.DeletionPropagation
		want   []string // nil: the object is gone
	}{
		{nil, metav1.DeletePropagationBackground, nil},
		{nil, metav1.DeletePropagationForeground, []string{metav1.FinalizerDeleteDependents}},
		{nil, metav1.DeletePropagationOrphan, []string{metav1.FinalizerOrphanDependents}},
		{[]string{"a.example.com/x"}, metav1.DeletePropagationBackground, []string{"a.example.com/x"}},
		{[]string{"a.example.com/x", metav1.FinalizerOrphanDependents}, metav1.DeletePropagationForeground, []string{"a.example.com/x", metav1.FinalizerDeleteDependents}},
		{[]string{metav1.FinalizerOrphanDependents}, "", []string{metav1.FinalizerOrphanDependents}},
	} {
		t.Run(fmt.Sprint(tc.had, tc.policy), func(t *testing.T) {
			f := newFleet("lobby", 1)
			f.Finalizers = tc.had
			_, err := typed.Create(ctx, f)
			require.NoError(t, err)
			var opts []client.Option
			if tc.policy != "" {
				opts = append(opts, client.Propagation(tc.policy))
			}
			require.NoError(t, typed.Delete(ctx, "default", "lobby", opts...))
			got, err := typed.Get(ctx, "default", "lobby")
			if tc.want == nil {
				require.True(t, apierrors.IsNotFound(err))
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, got.Finalizers)
			require.NotNil(t, got.DeletionTimestamp)
			require.Equal(t, int64(2), got.Generation)
			require.NoError(t, typed.Delete(ctx, "default", "lobby", opts...), "again is no error")

			more := fleets.Copy(got)
			more.Finalizers = append(more.Finalizers, "b.example.com/y")
			_, err = typed.Update(ctx, more)
			require.True(t, apierrors.IsInvalid(err), "no new finalizers: %v", err)
			less := fleets.Copy(got)
			less.Finalizers = nil
			_, err = typed.Update(ctx, less)
			require.NoError(t, err)
			_, err = typed.Get(ctx, "default", "lobby")
			require.True(t, apierrors.IsNotFound(err))
		})
	}
}

func TestGracefulDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t)
		ctx, typed := t.Context(), client.For(c, pods)
		_, err := typed.Create(ctx, newPod("unbound"))
		require.NoError(t, err)
		require.NoError(t, typed.Delete(ctx, "default", "unbound"))
		_, err = typed.Get(ctx, "default", "unbound")
		require.True(t, apierrors.IsNotFound(err), "a pod that runs nowhere goes at once")

		pod, err := typed.Create(ctx, newPod("a"))
		require.NoError(t, err)
		require.NoError(t, client.Bind(ctx, c, pod, "n1"))
		began := time.Now()
		require.NoError(t, typed.Delete(ctx, "default", "a"))
		pod, err = typed.Get(ctx, "default", "a")
		require.NoError(t, err)
		require.Equal(t, int64(30), *pod.DeletionGracePeriodSeconds)
		require.Equal(t, began.Add(30*time.Second).Unix(), pod.DeletionTimestamp.Unix())

		time.Sleep(5 * time.Second)
		require.NoError(t, typed.Delete(ctx, "default", "a", client.GracePeriod(60)))
		longer, err := typed.Get(ctx, "default", "a")
		require.NoError(t, err)
		require.Same(t, pod, longer, "a second delete does not prolong")
		require.NoError(t, typed.Delete(ctx, "default", "a", client.GracePeriod(10)))
		pod, err = typed.Get(ctx, "default", "a")
		require.NoError(t, err)
		require.Equal(t, began.Add(10*time.Second).Unix(), pod.DeletionTimestamp.Unix())
		require.NoError(t, typed.Delete(ctx, "default", "a", client.GracePeriod(0)))
		_, err = typed.Get(ctx, "default", "a")
		require.True(t, apierrors.IsNotFound(err))
	})
}

func TestEviction(t *testing.T) {
	_, c := start(t)
	_, err := client.For(c, pods).Create(t.Context(), newPod("a"))
	require.NoError(t, err)
	req := &client.Request{Verb: client.Create, Kind: kind.Pod.Kind(), Subresource: "eviction", Namespace: "default", Name: "a",
		Object: &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}}
	_, err = c.Do(t.Context(), req)
	require.NoError(t, err)
	_, err = c.Do(t.Context(), req)
	require.True(t, apierrors.IsNotFound(err), err)
}

func TestDeleteCollection(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, pods)
	for i := range 50 {
		_, err := typed.Create(ctx, newPod(fmt.Sprintf("p%02d", i), "app", []string{"web", "db"}[i%2]))
		require.NoError(t, err)
	}
	require.NoError(t, typed.DeleteAll(ctx, client.InNamespace("default"), client.Labels(labels.SelectorFromSet(labels.Set{"app": "web"}))))
	page, err := typed.List(ctx)
	require.NoError(t, err)
	require.Len(t, page.Items, 25)
	for _, p := range page.Items {
		require.Equal(t, "db", p.Labels["app"])
	}
}

func TestNamespace(t *testing.T) {
	_, c := start(t, func(cfg *apiserver.Config) {
		cfg.AdmissionFrom = func(c client.Client) []admission.Plugin {
			return []admission.Plugin{admission.NamespaceLifecycle(c)}
		}
	})
	ctx, typed := t.Context(), client.For(c, namespaces)
	_, err := client.For(c, fleets).Create(ctx, newFleet("a", 1))
	require.True(t, apierrors.IsNotFound(err), err)
	for _, name := range []string{"default", "shop"} {
		_, err := typed.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		require.NoError(t, err)
	}
	_, err = client.For(c, fleets).Create(ctx, newFleet("a", 1))
	require.NoError(t, err)
	require.True(t, apierrors.IsForbidden(typed.Delete(ctx, "", "default")))

	require.NoError(t, typed.Delete(ctx, "", "shop"))
	ns, err := typed.Get(ctx, "", "shop")
	require.NoError(t, err)
	require.Equal(t, corev1.NamespaceTerminating, ns.Status.Phase)
	f := newFleet("a", 1)
	f.Namespace = "shop"
	_, err = client.For(c, fleets).Create(ctx, f)
	require.True(t, apierrors.IsForbidden(err), err)
	require.True(t, apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause))

	done := namespaces.Copy(ns)
	done.Spec.Finalizers = nil
	_, err = c.Do(ctx, &client.Request{Verb: client.Update, Kind: kind.Namespace.Kind(), Subresource: "finalize", Name: "shop", Object: done})
	require.NoError(t, err)
	_, err = typed.Get(ctx, "", "shop")
	require.True(t, apierrors.IsNotFound(err), err)
}
