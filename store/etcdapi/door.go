package etcdapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// door takes connections and sends each to gRPC or to HTTP/1: by what TLS negotiated, or, without TLS, by whether the
// first bytes are those of HTTP/2. After that nothing stands between the connection and who serves it.
type door struct {
	ctx       context.Context
	cancel    context.CancelFunc
	listener  net.Listener
	tls       *tls.Config
	grpc, web *room
	greeting  sync.WaitGroup
}

// preface begins what a client sends that speaks HTTP/2.
var preface = []byte("PRI ")

func newDoor(ctx context.Context, l net.Listener, cfg *tls.Config) *door {
	if cfg != nil {
		cfg = cfg.Clone()
		for _, protocol := range []string{"h2", "http/1.1"} {
			if !slices.Contains(cfg.NextProtos, protocol) {
				cfg.NextProtos = append(cfg.NextProtos, protocol)
			}
		}
	}
	d := &door{listener: l, tls: cfg}
	d.ctx, d.cancel = context.WithCancel(ctx)
	d.grpc, d.web = newRoom(d), newRoom(d)
	return d
}

// accept runs until the listener fails, or close is called.
func (d *door) accept() error {
	stop := context.AfterFunc(d.ctx, func() { _ = d.listener.Close() })
	defer stop()
	delay := time.Millisecond
	for {
		conn, err := d.listener.Accept()
		if err == nil {
			delay = time.Millisecond
			d.greeting.Go(func() { d.greet(conn) })
			continue
		}
		if d.ctx.Err() != nil {
			return nil
		}
		// Out of file descriptors, say: that passes.
		if passing, ok := errors.AsType[interface {
			error
			Temporary() bool
		}](err); !ok || !passing.Temporary() {
			return errors.Join(err, d.listener.Close())
		}
		select {
		case <-time.After(delay):
		case <-d.ctx.Done():
			return nil
		}
		delay = min(2*delay, time.Second)
	}
}

// greet finds out what a client speaks. One that does not say is sent away after a while.
func (d *door) greet(raw net.Conn) {
	ctx, cancel := context.WithTimeout(d.ctx, greetTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	to, conn, err := d.recognize(ctx, raw)
	if !stop() || err != nil {
		_ = raw.Close()
		return
	}
	select {
	case to.guests <- conn:
	case <-to.closed:
		_ = conn.Close()
	case <-d.ctx.Done():
		_ = conn.Close()
	}
}

func (d *door) recognize(ctx context.Context, conn net.Conn) (*room, net.Conn, error) {
	if d.tls != nil {
		secured := tls.Server(conn, d.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, nil, err
		}
		if secured.ConnectionState().NegotiatedProtocol == "h2" {
			return d.grpc, secured, nil
		}
		return d.web, secured, nil
	}
	first := make([]byte, len(preface))
	if _, err := io.ReadFull(conn, first); err != nil {
		return nil, nil, err
	}
	if bytes.Equal(first, preface) {
		return d.grpc, &peeked{Conn: conn, first: first}, nil
	}
	return d.web, &peeked{Conn: conn, first: first}, nil
}

// close ends it all and waits.
func (d *door) close() {
	d.cancel()
	d.greeting.Wait()
}

// peeked is a connection of which something was read before.
type peeked struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (c *peeked) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}

// CloseWrite has the other end read to the end while it may still be read from.
func (c *peeked) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

// room is the listener of one of the two servers.
type room struct {
	door   *door
	guests chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newRoom(d *door) *room {
	return &room{door: d, guests: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (r *room) Accept() (net.Conn, error) {
	select {
	case conn := <-r.guests:
		return conn, nil
	case <-r.closed:
	case <-r.door.ctx.Done():
	}
	return nil, net.ErrClosed
}

// Close implements net.Listener.
func (r *room) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// Addr implements net.Listener.
func (r *room) Addr() net.Addr { return r.door.listener.Addr() }
