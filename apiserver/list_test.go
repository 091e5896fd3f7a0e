package apiserver_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

func names(items []kind.Instance) []string {
	var out []string
	for _, i := range items {
		out = append(out, i.GetNamespace()+"/"+i.GetName())
	}
	return out
}

func TestListSelectors(t *testing.T) {
	_, c := start(t)
	ctx := t.Context()
	for i, ns := range []string{"a", "b", "ab"} {
		for j, app := range []string{"web", "db"} {
			p := newPod(app, "app", app)
			p.Namespace = ns
			if i == j {
				p.Spec.NodeName = "n1"
			}
			_, err := client.For(c, pods).Create(ctx, p)
			require.NoError(t, err)
		}
	}
	for name, tc := range map[string]struct {
		namespace string
		opts      metav1.ListOptions
		want      []string
	}{
		"all":            {"", metav1.ListOptions{}, []string{"a/db", "a/web", "ab/db", "ab/web", "b/db", "b/web"}},
		"namespace":      {"a", metav1.ListOptions{}, []string{"a/db", "a/web"}},
		"label":          {"", metav1.ListOptions{LabelSelector: "app=web"}, []string{"a/web", "ab/web", "b/web"}},
		"label set":      {"b", metav1.ListOptions{LabelSelector: "app notin (web)"}, []string{"b/db"}},
		"name":           {"", metav1.ListOptions{FieldSelector: "metadata.name=db"}, []string{"a/db", "ab/db", "b/db"}},
		"not namespace":  {"", metav1.ListOptions{FieldSelector: "metadata.namespace!=a,metadata.name=db"}, []string{"ab/db", "b/db"}},
		"node":           {"", metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}, []string{"a/web", "b/db"}},
		"nothing":        {"c", metav1.ListOptions{}, nil},
		"any version":    {"a", metav1.ListOptions{ResourceVersion: "0"}, []string{"a/db", "a/web"}},
		"exact":          {"", metav1.ListOptions{ResourceVersion: "3", ResourceVersionMatch: "Exact"}, []string{"a/db", "a/web"}},
		"not older than": {"b", metav1.ListOptions{ResourceVersion: "3", ResourceVersionMatch: "NotOlderThan"}, []string{"b/db", "b/web"}},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := c.Do(ctx, &client.Request{Verb: client.List, Kind: kind.Pod.Kind(), Namespace: tc.namespace, List: tc.opts})
			require.NoError(t, err)
			require.Equal(t, tc.want, names(resp.Items))
		})
	}
	for name, tc := range map[string]struct {
		opts metav1.ListOptions
		want metav1.StatusReason
	}{
		"labels":            {metav1.ListOptions{LabelSelector: "=="}, metav1.StatusReasonBadRequest},
		"fields":            {metav1.ListOptions{FieldSelector: "x"}, metav1.StatusReasonBadRequest},
		"unknown field":     {metav1.ListOptions{FieldSelector: "spec.colour=red"}, metav1.StatusReasonBadRequest},
		"version":           {metav1.ListOptions{ResourceVersion: "x"}, metav1.StatusReasonBadRequest},
		"leading zero":      {metav1.ListOptions{ResourceVersion: "01"}, metav1.StatusReasonBadRequest},
		"match alone":       {metav1.ListOptions{ResourceVersionMatch: "Exact"}, metav1.StatusReasonInvalid},
		"exact zero":        {metav1.ListOptions{ResourceVersion: "0", ResourceVersionMatch: "Exact"}, metav1.StatusReasonInvalid},
		"unknown match":     {metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: "Fuzzy"}, metav1.StatusReasonInvalid},
		"token":             {metav1.ListOptions{Continue: "x"}, metav1.StatusReasonBadRequest},
		"token and version": {metav1.ListOptions{Continue: "x", ResourceVersion: "1"}, metav1.StatusReasonBadRequest},
		"initial events":    {metav1.ListOptions{SendInitialEvents: new(bool)}, metav1.StatusReasonInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.Do(ctx, &client.Request{Verb: client.List, Kind: kind.Pod.Kind(), List: tc.opts})
			require.Equal(t, tc.want, reason(err), "%v", err)
		})
	}
}

func TestPagesAreOneSnapshot(t *testing.T) {
	s, c := start(t)
	ctx, typed := t.Context(), client.For(c, pods)
	var want []string
	for i := range 25 {
		_, err := typed.Create(ctx, newPod(fmt.Sprintf("p%02d", i), "even", fmt.Sprint(i%2 == 0)))
		require.NoError(t, err)
		want = append(want, fmt.Sprintf("default/p%02d", i))
	}
	for _, disturb := range []bool{false, true} {
		t.Run(fmt.Sprint("changes between pages: ", disturb), func(t *testing.T) {
			req := &client.Request{Verb: client.List, Kind: kind.Pod.Kind(), Namespace: "default", List: metav1.ListOptions{Limit: 10}}
			var got []string
			var left []int64
			var revision int64
			for page := 0; ; page++ {
				resp, err := c.Do(ctx, req)
				require.NoError(t, err)
				got = append(got, names(resp.Items)...)
				if revision != 0 {
					require.Equal(t, revision, resp.Revision)
				}
				revision = resp.Revision
				if resp.Continue == "" {
					break
				}
				left = append(left, *resp.Remaining)
				req.List.Continue = resp.Continue
				if disturb {
					_, err = typed.Create(ctx, newPod(fmt.Sprintf("p%02dx", page)))
					require.NoError(t, err)
					require.NoError(t, typed.Delete(ctx, "default", fmt.Sprintf("p%02d", 20+page)))
				}
			}
			require.Equal(t, want, got)
			require.Equal(t, []int64{15, 5}, left)
		})
	}
	req := &client.Request{Verb: client.List, Kind: kind.Pod.Kind(), List: metav1.ListOptions{Limit: 5, LabelSelector: "even=true"}}
	resp, err := c.Do(ctx, req)
	require.NoError(t, err)
	require.Len(t, resp.Items, 5)
	require.Nil(t, resp.Remaining)
	require.NoError(t, typed.Delete(ctx, "default", "p00"))
	now, err := s.Store().Revision(ctx)
	require.NoError(t, err)
	require.NoError(t, s.Store().Compact(ctx, now))
	req.List.Continue = resp.Continue
	_, err = c.Do(ctx, req)
	require.Equal(t, metav1.StatusReasonExpired, reason(err), "%v", err)
}

func TestFutureVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t)
		req := &client.Request{Verb: client.List, Kind: kind.Pod.Kind(), List: metav1.ListOptions{ResourceVersion: "3"}}
		asked := time.Now()
		_, err := c.Do(t.Context(), req)
		require.Zero(t, time.Since(asked), "there is nothing to wait for")
		require.True(t, apierrors.IsTimeout(err), err)
		require.True(t, apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge))

		for _, name := range []string{"a", "b"} {
			_, err := client.For(c, pods).Create(t.Context(), newPod(name))
			require.NoError(t, err)
		}
		_, err = c.Do(t.Context(), req)
		require.NoError(t, err, "the version has come")
	})
}

func TestAuthorization(t *testing.T) {
	s, c := start(t, func(cfg *apiserver.Config) {
		cfg.AuthorizerFrom = func(c client.Client) authz.Authorizer { return authz.RBAC(authz.FromClient(c)) }
	})
	ctx := t.Context()
	for _, d := range authz.Bootstrap() {
		_, err := c.Do(ctx, &client.Request{Verb: client.Create, Kind: d.Kind, Object: d.Object})
		require.NoError(t, err, d.Object.GetName())
	}
	ann := client.For(s.Client(authn.User{Name: "ann"}), pods)
	_, err := ann.List(ctx, client.InNamespace("default"))
	require.True(t, apierrors.IsForbidden(err), err)
	require.ErrorContains(t, err, `User "ann" cannot list resource "pods" in API group "" in the namespace "default"`)
	binding := kind.RoleBinding.New()
	binding.Namespace, binding.Name = "default", "ann"
	binding.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
	binding.Subjects = []rbacv1.Subject{{Kind: "User", Name: "ann"}}
	_, err = client.For(c, kind.RoleBinding).Create(ctx, binding)
	require.NoError(t, err)
	_, err = ann.List(ctx, client.InNamespace("default"))
	require.NoError(t, err, "a binding counts for the next request")
	_, err = ann.Create(ctx, newPod("a"))
	require.True(t, apierrors.IsForbidden(err), err)
	_, err = ann.Watch(ctx)
	require.True(t, apierrors.IsForbidden(err), "other namespaces: %v", err)
}

func TestMutationIsDetected(t *testing.T) {
	var found []string
	_, c := start(t, func(cfg *apiserver.Config) {
		cfg.MutationDetected = func(what string) { found = append(found, what) }
	})
	p, err := client.For(c, pods).Create(t.Context(), newPod("a"))
	require.NoError(t, err)
	p.Spec.Hostname = "changed"
	_, err = client.For(c, pods).Get(t.Context(), "default", "a")
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, found[0], "/registry/pods/default/a")
	p.Spec.Hostname = ""
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		_, c := start(b, func(cfg *apiserver.Config) { cfg.DetectMutation, cfg.Kinds = false, builtin.Kinds() })
		if _, err := client.For(c, pods).List(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkServer(b *testing.B, n int) client.Typed[*corev1.Pod] {
	_, c := start(b, func(cfg *apiserver.Config) { cfg.DetectMutation = false })
	typed := client.For(c, pods)
	for i := range n {
		if _, err := typed.Create(b.Context(), newPod(fmt.Sprintf("p%06d", i))); err != nil {
			b.Fatal(err)
		}
	}
	return typed
}

func BenchmarkCreate(b *testing.B) {
	typed := benchmarkServer(b, 0)
	i := 0
	for b.Loop() {
		i++
		if _, err := typed.Create(b.Context(), newPod(fmt.Sprintf("p%d", i))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	typed := benchmarkServer(b, 1000)
	for b.Loop() {
		if _, err := typed.Get(b.Context(), "default", "p000500"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList1000(b *testing.B) {
	typed := benchmarkServer(b, 1000)
	for b.Loop() {
		if _, err := typed.List(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
