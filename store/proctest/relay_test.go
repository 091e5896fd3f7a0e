//go:build unix

package proctest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/store"
)

// network is the wires between members: each is reached through a relay, which knows who dials by the address.
type network struct {
	mu      sync.Mutex
	hosts   map[string]string // member by the address it dials from
	blocked map[[2]string]bool
	delayed map[[2]string]time.Duration
	changed chan struct{} // closed when blocked changes
	closed  chan struct{}
	running sync.WaitGroup

	held, late atomic.Int64 // pieces of data that were kept from going on, and that were slowed down
}

// relayed starts members that reach each other by relays.
func relayed(t *testing.T, names ...string) (*cluster, *network) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has more than one loopback address")
	}
	c := newCluster(t)
	net := &network{
		hosts: map[string]string{}, blocked: map[[2]string]bool{}, delayed: map[[2]string]time.Duration{},
		changed: make(chan struct{}), closed: make(chan struct{}),
	}
	var peers []store.Peer
	real := map[string]string{}
	for _, name := range names {
		real[name] = c.port()
		peers = append(peers, store.Peer{Name: name, Addr: net.relay(t, c.host, name, real[name])})
	}
	t.Cleanup(net.end)
	for _, p := range peers {
		n := c.define(p.Name, peers)
		n.cfg.Listen = real[p.Name]
		n.cfg.Source = fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), 1+rand.IntN(254), 1+rand.IntN(254))
		net.mu.Lock()
		net.hosts[n.cfg.Source] = p.Name
		net.mu.Unlock()
	}
	for _, name := range names {
		c.start(name)
	}
	return c, net
}

// relay accepts for a member, and returns the address.
func (n *network) relay(t *testing.T, host, to, real string) string {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	require.NoError(t, err)
	n.running.Go(func() {
		<-n.closed
		_ = l.Close()
	})
	n.running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(in.RemoteAddr().String())
			n.mu.Lock()
			from := n.hosts[host]
			n.mu.Unlock()
			out, err := net.Dial("tcp", real)
			if err != nil {
				_ = in.Close()
				continue
			}
			ended := make(chan struct{})
			var once sync.Once
			end := func() {
				once.Do(func() {
					close(ended)
					_ = in.Close()
					_ = out.Close()
				})
			}
			n.running.Go(func() { defer end(); n.pump(in, out, [2]string{from, to}, ended) })
			n.running.Go(func() { defer end(); n.pump(out, in, [2]string{to, from}, ended) })
			n.running.Go(func() {
				select {
				case <-n.closed:
				case <-ended:
				}
				end()
			})
		}
	})
	return l.Addr().String()
}

// pump carries data one way. What is blocked waits, as with packets that are lost and sent again.
func (n *network) pump(from, to net.Conn, way [2]string, ended chan struct{}) {
	data := make([]byte, 32<<10)
	for {
		size, err := from.Read(data)
		if err != nil {
			return
		}
		n.mu.Lock()
		delay := n.delayed[way]
		n.mu.Unlock()
		if delay > 0 {
			n.late.Add(1)
			select {
			case <-time.After(delay):
			case <-ended:
				return
			}
		}
		for counted := false; ; counted = true {
			n.mu.Lock()
			blocked, changed := n.blocked[way], n.changed
			n.mu.Unlock()
			if !blocked {
				break
			}
			if !counted {
				n.held.Add(1)
			}
			select {
			case <-changed:
			case <-ended:
				return
			}
		}
		if _, err := to.Write(data[:size]); err != nil {
			return
		}
	}
}

// block keeps data from going from one member to another; nothing is blocked any more if there is none.
func (n *network) block(ways ...[2]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocked = map[[2]string]bool{}
	for _, way := range ways {
		n.blocked[way] = true
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *network) delay(d time.Duration, ways ...[2]string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delayed = map[[2]string]time.Duration{}
	for _, way := range ways {
		n.delayed[way] = d
	}
}

func (n *network) end() {
	close(n.closed)
	n.running.Wait()
}

// ways are those to a member from the others, and from it.
func ways(member string, names []string) (in, out [][2]string) {
	for _, other := range names {
		if other != member {
			in, out = append(in, [2]string{other, member}), append(out, [2]string{member, other})
		}
	}
	return in, out
}

// TestSlow slows down the connections of a follower, and then of the leader.
func TestSlow(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	c, net := relayed(t, names...)
	l := drive(c, 9, names...)
	l.await(50)
	leader := c.leader("a")
	follower := names[0]
	if follower == leader {
		follower = names[1]
	}
	for _, slow := range []string{follower, leader} {
		before := net.late.Load()
		l.hot.Add(1)
		in, out := ways(slow, names)
		net.delay(40*time.Millisecond, append(in, out...)...)
		l.await(100)
		require.Greater(t, net.late.Load(), before+5)
		net.delay(0)
		l.await(50)
	}
	l.finish(names...)
}

// TestOneWay blocks one direction of a member's connections: what it says is not heard, or it hears nothing.
func TestOneWay(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	c, net := relayed(t, names...)
	l := drive(c, 9, names...)
	l.timeout.Store(int64(3 * time.Second))
	for _, mute := range []bool{true, false} {
		l.await(50)
		l.hot.Add(1)
		leader := c.leader("a")
		other := names[0]
		if other == leader {
			other = names[1]
		}
		term, before := c.serves(other).Term, net.held.Load()
		in, out := ways(leader, names)
		if mute {
			net.block(out...)
		} else {
			net.block(in...)
		}
		c.until(other, "another leads", func(st store.Status) bool {
			return st.Term > term && st.LeaderName != "" && st.LeaderName != leader
		})
		l.await(50)
		require.Greater(t, net.held.Load(), before)
		net.block()
		c.serves(leader)
	}
	// A follower that hears nothing does not disturb the others when it comes back: it could not win, and so asked
	// first.
	l.hot.Add(1)
	leader := c.leader("a")
	deaf := names[0]
	if deaf == leader {
		deaf = names[1]
	}
	term := c.serves(leader).Term
	in, _ := ways(deaf, names)
	net.block(in...)
	c.until(deaf, "it misses the leader", func(st store.Status) bool { return st.LeaderName == "" })
	l.await(100)
	net.block()
	c.serves(deaf)
	st := c.serves(leader)
	require.Equal(t, term, st.Term)
	require.Equal(t, leader, st.LeaderName)
	l.finish(names...)
}
