package store_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/keelson-dev/keelson/store"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestDivergedMemberStops has one member do something else with the same commands. It stops, whether it leads or not;
// the others go on and know why.
func TestDivergedMemberStops(t *testing.T) {
	for _, c := range []struct {
		name    string
		members []string
		leader  string
		wrong   string
	}{
		{"a follower of three", []string{"a", "b", "c"}, "a", "b"},
		{"the leader of three", []string{"a", "b", "c"}, "b", "b"},
		{"the follower of two", []string{"a", "b"}, "a", "b"},
		{"the leader of two", []string{"a", "b"}, "b", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(c.members...)
				defer f.closeAll(t)
				core, logs := observer.New(zap.ErrorLevel)
				for _, name := range c.members {
					f.open(t, name, func(cfg *store.Config) {
						cfg.Logger = zap.New(core)
						if name == "b" {
							*cfg = store.Misapplying(*cfg)
						}
					})
				}
				f.leader(t)
				require.NoError(t, f.members["a"].TransferLeadership(t.Context(), c.leader))
				f.until(t, "the leader leads", func() bool { return f.leader(t) == c.leader })
				w, err := f.members[c.wrong].Watch(t.Context(), store.WatchRequest{Key: []byte("k"), Revision: 1 << 40})
				require.NoError(t, err)
				defer w.Close()
				for i := range 40 {
					f.put(t, "a", fmt.Sprint(i), "v")
				}
				read := func(name string) error {
					_, err := f.members[name].Range(t.Context(), store.RangeRequest{Key: []byte("1"), Serializable: true})
					return err
				}
				f.until(t, "it stops", func() bool { return errors.Is(read(c.wrong), store.ErrDiverged) })
				require.ErrorIs(t, read(c.wrong), store.ErrFailed)
				_, err = f.members[c.wrong].Put(t.Context(), store.PutRequest{Key: []byte("k")})
				require.ErrorIs(t, err, store.ErrDiverged)
				_, err = w.Next(t.Context())
				require.ErrorIs(t, err, store.ErrDiverged)
				require.NotZero(t, logs.FilterMessageSnippet("stop").Len())
				for _, name := range c.members {
					if name != c.wrong {
						require.NoError(t, read(name), "the others go on")
					}
				}
				if len(c.members) < 3 {
					return
				}
				for i := range 40 {
					f.put(t, "c", fmt.Sprint("after", i), "v")
				}
				f.until(t, "the others know it", func() bool {
					for _, m := range statusOf(t, f.members["c"]).Members {
						if m.Name == c.wrong && m.Known {
							return m.Diverged && m.Failure != ""
						}
					}
					return false
				})
				// As the error says.
				require.NoError(t, f.members["c"].RemoveMember(t.Context(), c.wrong))
				f.close(t, c.wrong)
				require.NoError(t, f.members["c"].AddMember(t.Context(), store.Peer{Name: "d", Addr: "d"}))
				f.peers = append(f.peers, store.Peer{Name: "d", Addr: "d"})
				f.open(t, "d", func(cfg *store.Config) { cfg.Join = true })
				f.until(t, "the new one votes", func() bool { return len(voters(t, f.members["c"])) == 3 })
				f.same(t)
			})
		})
	}
}

// TestStatusEverywhere finds at a follower what the leader has heard: that it lags behind, when it is cut off.
func TestStatusEverywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b", "c")
		defer f.closeAll(t)
		for _, p := range f.peers {
			f.open(t, p.Name, nil)
		}
		leader := f.leader(t)
		f.until(t, "all know of all", func() bool {
			for _, s := range f.members {
				for _, m := range statusOf(t, s).Members {
					if !m.Known || m.Applied == 0 || m.Diverged {
						return false
					}
				}
			}
			return true
		})
		var others []string
		for _, p := range f.peers {
			if p.Name != leader {
				others = append(others, p.Name)
			}
		}
		away, stays := others[0], others[1]
		f.close(t, away)
		for i := range 20 {
			f.put(t, stays, fmt.Sprint(i), "v")
		}
		f.until(t, "a follower knows that one is not heard", func() bool {
			for _, m := range statusOf(t, f.members[stays]).Members {
				if m.Name == away {
					return !m.Known
				}
				require.Equal(t, m.Name == leader, m.Leader)
			}
			return false
		})
	})
}
