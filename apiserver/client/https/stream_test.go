package https_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/authn/pki"
	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/stream"
)

// TestStreamer holds that logs come over a shared connection and exec over one of its own that can be upgraded, and that
// both are authenticated.
func TestStreamer(t *testing.T) {
	cfg := serve(t, func(*pki.CA) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer s3cret" || r.TLS.PeerCertificates[0].Subject.CommonName != "admin" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			switch r.URL.Path {
			case "/base/api/v1/namespaces/x/pods/p/log":
				_, _ = io.WriteString(w, r.URL.RawQuery)
			case "/base/api/v1/namespaces/x/pods/p/exec":
				conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{stream.Protocol}})
				if err != nil {
					return
				}
				_ = conn.Write(r.Context(), websocket.MessageBinary, []byte("\x01"+r.URL.RawQuery))
				_ = conn.Write(r.Context(), websocket.MessageBinary, []byte("\x03"+`{"status":"Success"}`))
				_ = conn.Close(websocket.StatusNormalClosure, "")
			default:
				w.WriteHeader(http.StatusNotFound)
			}
		})
	})
	cfg.Server += "/base/"
	cfg.Token = "s3cret"
	c := connect(t, cfg)
	logs, err := c.Logs(t.Context(), "x", "p", corev1.PodLogOptions{Follow: true})
	require.NoError(t, err)
	data, err := io.ReadAll(logs)
	require.NoError(t, err)
	require.NoError(t, logs.Close())
	require.Equal(t, "follow=true", string(data))
	_, err = c.Logs(t.Context(), "x", "gone", corev1.PodLogOptions{})
	require.True(t, apierrors.IsNotFound(err), err)

	var out strings.Builder
	require.NoError(t, c.Exec(t.Context(), "x", "p", corev1.PodExecOptions{Command: []string{"ls"}}, client.Streams{Stdout: &out}))
	require.Equal(t, "command=ls&stdout=true", out.String())
	require.True(t, apierrors.IsNotFound(c.Exec(t.Context(), "x", "gone", corev1.PodExecOptions{Command: []string{"ls"}}, client.Streams{})))
}
