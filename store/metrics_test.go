package store_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keelson-dev/keelson/store"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// metric returns a metric's value, the sum over its labels, or the count of a histogram; -1 if there is none.
func metric(t *testing.T, g prometheus.Gatherer, name string, labels ...string) float64 {
	t.Helper()
	families, err := g.Gather()
	require.NoError(t, err)
	sum := -1.0
	for _, f := range families {
		if f.GetName() != "keelson_store_"+name {
			continue
		}
		sum = 0
	series:
		for _, m := range f.GetMetric() {
			for i := 0; i < len(labels); i += 2 {
				found := false
				for _, l := range m.GetLabel() {
					found = found || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				if !found {
					continue series
				}
			}
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// TestMetrics counts what a durable store does, and is gone when it is closed.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	cfg := store.Config{Dir: t.TempDir(), Metrics: reg}
	s, err := store.Open(t.Context(), cfg)
	require.NoError(t, err)
	ctx := t.Context()
	w, err := s.Watch(ctx, store.WatchRequest{Key: []byte("k")})
	require.NoError(t, err)
	for range 3 {
		_, err = s.Put(ctx, store.PutRequest{Key: []byte("k"), Value: []byte("v")})
		require.NoError(t, err)
	}
	_, err = s.Put(ctx, store.PutRequest{Key: []byte("k"), Lease: 9})
	require.ErrorIs(t, err, store.ErrLeaseNotFound)
	_, err = s.Grant(ctx, 7, time.Hour)
	require.NoError(t, err)
	for events := 0; events < 3; {
		batch, err := w.Next(ctx)
		require.NoError(t, err)
		events += len(batch.Events)
	}
	require.NoError(t, s.Compact(ctx, 3))
	_, err = s.SaveSnapshot()
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		labels []string
		want   float64
	}{
		{"proposals_total", []string{"kind", "txn", "outcome", "applied"}, 3},
		{"proposals_total", []string{"kind", "txn", "outcome", "refused"}, 1},
		{"proposals_total", []string{"kind", "grant"}, 1},
		{"proposals_total", []string{"kind", "compact"}, 1},
		{"proposal_duration_seconds", []string{"kind", "txn"}, 4},
		{"entries_applied_total", nil, 7}, // with the one that opens
		{"entry_commands", nil, 7},
		{"entry_size_bytes", nil, 7},
		{"commands_applied_total", nil, 7},
		{"events_total", nil, 3},
		{"watch_events_delivered_total", nil, 3},
		{"watchers", nil, 1},
		{"slow_watchers_total", nil, 0},
		{"compactions_total", nil, 1},
		{"snapshots_total", []string{"outcome", "saved"}, 1},
		{"revision", nil, 4},
		{"compact_revision", nil, 3},
		{"keys", nil, 1},
		{"leases", nil, 1},
		{"is_leader", nil, 1},
		{"has_leader", nil, 1},
		{"serving", nil, 1},
		{"format_version", nil, 1},
		{"log_sync_failures_total", nil, 0},
	} {
		require.Equal(t, c.want, metric(t, reg, c.name, c.labels...), "%s %v", c.name, c.labels)
	}
	for _, name := range []string{"log_sync_duration_seconds", "apply_duration_seconds", "db_size_bytes", "log_size_bytes", "raft_term", "raft_commit_index"} {
		require.Positive(t, metric(t, reg, name), name)
	}
	require.NoError(t, w.Close())
	require.NoError(t, w.Close())
	require.Zero(t, metric(t, reg, "watchers"))

	_, err = store.Open(ctx, store.Config{Metrics: reg})
	require.ErrorIs(t, err, store.ErrConfig, "the same labels twice")
	require.Positive(t, metric(t, reg, "revision"), "the one that has them keeps them")
	problems, err := testutil.GatherAndLint(reg)
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, s.Close())
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Empty(t, families)
}

// TestMetricsOfManyStores has fifty stores in one process tell apart by labels.
func TestMetricsOfManyStores(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	var stores []*store.Store
	for i := range 50 {
		s, err := store.Open(t.Context(), store.Config{Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"store": fmt.Sprint(i)}, reg)})
		require.NoError(t, err)
		stores = append(stores, s)
		for range i {
			_, err = s.Put(t.Context(), store.PutRequest{Key: []byte("k")})
			require.NoError(t, err)
		}
	}
	require.EqualValues(t, 49, metric(t, reg, "proposals_total", "store", "49"))
	require.EqualValues(t, 8, metric(t, reg, "revision", "store", "7"))
	for _, s := range stores {
		require.NoError(t, s.Close())
	}
	families, err := reg.Gather()
	require.NoError(t, err)
	require.Empty(t, families)
}

// TestMetricsOfMembers counts what only clusters have, tells of a member that stopped, and of a slow watcher.
func TestMetricsOfMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b", "c")
		defer f.closeAll(t)
		regs := map[string]*prometheus.Registry{}
		for _, p := range f.peers {
			regs[p.Name] = prometheus.NewPedanticRegistry()
			f.open(t, p.Name, func(cfg *store.Config) {
				cfg.Metrics = regs[p.Name]
				if p.Name == "b" {
					*cfg = store.Misapplying(*cfg)
				}
			})
		}
		f.leader(t)
		require.NoError(t, f.members["a"].TransferLeadership(t.Context(), "a"))
		f.until(t, "a leads", func() bool { return f.leader(t) == "a" })
		slow, err := f.members["c"].Watch(t.Context(), store.WatchRequest{Key: []byte("1"), Revision: 2})
		require.NoError(t, err)
		defer slow.Close()
		for i := range 40 {
			f.put(t, "c", fmt.Sprint(i), "v")
		}
		_, _, err = f.members["c"].Get(t.Context(), []byte("1"))
		require.NoError(t, err)
		require.Positive(t, metric(t, regs["c"], "read_rounds_total", "outcome", "confirmed"))
		require.Positive(t, metric(t, regs["c"], "read_round_duration_seconds"))
		require.Positive(t, metric(t, regs["a"], "leader_changes_total"))
		require.EqualValues(t, 1, metric(t, regs["a"], "is_leader"))
		require.Zero(t, metric(t, regs["c"], "is_leader"))
		require.EqualValues(t, 1, metric(t, regs["c"], "has_leader"))
		require.Positive(t, metric(t, regs["a"], "peer_call_duration_seconds", "member", "c"))
		f.until(t, "b has stopped", func() bool { return metric(t, regs["b"], "stopped", "reason", "diverged") == 1 })
		require.Zero(t, metric(t, regs["b"], "serving"))
		f.until(t, "the others tell", func() bool { return metric(t, regs["c"], "member_diverged", "member", "b") == 1 })

		revision, err := f.members["a"].Revision(t.Context())
		require.NoError(t, err)
		require.NoError(t, f.members["a"].Compact(t.Context(), revision))
		_, err = f.members["c"].Revision(t.Context())
		require.NoError(t, err)
		_, err = slow.Next(t.Context())
		require.ErrorIs(t, err, store.ErrCompacted)
		require.EqualValues(t, 1, metric(t, regs["c"], "slow_watchers_total"))

		f.close(t, "b")
		f.until(t, "it is missed", func() bool {
			return metric(t, regs["a"], "member_heard", "member", "b") == 0 && metric(t, regs["a"], "peer_call_failures_total", "member", "b") > 0
		})
		problems, err := testutil.GatherAndLint(regs["a"])
		require.NoError(t, err)
		require.Empty(t, problems)
	})
}

// TestMetricsAreDocumented compares docs/metrics.md with what is told.
func TestMetricsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(keelson_store_[a-z_]+)`").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1])
	}
	slices.Sort(documented)
	told := store.MetricNames()
	slices.Sort(told)
	require.Equal(t, told, documented)
}

// TestQuietWhenWell has three members start, serve and hand over, and looks at what they log.
func TestQuietWhenWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b", "c")
		core, logs := observer.New(zap.InfoLevel)
		for _, p := range f.peers {
			f.open(t, p.Name, func(cfg *store.Config) { cfg.Logger = zap.New(core).With(zap.String("member", p.Name)) })
		}
		f.leader(t)
		for i := range 100 {
			f.put(t, f.peers[i%3].Name, fmt.Sprint(i), "v")
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(10 * time.Minute)
		require.NoError(t, f.members["a"].TransferLeadership(t.Context(), ""))
		time.Sleep(time.Minute)
		f.put(t, "b", "k", "v")
		said := logs.All() // those that are closed later miss those that are closed first
		f.closeAll(t)
		var all []string
		for _, entry := range said {
			all = append(all, fmt.Sprint(entry.Level, " ", entry.LoggerName, " ", entry.Message, " ", entry.ContextMap()))
			require.Less(t, entry.Level, zap.WarnLevel, "%s", all[len(all)-1])
		}
		require.LessOrEqual(t, len(all), 10, "%s", strings.Join(all, "\n"))
	})
}

// TestHealth tells a member that serves from one without a majority, one whose quota is used up, and one that is
// closed.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet("a", "b", "c")
		defer f.closeAll(t)
		for _, p := range f.peers {
			f.open(t, p.Name, func(cfg *store.Config) { cfg.QuotaBytes = 1000 })
		}
		f.leader(t)
		time.Sleep(3 * time.Second)
		health := func(name string) store.Health {
			ctx, cancel := contextWithTimeout(t, 5*time.Second)
			defer cancel()
			return f.members[name].Health(ctx)
		}
		for _, p := range f.peers {
			h := health(p.Name)
			require.NoError(t, h.Err())
			require.Empty(t, h.Alarms)
		}
		f.put(t, "a", "k", "v")
		_, err := f.members["a"].Put(t.Context(), store.PutRequest{Key: []byte("k"), Value: []byte(strings.Repeat("v", 2000))})
		require.ErrorIs(t, err, store.ErrQuota)
		h := health("a")
		require.NoError(t, h.Err())
		require.Len(t, h.Alarms, 1)
		require.Contains(t, h.Alarms[0], store.AlarmQuota.String())
		f.close(t, "b")
		f.until(t, "one is missed", func() bool { return len(health("a").Alarms) == 2 })
		require.NoError(t, health("a").Err())
		f.close(t, "c")
		h = health("a")
		require.NoError(t, h.Stopped)
		require.Error(t, h.Uncommitted)
		s := f.members["a"]
		f.close(t, "a")
		require.ErrorIs(t, s.Health(t.Context()).Err(), store.ErrClosed)
	})
}
