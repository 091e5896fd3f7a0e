package store_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// TestCompactionModes has history compacted by age alone, by number alone, by both, and not at all. A put a second.
func TestCompactionModes(t *testing.T) {
	const age, number = 10 * time.Minute, 100
	for _, c := range []struct {
		name      string
		retention time.Duration
		revisions int64
		kept      [2]int64 // at least and at most so many revisions after 20 minutes of writing
		idle      int64    // at most so many after two hours in which nobody writes
	}{
		{"age alone", age, -1, [2]int64{599, 662}, 1},
		{"number alone", time.Nanosecond, number, [2]int64{number, number + 2}, number},
		{"both", age, 900, [2]int64{899, 962}, 900},
		{"neither", -1, 0, [2]int64{1200, 1202}, 1202},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, err := store.Open(t.Context(), store.Config{Retention: c.retention, RetainRevisions: c.revisions})
				require.NoError(t, err)
				defer s.Close()
				for i := range 1200 {
					_, err := s.Put(t.Context(), store.PutRequest{Key: []byte("k"), Value: fmt.Append(nil, i)})
					require.NoError(t, err)
					time.Sleep(time.Second)
				}
				kept := func() int64 {
					status := statusOf(t, s)
					return status.Revision - status.CompactRevision
				}
				require.GreaterOrEqual(t, kept(), c.kept[0])
				require.LessOrEqual(t, kept(), c.kept[1])
				time.Sleep(2 * time.Hour)
				require.LessOrEqual(t, kept(), c.idle)
			})
		})
	}
}

// TestLeaderCompacts finds that only who leads proposes compactions, that another leader carries on where the last one
// was instead of beginning to count the time, and that all members forget the same.
func TestLeaderCompacts(t *testing.T) {
	for _, c := range []struct {
		name      string
		retention time.Duration
		revisions int64
		kept      [2]int64
	}{
		{"age", 10 * time.Minute, -1, [2]int64{60, 70}},
		{"number", time.Nanosecond, 30, [2]int64{30, 32}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet("a", "b", "c")
				defer f.closeAll(t)
				regs := map[string]*prometheus.Registry{}
				for _, p := range f.peers {
					regs[p.Name] = prometheus.NewPedanticRegistry()
					f.open(t, p.Name, func(cfg *store.Config) {
						cfg.Metrics, cfg.Retention, cfg.RetainRevisions = regs[p.Name], c.retention, c.revisions
					})
				}
				proposed := func(name string) float64 {
					return max(0, metric(t, regs[name], "proposals_total", "kind", "compact"))
				}
				write := func(d time.Duration) {
					for end := time.Now().Add(d); time.Now().Before(end); {
						f.put(t, "a", "k", "v")
						time.Sleep(10 * time.Second)
					}
				}
				first := f.leader(t)
				write(15 * time.Minute)
				require.Positive(t, proposed(first))
				next := "a"
				if first == "a" {
					next = "b"
				}
				for name := range regs {
					require.True(t, name == first || proposed(name) == 0, "%s proposed", name)
				}
				require.NoError(t, f.members[first].TransferLeadership(t.Context(), next))
				f.until(t, "another one leads", func() bool { return f.leader(t) == next })
				before := proposed(first)
				write(5 * time.Minute)
				require.Positive(t, proposed(next), "it carries on")
				require.Equal(t, before, proposed(first))
				f.same(t)
				for _, s := range f.members {
					status := statusOf(t, s)
					kept := status.Revision - status.CompactRevision
					require.True(t, kept >= c.kept[0] && kept <= c.kept[1], "%d revisions are kept", kept)
				}
			})
		})
	}
}
