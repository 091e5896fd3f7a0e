package userspace

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
)

// tcpListener accepts connections on one address.
type tcpListener struct {
	dp      *Dataplane
	ln      *net.TCPListener
	service atomic.Pointer[service]
	closed  chan struct{}
}

func (d *Dataplane) listenTCP(addr netip.AddrPort, s *service) (listener, error) {
	ln, err := (&net.ListenConfig{}).Listen(d.ctx, "tcp", addr.String())
	if err != nil {
		return nil, err
	}
	l := &tcpListener{dp: d, ln: ln.(*net.TCPListener), closed: make(chan struct{})}
	l.service.Store(s)
	d.wg.Go(l.run)
	return l, nil
}

func (l *tcpListener) serve(s *service) { l.service.Store(s) }

func (l *tcpListener) close() {
	close(l.closed)
	_ = l.ln.Close()
}

func (l *tcpListener) run() {
	wait := time.Duration(0)
	for {
		conn, err := l.ln.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors, or a client that left already: neither ends the listener.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			l.dp.cfg.Logger.Warn("accept failed", zap.Error(err), zap.Duration("again in", wait))
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-l.closed:
				t.Stop()
				return
			}
			continue
		}
		wait = 0
		// Over the bound this one waits here, and those after it in the kernel's queue.
		select {
		case l.dp.connections <- struct{}{}:
		case <-l.closed:
			reset(conn)
			return
		}
		s := l.service.Load()
		l.dp.wg.Go(func() {
			defer func() { <-l.dp.connections }()
			s.handle(conn)
		})
	}
}

// tcpFlow is a client's connection and its other half.
type tcpFlow struct {
	client, backend *net.TCPConn
	once            sync.Once
}

func (f *tcpFlow) drains() bool { return true }

// abort resets both sides; both copies then end.
func (f *tcpFlow) abort() {
	f.once.Do(func() {
		reset(f.client)
		reset(f.backend)
	})
}

// reset closes a connection with a reset, so that its peer learns that it did not end in order.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// handle serves one accepted connection to its end.
func (s *service) handle(client *net.TCPConn) {
	f, b := s.connect(client)
	if f == nil {
		reset(client)
		return
	}
	defer s.end(f, b)
	done := make(chan struct{})
	s.dp.wg.Go(func() {
		defer close(done)
		f.copy(f.backend, f.client)
	})
	f.copy(f.client, f.backend)
	<-done
	_ = f.client.Close()
	_ = f.backend.Close()
}

// copy moves one direction until its end, which it passes on: an orderly end as a half-close, a failure as a reset of
// both sides. Between two TCP connections Linux moves the bytes without copying them here.
func (f *tcpFlow) copy(to, from *net.TCPConn) {
	_, err := io.Copy(to, from)
	if errors.Is(err, syscall.EPIPE) {
		return // to has closed while we wrote: what it sent before is still on its way in the other direction
	}
	if err != nil {
		f.abort()
		return
	}
	// An error means that the reader is gone already; the other direction will meet the same.
	_ = to.CloseWrite()
}

// connect dials backends until one answers. A connection that a backend refused has cost the client nothing.
func (s *service) connect(client *net.TCPConn) (*tcpFlow, *backend) {
	from := addrOf(client.RemoteAddr())
	tried := map[netip.AddrPort]bool{}
	// A table may come while we dial: then the list is asked again, and only new names are tried.
	for {
		progress := false
		for _, addr := range s.candidates(from, time.Now()) {
			if tried[addr] {
				continue
			}
			tried[addr], progress = true, true
			d := net.Dialer{Timeout: s.dp.cfg.DialTimeout}
			conn, err := d.DialContext(s.dp.ctx, "tcp", addr.String())
			if err != nil {
				s.dp.cfg.Logger.Debug("backend did not answer", zap.Stringer("service", s.key.rule.Name), zap.Stringer("backend", addr), zap.Error(err))
				if s.dp.ctx.Err() != nil {
					return nil, nil
				}
				continue
			}
			f := &tcpFlow{client: client, backend: conn.(*net.TCPConn)}
			if b, ok := s.begin(f, addr, from, time.Now()); ok {
				return f, b
			}
			reset(f.backend)
			break // the table changed: ask again
		}
		if !progress {
			return nil, nil
		}
	}
}

func addrOf(a net.Addr) netip.Addr {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
