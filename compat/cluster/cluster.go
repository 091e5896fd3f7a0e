// Package cluster starts whole clusters with an HTTPS API on loopback, for tests of Kubernetes' clients.
package cluster

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson"
)

// Cluster is a cluster with an administrator's kubeconfig.
type Cluster struct {
	*keelson.Cluster
	// Dir is the administrator's directory, and Kubeconfig a file in it.
	Dir, Kubeconfig string
}

// Start starts a cluster that ends with the test.
func Start(t testing.TB, cfg keelson.Config) *Cluster {
	t.Helper()
	cfg.Listen = "127.0.0.1:0"
	c, err := keelson.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	config, err := c.Kubeconfig(t.Context())
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "config")
	require.NoError(t, config.Write(file))
	return &Cluster{Cluster: c, Dir: dir, Kubeconfig: file}
}
