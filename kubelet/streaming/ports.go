package streaming

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// The protocol of port-forward: SPDY streams in pairs, one for a connection's bytes, one for what went wrong with it.
const (
	ProtocolPorts  = "portforward.k8s.io"
	ProtocolTunnel = "SPDY/3.1+" + ProtocolPorts // the same SPDY inside the messages of a WebSocket
)

// The headers of a SPDY stream and the types it may have.
const (
	headerType    = "Streamtype"
	headerPort    = "Port"
	headerRequest = "Requestid"
	typeData      = "data"
	typeError     = "error"
)

const (
	maxForwards = 256              // connections at a time that one client may have forwarded
	pairWithin  = 30 * time.Second // both streams of a pair must have come
	lingerTime  = 10 * time.Second // for a client to end its half of a stream after the other half has ended
)

// Forward joins a stream with a port until either side ends, and closes the stream.
type Forward func(ctx context.Context, port int32, stream io.ReadWriteCloser) error

// ServePorts upgrades the request, to SPDY or to a WebSocket that carries it, and forwards the connections that the client opens until the
// client goes. A forward's error is told to the client on that connection's error stream.
func ServePorts(w http.ResponseWriter, r *http.Request, forward Forward) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	arrivals := make(chan arrival)
	accept := func(s httpstream.Stream, replied <-chan struct{}) error {
		select {
		case arrivals <- arrival{s, replied}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	conn := upgrade(ctx, w, r, ProtocolPorts, accept)
	if conn == nil {
		return // the client has been told
	}
	f := forwarder{ctx: ctx, conn: conn, forward: forward, pairs: map[string]*pair{}}
	defer f.serving.Wait()
	defer func() { _ = conn.Close() }()
	defer cancel()
	check := time.NewTicker(pairWithin)
	defer check.Stop()
	for {
		select {
		case <-conn.CloseChan():
			return
		case <-r.Context().Done():
			return
		case a := <-arrivals:
			if !f.take(a) {
				return
			}
		case now := <-check.C:
			f.dropHalves(now)
		}
	}
}

// upgrade makes a SPDY connection of a request: of its own, or inside a WebSocket. Nil means that it could not, and has answered.
func upgrade(ctx context.Context, w http.ResponseWriter, r *http.Request, protocol string, accept httpstream.NewStreamHandler) httpstream.Connection {
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		if _, err := httpstream.Handshake(r, w, []string{protocol}); err != nil {
			return nil
		}
		return spdy.NewResponseUpgrader().UpgradeResponse(hijackable{w}, r, accept)
	}
	socket, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols: []string{"SPDY/3.1+" + protocol}, InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return nil
	}
	if socket.Subprotocol() == "" {
		_ = socket.Close(websocket.StatusProtocolError, "want the subprotocol SPDY/3.1+"+protocol)
		return nil
	}
	socket.SetReadLimit(maxMessage)
	conn, err := spdy.NewServerConnection(quiet{websocket.NetConn(ctx, socket, websocket.MessageBinary)}, accept)
	if err != nil {
		_ = socket.CloseNow()
		return nil
	}
	return conn
}

// quiet is a connection that may be closed twice: SPDY's goes on for a second after a close that failed.
type quiet struct{ net.Conn }

func (q quiet) Close() error {
	_ = q.Conn.Close()
	return nil
}

// hijackable gives a quiet connection away.
type hijackable struct{ http.ResponseWriter }

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	return quiet{conn}, rw, nil
}

type arrival struct {
	stream  httpstream.Stream
	replied <-chan struct{} // the client knows that the stream was accepted
}

func checkPortStream(h http.Header) error {
	switch h.Get(headerType) {
	case typeData, typeError:
	default:
		return fmt.Errorf("stream type %q: want data or error", h.Get(headerType))
	}
	_, err := portOf(h)
	return err
}

func portOf(h http.Header) (int32, error) {
	port, err := strconv.ParseUint(h.Get(headerPort), 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("port %q: want 1 to 65535", h.Get(headerPort))
	}
	return int32(port), nil
}

// pair is one forwarded connection.
type pair struct {
	data, failure *arrival
	since         time.Time
}

// forwarder belongs to the loop of ServePorts, but for serving.
type forwarder struct {
	ctx     context.Context
	conn    httpstream.Connection
	forward Forward
	pairs   map[string]*pair // those of which one half is missing
	serving sync.WaitGroup

	mu     sync.Mutex
	active int
}

// take adds a stream to its pair, and forwards a pair that is complete. False means that the client misuses the connection.
func (f *forwarder) take(a arrival) bool {
	h := a.stream.Headers()
	if checkPortStream(h) != nil {
		f.refuse(&a)
		return true
	}
	id := h.Get(headerRequest)
	if id == "" {
		// Old clients number their streams instead: the error stream of a pair comes first.
		number := a.stream.Identifier()
		if h.Get(headerType) == typeData {
			number -= 2
		}
		id = strconv.FormatUint(uint64(number), 10)
	}
	p := f.pairs[id]
	if p == nil {
		if len(f.pairs) == maxForwards {
			return false
		}
		p = &pair{since: time.Now()}
		f.pairs[id] = p
	}
	half := &p.failure
	if h.Get(headerType) == typeData {
		half = &p.data
	}
	if *half != nil {
		return false
	}
	*half = &a
	if p.data == nil || p.failure == nil {
		return true
	}
	delete(f.pairs, id)
	f.mu.Lock()
	f.active++
	full := f.active > maxForwards
	f.mu.Unlock()
	f.serving.Go(func() {
		f.serve(p, full)
		f.mu.Lock()
		f.active--
		f.mu.Unlock()
	})
	return true
}

// dropHalves ends streams whose other half does not come.
func (f *forwarder) dropHalves(now time.Time) {
	for id, p := range f.pairs {
		if now.Sub(p.since) < pairWithin {
			continue
		}
		delete(f.pairs, id)
		for _, half := range []*arrival{p.data, p.failure} {
			if half != nil {
				f.refuse(half)
			}
		}
	}
}

func (f *forwarder) refuse(a *arrival) {
	_ = a.stream.Reset()
	f.conn.RemoveStreams(a.stream)
}

func (f *forwarder) serve(p *pair, full bool) {
	data, failure := p.data.stream, p.failure.stream
	defer f.conn.RemoveStreams(data, failure)
	defer func() { _ = failure.Close() }()
	for _, half := range []*arrival{p.data, p.failure} {
		select {
		case <-half.replied:
		case <-f.ctx.Done():
			return
		}
	}
	port, err := portOf(data.Headers())
	stream := &lingering{Stream: data}
	defer stream.finish()
	switch {
	case err != nil:
	case full:
		err = fmt.Errorf("more than %d connections at a time", maxForwards)
	default:
		err = f.forward(f.ctx, port, stream)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintf(failure, "error forwarding port %d: %v", port, err)
	}
	_ = stream.Close()
}

// lingering is a stream whose Close ends this side's half, and the other half after a while: a reader of it waits for the client
// no longer than that.
type lingering struct {
	httpstream.Stream
	mu    sync.Mutex
	timer *time.Timer
}

func (l *lingering) Close() error {
	l.mu.Lock()
	first := l.timer == nil
	if first {
		l.timer = time.AfterFunc(lingerTime, func() { _ = l.Stream.Reset() })
	}
	l.mu.Unlock()
	if !first {
		return nil
	}
	return l.Stream.Close()
}

func (l *lingering) finish() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
}
