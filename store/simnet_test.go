package store_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/keelson-dev/keelson/internal/memnet"
)

// simnet is a network between members whose directions can be blocked one by one. What is written into a blocked
// direction is held, as a real network's retransmissions would, until the direction is freed; or it is lost together
// with its connection.
type simnet struct {
	mu        sync.Mutex
	listeners map[string]*memnet.Listener
	dialled   map[string]string // a connection's name at its dialling side: who that is
	blocked   map[direction]bool
	conns     map[*simConn]struct{}
	delays    map[direction]time.Duration
	lives     map[string]int              // how often a member's power has gone
	before    func(d direction, p []byte) // called before each write
	lost      int                         // connections that ended with bytes in them
	late      int                         // writes that were delayed
}

type direction struct{ from, to string }

func newSimnet() *simnet {
	return &simnet{
		listeners: map[string]*memnet.Listener{}, dialled: map[string]string{},
		blocked: map[direction]bool{}, delays: map[direction]time.Duration{}, lives: map[string]int{}, conns: map[*simConn]struct{}{},
	}
}

type simListener struct {
	*memnet.Listener
	net  *simnet
	name string
}

// listen makes a fresh listener for a member, whose address is its name.
func (n *simnet) listen(name string) net.Listener {
	l := memnet.Listen(name)
	n.mu.Lock()
	n.listeners[name] = l
	n.mu.Unlock()
	return &simListener{l, n, name}
}

func (l *simListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.net.mu.Lock()
	from := l.net.dialled[conn.RemoteAddr().String()]
	l.net.mu.Unlock()
	return l.net.wrap(conn, direction{l.name, from}), nil
}

func (n *simnet) wrap(conn net.Conn, d direction) *simConn {
	c := &simConn{Conn: conn, net: n, direction: d}
	n.mu.Lock()
	n.conns[c] = struct{}{}
	n.mu.Unlock()
	return c
}

// dial returns the Dial of a member, which is good until its power goes.
func (n *simnet) dial(from string) func(context.Context, string) (net.Conn, error) {
	n.mu.Lock()
	life := n.lives[from]
	n.mu.Unlock()
	return func(ctx context.Context, to string) (net.Conn, error) {
		for {
			n.mu.Lock()
			l := n.listeners[to]
			if n.lives[from] != life {
				l = nil
			}
			free := !n.blocked[direction{from, to}] && !n.blocked[direction{to, from}]
			n.mu.Unlock()
			if l == nil {
				return nil, errors.New("connection refused")
			}
			if free {
				conn, err := l.Dial(ctx)
				if err != nil {
					return nil, err
				}
				n.mu.Lock()
				n.dialled[conn.LocalAddr().String()] = from
				n.mu.Unlock()
				return n.wrap(conn, direction{from, to}), nil
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

func (n *simnet) block(ds ...direction) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range ds {
		n.blocked[d] = true
	}
}

// free ends the blocking of directions. What was held arrives, or is lost with its connection.
func (n *simnet) free(lose bool, ds ...direction) {
	n.mu.Lock()
	var flush []*simConn
	for _, d := range ds {
		delete(n.blocked, d)
		for c := range n.conns {
			if c.direction == d {
				flush = append(flush, c)
			}
		}
	}
	n.mu.Unlock()
	for _, c := range flush {
		c.flush(lose)
	}
}

func (n *simnet) freeAll(lose bool) {
	n.mu.Lock()
	var all []direction
	for d := range n.blocked {
		all = append(all, d)
	}
	n.mu.Unlock()
	n.free(lose, all...)
}

// slow delays what is written into directions; 0 ends that.
func (n *simnet) slow(delay time.Duration, ds ...direction) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range ds {
		if n.delays[d] = delay; delay == 0 {
			delete(n.delays, d)
		}
	}
}

// cut ends a member's part in the network, without a word to anybody: its power has gone.
func (n *simnet) cut(name string) {
	n.mu.Lock()
	n.lives[name]++
	delete(n.listeners, name)
	var dead []*simConn
	for c := range n.conns {
		if c.from == name || c.to == name {
			dead = append(dead, c)
		}
	}
	n.mu.Unlock()
	for _, c := range dead {
		c.mu.Lock()
		c.dead = true
		c.mu.Unlock()
	}
}

type simConn struct {
	net.Conn
	net *simnet
	direction

	mu   sync.Mutex
	dead bool // what is written goes nowhere
	held []byte
	late []lateWrite // in order
}

type lateWrite struct {
	at time.Time
	p  []byte
}

func (c *simConn) Write(p []byte) (int, error) {
	c.net.mu.Lock()
	before := c.net.before
	c.net.mu.Unlock()
	if before != nil {
		before(c.direction, p)
	}
	c.net.mu.Lock()
	blocked, delay := c.net.blocked[c.direction], c.net.delays[c.direction]
	if delay > 0 {
		c.net.late++
	}
	c.net.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.dead:
		return len(p), nil
	case blocked && len(c.late) == 0 || len(c.held) > 0:
		c.held = append(c.held, p...)
		return len(p), nil
	case delay > 0 || len(c.late) > 0:
		c.late = append(c.late, lateWrite{time.Now().Add(delay), bytes.Clone(p)})
		if len(c.late) == 1 {
			time.AfterFunc(delay, c.deliver)
		}
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// deliver writes what is due.
func (c *simConn) deliver() {
	c.net.mu.Lock()
	blocked := c.net.blocked[c.direction]
	c.net.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.late) > 0 && (blocked || !time.Now().Before(c.late[0].at)) {
		switch first := c.late[0]; {
		case c.dead:
		case blocked:
			c.held = append(c.held, first.p...)
		default:
			_, _ = c.Conn.Write(first.p) // fails if the connection has ended
		}
		c.late = c.late[1:]
	}
	if len(c.late) > 0 {
		time.AfterFunc(max(0, time.Until(c.late[0].at)), c.deliver)
	}
}

func (c *simConn) flush(lose bool) {
	c.mu.Lock()
	held := c.held
	c.held = nil
	if len(held) > 0 && !lose {
		_, _ = c.Conn.Write(held)
	}
	c.mu.Unlock()
	if len(held) > 0 && lose {
		c.net.mu.Lock()
		c.net.lost++
		c.net.mu.Unlock()
		_ = c.Close()
	}
}

func (c *simConn) Close() error {
	c.net.mu.Lock()
	delete(c.net.conns, c)
	c.net.mu.Unlock()
	return c.Conn.Close()
}
