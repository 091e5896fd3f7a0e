package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/coder/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/keelson-dev/keelson/apiserver/client"
)

// Protocol is the WebSocket subprotocol of exec and attach.
// Source: KEP-4006, Transition from SPDY to WebSockets.
const Protocol = "v5.channel.k8s.io"

// The channels of Protocol: the first byte of each message.
const (
	channelStdin  = 0
	channelStdout = 1
	channelStderr = 2
	channelError  = 3
	channelClose  = 255
)

const (
	maxMessage   = 1 << 20
	maxErrorBody = 64 << 10
)

// LogQuery is the form of log options in a URL.
func LogQuery(o corev1.PodLogOptions) url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{"follow": o.Follow, "timestamps": o.Timestamps, "previous": o.Previous} {
		if on {
			q.Set(name, "true")
		}
	}
	for name, n := range map[string]*int64{"tailLines": o.TailLines, "sinceSeconds": o.SinceSeconds, "limitBytes": o.LimitBytes} {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.UTC().Format("2006-01-02T15:04:05Z"))
	}
	if o.Container != "" {
		q.Set("container", o.Container)
	}
	return q
}

// ExecQuery is the form of exec options in a URL. Streams that are not connected are not asked for.
func ExecQuery(o corev1.PodExecOptions, s client.Streams) url.Values {
	q := url.Values{"command": o.Command}
	for name, on := range map[string]bool{"stdin": s.Stdin != nil, "stdout": s.Stdout != nil, "stderr": s.Stderr != nil && !o.TTY, "tty": o.TTY} {
		if on {
			q.Set(name, "true")
		}
	}
	if o.Container != "" {
		q.Set("container", o.Container)
	}
	return q
}

// Exec opens a WebSocket at u and speaks Protocol as a client until the command ends. It is what both a control plane
// (to a node agent) and a client (to a control plane) do. A non-zero exit is a *client.ExitError.
func Exec(ctx context.Context, hc *http.Client, u *url.URL, header http.Header, streams client.Streams) error {
	conn, resp, err := websocket.Dial(ctx, u.String(), &websocket.DialOptions{HTTPClient: hc, HTTPHeader: header, Subprotocols: []string{Protocol}})
	if err != nil {
		if resp != nil && resp.StatusCode >= 400 {
			return StatusError(resp)
		}
		return fmt.Errorf("open exec stream: %w", err)
	}
	if got := conn.Subprotocol(); got != Protocol {
		_ = conn.CloseNow()
		return fmt.Errorf("open exec stream: the server speaks %q, want %q", got, Protocol)
	}
	conn.SetReadLimit(maxMessage)
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait() // last: a reader that the caller gave may only be used until Exec returns
	defer func() { _ = conn.CloseNow() }()
	defer cancel()
	if streams.Stdin != nil {
		pump := &stdin{from: streams.Stdin}
		wg.Go(func() { pump.run(ctx, conn) })
	}
	return receive(ctx, conn, streams)
}

// receive copies the command's output until its status comes.
func receive(ctx context.Context, conn *websocket.Conn, streams client.Streams) error {
	for {
		_, msg, err := conn.Read(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if websocket.CloseStatus(err) == websocket.StatusNormalClosure {
				return nil
			}
			return fmt.Errorf("exec stream: %w", err)
		}
		if len(msg) == 0 {
			continue
		}
		var to io.Writer
		switch msg[0] {
		case channelStdout:
			to = streams.Stdout
		case channelStderr:
			to = streams.Stderr
		case channelError:
			return exit(msg[1:])
		}
		if to != nil && len(msg) > 1 {
			if _, err := to.Write(msg[1:]); err != nil {
				return fmt.Errorf("exec stream: write output: %w", err)
			}
		}
	}
}

// exit reads the status that ends a command.
func exit(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	var s metav1.Status
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("exec stream: %s", data)
	}
	if s.Status == metav1.StatusSuccess {
		return nil
	}
	if s.Reason == "NonZeroExitCode" && s.Details != nil {
		for _, c := range s.Details.Causes {
			if code, err := strconv.Atoi(c.Message); err == nil && c.Type == "ExitCode" {
				return &client.ExitError{Code: code}
			}
		}
	}
	return &apierrors.StatusError{ErrStatus: s}
}

// stdin copies what the caller supplies to the command. A read that does not return cannot be interrupted, so the
// reading goroutine is left to its reader when that is no io.Closer; the next byte or error ends it.
type stdin struct{ from io.Reader }

func (s *stdin) run(ctx context.Context, conn *websocket.Conn) {
	type chunk struct {
		data []byte
		err  error
	}
	chunks := make(chan chunk)
	go func() {
		defer close(chunks)
		for {
			buf := make([]byte, 32<<10)
			buf[0] = channelStdin
			n, err := s.from.Read(buf[1:])
			select {
			case chunks <- chunk{buf[:n+1], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-chunks:
			if len(c.data) > 1 && conn.Write(ctx, websocket.MessageBinary, c.data) != nil {
				return
			}
			if c.err != nil {
				_ = conn.Write(ctx, websocket.MessageBinary, []byte{channelClose, channelStdin})
				return
			}
		}
	}
}

// StatusError reads the error that an HTTP answer carries: its Status, or one made from the code and the text.
func StatusError(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	if err != nil && !errors.Is(err, io.EOF) {
		body = []byte(err.Error())
	}
	var s metav1.Status
	if json.Unmarshal(body, &s) == nil && s.Kind == "Status" {
		return &apierrors.StatusError{ErrStatus: s}
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(resp.StatusCode), Reason: reasonOf(resp.StatusCode), Message: strings.TrimSpace(string(body)),
	}}
}

func reasonOf(code int) metav1.StatusReason {
	switch code {
	case http.StatusBadRequest:
		return metav1.StatusReasonBadRequest
	case http.StatusUnauthorized:
		return metav1.StatusReasonUnauthorized
	case http.StatusForbidden:
		return metav1.StatusReasonForbidden
	case http.StatusNotFound:
		return metav1.StatusReasonNotFound
	case http.StatusServiceUnavailable:
		return metav1.StatusReasonServiceUnavailable
	case http.StatusTooManyRequests:
		return metav1.StatusReasonTooManyRequests
	case http.StatusInternalServerError:
		return metav1.StatusReasonInternalError
	}
	return metav1.StatusReasonUnknown
}
