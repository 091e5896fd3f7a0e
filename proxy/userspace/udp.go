package userspace

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// maxDatagram is the largest UDP payload.
const maxDatagram = 64 << 10

// udpListener receives datagrams on one address and keeps a session per client.
type udpListener struct {
	dp      *Dataplane
	conn    *net.UDPConn
	service atomic.Pointer[service]

	mu       sync.Mutex
	closed   bool
	sessions map[netip.AddrPort]*udpSession
}

func (d *Dataplane) listenUDP(addr netip.AddrPort, s *service) (listener, error) {
	pc, err := (&net.ListenConfig{}).ListenPacket(d.ctx, "udp", addr.String())
	if err != nil {
		return nil, err
	}
	l := &udpListener{dp: d, conn: pc.(*net.UDPConn), sessions: map[netip.AddrPort]*udpSession{}}
	l.service.Store(s)
	d.wg.Go(l.run)
	return l, nil
}

func (l *udpListener) serve(s *service) { l.service.Store(s) }

func (l *udpListener) close() {
	_ = l.conn.Close()
	l.mu.Lock()
	l.closed = true
	var all []*udpSession
	for _, s := range l.sessions {
		all = append(all, s)
	}
	l.mu.Unlock()
	for _, s := range all {
		s.abort()
	}
}

func (l *udpListener) run() {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := l.conn.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // such as an ICMP error of an earlier answer: it concerns one client
		}
		from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
		if s := l.session(from); s != nil {
			s.send(buf[:n])
		}
	}
}

// session is the client's session, begun if there is none. Nil means that the datagram is dropped.
func (l *udpListener) session(client netip.AddrPort) *udpSession {
	l.mu.Lock()
	s, closed := l.sessions[client], l.closed
	l.mu.Unlock()
	if s != nil || closed {
		return s
	}
	select {
	case l.dp.sessions <- struct{}{}:
	default:
		l.dp.cfg.Logger.Warn("too many UDP sessions, dropping a new client's datagram", zap.Stringer("client", client), zap.Int("limit", cap(l.dp.sessions)))
		return nil
	}
	if s = l.open(client); s == nil {
		<-l.dp.sessions
	}
	return s
}

func (l *udpListener) open(client netip.AddrPort) *udpSession {
	svc := l.service.Load()
	for _, addr := range svc.candidates(client.Addr(), time.Now()) {
		conn, err := (&net.Dialer{}).DialContext(l.dp.ctx, "udp", addr.String())
		if err != nil {
			continue
		}
		s := &udpSession{listener: l, client: client, conn: conn.(*net.UDPConn)}
		s.touch()
		b, ok := svc.begin(s, addr, client.Addr(), time.Now())
		if !ok {
			_ = conn.Close()
			continue
		}
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			svc.end(s, b)
			_ = conn.Close()
			return nil
		}
		l.sessions[client] = s
		l.mu.Unlock()
		l.dp.wg.Go(func() {
			defer func() { <-l.dp.sessions }()
			defer svc.end(s, b)
			s.run()
		})
		return s
	}
	return nil
}

// forget takes a session out, unless the client has another by now.
func (l *udpListener) forget(s *udpSession) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions[s.client] == s {
		delete(l.sessions, s.client)
	}
}

// udpSession is one client's datagrams to one backend. Its goroutine reads the answers.
type udpSession struct {
	listener *udpListener
	client   netip.AddrPort
	conn     *net.UDPConn
	last     atomic.Int64 // when a datagram last went either way, in nanoseconds
}

func (s *udpSession) touch() { s.last.Store(time.Now().UnixNano()) }

func (s *udpSession) drains() bool { return false }

// abort ends the session; the client's next datagram begins another.
func (s *udpSession) abort() {
	s.listener.forget(s)
	_ = s.conn.Close()
}

func (s *udpSession) send(data []byte) {
	s.touch()
	if _, err := s.conn.Write(data); err != nil {
		// The backend's machine said that nobody listens (ICMP, on this write or on an earlier one). Another backend
		// may: the session is given up, so that a repeated datagram finds it.
		s.abort()
	}
}

func (s *udpSession) run() {
	defer s.abort()
	idle := s.listener.dp.cfg.IdleUDP
	buf := make([]byte, maxDatagram)
	for {
		_ = s.conn.SetReadDeadline(time.Unix(0, s.last.Load()).Add(idle))
		n, err := s.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if time.Since(time.Unix(0, s.last.Load())) < idle {
				continue // datagrams came from the client meanwhile
			}
			return
		}
		if err != nil {
			return
		}
		s.touch()
		if _, err := s.listener.conn.WriteToUDPAddrPort(buf[:n], s.client); errors.Is(err, net.ErrClosed) {
			return
		}
	}
}
