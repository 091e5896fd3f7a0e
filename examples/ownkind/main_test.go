package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

// TestAnHourOfFleetLife runs the whole orchestrator, nodes and all, through an hour of virtual time.
func TestAnHourOfFleetLife(t *testing.T) {
	t.Chdir(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		eu, us := node("rack-1", "eu"), node("rack-2", "us")
		eu.Runtime, us.Runtime = runtimetest.New(runtimetest.Config{}), runtimetest.New(runtimetest.Config{})
		cluster, err := orchestrator(keelson.Config{Nodes: []keelson.NodeConfig{eu, us}})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- cluster.Run(ctx) }()
		defer func() { stop(); require.NoError(t, <-ended) }()

		_, err = client.Apply(ctx, cluster.Client(), cluster.Kinds(), []byte(fleet))
		require.NoError(t, err)
		pass(time.Minute)
		require.Equal(t, map[string]int{"rack-1": 3}, placed(t, cluster), "all in region eu")

		fleets := client.For(cluster.Client(), newFleets())
		f, err := fleets.Mutate(ctx, "default", "duel", func(f *Fleet) error { f.Spec.Servers = 1; return nil })
		require.NoError(t, err)
		pass(time.Minute)
		require.Equal(t, map[string]int{"rack-1": 1}, placed(t, cluster))
		f, err = fleets.Get(ctx, "default", f.Name)
		require.NoError(t, err)
		require.Equal(t, 1, f.Status.Running)

		// A server that is deleted comes back; an hour later everything is as it should be.
		require.NoError(t, client.For(cluster.Client(), kind.Pod).Delete(ctx, "default", "duel-0"))
		pass(time.Hour)
		require.Equal(t, map[string]int{"rack-1": 1}, placed(t, cluster))

		// Nobody serves Mars: the explanation names the stage.
		mars := server(&Fleet{Spec: FleetSpec{Region: "mars"}}, "mars")
		why, err := cluster.Explain(ctx, mars)
		require.NoError(t, err)
		require.Equal(t, "0/2 nodes are available: 2 node(s) were not in region mars.", why.Message)
	})
}

// pass lets virtual time go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// placed counts the running servers on each node.
func placed(t *testing.T, cluster *keelson.Cluster) map[string]int {
	page, err := client.For(cluster.Client(), kind.Pod).List(t.Context())
	require.NoError(t, err)
	out := make(map[string]int)
	for _, p := range page.Items {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			out[p.Spec.NodeName]++
		}
	}
	return out
}
