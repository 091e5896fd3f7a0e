package streaming_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/keelson-dev/keelson/kubelet/streaming"
	kruntime "github.com/keelson-dev/keelson/runtime"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ExampleParseOptions() {
	o, err := streaming.ParseOptions(httptest.NewRequest(http.MethodGet, "/exec/ns/pod/c?command=sh&input=1&output=1&tty=1", nil))
	fmt.Printf("%+v %v\n", o, err)
	// Output: {Stdin:true Stdout:true Stderr:false TTY:true} <nil>
}

// dial connects to a server that runs run for every request.
func dial(t *testing.T, protocol string, run func(context.Context, kruntime.Streams) error) (*websocket.Conn, context.Context) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	served := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(served)
		o, err := streaming.ParseOptions(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		streaming.Serve(w, r, o, run)
	}))
	transport := &http.Transport{}
	conn, _, err := websocket.Dial(ctx, server.URL+"?input=1&output=1&error=1&tty="+map[bool]string{true: "1"}[protocol == ""],
		&websocket.DialOptions{Subprotocols: []string{strings.TrimSpace(protocol + " ")}, HTTPClient: &http.Client{Transport: transport}})
	require.NoError(t, err)
	t.Cleanup(func() {
		conn.CloseNow()
		<-served
		transport.CloseIdleConnections()
		server.Close()
	})
	return conn, ctx
}

// transcript reads until the connection ends.
func transcript(t *testing.T, ctx context.Context, conn *websocket.Conn) map[byte]string {
	out := map[byte]string{}
	for {
		_, m, err := conn.Read(ctx)
		if err != nil {
			require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err), err)
			return out
		}
		out[m[0]] += string(m[1:])
	}
}

func TestEchoUntilStdinEnds(t *testing.T) {
	conn, ctx := dial(t, streaming.ProtocolV5, func(ctx context.Context, s kruntime.Streams) error {
		lines := bufio.NewScanner(s.Stdin)
		for lines.Scan() {
			fmt.Fprintf(s.Stdout, "got %s;", lines.Text())
		}
		fmt.Fprint(s.Stderr, "end")
		return nil
	})
	for _, m := range []string{"\x00one\n", "\x00two\n", "\xff\x00"} {
		require.NoError(t, conn.Write(ctx, websocket.MessageBinary, []byte(m)))
	}
	require.Equal(t, map[byte]string{1: "got one;got two;", 2: "end", 3: `{"metadata":{},"status":"Success"}`}, transcript(t, ctx, conn))
}

func TestOutcomes(t *testing.T) {
	for want, err := range map[string]error{
		`"reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}`: &kruntime.ExitError{Code: 7},
		`"message":"no such container"`: errors.New("no such container"),
	} {
		conn, ctx := dial(t, streaming.ProtocolV4, func(context.Context, kruntime.Streams) error { return err })
		require.Contains(t, transcript(t, ctx, conn)[3], want)
	}
}

func TestLargeOutputComesInOrder(t *testing.T) {
	big := strings.Repeat("0123456789", 20000)
	conn, ctx := dial(t, streaming.ProtocolV5, func(_ context.Context, s kruntime.Streams) error {
		_, err := io.WriteString(s.Stdout, big)
		return err
	})
	conn.SetReadLimit(1 << 20)
	require.Equal(t, big, transcript(t, ctx, conn)[1])
}

func TestAClientThatGoesEndsTheCommand(t *testing.T) {
	ended := make(chan error, 1)
	conn, _ := dial(t, streaming.ProtocolV5, func(ctx context.Context, s kruntime.Streams) error {
		<-ctx.Done()
		_, err := s.Stdin.Read(make([]byte, 1))
		ended <- err
		return ctx.Err()
	})
	require.NoError(t, conn.CloseNow())
	require.ErrorIs(t, <-ended, io.EOF)
}
