package memnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Listener accepts the connections that Dial makes. Listen makes one.
type Listener struct {
	addr   Addr
	closed chan struct{}

	mu      sync.Mutex
	down    bool
	dialled int
	backlog []*Conn
	wake    chan struct{} // closed when backlog grows; nil while nobody accepts
	conns   map[*Conn]struct{}
}

var _ net.Listener = (*Listener)(nil)

// Listen returns a listener. The name is only shown; two listeners may have the same.
func Listen(name string) *Listener {
	return &Listener{addr: Addr(name), closed: make(chan struct{}), conns: map[*Conn]struct{}{}}
}

// Dial connects. It does not wait for Accept. It fails when ctx has ended, or as a refused connection when the
// listener is closed.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, l.fail("dial", err)
	}
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return nil, l.fail("dial", syscall.ECONNREFUSED)
	}
	l.dialled++
	var client, server *Conn
	forget := func() {
		l.mu.Lock()
		delete(l.conns, client)
		l.mu.Unlock()
	}
	client, server = pipe(Addr(fmt.Sprintf("%s#%d", l.addr, l.dialled)), l.addr, forget)
	l.conns[client] = struct{}{}
	l.backlog = append(l.backlog, server)
	wake := l.wake
	l.wake = nil
	l.mu.Unlock()
	if wake != nil {
		close(wake)
	}
	return client, nil
}

// DialContext is Dial in the shape that http.Transport and others want; network and address are ignored.
func (l *Listener) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	return l.Dial(ctx)
}

// Accept waits for a connection. It fails with net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		l.mu.Lock()
		if l.down {
			l.mu.Unlock()
			return nil, l.fail("accept", net.ErrClosed)
		}
		if len(l.backlog) > 0 {
			c := l.backlog[0]
			l.backlog = l.backlog[1:]
			l.mu.Unlock()
			return c, nil
		}
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		wake := l.wake
		l.mu.Unlock()
		select {
		case <-wake:
		case <-l.closed:
		}
	}
}

// Close refuses further connections and ends all there are, accepted or not.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.down {
		l.mu.Unlock()
		return nil
	}
	l.down = true
	var open []*Conn
	for c := range l.conns {
		open = append(open, c)
	}
	l.backlog = nil
	l.mu.Unlock()
	close(l.closed)
	for _, c := range open {
		end(c)
	}
	return nil
}

// end closes both ends of c's connection.
func end(c *Conn) {
	for _, h := range []*half{c.in, c.out} {
		h.change(func() { h.ended, h.dropped, h.data = true, true, nil })
	}
	_ = c.Close() // never fails
}

// Addr returns the listener's address.
func (l *Listener) Addr() net.Addr { return l.addr }

func (l *Listener) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Addr: l.addr, Err: err}
}
