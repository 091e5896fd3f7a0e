package streaming_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/keelson-dev/keelson/kubelet/streaming"
	kruntime "github.com/keelson-dev/keelson/runtime"
)

// open starts a server with one handler and connects to it by SPDY, or by SPDY in a WebSocket.
func open(t *testing.T, tunnel bool, protocol, query string, h http.HandlerFunc) httpstream.Connection {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 20*time.Second)
	t.Cleanup(cancel)
	served := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(served)
		h(w, r)
	}))
	t.Cleanup(func() {
		select {
		case <-served:
		case <-ctx.Done():
			t.Error("the server goes on after its client has gone")
		}
		server.Close()
	})
	if tunnel {
		socket, _, err := websocket.Dial(ctx, server.URL+query, &websocket.DialOptions{Subprotocols: []string{"SPDY/3.1+" + protocol}})
		require.NoError(t, err)
		conn, err := spdy.NewClientConnection(closing{websocket.NetConn(ctx, socket, websocket.MessageBinary)})
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	raw, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	_, err = fmt.Fprintf(raw, "POST /%s HTTP/1.1\r\nHost: node\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: %s\r\n\r\n", query, protocol)
	require.NoError(t, err)
	reader := bufio.NewReaderSize(raw, 1) // nothing of the streams is read ahead
	resp, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Equal(t, protocol, resp.Header.Get("X-Stream-Protocol-Version"))
	conn, err := spdy.NewClientConnection(closing{raw})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// closing is a connection whose Close never fails, after which SPDY's client would linger.
type closing struct{ net.Conn }

func (c closing) Close() error {
	_ = c.Conn.Close()
	return nil
}

// connect opens the two streams of a forwarded connection.
func connect(t *testing.T, conn httpstream.Connection, id, port string) (data, failure httpstream.Stream) {
	h := http.Header{}
	h.Set("streamType", "error")
	h.Set("port", port)
	h.Set("requestID", id)
	failure, err := conn.CreateStream(h)
	require.NoError(t, err)
	require.NoError(t, failure.Close()) // as clients do: they only read it
	h.Set("streamType", "data")
	data, err = conn.CreateStream(h)
	require.NoError(t, err)
	return data, failure
}

func TestPortForward(t *testing.T) {
	for _, tunnel := range []bool{false, true} {
		t.Run(fmt.Sprint("tunnel=", tunnel), func(t *testing.T) {
			conn := open(t, tunnel, streaming.ProtocolPorts, "", func(w http.ResponseWriter, r *http.Request) {
				streaming.ServePorts(w, r, func(_ context.Context, port int32, s io.ReadWriteCloser) error {
					defer func() { _ = s.Close() }()
					if port == 81 {
						return errors.New("nobody listens")
					}
					in, err := io.ReadAll(s)
					if err != nil {
						return err
					}
					_, err = fmt.Fprintf(s, "%d: %s", port, strings.ToUpper(string(in)))
					return err
				})
			})
			// Two connections at once, one of which is slow.
			slow, slowFailure := connect(t, conn, "0", "80")
			data, failure := connect(t, conn, "1", "8080")
			text := strings.Repeat("hello ", 50_000)
			_, err := io.WriteString(data, text)
			require.NoError(t, err)
			require.NoError(t, data.Close())
			got, err := io.ReadAll(data)
			require.NoError(t, err)
			require.Equal(t, "8080: "+strings.ToUpper(text), string(got))
			got, err = io.ReadAll(failure)
			require.NoError(t, err)
			require.Empty(t, got)

			refused, why := connect(t, conn, "2", "81")
			got, err = io.ReadAll(why)
			require.NoError(t, err)
			require.Equal(t, "error forwarding port 81: nobody listens", string(got))
			got, err = io.ReadAll(refused)
			require.NoError(t, err)
			require.Empty(t, got)

			require.NoError(t, slow.Close())
			got, err = io.ReadAll(slow)
			require.NoError(t, err)
			require.Equal(t, "80: ", string(got))
			_, err = io.ReadAll(slowFailure)
			require.NoError(t, err)
			require.NoError(t, conn.Close())
		})
	}
}

// TestPortForwardEndsWithItsClient holds that a forward whose client vanishes is told so.
func TestPortForwardEndsWithItsClient(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan error, 1)
	conn := open(t, false, streaming.ProtocolPorts, "", func(w http.ResponseWriter, r *http.Request) {
		streaming.ServePorts(w, r, func(ctx context.Context, _ int32, s io.ReadWriteCloser) error {
			close(begun)
			_, err := io.ReadAll(s)
			<-ctx.Done()
			ended <- err
			return ctx.Err()
		})
	})
	connect(t, conn, "0", "80")
	<-begun
	require.NoError(t, conn.Close())
	<-ended
}

func TestPortForwardRefuses(t *testing.T) {
	conn := open(t, false, streaming.ProtocolPorts, "", func(w http.ResponseWriter, r *http.Request) {
		streaming.ServePorts(w, r, func(context.Context, int32, io.ReadWriteCloser) error { return nil })
	})
	h := http.Header{}
	h.Set("streamType", "data")
	h.Set("port", "70000")
	s, err := conn.CreateStream(h)
	if err == nil { // the refusal may come after the stream was made
		_, err = s.Read(make([]byte, 1))
	}
	require.Error(t, err, "there is no such port")
	require.NoError(t, conn.Close())

	w := httptest.NewRecorder()
	streaming.ServePorts(w, httptest.NewRequest("POST", "/", nil), nil)
	require.Equal(t, http.StatusBadRequest, w.Code)
	r := httptest.NewRequest("POST", "/", nil)
	r.Header.Set("X-Stream-Protocol-Version", "v9")
	w = httptest.NewRecorder()
	streaming.ServePorts(w, r, nil)
	require.Equal(t, http.StatusForbidden, w.Code)
}

func TestExecOverSPDY(t *testing.T) {
	conn := open(t, false, streaming.ProtocolV4, "?input=1&output=1&error=1&tty=0", func(w http.ResponseWriter, r *http.Request) {
		o, err := streaming.ParseOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		streaming.Serve(w, r, o, func(_ context.Context, s kruntime.Streams) error {
			in, err := io.ReadAll(s.Stdin)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(s.Stdout, "out %s", in)
			_, _ = io.WriteString(s.Stderr, "err")
			return &kruntime.ExitError{Code: 3}
		})
	})
	streams := map[string]httpstream.Stream{}
	for _, name := range []string{"error", "stdin", "stdout", "stderr"} {
		h := http.Header{}
		h.Set("streamType", name)
		s, err := conn.CreateStream(h)
		require.NoError(t, err)
		streams[name] = s
	}
	_, err := io.WriteString(streams["stdin"], "in")
	require.NoError(t, err)
	require.NoError(t, streams["stdin"].Close())
	var outcome struct{ Reason string }
	require.NoError(t, json.NewDecoder(streams["error"]).Decode(&outcome))
	require.Equal(t, "NonZeroExitCode", outcome.Reason)
	for name, want := range map[string]string{"stdout": "out in", "stderr": "err"} {
		got := make([]byte, len(want))
		_, err := io.ReadFull(streams[name], got)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
}

func TestTerminalOverSPDY(t *testing.T) {
	conn := open(t, false, streaming.ProtocolV4, "?output=1&tty=1", func(w http.ResponseWriter, r *http.Request) {
		o, err := streaming.ParseOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		streaming.Serve(w, r, o, func(ctx context.Context, s kruntime.Streams) error {
			size, err := s.Resize(ctx)
			_, _ = fmt.Fprintf(s.Stdout, "%dx%d", size.Width, size.Height)
			return err
		})
	})
	streams := map[string]httpstream.Stream{}
	for _, name := range []string{"error", "stdout", "resize"} {
		h := http.Header{}
		h.Set("streamType", name)
		s, err := conn.CreateStream(h)
		require.NoError(t, err)
		streams[name] = s
	}
	_, err := io.WriteString(streams["resize"], `{"Width":80,"Height":25}`)
	require.NoError(t, err)
	got := make([]byte, 5)
	_, err = io.ReadFull(streams["stdout"], got)
	require.NoError(t, err)
	require.Equal(t, "80x25", string(got))
}
