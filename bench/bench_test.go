package main

import (
	"io"
	"math"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

func TestMain(m *testing.M) {
	if measure.IsMember() {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestTinyRun has every kind of row measured once, and says nothing about how fast anything was.
func TestTinyRun(t *testing.T) {
	r := run{plan: tinyPlan(), dir: t.TempDir(), progress: io.Discard, began: time.Now()}
	require.NoError(t, r.plan.restrict("", "", ""))
	require.NoError(t, r.all(t.Context()))
	gRPC := len(r.audiences) * len(r.members)
	for _, members := range r.members {
		for _, l := range r.loads[members] {
			for _, name := range r.operations {
				if r.fits(name, l) {
					gRPC++
				}
			}
		}
	}
	require.Len(t, r.report.rows, gRPC+len(r.jobs(setup{members: 1}))+4)
	for _, row := range r.report.rows {
		kinds := 3
		if row.inProcess {
			kinds = 2
		}
		require.Len(t, row.samples, kinds, "%s", &row)
		for kind, samples := range row.samples {
			require.Len(t, samples, r.plan.rounds, "%s", &row)
			if row.inProcess && row.operation == "watch" && row.job.Watchers == 0 {
				require.Len(t, row.writing[kind], r.plan.rounds)
				continue
			}
			for _, s := range samples {
				require.Positive(t, s.Ops, "%s", &row)
				require.Positive(t, s.Elapsed, "%s", &row)
				require.Positive(t, s.CPU, "%s", &row)
				require.Positive(t, s.P50, "%s", &row)
				require.GreaterOrEqual(t, s.P99, s.P50, "%s", &row)
			}
		}
	}
	require.Len(t, r.report.footprints, 2)
	for _, f := range r.report.footprints {
		for kind := range 2 {
			require.Positive(t, f.resident[kind])
			require.Positive(t, f.collected[kind])
			require.Positive(t, f.anonymous[kind])
			require.Positive(t, f.empty[kind])
			require.Positive(t, f.first[kind])
		}
	}
	text := r.document(nil)
	require.NotContains(t, text, "NaN")
	require.NotContains(t, text, "Inf")
	require.Contains(t, text, "go.etcd.io/etcd/server/v3 v3.7")
}

func TestOnlyUnknown(t *testing.T) {
	p := tinyPlan()
	require.ErrorContains(t, p.restrict("putt", "", ""), "putt")
	require.ErrorContains(t, p.restrict("", "2", ""), "2")
}

func TestRatioIsOfRounds(t *testing.T) {
	r := row{samples: [][]measure.Sample{
		{{Ops: 100, Elapsed: 1e9}, {Ops: 10, Elapsed: 1e9}, {Ops: 1000, Elapsed: 1e9}},
		{{Ops: 200, Elapsed: 1e9}, {Ops: 20, Elapsed: 1e9}, {Ops: 900, Elapsed: 1e9}},
	}}
	require.InDelta(t, 2.0, r.ratio(etcdKind, measure.Sample.Rate), 1e-9)
	require.InDelta(t, 100.0, r.of(etcdKind, measure.Sample.Rate), 1e-9)
	require.False(t, math.IsNaN(r.ratio(etcdKind, measure.Sample.Rate)))
}
