package keelson_test

import (
	"context"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/kind"
	"github.com/keelson-dev/keelson/controller"
	"github.com/keelson-dev/keelson/runtime/runtimetest"
)

func TestSecondRunOfANodeDisturbsNothing(t *testing.T) {
	temporary, here := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temporary)
	t.Chdir(here)
	defer func() { // a node leaves nothing behind, here or there
		for _, dir := range []string{temporary, here} {
			left, err := os.ReadDir(dir)
			require.NoError(t, err)
			require.Empty(t, left)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		cluster := start(t, keelson.Config{})
		node, err := cluster.NewNode(t.Context(), keelson.NodeConfig{Name: "rack-1", Runtime: talkative()})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- node.Run(ctx) }()
		synctest.Wait()
		require.ErrorIs(t, node.Run(t.Context()), keelson.ErrAlreadyRun)

		// Logs come through the node's server, which the second call must have left alone.
		pods := client.For(cluster.Client(), kind.Pod)
		pod := kind.Pod.New()
		pod.Namespace, pod.Name = "default", "web"
		pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "web"}}
		_, err = pods.Create(t.Context(), pod)
		require.NoError(t, err)
		waitReady(t, cluster.Client(), "web")
		logs, err := cluster.Client().(client.Streamer).Logs(t.Context(), "default", "web", corev1.PodLogOptions{})
		require.NoError(t, err)
		text, err := io.ReadAll(logs)
		require.NoError(t, err)
		require.Equal(t, "hello\n", string(text))
		require.NoError(t, logs.Close())

		cancel()
		require.NoError(t, <-ended)
		require.NoError(t, node.Close())
		require.NoError(t, node.Close(), "Close may be called again")
	})
}

// talkative is a runtime whose containers say hello.
func talkative() *runtimetest.Runtime {
	return runtimetest.New(runtimetest.Config{Behave: func(runtimetest.Process) runtimetest.Behavior {
		return runtimetest.Behavior{Stdout: "hello\n"}
	}})
}

func waitReady(t *testing.T, c client.Client, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // in a bubble a pod that never gets ready would wait for ever
	defer cancel()
	w, err := client.For(c, kind.Pod).Watch(ctx, client.InNamespace("default"), client.FromRevision(0))
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Close()) }()
	for {
		e, err := w.Next(ctx)
		require.NoError(t, err)
		if p, ok := e.Object.(*corev1.Pod); ok && p.Name == name {
			if _, ready := controller.PodReady(p); ready {
				return
			}
		}
	}
}
