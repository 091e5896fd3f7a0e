package clienttest_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/clienttest"
	"github.com/keelson-dev/keelson/apiserver/client/https"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a control plane without controllers, which would write in the suite's namespaces.
func start(t *testing.T, cfg keelson.Config) *keelson.Cluster {
	cfg.Without = keelson.Controllers | keelson.Scheduler
	cluster, err := keelson.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- cluster.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	return cluster
}

func TestInProcess(t *testing.T) {
	cluster := start(t, keelson.Config{})
	clienttest.Run(t, func(*testing.T) client.Client { return cluster.Client() })
}

func TestHTTPS(t *testing.T) {
	cluster := start(t, keelson.Config{Listen: "127.0.0.1:0"})
	cfg, err := cluster.Kubeconfig(t.Context())
	require.NoError(t, err)
	for name, json := range map[string]bool{"protobuf": false, "JSON": true} {
		t.Run(name, func(t *testing.T) {
			c, err := https.New(https.Config{Server: cfg.Server, CAData: cfg.CAData, CertData: cfg.CertData, KeyData: cfg.KeyData, JSON: json})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, c.Close()) })
			clienttest.Run(t, func(*testing.T) client.Client { return c })
		})
	}
}
