package keelson_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/https"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/runtime/process"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

func TestMain(m *testing.M) {
	process.Main()
	if dir := os.Getenv("KEELSON_TEST_WRITER"); dir != "" {
		writer(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// start runs a cluster until the test ends.
func start(t testing.TB, cfg keelson.Config) *keelson.Cluster {
	t.Helper()
	cluster, stop := startStoppable(t, cfg)
	t.Cleanup(stop)
	return cluster
}

// startStoppable runs a cluster until the returned function is called, which reports how it ended.
func startStoppable(t testing.TB, cfg keelson.Config) (*keelson.Cluster, func()) {
	t.Helper()
	cluster, err := keelson.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cluster.Run(ctx) }()
	return cluster, func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func configMap(name string) *corev1.ConfigMap {
	cm := kind.ConfigMap.New()
	cm.Namespace, cm.Name = "default", name
	return cm
}

func ExampleNew() {
	cluster, err := keelson.New(keelson.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cluster.Run(ctx) }()

	cm := kind.ConfigMap.New()
	cm.Namespace, cm.Name = "default", "first"
	cm, err = client.For(cluster.Client(), kind.ConfigMap).Create(ctx, cm) // waits until the cluster is ready
	fmt.Println(cm.Name, err)
	stop()
	fmt.Println(<-ended)
	// Output:
	// first <nil>
	// <nil>
}

func TestFiftyClustersInOneProcess(t *testing.T) {
	for i := range 50 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			cluster := start(t, keelson.Config{})
			maps := client.For(cluster.Client(), kind.ConfigMap)
			_, err := maps.Create(t.Context(), configMap("same"))
			require.NoError(t, err)
			page, err := maps.List(t.Context())
			require.NoError(t, err)
			require.Len(t, page.Items, 1, "clusters share nothing")
		})
	}
}

func TestConfigErrorsNameTheField(t *testing.T) {
	for want, cfg := range map[string]keelson.Config{
		"Listen":   {Listen: "nonsense"},
		"DNS":      {DNS: "nonsense"},
		"Without":  {Without: 1 << 10},
		"Nodes[0]": {Nodes: []keelson.NodeConfig{{}}},
		"Nodes[1]": {Nodes: []keelson.NodeConfig{{Name: "a"}, {Name: "a"}}},
		"Kinds":    {Kinds: []*kind.Kind{kind.Pod.Kind()}},
	} {
		_, err := keelson.New(cfg)
		require.ErrorContains(t, err, want)
	}
}

func TestRunsOnce(t *testing.T) {
	cluster, stop := startStoppable(t, keelson.Config{})
	require.NoError(t, cluster.Ready(t.Context()))
	require.ErrorIs(t, cluster.Run(t.Context()), keelson.ErrAlreadyRun)
	stop()
	_, err := client.For(cluster.Client(), kind.Pod).Get(t.Context(), "a", "b")
	require.ErrorIs(t, err, keelson.ErrStopped)
}

func TestRequestBeforeReadyHonoursItsContext(t *testing.T) {
	cluster, err := keelson.New(keelson.Config{})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.For(cluster.Client(), kind.Pod).Get(ctx, "a", "b")
	require.ErrorIs(t, err, context.Canceled)
}

func TestDataSurvivesARestart(t *testing.T) {
	cfg := keelson.Config{DataDir: t.TempDir(), Listen: "127.0.0.1:0"}
	cluster, stop := startStoppable(t, cfg)
	written, err := client.For(cluster.Client(), kind.ConfigMap).Create(t.Context(), configMap("kept"))
	require.NoError(t, err)
	first, err := cluster.Kubeconfig(t.Context())
	require.NoError(t, err)
	stop()

	cluster = start(t, cfg)
	read, err := client.For(cluster.Client(), kind.ConfigMap).Get(t.Context(), "default", "kept")
	require.NoError(t, err)
	require.Equal(t, written.UID, read.UID)
	require.Equal(t, written.ResourceVersion, read.ResourceVersion)
	second, err := cluster.Kubeconfig(t.Context())
	require.NoError(t, err)
	require.Equal(t, first.CAData, second.CAData)
	require.Equal(t, first.CertData, second.CertData, "the administrator's kubeconfig stays valid")
}

func TestTwoProcessesCantShareADataDir(t *testing.T) {
	cfg := keelson.Config{DataDir: t.TempDir()}
	cluster := start(t, cfg)
	require.NoError(t, cluster.Ready(t.Context()))
	second, err := keelson.New(cfg)
	require.NoError(t, err)
	require.ErrorContains(t, second.Run(t.Context()), "open the store")
}

func TestUsersGetWhatRBACAllows(t *testing.T) {
	cluster := start(t, keelson.Config{Listen: "127.0.0.1:0", Tokens: map[string]authn.User{"secret": {Name: "ci"}}})
	cfg, err := cluster.Kubeconfig(t.Context())
	require.NoError(t, err)
	as := func(change func(*https.Config)) client.Client {
		c := https.Config{Server: cfg.Server, CAData: cfg.CAData}
		change(&c)
		out, err := https.New(c)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, out.Close()) })
		return out
	}
	get := func(c client.Client) error {
		_, err := client.For(c, kind.ConfigMap).List(t.Context())
		return err
	}
	require.NoError(t, get(as(func(c *https.Config) { c.CertData, c.KeyData = cfg.CertData, cfg.KeyData })))
	require.True(t, apierrors.IsForbidden(get(as(func(c *https.Config) { c.Token = "secret" }))))
	require.True(t, apierrors.IsUnauthorized(get(as(func(c *https.Config) { c.Token = "wrong" }))))
	require.True(t, apierrors.IsUnauthorized(get(as(func(*https.Config) {}))), "nobody is let in without credentials")
}

func TestKubeconfigFile(t *testing.T) {
	cluster := start(t, keelson.Config{Listen: "127.0.0.1:0"})
	cfg, err := cluster.Kubeconfig(t.Context())
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	require.NoError(t, cfg.Write(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it holds a key")
	c, err := https.FromKubeconfig(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	_, err = client.For(c, kind.Namespace).Get(t.Context(), "", "default")
	require.NoError(t, err)
}

// TestADayInVirtualTime runs a Deployment on two nodes with a fake runtime through a day.
func TestADayInVirtualTime(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		cluster, stop := startStoppable(t, keelson.Config{Nodes: []keelson.NodeConfig{
			{Name: "a", Runtime: runtimetest.New(runtimetest.Config{})},
			{Name: "b", Runtime: runtimetest.New(runtimetest.Config{})},
		}})
		defer stop()
		<-time.After(time.Minute) // both nodes have registered: a pod that comes before one of them goes to the other
		_, err := client.Apply(t.Context(), cluster.Client(), cluster.Kinds(), []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: any}]}
`))
		require.NoError(t, err)
		<-time.After(24 * time.Hour)
		dep, err := client.For(cluster.Client(), kind.Deployment).Get(t.Context(), "default", "web")
		require.NoError(t, err)
		require.Equal(t, int32(4), dep.Status.AvailableReplicas)
		pods, err := client.For(cluster.Client(), kind.Pod).List(t.Context())
		require.NoError(t, err)
		perNode := map[string]int{}
		for _, p := range pods.Items {
			perNode[p.Spec.NodeName]++
			require.Zero(t, p.Status.ContainerStatuses[0].RestartCount)
		}
		require.Equal(t, map[string]int{"a": 2, "b": 2}, perNode)
	})
}

func TestHealthNeedsNoCredentials(t *testing.T) {
	cluster := start(t, keelson.Config{Listen: "127.0.0.1:0"})
	cfg, err := cluster.Kubeconfig(t.Context())
	require.NoError(t, err)
	hc := trusting(t, cfg.CAData)
	for path, want := range map[string]int{"/readyz": http.StatusOK, "/livez": http.StatusOK, "/api/v1/pods": http.StatusUnauthorized} {
		resp, err := hc.Get(cfg.Server + path)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, resp.StatusCode, path)
	}
}

// BenchmarkStart is from nothing to the answer to the first request, in memory.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		cluster, stop := startStoppable(b, keelson.Config{})
		_, err := client.For(cluster.Client(), kind.ConfigMap).Create(b.Context(), configMap("first"))
		b.StopTimer()
		require.NoError(b, err)
		stop()
		b.StartTimer()
	}
}
