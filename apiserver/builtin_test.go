package apiserver_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/builtin"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
)

const manifest = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: default, namespace: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: main, image: "web:1"}
      - {name: side, image: "side:1"}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{port: 80}]}
`

func startBuiltin(t *testing.T) (*apiserver.Server, client.Client) {
	return start(t, func(cfg *apiserver.Config) {
		cfg.Kinds = append(builtin.Kinds(), fleets.Kind())
		cfg.AdmissionFrom = builtin.Plugins(netip.MustParsePrefix("10.96.0.0/24"), builtin.PortRange{})
		cfg.Authenticator = authn.Tokens(map[string]authn.User{"secret": authn.System("admin")})
	})
}

func TestBuiltinKinds(t *testing.T) {
	s, c := startBuiltin(t)
	ctx := t.Context()
	for _, again := range []string{"", "image: \"web:2\""} {
		text := manifest
		if again != "" {
			text = strings.Replace(manifest, `image: "web:1"`, again, 1)
		}
		_, err := client.Apply(ctx, c, s.Kinds(), []byte(text))
		require.NoError(t, err)
	}
	deployments := client.For(c, kind.Deployment)
	d, err := deployments.Get(ctx, "shop", "web")
	require.NoError(t, err)
	require.Equal(t, int64(2), d.Generation)
	require.Equal(t, "web:2", d.Spec.Template.Spec.Containers[0].Image)
	require.Equal(t, "side:1", d.Spec.Template.Spec.Containers[1].Image)
	require.Equal(t, appsv1.RollingUpdateDeploymentStrategyType, d.Spec.Strategy.Type)
	require.NoError(t, deployments.Scale(ctx, "shop", "web", 5))
	svc, err := client.For(c, kind.Service).Get(ctx, "shop", "web")
	require.NoError(t, err)
	require.True(t, netip.MustParsePrefix("10.96.0.0/24").Contains(netip.MustParseAddr(svc.Spec.ClusterIP)), svc.Spec.ClusterIP)
	_, found, err := s.Store().Get(ctx, []byte("/registry/deployments/shop/web"))
	require.NoError(t, err)
	require.True(t, found)

	pods := client.For(c, kind.Pod)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", GenerateName: "web-"}, Spec: d.Spec.Template.Spec}
	pod, err = pods.Create(ctx, pod)
	require.NoError(t, err)
	require.Equal(t, corev1.PodPending, pod.Status.Phase)
	require.NoError(t, client.Bind(ctx, c, pod, "n1"))
	pod, err = pods.MutateStatus(ctx, "shop", pod.Name, func(p *corev1.Pod) error { p.Status.Phase = corev1.PodRunning; return nil })
	require.NoError(t, err)
	require.Equal(t, "n1", pod.Spec.NodeName)
	_, err = pods.Patch(ctx, "shop", pod.Name, types.StrategicMergePatchType, []byte(`{"spec":{"nodeName":"n2"}}`))
	require.True(t, apierrors.IsInvalid(err), err)
	_, err = pods.Patch(ctx, "shop", pod.Name, types.StrategicMergePatchType, []byte(`{"status":{"conditions":[{"type":"Ready","status":"True"}]}}`),
		func(r *client.Request) { r.Subresource = "status" })
	require.NoError(t, err)
	pod, err = pods.Get(ctx, "shop", pod.Name)
	require.NoError(t, err)
	require.Len(t, pod.Status.Conditions, 2, "PodScheduled and Ready, merged by type")
	require.NoError(t, pods.Delete(ctx, "shop", pod.Name))
	pod, err = pods.Get(ctx, "shop", pod.Name)
	require.NoError(t, err)
	require.Equal(t, int64(30), *pod.DeletionGracePeriodSeconds)
	require.NoError(t, pods.Delete(ctx, "shop", pod.Name, client.GracePeriod(0), client.IfUID(pod.UID)))

	namespaces := client.For(c, kind.Namespace)
	require.NoError(t, namespaces.Delete(ctx, "", "shop"))
	ns, err := namespaces.Get(ctx, "", "shop")
	require.NoError(t, err)
	require.Equal(t, corev1.NamespaceTerminating, ns.Status.Phase)
	ns = kind.Namespace.Copy(ns)
	ns.Spec.Finalizers = nil
	_, err = c.Do(ctx, &client.Request{Verb: client.Update, Kind: kind.Namespace.Kind(), Subresource: "finalize", Name: "shop", Object: ns})
	require.NoError(t, err)
	_, err = namespaces.Get(ctx, "", "shop")
	require.True(t, apierrors.IsNotFound(err), err)
}

// TestHTTP shows that the two ways in are one pipeline.
func TestHTTP(t *testing.T) {
	s, c := startBuiltin(t)
	do := func(method, path, token, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	require.Equal(t, http.StatusOK, do("GET", "/readyz", "", "").Code)
	require.Equal(t, http.StatusUnauthorized, do("GET", "/api/v1/pods", "", "").Code)
	require.Equal(t, http.StatusUnauthorized, do("GET", "/api/v1/pods", "wrong", "").Code)
	for _, each := range [][2]string{
		{"/api/v1/namespaces", `{"metadata":{"name":"default"}}`},
		{"/apis/games.example.com/v1/namespaces/default/fleets", `{"metadata":{"name":"lobby"},"spec":{"size":3}}`},
	} {
		w := do("POST", each[0], "secret", each[1])
		require.Equal(t, http.StatusCreated, w.Code, w.Body)
	}
	f, err := client.For(c, fleets).Get(t.Context(), "default", "lobby")
	require.NoError(t, err)
	w := do("GET", "/apis/games.example.com/v1/namespaces/default/fleets/lobby", "secret", "")
	require.Equal(t, http.StatusOK, w.Code, w.Body)
	var got fleet
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &got))
	require.Equal(t, f.ResourceVersion, got.ResourceVersion)
	require.Equal(t, "default", got.Spec.Image)
	w = do("POST", "/apis/games.example.com/v1/namespaces/default/fleets", "secret", `{"metadata":{"name":"x"},"spec":{"size":-1}}`)
	require.Equal(t, http.StatusUnprocessableEntity, w.Code)
	require.Contains(t, w.Body.String(), "spec.size")
}
