package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// report is what a run has measured.
type report struct {
	rows       []row
	footprints []footprint
}

// row is one line of a table: the samples of each kind by round, those of one round taken one after the other.
type row struct {
	members   int
	operation string
	load      load
	inProcess bool
	log       string // of in-process rows, as Order has it
	job       Job
	samples   [][]measure.Sample
	writing   [][]float64 // puts per second of the in-process watch
}

const etcdKind, keelsonKind, floorKind = 0, 1, 2

// of returns the median of a figure of a kind.
func (r *row) of(kind int, figure func(measure.Sample) float64) float64 {
	all := make([]float64, len(r.samples[kind]))
	for i, s := range r.samples[kind] {
		all[i] = figure(s)
	}
	return measure.Median(all)
}

// ratio returns the median of the rounds' ratios of Keelson's figure to that of another kind.
func (r *row) ratio(to int, figure func(measure.Sample) float64) float64 {
	all := make([]float64, len(r.samples[to]))
	for i := range all {
		all[i] = figure(r.samples[keelsonKind][i]) / figure(r.samples[to][i])
	}
	return measure.Median(all)
}

func p50(s measure.Sample) float64 { return float64(s.P50) }
func p99(s measure.Sample) float64 { return float64(s.P99) }

func (r *row) String() string {
	return fmt.Sprintf("%s, %d member(s), %s", r.operation, r.members, r.load)
}

func (r *row) brief() string {
	text := fmt.Sprintf("%-18s %d member(s), %6d callers: ", r.operation, r.members, r.load.clients)
	if r.operation == "watch" && r.inProcess {
		text = fmt.Sprintf("%-18s %d watchers, %d elsewhere: ", r.operation, r.job.Watchers, r.job.Idle)
	}
	for kind := range r.samples {
		text += fmt.Sprintf(" %s %s/s", kinds()[kind], measure.Number(r.of(kind, measure.Sample.Rate)))
		if !r.inProcess {
			text += fmt.Sprintf(" (%.1f µs cpu, p99 %s)", r.of(kind, measure.Sample.PerOp)/1e3, measure.Span(r.of(kind, p99)))
		}
	}
	return text
}

// missed says what a row over gRPC misses of the targets; empty means nothing.
func (r *row) missed() string {
	var all []string
	if c := r.ratio(etcdKind, measure.Sample.PerOp); c > 1.0/3 {
		all = append(all, "cpu")
	}
	if r.ratio(floorKind, measure.Sample.Rate) < 0.7 {
		all = append(all, "floor")
	}
	if r.ratio(etcdKind, measure.Sample.Rate) < 1 {
		all = append(all, "etcd")
	}
	if r.ratio(etcdKind, p99) > 0.5 {
		all = append(all, "p99")
	}
	return strings.Join(all, ", ")
}

// String is the tables, in Markdown.
func (r *report) String() string {
	var b strings.Builder
	r.overGRPC(&b)
	r.inProcess(&b)
	r.footprint(&b)
	return b.String()
}

func (r *report) overGRPC(b *strings.Builder) {
	begun := false
	for i := range r.rows {
		row := &r.rows[i]
		if row.inProcess {
			continue
		}
		if !begun {
			begun = true
			measure.Line(b, "members", "operation", "clients/ connections", "etcd, /s", "keelson, /s", "floor, /s", "to etcd", "of the floor",
				"etcd cpu, µs", "keelson cpu, µs", "floor cpu, µs", "cpu to etcd", "etcd p50/p99", "keelson p50/p99", "floor p50/p99", "p99 to etcd", "misses")
			measure.Line(b, slices.Repeat([]string{"---"}, 17)...)
		}
		cells := []string{fmt.Sprint(row.members), row.operation, row.load.String()}
		for kind := range row.samples {
			cells = append(cells, measure.Number(row.of(kind, measure.Sample.Rate)))
		}
		cells = append(cells, measure.Times(row.ratio(etcdKind, measure.Sample.Rate)), measure.Times(row.ratio(floorKind, measure.Sample.Rate)))
		for kind := range row.samples {
			cells = append(cells, fmt.Sprintf("%.1f", row.of(kind, measure.Sample.PerOp)/1e3))
		}
		cells = append(cells, measure.Times(row.ratio(etcdKind, measure.Sample.PerOp)))
		for kind := range row.samples {
			cells = append(cells, measure.Span(row.of(kind, p50))+" / "+measure.Span(row.of(kind, p99)))
		}
		measure.Line(b, append(cells, measure.Times(row.ratio(etcdKind, p99)), row.missed())...)
	}
}

// inProcessTarget is the ratio to etcd that the issue asks for; 0 where it asks for none.
func (r *row) inProcessTarget() float64 {
	switch {
	case r.members > 1:
		return 0
	case r.operation == "put" && r.load.clients == 1 && r.log == boltLog:
		return 0
	case r.operation == "put" && r.load.clients == 1:
		return 2 // the default log store, of which 1.5 is asked, is the fastest one too
	case r.operation == "put" && r.load.clients == 1000:
		return 8
	case r.operation == "get" && r.load.clients == 100:
		return 15
	case r.operation == "serializable get" && r.load.clients == 100:
		return 30
	case r.operation == "watch" && r.job.Watchers > 1:
		return 10
	}
	return 0
}

// clusterPuts is how many puts per second three members in one process are to do.
const clusterPuts = 100_000

func (r *report) inProcess(b *strings.Builder) {
	begun := false
	for i := range r.rows {
		row := &r.rows[i]
		if !row.inProcess {
			continue
		}
		if !begun {
			begun = true
			b.WriteByte('\n')
			measure.Line(b, "in-process", "members", "log", "callers", "etcd, /s", "keelson, /s", "to etcd", "target", "etcd p50/p99", "keelson p50/p99")
			measure.Line(b, slices.Repeat([]string{"---"}, 10)...)
		}
		name, figure := row.operation, measure.Sample.Rate
		if name == "watch" && row.job.Watchers != 1 {
			name = fmt.Sprintf("events to %d watchers", row.job.Watchers)
		} else if name == "watch" {
			name = fmt.Sprintf("events to 1 watcher, %d on other keys", row.job.Idle)
		}
		if row.job.Operation == "watch" && row.job.Watchers == 0 {
			continue // only to compare the writer with
		}
		cells := []string{name, fmt.Sprint(row.members), cmp.Or(row.log, "default"), fmt.Sprint(row.load.clients)}
		for kind := range row.samples {
			cells = append(cells, measure.Number(row.of(kind, figure)))
		}
		target := ""
		if want := row.inProcessTarget(); want > 0 {
			target = measure.Times(want) + measure.Verdict(row.ratio(etcdKind, figure) >= want)
		}
		if row.operation == "put" && row.members > 1 { // here the issue asks for a rate
			target = measure.Number(clusterPuts) + "/s" + measure.Verdict(row.of(keelsonKind, figure) >= clusterPuts)
		}
		cells = append(cells, measure.Times(row.ratio(etcdKind, figure)), target)
		for kind := range row.samples {
			cells = append(cells, measure.Span(row.of(kind, p50))+" / "+measure.Span(row.of(kind, p99)))
		}
		measure.Line(b, cells...)
	}
	r.writers(b)
}

// writers compares the writer's speed with that without watchers.
func (r *report) writers(b *strings.Builder) {
	begun := false
	for i := range r.rows {
		row := &r.rows[i]
		if row.job.Operation != "watch" {
			continue
		}
		if !begun {
			begun = true
			b.WriteByte('\n')
			measure.Line(b, "watchers of the busy prefix", "on other keys", "etcd's writer, puts/s", "keelson's writer, puts/s")
			measure.Line(b, slices.Repeat([]string{"---"}, 4)...)
		}
		measure.Line(b, fmt.Sprint(row.job.Watchers), fmt.Sprint(row.job.Idle), measure.Number(measure.Median(row.writing[etcdKind])), measure.Number(measure.Median(row.writing[keelsonKind])))
	}
}

func (r *report) footprint(b *strings.Builder) {
	for i, f := range r.footprints {
		if i == 0 {
			b.WriteByte('\n')
			measure.Line(b, "", "keys", "etcd", "keelson", "to etcd", "target")
			measure.Line(b, slices.Repeat([]string{"---"}, 6)...)
		}
		add := func(name string, etcd, keelson, want float64, unit func(float64) string) {
			target := ""
			if want > 0 {
				target = measure.Times(want) + measure.Verdict(keelson/etcd <= want)
			}
			measure.Line(b, name, fmt.Sprint(f.keys), unit(etcd), unit(keelson), measure.Times(keelson/etcd), target)
		}
		bytes := func(n float64) string { return fmt.Sprintf("%.0f MB", n/1e6) }
		add("memory as it stands", float64(f.resident[0]), float64(f.resident[1]), 0.5, bytes)
		add("memory after a collection", float64(f.collected[0]), float64(f.collected[1]), 0.5, bytes)
		add("of which anonymous", float64(f.anonymous[0]), float64(f.anonymous[1]), 0, bytes)
		if i == 0 {
			add("start to first write, empty", float64(f.empty[0]), float64(f.empty[1]), 0.1, measure.Span)
		}
		add("restart to first write", float64(f.first[0]), float64(f.first[1]), 0.2, measure.Span)
	}
}
