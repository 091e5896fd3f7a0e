//go:build unix

package proctest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRollingRestart restarts every member under load, the leader too, as an operator does. Through gRPC clients get no
// other error than Unavailable, which etcd's client meets by asking another member. Who uses a Store at the members
// that stay gets no error at all.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "c"}
	c := found(t, names...)
	l := drive(c, 9, names...)
	l.strict.Store(true)
	w := follow(c, turns(names...))
	led := 0
	for i, name := range names {
		l.await(100)
		l.hot.Add(1)
		if i == 1 {
			name = c.leader(name) // some time it has to be the leader
		}
		if c.serves(name).LeaderName == name {
			led++
		}
		// Writers inside of the other members, by Go calls.
		written := make(chan error, 2)
		for _, other := range names {
			if other != name {
				r := request{Op: "write", N: 150}
				r.Peer.Name = name + "/" + other
				p := c.process(other)
				go func() {
					_, err := p.ask(t.Context(), r)
					written <- err
				}()
			}
		}
		c.process(name).stop(t)
		l.await(50)
		c.start(name)
		c.serves(name)
		for range 2 {
			require.NoError(t, <-written)
		}
	}
	l.await(100)
	l.finish(names...)
	w.finish(c.serves("a").Revision, l.contents(t, "a"), 1)
	require.Positive(t, led, "no leader was restarted")
}
