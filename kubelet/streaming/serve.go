package streaming

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/coder/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kruntime "github.com/keelson-dev/keelson/runtime"
)

// The subprotocols, the preferred one first.
const (
	ProtocolV5 = "v5.channel.k8s.io"
	ProtocolV4 = "v4.channel.k8s.io"
)

// The channels.
const (
	channelStdin byte = iota
	channelStdout
	channelStderr
	channelError
	channelResize
	channelClose byte = 255
)

const (
	maxMessage = 1 << 20
	chunk      = 32 << 10 // of output in one message
)

// Options say which streams the client wants.
type Options struct{ Stdin, Stdout, Stderr, TTY bool }

// ParseOptions reads the streams from a node's URL (input, output, error, tty) or the API server's (stdin, stdout, stderr,
// tty). With a terminal there is no separate standard error.
func ParseOptions(r *http.Request) (Options, error) {
	q := r.URL.Query()
	is := func(names ...string) bool {
		for _, n := range names {
			if v := q.Get(n); v == "1" || v == "true" {
				return true
			}
		}
		return false
	}
	o := Options{Stdin: is("input", "stdin"), Stdout: is("output", "stdout"), Stderr: is("error", "stderr"), TTY: is("tty")}
	if o.TTY {
		o.Stderr = false
	}
	if !o.Stdin && !o.Stdout && !o.Stderr {
		return o, errors.New("at least one of input, output and error must be asked for")
	}
	return o, nil
}

// Serve upgrades the request, to a WebSocket or to SPDY, and runs a command with the client's streams until it ends. run's error becomes the outcome
// that the client is told: nil, an exit code (an error with ExitStatus() int), or a message.
func Serve(w http.ResponseWriter, r *http.Request, o Options, run func(ctx context.Context, s kruntime.Streams) error) {
	if IsSPDY(r) {
		serveSPDY(w, r, o, run)
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{ProtocolV5, ProtocolV4},
		InsecureSkipVerify: true, // no browser talks to a node: who may was decided before
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	defer conn.CloseNow()
	if conn.Subprotocol() == "" {
		_ = conn.Close(websocket.StatusProtocolError, "want the subprotocol "+ProtocolV5+" or "+ProtocolV4)
		return
	}
	conn.SetReadLimit(maxMessage)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()

	var streams kruntime.Streams
	in := &input{sizes: make(chan kruntime.TerminalSize, 1)}
	if o.Stdin {
		in.stdin = newBacklog()
		streams.Stdin = in.stdin
	}
	if o.Stdout {
		streams.Stdout = output{ctx, conn, channelStdout}
	}
	if o.Stderr {
		streams.Stderr = output{ctx, conn, channelStderr}
	}
	if o.TTY {
		streams.TTY, streams.Resize = true, in.resize
	}
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		in.read(ctx, conn)
		cancel() // the client has gone
	}()
	outcome := statusOf(run(ctx, streams))
	if message, err := json.Marshal(outcome); err == nil {
		_, _ = output{ctx, conn, channelError}.Write(message)
	}
	_ = conn.Close(websocket.StatusNormalClosure, "")
	<-reading
}

// input is what comes from the client.
type input struct {
	stdin *backlog // nil when not asked for
	sizes chan kruntime.TerminalSize
}

// read takes messages until the connection ends.
func (in *input) read(ctx context.Context, conn *websocket.Conn) {
	defer func() {
		if in.stdin != nil {
			in.stdin.end()
		}
	}()
	for {
		_, message, err := conn.Read(ctx)
		if err != nil {
			return
		}
		if len(message) == 0 {
			continue
		}
		switch data := message[1:]; message[0] {
		case channelStdin:
			if in.stdin != nil && len(data) > 0 {
				if !in.stdin.add(data) {
					return // the client sends without end to a command that doesn't read
				}
			}
		case channelResize:
			var size kruntime.TerminalSize
			if json.Unmarshal(data, &size) == nil {
				in.sized(size)
			}
		case channelClose:
			if in.stdin != nil && len(data) == 1 && data[0] == channelStdin {
				in.stdin.end()
			}
		}
	}
}

// sized notes the newest size; one that nobody has taken is forgotten.
func (in *input) sized(size kruntime.TerminalSize) {
	select {
	case <-in.sizes:
	default:
	}
	in.sizes <- size
}

func (in *input) resize(ctx context.Context) (kruntime.TerminalSize, error) {
	select {
	case <-ctx.Done():
		return kruntime.TerminalSize{}, ctx.Err()
	case s := <-in.sizes:
		return s, nil
	}
}

// output is one channel to the client.
type output struct {
	ctx     context.Context
	conn    *websocket.Conn
	channel byte
}

func (o output) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), chunk)
		if err := o.conn.Write(o.ctx, websocket.MessageBinary, append([]byte{o.channel}, p[:n]...)); err != nil {
			return written, err
		}
		written, p = written+n, p[n:]
	}
	return written, nil
}

// statusOf is a command's outcome as clients read it.
func statusOf(err error) *metav1.Status {
	if err == nil {
		return &metav1.Status{Status: metav1.StatusSuccess}
	}
	st := &metav1.Status{Status: metav1.StatusFailure, Message: err.Error(), Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError}
	var exit interface{ ExitStatus() int }
	if errors.As(err, &exit) {
		st.Code, st.Reason = 0, "NonZeroExitCode"
		st.Message = fmt.Sprintf("command terminated with non-zero exit code: %v", err)
		st.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "ExitCode", Message: strconv.Itoa(exit.ExitStatus())}}}
	}
	return st
}
