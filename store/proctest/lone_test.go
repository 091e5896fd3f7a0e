//go:build unix

package proctest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/store"
)

// lone makes a member without a name.
func (c *cluster) lone() {
	c.t.Helper()
	n := c.define("lone", nil)
	n.cfg.Name, n.cfg.Cert, n.cfg.Key, n.cfg.CA = "", "", "", ""
}

// TestKillLone kills a store without peers under load, with each log store.
func TestKillLone(t *testing.T) {
	t.Parallel()
	for _, logs := range []string{"bolt", "wal"} {
		t.Run(logs, func(t *testing.T) {
			c := newCluster(t)
			c.lone()
			c.node("lone").cfg.Bolt = logs == "bolt"
			c.start("lone")
			l := drive(c, 6, "lone")
			for range *cycles {
				l.await(100)
				l.hot.Add(1)
				c.process("lone").kill(t)
				c.start("lone")
			}
			l.await(100)
			l.finish("lone")
			require.NotEmpty(t, l.errors)
		})
	}
}

// TestGrowLone makes a cluster of three of a store that had no name, with what it holds, and kills it while it becomes
// one.
func TestGrowLone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.lone()
	c.start("lone")
	l := drive(c, 6, "lone")
	l.await(300)
	c.process("lone").stop(t)

	self := store.Peer{Name: "a", Addr: c.port()}
	n := c.define("a", []store.Peer{self})
	n.cfg.Dir = c.node("lone").cfg.Dir
	for range 5 { // wherever the kill comes, the next start goes on from there
		p := c.launch("a")
		select {
		case <-p.opened:
		case <-time.After(time.Duration(random(t).IntN(20)) * time.Millisecond):
		}
		p.kill(t)
	}
	c.start("a")
	l.move("lone", "a")
	l.await(50)
	for _, name := range []string{"b", "c"} {
		c.grow("a", name)
	}
	l.hot.Add(1)
	l.await(50)
	c.process("a").kill(t)
	l.move("a", "b")
	l.await(50)
	c.start("a")
	l.finish("a", "b", "c")

	c.process("a").stop(t)
	lone := c.node("lone").process // its directory is the cluster's now
	<-lone.exited
	p := c.launch("lone")
	<-p.exited
	require.False(t, p.cmd.ProcessState.Success())
	require.Contains(t, p.tail(), "Name is empty")
	n.cfg.Name, n.cfg.Peers = "z", []store.Peer{{Name: "z", Addr: self.Addr}}
	p = c.launch("a")
	<-p.exited
	require.False(t, p.cmd.ProcessState.Success())
	require.Contains(t, p.tail(), `the files are those of member "a", and Name is "z"`)
}

// TestMove gives members other addresses: one while the others go on, then all at once.
func TestMove(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	c := found(t, names...)
	l := drive(c, 6, names...)
	l.await(50)
	move := func(name string) {
		n := c.node(name)
		addr := c.port()
		for i := range n.cfg.Peers { // found gave all of them one slice
			if n.cfg.Peers[i].Name == name {
				n.cfg.Peers[i].Addr = addr
			}
		}
	}
	moved := func(name string) {
		want := map[string]string{}
		for _, p := range c.node(name).cfg.Peers {
			want[p.Name] = p.Addr
		}
		c.until(name, "the addresses are known", func(st store.Status) bool {
			for _, m := range st.Members {
				if want[m.Name] != m.Addr {
					return false
				}
			}
			return true
		})
	}
	for range 2 {
		leader := c.leader("a")
		c.process(leader).stop(t)
		move(leader)
		c.start(leader)
		c.serves(leader)
		moved(leader)
		l.await(50)
	}
	l.hot.Add(1)
	for _, name := range names {
		c.process(name).stop(t)
		move(name)
	}
	for _, name := range names {
		c.start(name)
	}
	for _, name := range names {
		c.serves(name)
		moved(name)
	}
	l.await(50)
	l.finish(names...)
}
