package streaming

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	kruntime "github.com/keelson-dev/keelson/runtime"
)

// The types of a command's SPDY streams.
const (
	typeStdin  = "stdin"
	typeStdout = "stdout"
	typeStderr = "stderr"
	typeResize = "resize"
)

// IsSPDY reports whether a request wants SPDY, which clients fall back to where a WebSocket does not get through.
func IsSPDY(r *http.Request) bool {
	return httpstream.IsUpgradeRequest(r) && r.Header.Get(httpstream.HeaderUpgrade) == spdy.HeaderSpdy31
}

// serveSPDY is Serve over SPDY: each of the client's streams is one of SPDY's ("v4.channel.k8s.io"), and the outcome goes to its error stream.
func serveSPDY(w http.ResponseWriter, r *http.Request, o Options, run func(ctx context.Context, s kruntime.Streams) error) {
	if _, err := httpstream.Handshake(r, w, []string{ProtocolV4}); err != nil {
		return // it has answered
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	arrivals := make(chan arrival)
	conn := spdy.NewResponseUpgrader().UpgradeResponse(hijackable{w}, r, func(s httpstream.Stream, replied <-chan struct{}) error {
		select {
		case arrivals <- arrival{s, replied}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if conn == nil {
		return
	}
	defer func() { _ = conn.Close() }()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		select {
		case <-conn.CloseChan():
			cancel() // the client has gone
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(); <-gone }()

	want := map[string]bool{typeError: true, typeStdin: o.Stdin, typeStdout: o.Stdout, typeStderr: o.Stderr, typeResize: o.TTY}
	streams := map[string]httpstream.Stream{}
	missing := 0
	for _, wanted := range want {
		if wanted {
			missing++
		}
	}
	limit := time.NewTimer(pairWithin)
	defer limit.Stop()
	for missing > 0 {
		select {
		case a := <-arrivals:
			name := a.stream.Headers().Get(headerType)
			if !want[name] || streams[name] != nil {
				return
			}
			select {
			case <-a.replied:
			case <-ctx.Done():
				return
			}
			streams[name] = a.stream
			missing--
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
	var s kruntime.Streams
	if o.Stdin {
		s.Stdin = streams[typeStdin]
	}
	if o.Stdout {
		s.Stdout = streams[typeStdout]
	}
	if o.Stderr {
		s.Stderr = streams[typeStderr]
	}
	if o.TTY {
		in := &input{sizes: make(chan kruntime.TerminalSize, 1)}
		s.TTY, s.Resize = true, in.resize
		resizing := make(chan struct{})
		go func() {
			defer close(resizing)
			in.readSizes(streams[typeResize])
		}()
		defer func() { <-resizing }()
		defer func() { _ = conn.Close() }() // which ends the reading
	}
	if message, err := json.Marshal(statusOf(run(ctx, s))); err == nil {
		_, _ = streams[typeError].Write(message)
	}
}

// readSizes takes the terminal's sizes until the stream ends.
func (in *input) readSizes(s httpstream.Stream) {
	sizes := json.NewDecoder(s)
	for {
		var size kruntime.TerminalSize
		if sizes.Decode(&size) != nil {
			return
		}
		in.sized(size)
	}
}
