package stream_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/keelson-dev/keelson/apiserver/client"
	"github.com/keelson-dev/keelson/apiserver/client/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ExampleLogQuery() {
	fmt.Println(stream.LogQuery(corev1.PodLogOptions{Container: "c", Follow: true, TailLines: new(int64(5))}).Encode())
	// Output: container=c&follow=true&tailLines=5
}

func ExampleExecQuery() {
	fmt.Println(stream.ExecQuery(corev1.PodExecOptions{Command: []string{"ls", "-l"}}, client.Streams{Stdout: io.Discard}).Encode())
	// Output: command=ls&command=-l&stdout=true
}

// serve accepts one WebSocket and plays messages to it.
func serve(t *testing.T, protocol string, messages ...string) (*http.Client, *url.URL) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{protocol}})
		if err != nil {
			return
		}
		for _, m := range messages {
			_ = conn.Write(r.Context(), websocket.MessageBinary, []byte(m))
		}
		_ = conn.Close(websocket.StatusNormalClosure, "")
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	require.NoError(t, err)
	return s.Client(), u
}

func TestHowCommandsEnd(t *testing.T) {
	for name, tt := range map[string]struct {
		protocol string
		messages []string
		check    func(*testing.T, error)
	}{
		"success": {stream.Protocol, []string{"", "\x01out", "\x09other", "\x03" + `{"status":"Success"}`}, func(t *testing.T, err error) { require.NoError(t, err) }},
		"closed":  {stream.Protocol, nil, func(t *testing.T, err error) { require.NoError(t, err) }},
		"exit code": {stream.Protocol, []string{"\x03" + `{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"42"}]}}`}, func(t *testing.T, err error) {
			var exit *client.ExitError
			require.ErrorAs(t, err, &exit)
			require.Equal(t, 42, exit.Code)
		}},
		"exit code that is none": {stream.Protocol, []string{"\x03" + `{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"x"}]}}`}, func(t *testing.T, err error) { require.Error(t, err) }},
		"failure": {stream.Protocol, []string{"\x03" + `{"status":"Failure","reason":"InternalError","code":500,"message":"no such file"}`}, func(t *testing.T, err error) {
			require.True(t, apierrors.IsInternalError(err), err)
		}},
		"no status":        {stream.Protocol, []string{"\x03what"}, func(t *testing.T, err error) { require.ErrorContains(t, err, "what") }},
		"another protocol": {"v4.channel.k8s.io", nil, func(t *testing.T, err error) { require.ErrorContains(t, err, "v5.channel.k8s.io") }},
	} {
		t.Run(name, func(t *testing.T) {
			hc, u := serve(t, tt.protocol, tt.messages...)
			var out strings.Builder
			tt.check(t, stream.Exec(t.Context(), hc, u, nil, client.Streams{Stdin: strings.NewReader("x"), Stdout: &out}))
			if name == "success" {
				require.Equal(t, "out", out.String())
			}
		})
	}
}

func TestBrokenOutputEndsTheStream(t *testing.T) {
	hc, u := serve(t, stream.Protocol, "\x01out", "\x03"+`{"status":"Success"}`)
	r, w := io.Pipe()
	require.NoError(t, r.Close())
	require.ErrorIs(t, stream.Exec(t.Context(), hc, u, nil, client.Streams{Stdout: w}), io.ErrClosedPipe)
}

func TestCancelledBeforeItBegins(t *testing.T) {
	hc, u := serve(t, stream.Protocol)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, stream.Exec(ctx, hc, u, nil, client.Streams{}), context.Canceled)
}

func TestStatusError(t *testing.T) {
	for code, is := range map[int]func(error) bool{
		400: apierrors.IsBadRequest, 401: apierrors.IsUnauthorized, 403: apierrors.IsForbidden, 404: apierrors.IsNotFound,
		429: apierrors.IsTooManyRequests, 500: apierrors.IsInternalError, 503: apierrors.IsServiceUnavailable,
	} {
		w := httptest.NewRecorder()
		w.WriteHeader(code)
		_, _ = w.WriteString("text")
		require.True(t, is(stream.StatusError(w.Result())), code)
	}
	w := httptest.NewRecorder()
	_, _ = w.WriteString(`{"kind":"Status","reason":"Gone","code":410}`)
	require.True(t, apierrors.IsGone(stream.StatusError(w.Result())))
}
