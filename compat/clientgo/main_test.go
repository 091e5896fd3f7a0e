package clientgo

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/compat/cluster"
	"github.com/keelson-dev/keelson/runtime/process"
)

func TestMain(m *testing.M) {
	process.Main() // supervises pods
	goleak.VerifyTestMain(m,
		// klog's, which lives as long as the process.
		goleak.IgnoreTopFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// connect starts a cluster and gives what clients need of it.
func connect(t *testing.T, cfg keelson.Config) (*rest.Config, *kubernetes.Clientset) {
	t.Helper()
	c := cluster.Start(t, cfg)
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	require.NoError(t, err)
	config.QPS = -1
	clients, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return config, clients
}
