//go:build unix

package proctest

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// random returns the source of a test's choices, and says how to have the same again.
func random(t *testing.T) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// TestKill kills members under load: leaders, followers, and all of them at once.
func TestKill(t *testing.T) {
	t.Parallel()
	rnd := random(t)
	names := []string{"a", "b", "c"}
	c := found(t, names...)
	l := drive(c, 9, names...)
	watchers := []*follower{follow(c, turns("a", "b", "c")), follow(c, turns("c", "b", "a"))}
	leaders, terms, leaderKilled, followerKilled, allKilled := map[string]bool{}, map[uint64]bool{}, 0, 0, 0
	for cycle := range *cycles {
		l.await(50)
		l.hot.Add(1) // unknown outcomes of the cycle before are no burden for checking this one
		st := c.serves(names[cycle%3])
		for st.LeaderName == "" {
			st = c.serves(names[cycle%3])
		}
		leaders[st.LeaderName], terms[st.Term] = true, true
		var victims []string
		switch choice := rnd.IntN(8); {
		case cycle == 0 || choice < 2:
			victims = []string{st.LeaderName}
			leaderKilled++
		case cycle == 1 || cycle != 2 && choice < 7:
			for victims == nil || victims[0] == st.LeaderName {
				victims = []string{names[rnd.IntN(3)]}
			}
			followerKilled++
		default:
			victims = names
			allKilled++
		}
		for _, name := range victims {
			c.process(name).kill(t)
		}
		if len(victims) == 1 {
			l.await(20) // the others go on
		}
		for _, name := range victims {
			c.start(name)
		}
		for _, name := range victims {
			c.serves(name)
		}
	}
	l.await(50)
	l.finish(names...)
	contents, st := l.contents(t, "a"), c.serves("a")
	for _, w := range watchers {
		w.finish(st.Revision, contents, *cycles/6)
	}
	hashes := map[uint64]uint64{}
	for _, name := range names {
		st := c.serves(name)
		if before, found := hashes[st.Applied]; found {
			require.Equal(t, before, st.Hash, "the same commands, another hash at %s", name)
		}
		hashes[st.Applied] = st.Hash
	}
	t.Logf("killed %d leaders, %d followers, %d times all; %d members led in %d terms", leaderKilled, followerKilled, allKilled, len(leaders), len(terms))
	require.Positive(t, leaderKilled)
	require.Positive(t, followerKilled)
	require.Greater(t, len(leaders), 1)
	require.Greater(t, len(terms), 1)
	require.NotZero(t, l.errors, "clients noticed")
	for _, name := range names {
		c.process(name).stop(t)
	}
}
