package apiserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/authz"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

// TestPatchesThatLibrariesMistake sends patches that the patch libraries panic on, or that cost them the square of
// their size.
func TestPatchesThatLibrariesMistake(t *testing.T) {
	_, c := start(t)
	ctx, typed := t.Context(), client.For(c, pods)
	p := newPod("a")
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	_, err := typed.Create(ctx, p)
	require.NoError(t, err)
	before, err := typed.Get(ctx, "default", "a")
	require.NoError(t, err)
	var many strings.Builder
	for i := range 30_000 {
		fmt.Fprintf(&many, `{"name":"c%d"},`, i)
	}
	deep := strings.Repeat(`{"a":`, 9000) + "1" + strings.Repeat("}", 9000)
	for name, tc := range map[string]struct {
		kind types.PatchType
		data string
		want metav1.StatusReason
	}{
		"merge key that is an object":  {types.StrategicMergePatchType, `{"spec":{"containers":[{"name":{"a":1}}]}}`, metav1.StatusReasonBadRequest},
		"thirty thousand list members": {types.StrategicMergePatchType, `{"spec":{"containers":[` + many.String() + `{"name":"x"}]}}`, metav1.StatusReasonRequestEntityTooLarge},
		"deep merge patch":             {types.MergePatchType, deep, metav1.StatusReasonBadRequest},
		"deep JSON patch":              {types.JSONPatchType, `[{"op":"add","path":"/z","value":` + deep + `}]`, metav1.StatusReasonBadRequest},
		"copies":                       {types.JSONPatchType, `[{"op":"add","path":"/z","value":["` + strings.Repeat("x", 100_000) + `"]}` + strings.Repeat(`,{"op":"copy","from":"/z","path":"/z/-"}`, 100) + "]", metav1.StatusReasonInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := typed.Patch(ctx, "default", "a", tc.kind, []byte(tc.data))
			require.Equal(t, tc.want, reason(err), "%.300v", err)
		})
	}
	after, err := typed.Get(ctx, "default", "a")
	require.NoError(t, err)
	require.Equal(t, before.ResourceVersion, after.ResourceVersion)
}

// TestErrorsAboutThousandsOfFieldsAreShort makes thousands of mistakes: joining their texts once took minutes.
func TestErrorsAboutThousandsOfFieldsAreShort(t *testing.T) {
	_, c := start(t)
	cm := kind.ConfigMap.New()
	cm.Namespace, cm.Name, cm.Data = "default", "a", map[string]string{}
	cm.Labels = map[string]string{}
	for i := range 10_000 {
		cm.Labels[fmt.Sprint("! ", i)] = "x"
	}
	_, err := client.For(c, kind.ConfigMap).Create(t.Context(), cm)
	require.True(t, apierrors.IsInvalid(err), "%.300v", err)
	require.ErrorContains(t, err, "more mistakes")
	require.Less(t, len(err.Error()), 64<<10)

	cm.Labels = map[string]string{"a": strings.Repeat("!", 200_000)}
	cm.Name = strings.Repeat("A", 1<<20)
	_, err = client.For(c, kind.ConfigMap).Create(t.Context(), cm)
	require.True(t, apierrors.IsInvalid(err), "%.300v", err)
	require.Less(t, len(err.Error()), 16<<10)

	cm.Name, cm.Labels, cm.Finalizers = "a", nil, make([]string, 300_000)
	_, err = client.For(c, kind.ConfigMap).Create(t.Context(), cm)
	require.ErrorContains(t, err, "metadata.finalizers")
	cm.Finalizers, cm.Labels = nil, map[string]string{"a": strings.Repeat("!", 300_000)}
	_, err = client.For(c, kind.ConfigMap).Create(t.Context(), cm)
	require.ErrorContains(t, err, "metadata.labels: Too long")
}

func TestWatchOfTheFuture(t *testing.T) {
	_, c := start(t)
	_, err := client.For(c, pods).Watch(t.Context(), func(r *client.Request) { r.List.ResourceVersion = "1000000" })
	require.True(t, apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge), "events before it would be lost: %v", err)

	huge := int64(1) << 62
	w, err := client.For(c, pods).Watch(t.Context(), func(r *client.Request) { r.List.TimeoutSeconds = &huge })
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	_, err = client.For(c, pods).Create(t.Context(), newPod("a"))
	require.NoError(t, err)
	e, err := w.Next(t.Context())
	require.NoError(t, err, "the time-out must not have overflowed")
	require.Equal(t, client.Added, e.Type)
}

// TestSelectorWithNUL guards deletes: the selector's parser takes a NUL for the end and would select everything.
func TestSelectorWithNUL(t *testing.T) {
	_, c := start(t)
	_, err := c.Do(t.Context(), &client.Request{Verb: client.DeleteCollection, Kind: pods.Kind(), Namespace: "default", List: metav1.ListOptions{LabelSelector: "\x00a=b"}})
	require.True(t, apierrors.IsBadRequest(err), err)
}

// TestResourceNames: a rule that names objects allows collections only through a field selector that names one of them.
func TestResourceNames(t *testing.T) {
	s, c := start(t, func(cfg *apiserver.Config) {
		cfg.AuthorizerFrom = func(c client.Client) authz.Authorizer { return authz.RBAC(authz.FromClient(c)) }
	})
	role := kind.ClusterRole.New()
	role.Name = "one"
	role.Rules = []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, ResourceNames: []string{"a"}, Verbs: []string{"*"}}}
	_, err := client.For(c, kind.ClusterRole).Create(t.Context(), role)
	require.NoError(t, err)
	binding := kind.ClusterRoleBinding.New()
	binding.Name, binding.RoleRef = "one", rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "one"}
	binding.Subjects = []rbacv1.Subject{{Kind: "User", Name: "ann"}}
	_, err = client.For(c, kind.ClusterRoleBinding).Create(t.Context(), binding)
	require.NoError(t, err)
	for _, name := range []string{"a", "b"} {
		_, err = client.For(c, pods).Create(t.Context(), newPod(name))
		require.NoError(t, err)
	}
	ann := s.Client(authn.User{Name: "ann"})
	for _, tt := range []struct {
		verb     client.Verb
		selector string
		items    int // -1: forbidden
	}{
		{client.List, "", -1},
		{client.List, "metadata.name=b", -1},
		{client.List, "metadata.name!=b", -1},
		{client.List, "metadata.name=a", 1},
		{client.List, "metadata.name=a,metadata.name=b", 0},
		{client.DeleteCollection, "", -1},
		{client.DeleteCollection, "metadata.name=b", -1},
		{client.DeleteCollection, "metadata.name=a", 1},
	} {
		resp, err := ann.Do(t.Context(), &client.Request{Verb: tt.verb, Kind: pods.Kind(), Namespace: "default", List: metav1.ListOptions{FieldSelector: tt.selector}})
		if tt.items < 0 {
			require.True(t, apierrors.IsForbidden(err), "%s %s: %v", tt.verb, tt.selector, err)
			continue
		}
		require.NoError(t, err, "%s %s", tt.verb, tt.selector)
		require.Len(t, resp.Items, tt.items)
	}
	_, err = client.For(ann, pods).Create(t.Context(), newPod("a"))
	require.True(t, apierrors.IsForbidden(err), "names grant no create: %v", err)
	_, err = client.For(c, pods).Get(t.Context(), "default", "b")
	require.NoError(t, err)
}

// TestNodesKeepToThemselves gives node a the role of nodes, and has it reach for what is b's.
func TestNodesKeepToThemselves(t *testing.T) {
	s, c := start(t, func(cfg *apiserver.Config) {
		cfg.Kinds = append(cfg.Kinds, kind.Lease.Kind())
		cfg.AuthorizerFrom = func(c client.Client) authz.Authorizer { return authz.Nodes(authz.RBAC(authz.FromClient(c)), c) }
	})
	ctx := t.Context()
	for _, d := range authz.Bootstrap() {
		_, err := c.Do(ctx, &client.Request{Verb: client.Create, Kind: d.Kind, Object: d.Object})
		require.NoError(t, err, d.Object.GetName())
	}
	for _, name := range []string{"a", "b"} {
		n := kind.Node.New()
		n.Name = name
		_, err := client.For(c, kind.Node).Create(ctx, n)
		require.NoError(t, err)
		p := newPod("on-" + name)
		p.Spec.NodeName = name
		_, err = client.For(c, pods).Create(ctx, p)
		require.NoError(t, err)
		for _, namespace := range []string{"kube-node-lease", "kube-system"} {
			l := kind.Lease.New()
			l.Namespace, l.Name = namespace, name
			_, err = client.For(c, kind.Lease).Create(ctx, l)
			require.NoError(t, err)
		}
	}
	a := s.Client(authn.User{Name: "system:node:a", Groups: []string{authn.GroupNodes}})
	label := []byte(`{"metadata":{"labels":{"x":"y"}}}`)
	for _, tt := range []struct {
		kind                         *kind.Kind
		namespace, name, subresource string
		verb                         client.Verb
		ok                           bool
	}{
		{kind.Node.Kind(), "", "a", "", client.Patch, true},
		{kind.Node.Kind(), "", "a", "status", client.Patch, true},
		{kind.Node.Kind(), "", "b", "", client.Patch, false},
		{kind.Node.Kind(), "", "b", "status", client.Patch, false},
		{kind.Node.Kind(), "", "a", "", client.Delete, false},
		{kind.Lease.Kind(), "kube-node-lease", "a", "", client.Patch, true},
		{kind.Lease.Kind(), "kube-node-lease", "b", "", client.Patch, false},
		{kind.Lease.Kind(), "kube-system", "a", "", client.Patch, false},
		{pods.Kind(), "default", "on-a", "status", client.Patch, true},
		{pods.Kind(), "default", "on-b", "status", client.Patch, false},
		{pods.Kind(), "default", "on-a", "", client.Patch, false},
		{pods.Kind(), "default", "on-b", "", client.Delete, false},
		{pods.Kind(), "default", "on-b", "", client.Get, true},
		{pods.Kind(), "default", "on-a", "", client.Delete, true},
		{kind.ClusterRole.Kind(), "", "view", "", client.Patch, false},
	} {
		_, err := a.Do(ctx, &client.Request{
			Verb: tt.verb, Kind: tt.kind, Namespace: tt.namespace, Name: tt.name, Subresource: tt.subresource, PatchType: types.MergePatchType, PatchData: label,
		})
		if tt.ok {
			require.NoError(t, err, "%+v", tt)
		} else {
			require.True(t, apierrors.IsForbidden(err), "%+v: %v", tt, err)
		}
	}
	_, err := client.For(a, pods).Create(ctx, newPod("mine"))
	require.True(t, apierrors.IsForbidden(err), err)
}
