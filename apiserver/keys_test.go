package apiserver

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

func TestRouting(t *testing.T) {
	own := kind.Must(kind.Define[struct{}, struct{}]("games.example.com/v1", "Fleet"))
	r := router{}
	s := &Server{}
	for k, want := range map[*kind.Kind]string{
		kind.Pod.Kind():           "/registry/pods/",
		kind.Node.Kind():          "/registry/minions/",
		kind.Service.Kind():       "/registry/services/specs/",
		kind.Endpoints.Kind():     "/registry/services/endpoints/",
		kind.Deployment.Kind():    "/registry/deployments/",
		kind.Lease.Kind():         "/registry/leases/",
		kind.EndpointSlice.Kind(): "/registry/endpointslices/",
		kind.Ingress.Kind():       "/registry/ingress/",
		kind.IngressClass.Kind():  "/registry/ingressclasses/",
		kind.ClusterRole.Kind():   "/registry/clusterroles/",

		kind.PersistentVolumeClaim.Kind():      "/registry/persistentvolumeclaims/",
		kind.PersistentVolume.Kind():           "/registry/persistentvolumes/",
		kind.ReplicationController.Kind():      "/registry/controllers/",
		kind.ResourceQuota.Kind():              "/registry/resourcequotas/",
		kind.LimitRange.Kind():                 "/registry/limitranges/",
		kind.NetworkPolicy.Kind():              "/registry/networkpolicies/",
		kind.IPAddress.Kind():                  "/registry/ipaddresses/",
		kind.ServiceCIDR.Kind():                "/registry/servicecidrs/",
		kind.PodDisruptionBudget.Kind():        "/registry/poddisruptionbudgets/",
		kind.StorageClass.Kind():               "/registry/storageclasses/",
		kind.CSIStorageCapacity.Kind():         "/registry/csistoragecapacities/",
		kind.CertificateSigningRequest.Kind():  "/registry/certificatesigningrequests/",
		kind.ValidatingAdmissionPolicy.Kind():  "/registry/validatingadmissionpolicies/",
		kind.PriorityLevelConfiguration.Kind(): "/registry/prioritylevelconfigurations/",
		kind.DeviceClass.Kind():                "/registry/deviceclasses/",
		kind.StorageVersionMigration.Kind():    "/registry/storageversionmigrations/",
		kind.HorizontalPodAutoscaler.Kind():    "/registry/horizontalpodautoscalers/",

		own.Kind(): "/registry/games.example.com/fleets/",
	} {
		c := newCache(s, k)
		require.Equal(t, want, c.prefix)
		require.NoError(t, r.add(c))
		require.Error(t, r.add(c))
	}
	for key, want := range map[string]*kind.Kind{
		"/registry/pods/default/a":                    kind.Pod.Kind(),
		"/registry/pods/services/specs":               kind.Pod.Kind(),
		"/registry/minions/n":                         kind.Node.Kind(),
		"/registry/services/specs/default/s":          kind.Service.Kind(),
		"/registry/services/endpoints/default/s":      kind.Endpoints.Kind(),
		"/registry/games.example.com/fleets/default/": own.Kind(),
		"/registry/games.example.com/other/default/x": nil,
		"/registry/services":                          nil,
		"/registry/":                                  nil,
		"/elsewhere/pods/default/a":                   nil,
	} {
		c := r.find(key)
		if want == nil {
			require.Nil(t, c, key)
			continue
		}
		require.NotNil(t, c, key)
		require.Same(t, want, c.kind, key)
	}
}

// TestReload plays a feed that fell behind: it reads everything again, and watches from before end as expired.
func TestReload(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	st, err := store.Open(ctx, store.Config{})
	require.NoError(t, err)
	s, err := New(st, Config{Kinds: []*kind.Kind{kind.Pod.Kind()}})
	require.NoError(t, err)
	one, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.feed.run(one) }()
	pods := client.For(s.Client(authn.System("test")), kind.Pod)
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	}
	a, err := pods.Create(ctx, pod("a"))
	require.NoError(t, err)
	w, err := pods.Watch(ctx, client.FromRevision(1))
	require.NoError(t, err)
	stop()
	require.ErrorIs(t, <-done, context.Canceled)

	raw, err := kind.Pod.Kind().Encode(pod("b"))
	require.NoError(t, err)
	_, err = st.Put(ctx, store.PutRequest{Key: []byte("/registry/pods/default/b"), Value: raw})
	require.NoError(t, err)
	go func() { done <- s.Run(ctx) }()
	page, err := pods.List(ctx)
	require.NoError(t, err)
	require.Len(t, page.Items, 2)
	require.Equal(t, a.ResourceVersion, page.Items[0].ResourceVersion)
	_, err = w.Next(ctx)
	require.NoError(t, err)
	_, err = w.Next(ctx)
	require.True(t, apierrors.IsResourceExpired(err), err)
	require.NoError(t, w.Close())
	cancel()
	require.NoError(t, <-done)
	require.NoError(t, st.Close())
}
