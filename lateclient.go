package keelson

import (
	"context"
	"io"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
)

// lateClient is a client of a cluster that may not be ready yet: a request waits for it.
type lateClient struct {
	cluster *Cluster
	user    authn.User
}

// everything is what the API server's own client can do.
type everything interface {
	client.Client
	client.Viewer
	client.Streamer
}

func (c *lateClient) real(ctx context.Context) (everything, error) {
	if err := c.cluster.Ready(ctx); err != nil {
		return nil, err
	}
	return c.cluster.plane.server.Client(c.user).(everything), nil
}

func (c *lateClient) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	r, err := c.real(ctx)
	if err != nil {
		return nil, err
	}
	return r.Do(ctx, req)
}

func (c *lateClient) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	r, err := c.real(ctx)
	if err != nil {
		return nil, err
	}
	return r.Watch(ctx, req)
}

// View implements client.Viewer.
func (c *lateClient) View(ctx context.Context, req *client.Request) (*client.View, error) {
	r, err := c.real(ctx)
	if err != nil {
		return nil, err
	}
	return r.View(ctx, req)
}

// Logs and Exec implement client.Streamer.
func (c *lateClient) Logs(ctx context.Context, namespace, pod string, opts corev1.PodLogOptions) (io.ReadCloser, error) {
	r, err := c.real(ctx)
	if err != nil {
		return nil, err
	}
	return r.Logs(ctx, namespace, pod, opts)
}

func (c *lateClient) Exec(ctx context.Context, namespace, pod string, opts corev1.PodExecOptions, streams client.Streams) error {
	r, err := c.real(ctx)
	if err != nil {
		return err
	}
	return r.Exec(ctx, namespace, pod, opts, streams)
}
