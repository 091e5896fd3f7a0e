package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// Peer is a member of a cluster: its name and the address at which the others reach it.
type Peer struct{ Name, Addr string }

// MaxMembers bounds the number of members of a cluster.
const MaxMembers = 7

const peerProtocol = "keelson-store"

func (c Config) validateMember() error {
	if c.Name == "" {
		if len(c.Peers) > 0 || c.Join || c.Listener != nil || c.Dial != nil || c.TLS != nil || c.MemoryDisk != nil {
			return fmt.Errorf("%w: Name is empty, and a member of a cluster must have one", ErrConfig)
		}
		return nil
	}
	if len(c.Name) > 255 {
		return fmt.Errorf("%w: Name has %d bytes, 255 are allowed", ErrConfig, len(c.Name))
	}
	if (c.Dir == "") == (c.MemoryDisk == nil) {
		return fmt.Errorf("%w: member %q needs either Dir or MemoryDisk", ErrConfig, c.Name)
	}
	if len(c.Peers) > MaxMembers {
		return fmt.Errorf("%w: Peers has %d members, %d are allowed", ErrConfig, len(c.Peers), MaxMembers)
	}
	names, addrs := map[string]bool{}, map[string]bool{}
	for _, p := range c.Peers {
		if p.Name == "" || p.Addr == "" || names[p.Name] || addrs[p.Addr] {
			return fmt.Errorf("%w: Peers has %q at %q; names and addresses must be there and differ", ErrConfig, p.Name, p.Addr)
		}
		names[p.Name], addrs[p.Addr] = true, true
		if p.Name == c.Name && c.Listener == nil || p.Name != c.Name && c.Dial == nil {
			if _, _, err := net.SplitHostPort(p.Addr); err != nil {
				return fmt.Errorf("%w: Peers has %q at %q, want HOST:PORT: %w", ErrConfig, p.Name, p.Addr, err)
			}
		}
	}
	switch {
	case !names[c.Name]:
		return fmt.Errorf("%w: Peers does not have this member, %q", ErrConfig, c.Name)
	case c.Join && len(c.Peers) < 2:
		return fmt.Errorf("%w: Join needs another member in Peers", ErrConfig)
	case c.Restore != nil && (c.Join || len(c.Peers) > 1):
		return fmt.Errorf("%w: Restore is for a cluster's first member; others join it", ErrConfig)
	case c.TLS != nil && len(c.TLS.Certificates) == 0 && (c.TLS.GetCertificate == nil || c.TLS.GetClientCertificate == nil):
		return fmt.Errorf("%w: TLS needs Certificates, or GetCertificate and GetClientCertificate: members accept and dial", ErrConfig)
	}
	return nil
}

func (c Config) addr() string {
	i := slices.IndexFunc(c.Peers, func(p Peer) bool { return p.Name == c.Name })
	return c.Peers[i].Addr
}

// peers are a member's connections with the others: one port, on which Raft's and our own arrive.
type peers struct {
	self    Peer
	listen  net.Listener
	dialer  func(ctx context.Context, addr string) (net.Conn, error)
	tls     *tls.Config
	logger  *zap.SugaredLogger
	failure func() error // why the member has stopped
	metrics *metrics
	members func() []Peer // who may connect, and where they are
	cluster func() uint64
	told    []Peer // those of the Config: where they may be if not there
	handle  handler

	open    atomic.Bool   // the member can answer
	founded atomic.Uint64 // see foundersSum
	raft    chan net.Conn // accepted for Raft
	closed  chan struct{}
	loops   *sync.WaitGroup

	handshakes handshakes
	guests     guests // whom other members vouch for

	mu     sync.Mutex
	ended  bool
	warned time.Time // when a connection was last said to be refused
	silent map[string]silence
	conns  map[net.Conn]struct{}
	links  map[string]*link
}

func newPeers(cfg Config, loops *sync.WaitGroup, failure func() error, members func() []Peer, cluster func() uint64, handle handler) (*peers, error) {
	p := &peers{
		self: Peer{cfg.Name, cfg.addr()}, listen: cfg.Listener, dialer: cfg.Dial, failure: failure, members: members, handle: handle, loops: loops,
		cluster: cluster, told: cfg.Peers, silent: map[string]silence{},
		logger: cfg.Logger.Named("peers").Sugar(), raft: make(chan net.Conn), closed: make(chan struct{}),
		conns: map[net.Conn]struct{}{}, links: map[string]*link{},
	}
	if cfg.TLS != nil {
		p.tls = cfg.TLS.Clone()
		p.tls.MinVersion = tls.VersionTLS13
		p.tls.ClientAuth = tls.RequireAndVerifyClientCert
		p.tls.InsecureSkipVerify = false
		p.tls.NextProtos = []string{peerProtocol}
		p.tls.SessionTicketsDisabled = true // each connection shows its certificate
	}
	if p.dialer == nil {
		p.dialer = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{Timeout: handshakeTimeout}).DialContext(ctx, "tcp", addr)
		}
	}
	if p.listen == nil {
		var err error
		if p.listen, err = net.Listen("tcp", p.self.Addr); err != nil {
			return nil, fmt.Errorf("the address of %q in Peers, where it listens as there is no Listener: %w", p.self.Name, err)
		}
	}
	if p.tls == nil && exposed(p.listen.Addr()) {
		p.logger.Warnw("members' connections are in plain text, and whoever reaches the port can pass for a member: set TLS", "at", p.listen.Addr())
	}
	p.loops.Go(p.accept)
	return p, nil
}

func (p *peers) accept() {
	for {
		conn, err := p.listen.Accept()
		if err != nil {
			select {
			case <-p.closed:
				return
			case <-time.After(100 * time.Millisecond): // such as too many open files
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		if !p.open.Load() { // the others try again, and wait for nothing here while files are read
			_ = conn.Close()
			continue
		}
		h, victim := p.handshakes.admit(conn, p.members())
		if victim != nil {
			_ = victim.Close() // who serves it sees that
		}
		if !p.own(h) {
			_ = conn.Close()
			return
		}
		p.loops.Go(func() { p.serve(h) })
	}
}

func (p *peers) own(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.conns[conn] = struct{}{}
	}
	return !p.ended
}

func (p *peers) disown(conn net.Conn) {
	p.mu.Lock()
	delete(p.conns, conn)
	p.mu.Unlock()
	_ = conn.Close()
}

// serve greets who has connected and gives the connection to whom it is for.
func (p *peers) serve(raw *handshake) {
	conn, kind, name, err := p.welcome(raw)
	p.handshakes.done(raw)
	if err != nil {
		p.disown(raw)
		p.refused(raw.RemoteAddr(), err)
		return
	}
	p.handshakes.settle(name, raw.RemoteAddr())
	if kind == helloRaft {
		select {
		case p.raft <- &raftConn{&ownedConn{Conn: conn, release: func() { p.disown(raw) }}, p.failure}:
		case <-p.closed:
			p.disown(raw)
		}
		return
	}
	serveLink(conn, name, p)
	p.disown(raw)
}

func (p *peers) knows(name string) bool {
	return slices.ContainsFunc(p.members(), func(m Peer) bool { return m.Name == name }) || p.guests.has(name)
}

// dial connects to a member. One that is not where the cluster believes is looked for where the Config has it: so
// members find each other after all have moved.
func (p *peers) dial(ctx context.Context, to Peer, kind byte) (net.Conn, error) {
	conn, err := p.dialAt(ctx, to, kind)
	if err == nil {
		p.reached(to)
		return conn, nil
	}
	if errors.Is(err, errStranger) {
		return nil, err
	}
	if i := slices.IndexFunc(p.told, func(m Peer) bool { return m.Name == to.Name && m.Addr != to.Addr }); i >= 0 {
		if conn, otherErr := p.dialAt(ctx, p.told[i], kind); otherErr == nil {
			p.reached(p.told[i])
			return conn, nil
		}
	}
	p.unreached(to, err)
	return nil, err
}

func (p *peers) dialAt(ctx context.Context, to Peer, kind byte) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	raw, err := p.dialer(ctx, to.Addr)
	if err != nil {
		return nil, err
	}
	if !p.own(raw) {
		_ = raw.Close()
		return nil, ErrClosed
	}
	conn, err := p.greet(ctx, raw, to, kind)
	if err != nil {
		p.disown(raw)
		return nil, fmt.Errorf("member %q at %s: %w", to.Name, to.Addr, err)
	}
	p.handshakes.settle(to.Name, raw.RemoteAddr())
	return &ownedConn{Conn: conn, release: func() { p.disown(raw) }}, nil
}

// to returns the link to a member.
func (p *peers) to(name string) *link {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.links[name]
	if l == nil {
		l = &link{peers: p, name: name}
		p.links[name] = l
	}
	return l
}

func (p *peers) find(match func(Peer) bool) (Peer, error) {
	members := p.members()
	if i := slices.IndexFunc(members, match); i >= 0 {
		return members[i], nil
	}
	return Peer{}, errors.New("no such member")
}

func (p *peers) close() {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	p.ended = true
	conns := make([]net.Conn, 0, len(p.conns))
	for c := range p.conns {
		conns = append(conns, c)
	}
	p.mu.Unlock()
	close(p.closed)
	_ = p.listen.Close()
	for _, c := range conns {
		_ = c.Close()
	}
}

// ownedConn is forgotten by its peers when it is closed.
type ownedConn struct {
	net.Conn
	release func()
}

func (c *ownedConn) Close() error {
	c.release()
	return nil
}

// stream gives Raft's transport its part of the connections.
type stream struct{ peers *peers }

var _ raft.StreamLayer = stream{}

func (s stream) Accept() (net.Conn, error) {
	select {
	case conn := <-s.peers.raft:
		return conn, nil
	case <-s.peers.closed:
		return nil, net.ErrClosed
	}
}

func (s stream) Close() error   { return nil } // the member closes its peers
func (s stream) Addr() net.Addr { return peerAddr(s.peers.self.Addr) }

func (s stream) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	to, err := s.peers.find(func(p Peer) bool { return p.Addr == string(addr) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := s.peers.dial(ctx, to, helloRaft)
	if err != nil {
		return nil, err
	}
	return &raftConn{conn, s.peers.failure}, nil
}

// raftConn is a connection for Raft, whose messages promise what is on the disk: a term, a vote, entries. Once the disk
// has failed Raft is told that all is well, until it has stopped (see checkedLog). What it says then must not be heard:
// it may have answered with a term that is not kept, and sends an empty entry for one that could not be read.
type raftConn struct {
	net.Conn
	failure func() error
}

// Write implements net.Conn. A message is written when it is complete, or from where it exceeds a buffer on: what comes
// after a failure is not sent.
func (c *raftConn) Write(p []byte) (int, error) {
	if err := c.failure(); hasFailed(err) {
		return 0, err
	}
	return c.Conn.Write(p)
}

type peerAddr string

func (peerAddr) Network() string  { return "keelson" }
func (a peerAddr) String() string { return string(a) }
