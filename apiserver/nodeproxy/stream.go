package nodeproxy

import (
	"context"
	"fmt"
	"io"
	"net/http"

	corev1 "k8s.io/api/core/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/stream"
)

// Logs reads a container's log. ctx bounds the whole stream; the caller closes the reader.
func (p *Proxy) Logs(ctx context.Context, namespace, pod string, opts corev1.PodLogOptions) (io.ReadCloser, error) {
	t, err := p.locate(ctx, namespace, pod, "log", stream.LogQuery(opts))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url(t).String(), nil)
	if err != nil {
		return nil, fmt.Errorf("nodeproxy: %w", err)
	}
	transport := p.transport(t.node)
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, p.unreachable(t, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		return nil, stream.StatusError(resp)
	}
	return resp.Body, nil
}

// Exec runs a command in a container and returns when it ends; a non-zero exit is a *client.ExitError.
func (p *Proxy) Exec(ctx context.Context, namespace, pod string, opts corev1.PodExecOptions, streams client.Streams) error {
	if streams.Stdin == nil && streams.Stdout == nil && streams.Stderr == nil {
		streams.Stdout = io.Discard // a command needs a stream; its end is what the caller waits for
	}
	t, err := p.locate(ctx, namespace, pod, "exec", stream.ExecQuery(opts, streams))
	if err != nil {
		return err
	}
	return stream.Exec(ctx, &http.Client{Transport: p.transport(t.node)}, p.url(t), nil, streams)
}
