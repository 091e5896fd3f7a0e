package store

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	handshakeTimeout = 5 * time.Second
	// silenceTimeout is how long who has connected may say nothing at all. A member speaks at once.
	silenceTimeout = 2 * time.Second
	// silenceGrace is how long a connection is not yet called silent: what it sent may not have been read.
	silenceGrace = 50 * time.Millisecond
	// maxHandshakes bounds the handshakes with each host where a member is, and with all other hosts together.
	maxHandshakes = 64
	// maxFromHost bounds the handshakes with a host where no member is known to be.
	maxFromHost = 16
)

// handshakes are the connections that have not said yet who they are. Whoever reaches the port can have one, without a
// certificate, and as many as it likes. Their number is bounded, and where a bound is met the new one takes the place of
// an old one: to refuse the new one would lock members out for as long as somebody fills the places with silence.
// Hosts where members are have places of their own, which others can't take.
type handshakes struct {
	mu    sync.Mutex
	going []*handshake      // oldest first
	homes map[string]string // by a member's name, the host it was let in from or reached at
}

// handshake is such a connection.
type handshake struct {
	net.Conn
	host  string
	home  bool // a member is at this host
	begun time.Time
	spoke atomic.Bool
}

// Read implements net.Conn. With the first bytes the time for a whole handshake begins.
func (h *handshake) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 && !h.spoke.Load() {
		h.spoke.Store(true)
		if deadlineErr := h.SetDeadline(h.begun.Add(handshakeTimeout)); err == nil {
			err = deadlineErr
		}
	}
	return n, err
}

func (h *handshake) silent(now time.Time) bool {
	return !h.spoke.Load() && now.Sub(h.begun) > silenceGrace
}

// admit takes a connection in. It returns the one whose place it takes, if there was no room, which must be closed.
func (s *handshakes) admit(conn net.Conn, members []Peer) (h, victim *handshake) {
	h = &handshake{Conn: conn, host: hostOf(conn.RemoteAddr()), begun: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.home = slices.ContainsFunc(members, func(m Peer) bool {
		return s.homes[m.Name] == h.host || hostOf(peerAddr(m.Addr)) == h.host
	})
	if victim = crowdedOut(s.going, h); victim != nil {
		s.remove(victim)
	}
	s.going = append(s.going, h)
	return h, victim
}

// crowdedOut returns which of the handshakes has to go for another one: one of the host that has the most, which is the
// new one's if that has as many as it may; one that is silent rather than one that speaks; and the oldest of them.
func crowdedOut(going []*handshake, h *handshake) (victim *handshake) {
	counts, strangers := map[string]int{}, 0
	for _, g := range going {
		counts[g.host]++
		if !g.home {
			strangers++
		}
	}
	bound := maxFromHost
	if h.home {
		bound = maxHandshakes
	}
	mine := counts[h.host] >= bound
	if !mine && (h.home || strangers < maxHandshakes) {
		return nil
	}
	for _, g := range going {
		if mine && g.host != h.host || !mine && g.home {
			continue
		}
		if victim == nil || counts[g.host] > counts[victim.host] ||
			counts[g.host] == counts[victim.host] && g.silent(h.begun) && !victim.silent(h.begun) {
			victim = g
		}
	}
	return victim
}

// done ends a handshake, whichever way it went.
func (s *handshakes) done(h *handshake) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(h)
}

func (s *handshakes) remove(h *handshake) {
	s.going = slices.DeleteFunc(s.going, func(g *handshake) bool { return g == h })
}

// settle notes where a member is: its address may be a name, or be translated on the way.
func (s *handshakes) settle(name string, at net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.homes == nil || len(s.homes) >= 8*MaxMembers { // those that have left are among them; the others come again
		s.homes = map[string]string{}
	}
	s.homes[name] = hostOf(at)
}

// hostOf returns what counts as one host: an IPv4 address, the network of 64 bits that one host of IPv6 can have for
// itself, or whatever stands before the port.
func hostOf(addr net.Addr) string {
	text := addr.String()
	host, _, err := net.SplitHostPort(text)
	if err != nil {
		return text
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() && !ip.IsLoopback() {
		if net64, err := ip.Prefix(64); err == nil {
			return net64.String()
		}
	}
	return ip.String()
}

// exposed says that others than processes of this machine may reach a listener.
func exposed(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && !tcp.IP.IsLoopback()
}
