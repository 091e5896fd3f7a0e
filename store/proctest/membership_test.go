//go:build unix

package proctest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/store"
)

// grow adds a member with an empty directory and waits for its vote.
func (c *cluster) grow(via, name string) {
	c.t.Helper()
	fresh := store.Peer{Name: name, Addr: c.port()}
	peers := []store.Peer{fresh}
	for _, m := range c.serves(via).Members {
		peers = append(peers, m.Peer)
	}
	c.define(name, peers).cfg.Join = true
	c.ask(via, request{Op: "add", Peer: fresh})
	c.start(name)
	c.serves(name)
	c.until(name, name+" has a vote", func(st store.Status) bool {
		return slices.ContainsFunc(st.Members, func(m store.MemberStatus) bool { return m.Name == name && m.Voter })
	})
}

// shrink removes a member and stops it.
func (c *cluster) shrink(via, name string) {
	c.t.Helper()
	r := request{Op: "remove"}
	r.Peer.Name = name
	c.ask(via, r)
	c.until(via, name+" is gone", func(st store.Status) bool {
		return !slices.ContainsFunc(st.Members, func(m store.MemberStatus) bool { return m.Name == name })
	})
	c.process(name).stop(c.t)
}

func (c *cluster) voters(via string) (voters int) {
	c.t.Helper()
	for _, m := range c.serves(via).Members {
		if m.Voter {
			voters++
		}
	}
	return voters
}

// TestReplace replaces each member by one with an empty directory, the leader among them, under load.
func TestReplace(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	c := found(t, names...)
	l := drive(c, 9, names...)
	led := 0
	for i, old := range names {
		fresh := fmt.Sprint("new", i)
		l.await(50)
		l.hot.Add(1)
		if i == 1 {
			c.ask(old, request{Op: "transfer", Peer: store.Peer{Name: old}})
		}
		c.grow(old, fresh)
		if c.leader(fresh) == old {
			led++
		}
		c.shrink(fresh, old)
		l.move(old, fresh)
		l.await(50)
		require.Equal(t, 3, c.voters(fresh))
	}
	require.Positive(t, led, "no leader was replaced")
	l.finish("new0", "new1", "new2")
}

// TestScale grows a cluster from one member to three and five, and back to three, under load.
func TestScale(t *testing.T) {
	t.Parallel()
	c := found(t, "a")
	l := drive(c, 6, "a")
	for _, name := range []string{"b", "c", "d", "e"} {
		l.await(50)
		c.grow("a", name)
	}
	require.Equal(t, 5, c.voters("e"))
	l.hot.Add(1)
	// Three of five are a majority.
	c.process("b").kill(t)
	c.process("c").kill(t)
	l.await(50)
	c.start("b")
	c.start("c")
	l.move("a", "e")
	for _, name := range []string{"a", "b"} {
		c.shrink("e", name)
		l.await(50)
	}
	require.Equal(t, 3, c.voters("c"))
	c.process("d").kill(t)
	l.await(50)
	c.start("d")
	l.finish("c", "d", "e")
}

// TestSeven starts the largest cluster there may be, and has three of its members killed.
func TestSeven(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	c := found(t, names...)
	l := drive(c, 7, names...)
	l.await(100)
	for _, name := range names[:3] {
		c.process(name).kill(t)
	}
	l.await(100)
	for _, name := range names[:3] {
		c.start(name)
	}
	l.finish(names...)
}
