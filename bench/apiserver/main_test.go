package main

import (
	"io"
	"math"
	"os"
	"path/filepath"
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

// TestTinyRun has every kind of row measured once, without kube-apiserver, and says nothing about how fast anything was.
func TestTinyRun(t *testing.T) {
	profiles := t.TempDir()
	r := run{plan: tinyPlan(), dir: t.TempDir(), progress: io.Discard, began: time.Now()}
	r.profile = profiles
	require.NoError(t, r.all(t.Context()))
	count := map[string]int{}
	keelson, floor := r.report.index(keelsonKind), r.report.index(floorKind)
	for _, line := range r.report.rows {
		count[line.subject]++
		if line.subject == "crd" {
			continue // there may be none, and there is no floor
		}
		require.Len(t, line.samples[keelson], r.plan.rounds, "%s", line)
		for _, s := range line.samples[keelson] {
			require.Positive(t, s.Ops, "%s", line)
			require.Positive(t, s.Elapsed, "%s", line)
			require.Positive(t, s.CPU, "%s", line)
			require.Positive(t, s.P50, "%s", line)
			require.GreaterOrEqual(t, s.P99, s.P50, "%s", line)
		}
		if line.subject != "in-process" {
			require.True(t, line.has(floor), "%s", line)
		}
		if line.subject == "list" {
			require.Equal(t, line.sizes[keelson].Load(), line.sizes[floor].Load(), "the floor answers %s with other bytes", line)
			require.Greater(t, line.sizes[keelson].Load(), int64(r.pods*100))
			require.Positive(t, line.allocated[keelson][0])
		}
	}
	require.Equal(t, map[string]int{"request": len(verbs()) * len(r.loads), "list": len(listForms()) * 2 * len(r.listClients), "watch": 1, "crd": 1, "in-process": 2}, count)
	for _, pods := range []int{0, r.pods, r.manyPods} {
		m, found := r.report.footprint(keelsonKind).with(pods)
		require.True(t, found, "%d pods", pods)
		require.Positive(t, m.anonymous)
		require.Greater(t, m.resident, m.anonymous)
		require.Positive(t, m.live)
	}
	require.Len(t, r.report.footprint(wholeName).starts, r.starts)
	files, err := filepath.Glob(filepath.Join(profiles, "*.cpu"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	text := r.document(nil)
	require.NotContains(t, text, "NaN")
	require.NotContains(t, text, "Inf")
	require.Contains(t, text, "client-go v0.37")
	require.FileExists(t, filepath.Join(profiles, "40-pods.heap"))
}

func TestOnlyUnknown(t *testing.T) {
	p := tinyPlan()
	require.ErrorContains(t, p.restrict("lists"), "lists")
	require.NoError(t, p.restrict("list,get"))
	require.True(t, p.wants("list"))
	require.False(t, p.wants("start"))
	require.True(t, p.serves())
	require.NoError(t, p.restrict("start"))
	require.False(t, p.serves())
}

func TestStampIsFound(t *testing.T) {
	at := time.Unix(1_700_000_000, 123)
	found, ok := stamped([]byte("xx" + stamp(at) + "yy"))
	require.True(t, ok)
	require.True(t, at.Equal(found))
	_, ok = stamped([]byte("xx" + stamp(at)[:stampSize-1]))
	require.False(t, ok)
}

func TestRatioIsOfRounds(t *testing.T) {
	line := &row{samples: [3][]measure.Sample{
		{{Ops: 100, Elapsed: 1e9}, {Ops: 10, Elapsed: 1e9}, {Ops: 1000, Elapsed: 1e9}},
		{{Ops: 200, Elapsed: 1e9}, {Ops: 20, Elapsed: 1e9}, {Ops: 900, Elapsed: 1e9}},
	}}
	require.InDelta(t, 2.0, line.ratio(1, 0, measure.Sample.Rate), 1e-9)
	require.True(t, math.IsNaN(line.ratio(1, 2, measure.Sample.Rate)))
	require.True(t, math.IsNaN(line.of(-1, measure.Sample.Rate)))
}

func TestMissesOfRequest(t *testing.T) {
	r := report{kinds: []string{kubeKind, keelsonKind, floorKind}}
	sample := func(ops int, cpu time.Duration) []measure.Sample {
		return []measure.Sample{{Ops: ops, Elapsed: time.Second, CPU: cpu}}
	}
	good := &row{load: load{64, 1}, samples: [3][]measure.Sample{sample(100, time.Second), sample(400, time.Second), sample(500, time.Second)}}
	require.Empty(t, r.missed(good, 64))
	bad := &row{load: load{64, 1}, samples: [3][]measure.Sample{sample(100, time.Second), sample(120, time.Second), sample(500, time.Second)}}
	require.Equal(t, "cpu, floor, rate, wanted 3.5", r.missed(bad, 64))
}

// TestServerThatFailsToStart is told of by what it said itself.
func TestServerThatFailsToStart(t *testing.T) {
	credentials, err := newCredentials()
	require.NoError(t, err)
	_, err = start(t.Context(), "no such", t.TempDir(), "", credentials, false)
	require.ErrorContains(t, err, `no server "no such"`)
	_, err = start(t.Context(), kubeKind, t.TempDir(), "/bin/false", credentials, false)
	require.ErrorContains(t, err, "it said")
}
