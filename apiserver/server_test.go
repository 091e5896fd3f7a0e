package apiserver_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/keelson-dev/keelson/apiserver"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fleetSpec struct {
	Size  int32  `json:"size"`
	Image string `json:"image,omitempty"`
}

type fleetStatus struct {
	Ready int32 `json:"ready"`
}

type fleet = kind.Object[fleetSpec, fleetStatus]

// fleets is an own kind with everything a strategy can have.
var fleets = kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet")).With(kind.Strategy{
	Status: true,
	Default: func(obj kind.Instance) {
		if f := obj.(*fleet); f.Spec.Image == "" {
			f.Spec.Image = "default"
		}
	},
	Validate: func(obj, _ kind.Instance) field.ErrorList {
		if f := obj.(*fleet); f.Spec.Size < 0 {
			return field.ErrorList{field.Invalid(field.NewPath("spec", "size"), f.Spec.Size, "must not be negative")}
		}
		return nil
	},
	ValidateStatus: func(obj, _ kind.Instance) field.ErrorList {
		if f := obj.(*fleet); f.Status.Ready < 0 {
			return field.ErrorList{field.Invalid(field.NewPath("status", "ready"), f.Status.Ready, "must not be negative")}
		}
		return nil
	},
	Warnings: func(obj, _ kind.Instance) []string {
		if obj.(*fleet).Spec.Size == 0 {
			return []string{"spec.size: an empty fleet serves nobody"}
		}
		return nil
	},
	Scale: &kind.Scale{
		Get: func(obj kind.Instance) autoscalingv1.Scale {
			f := obj.(*fleet)
			return autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: f.Spec.Size}, Status: autoscalingv1.ScaleStatus{Replicas: f.Status.Ready}}
		},
		Set: func(obj kind.Instance, n int32) { obj.(*fleet).Spec.Size = n },
	},
})

// pods have what the tests need of the real strategy.
var pods = kind.Pod.With(kind.Strategy{
	Status: true,
	GracePeriod: func(obj kind.Instance, asked *int64) int64 {
		switch {
		case obj.(*corev1.Pod).Spec.NodeName == "":
			return 0
		case asked != nil:
			return *asked
		}
		return 30
	},
	Fields:       map[string]func(kind.Instance) string{"spec.nodeName": func(obj kind.Instance) string { return obj.(*corev1.Pod).Spec.NodeName }},
	Subresources: []string{"binding", "eviction"},
})

// services claim their cluster IP.
var services = kind.Service.With(kind.Strategy{Claims: func(obj kind.Instance) []string {
	if ip := obj.(*corev1.Service).Spec.ClusterIP; ip != "" {
		return []string{"ip/" + ip}
	}
	return nil
}})

var namespaces = kind.Namespace.With(kind.Strategy{Status: true, Prepare: func(obj, old kind.Instance) {
	if ns := obj.(*corev1.Namespace); old == nil {
		ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
		ns.Status.Phase = corev1.NamespaceActive
	}
}})

func testKinds() []*kind.Kind {
	return []*kind.Kind{
		pods.Kind(), services.Kind(), namespaces.Kind(), kind.Node.With(kind.Strategy{Status: true}).Kind(), kind.ConfigMap.Kind(), kind.Event.Kind(), fleets.Kind(),
		kind.Role.Kind(), kind.RoleBinding.Kind(), kind.ClusterRole.Kind(), kind.ClusterRoleBinding.Kind(),
	}
}

// start runs a server in memory until the test ends.
func start(t testing.TB, change ...func(*apiserver.Config)) (*apiserver.Server, client.Client) {
	t.Helper()
	var mutated atomic.Pointer[string]
	cfg := apiserver.Config{
		Kinds: testKinds(), DetectMutation: true,
		MutationDetected: func(what string) { mutated.CompareAndSwap(nil, &what) },
	}
	if _, ok := t.(*testing.T); ok {
		cfg.Logger = zaptest.NewLogger(t)
	}
	for _, f := range change {
		f(&cfg)
	}
	st, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	s, err := apiserver.New(st, cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
		if what := mutated.Load(); what != nil {
			t.Error(*what)
		}
	})
	require.NoError(t, s.Ready(t.Context()))
	return s, s.Client(authn.System("test"))
}

func newPod(name string, labels ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	for i := 0; i+1 < len(labels); i += 2 {
		if p.Labels == nil {
			p.Labels = map[string]string{}
		}
		p.Labels[labels[i]] = labels[i+1]
	}
	return p
}

func newFleet(name string, size int32) *fleet {
	f := fleets.New()
	f.Namespace, f.Name, f.Spec.Size = "default", name, size
	return f
}

func ExampleServer() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	st, err := store.Open(ctx, store.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fleets := kind.Must(kind.Define[fleetSpec, fleetStatus]("games.example.com/v1", "Fleet"))
	s, err := apiserver.New(st, apiserver.Config{Kinds: []*kind.Kind{fleets.Kind()}})
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()

	c := client.For(s.Client(authn.System("demo")), fleets)
	f := fleets.New()
	f.Namespace, f.Name, f.Spec.Size = "default", "lobby", 3
	if _, err := c.Create(ctx, f); err != nil {
		fmt.Println(err)
		return
	}
	page, err := c.List(ctx, client.InNamespace("default"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range page.Items {
		fmt.Println(f.Name, f.Spec.Size, f.Generation)
	}
	cancel()
	fmt.Println(<-done, st.Close())
	// Output:
	// lobby 3 1
	// <nil> <nil>
}

func TestConfig(t *testing.T) {
	st, err := store.Open(t.Context(), store.Config{})
	require.NoError(t, err)
	defer func() { require.NoError(t, st.Close()) }()
	_, err = apiserver.New(nil, apiserver.Config{Kinds: testKinds()})
	require.ErrorContains(t, err, "store is required")
	_, err = apiserver.New(st, apiserver.Config{})
	require.ErrorContains(t, err, "Config.Kinds")
	v2 := *fleets.Kind()
	v2.Version = "v2"
	_, err = apiserver.New(st, apiserver.Config{Kinds: []*kind.Kind{fleets.Kind(), &v2}})
	require.ErrorContains(t, err, "give the versions of one kind a Hub")
}

func TestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, err := store.Open(t.Context(), store.Config{})
		require.NoError(t, err)
		s, err := apiserver.New(st, apiserver.Config{Kinds: testKinds()})
		require.NoError(t, err)
		c := client.For(s.Client(authn.System("test")), pods)

		early := make(chan error, 1)
		go func() {
			_, err := c.Create(t.Context(), newPod("early"))
			early <- err
		}()
		synctest.Wait()
		require.Empty(t, early, "a request before Run waits")
		short, stop := context.WithCancel(t.Context())
		stop()
		require.ErrorIs(t, s.Ready(short), context.Canceled)

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		require.NoError(t, <-early)
		w, err := c.Watch(t.Context(), client.FromRevision(1))
		require.NoError(t, err)
		require.ErrorContains(t, s.Run(ctx), "before")
		cancel()
		require.NoError(t, <-done)

		_, err = w.Next(t.Context())
		require.NoError(t, err, "what happened before the end is still delivered")
		_, err = w.Next(t.Context())
		require.EqualError(t, err, "EOF")
		require.NoError(t, w.Close())
		_, err = c.Get(t.Context(), "default", "early")
		require.True(t, apierrors.IsServiceUnavailable(err), err)
		require.NoError(t, st.Close())
	})
}

func TestDurable(t *testing.T) {
	dir := t.TempDir()
	var version, uid string
	for restart := range 2 {
		st, err := store.Open(t.Context(), store.Config{Dir: dir})
		require.NoError(t, err)
		s, err := apiserver.New(st, apiserver.Config{Kinds: testKinds()})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		typed := client.For(s.Client(authn.System("test")), fleets)
		if restart == 0 {
			_, err = typed.Create(ctx, newFleet("lobby", 1))
			require.NoError(t, err)
			f, err := typed.Mutate(ctx, "default", "lobby", func(f *fleet) error { f.Spec.Size = 2; return nil })
			require.NoError(t, err)
			version, uid = f.ResourceVersion, string(f.UID)
		} else {
			f, err := typed.Get(ctx, "default", "lobby")
			require.NoError(t, err)
			require.Equal(t, []string{version, uid}, []string{f.ResourceVersion, string(f.UID)})
			require.Equal(t, int32(2), f.Spec.Size)
			f, err = typed.Update(ctx, f)
			require.NoError(t, err)
			require.Equal(t, version, f.ResourceVersion, "what was read back encodes as it was stored")
		}
		cancel()
		require.NoError(t, <-done)
		require.NoError(t, st.Close())
	}
}

func TestEventsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t)
		events := client.For(c, kind.Event)
		w, err := events.Watch(t.Context())
		require.NoError(t, err)
		for i := range 2 {
			_, err := events.Create(t.Context(), &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("e", i)}})
			require.NoError(t, err)
			time.Sleep(10 * time.Minute)
		}
		for _, want := range []string{"ADDED e0", "ADDED e1", "DELETED e0", "DELETED e1"} {
			e, err := w.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, told(e))
		}
		require.NoError(t, w.Close())
	})
}
