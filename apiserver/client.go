package apiserver

import (
	"context"
	"errors"
	"io"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/authn"
	"github.com/keelson-dev/keelson/apiserver/client"
)

// local is the in-process client: it enters the pipeline after decoding.
type local struct {
	server *Server
	user   authn.User
}

var (
	_ client.Client   = (*local)(nil)
	_ client.Viewer   = (*local)(nil)
	_ client.Streamer = (*local)(nil)
)

// Client is the server as seen by a user. The client is also a client.Viewer and a client.Streamer. It may be used
// before Run: requests wait, on their own context, until the server is ready.
func (s *Server) Client(user authn.User) client.Client { return &local{s, user} }

// Do carries any request but a watch.
func (l *local) Do(ctx context.Context, req *client.Request) (*client.Response, error) {
	return l.server.do(ctx, l.user, req)
}

// Watch opens a stream of changes.
func (l *local) Watch(ctx context.Context, req *client.Request) (client.Watcher, error) {
	for {
		c, err := l.server.enter(ctx, l.user, req, client.Watch)
		if err != nil {
			return nil, err
		}
		if w, err := c.watch(ctx); !errors.Is(err, errRetired) {
			return w, err
		}
	}
}

// View gives a snapshot and what follows it.
func (l *local) View(ctx context.Context, req *client.Request) (*client.View, error) {
	for {
		c, err := l.server.enter(ctx, l.user, req, client.List)
		if err != nil {
			return nil, err
		}
		if err := c.authorize(ctx, client.Watch); err != nil {
			return nil, err
		}
		if v, err := c.open(ctx); !errors.Is(err, errRetired) {
			return v, err
		}
	}
}

// Logs reads a container's log.
func (l *local) Logs(ctx context.Context, namespace, pod string, opts corev1.PodLogOptions) (io.ReadCloser, error) {
	if err := l.stream(ctx, client.Get, "log", namespace, pod); err != nil {
		return nil, err
	}
	return l.server.nodes.Logs(ctx, namespace, pod, opts)
}

// Exec runs a command in a container.
func (l *local) Exec(ctx context.Context, namespace, pod string, opts corev1.PodExecOptions, streams client.Streams) error {
	if err := l.stream(ctx, client.Create, "exec", namespace, pod); err != nil {
		return err
	}
	return l.server.nodes.Exec(ctx, namespace, pod, opts, streams)
}
