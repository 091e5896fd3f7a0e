package memnet

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// Addr is the address of a listener, or of one end of a connection.
type Addr string

// Network returns "mem".
func (Addr) Network() string { return "mem" }

// String returns the name.
func (a Addr) String() string { return string(a) }

// half is one direction of a connection.
type half struct {
	mu       sync.Mutex
	wake     chan struct{} // closed when something changes that a reader may wait for; nil while none waits
	data     []byte
	ended    bool // the writer will write no more
	dropped  bool // the reader will read no more
	deadline time.Time
}

// change runs f under the lock and wakes readers.
func (h *half) change(f func()) {
	h.mu.Lock()
	f()
	wake := h.wake
	h.wake = nil
	h.mu.Unlock()
	if wake != nil {
		close(wake)
	}
}

func (h *half) read(p []byte) (int, error) {
	for {
		h.mu.Lock()
		deadline := h.deadline
		switch {
		case h.dropped:
			h.mu.Unlock()
			return 0, net.ErrClosed
		case !deadline.IsZero() && !time.Now().Before(deadline):
			h.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(h.data) > 0 || len(p) == 0:
			n := copy(p, h.data)
			if h.data = h.data[n:]; len(h.data) == 0 {
				h.data = nil
			}
			h.mu.Unlock()
			return n, nil
		case h.ended:
			h.mu.Unlock()
			return 0, io.EOF
		}
		if h.wake == nil {
			h.wake = make(chan struct{})
		}
		wake := h.wake
		h.mu.Unlock()
		wait(wake, deadline)
	}
}

func wait(wake <-chan struct{}, deadline time.Time) {
	if deadline.IsZero() {
		<-wake
		return
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-wake:
	case <-timer.C:
	}
}

func (h *half) write(p []byte) (n int, err error) {
	h.change(func() {
		switch {
		case h.ended:
			err = net.ErrClosed
		case h.dropped:
			err = syscall.EPIPE
		default:
			h.data = append(h.data, p...)
			n = len(p)
		}
	})
	return n, err
}

// Conn is one end of a connection.
type Conn struct {
	local, remote Addr
	in, out       *half
	onClose       func()

	mu            sync.Mutex
	writeDeadline time.Time
}

var _ net.Conn = (*Conn)(nil)

// Pipe returns the two ends of a connection.
func Pipe() (*Conn, *Conn) { return pipe("pipe", "pipe", nil) }

func pipe(local, remote Addr, onClose func()) (*Conn, *Conn) {
	there, back := &half{}, &half{}
	return &Conn{local: local, remote: remote, in: back, out: there, onClose: onClose},
		&Conn{local: remote, remote: local, in: there, out: back, onClose: onClose}
}

// Read reads what the peer has written.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.in.read(p)
	if err != nil && err != io.EOF {
		err = c.fail("read", err)
	}
	return n, err
}

// Write buffers p for the peer and never waits.
func (c *Conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	deadline := c.writeDeadline
	c.mu.Unlock()
	if !deadline.IsZero() && !time.Now().Before(deadline) {
		return 0, c.fail("write", os.ErrDeadlineExceeded)
	}
	n, err := c.out.write(p)
	if err != nil {
		err = c.fail("write", err)
	}
	return n, err
}

// Close ends both directions: the peer reads what is buffered and then io.EOF, and its writes fail.
func (c *Conn) Close() error {
	c.out.change(func() { c.out.ended = true })
	c.in.change(func() { c.in.dropped, c.in.data = true, nil })
	if c.onClose != nil {
		c.onClose()
	}
	return nil
}

// CloseWrite ends the direction to the peer only.
func (c *Conn) CloseWrite() error {
	c.out.change(func() { c.out.ended = true })
	return nil
}

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines; the zero time means none.
func (c *Conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t) // never fails
	return c.SetWriteDeadline(t)
}

// SetReadDeadline bounds reads, those that wait already too.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.in.change(func() { c.in.deadline = t })
	return nil
}

// SetWriteDeadline bounds writes: later ones fail.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeDeadline = t
	return nil
}

func (c *Conn) fail(op string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}
