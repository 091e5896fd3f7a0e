package main

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// report is what a run has measured.
type report struct {
	kinds                []string
	rows                 []*row
	footprints           []*footprint
	podProtobuf, podJSON int // bytes of one pod
}

// index is where a kind's figures are in rows; -1 if it was left out.
func (r *report) index(kind string) int { return slices.Index(r.kinds, kind) }

func (r *report) footprint(name string) *footprint {
	for _, f := range r.footprints {
		if f.name == name {
			return f
		}
	}
	f := &footprint{name: name}
	r.footprints = append(r.footprints, f)
	return f
}

// figure prints a number, or a dash if there is none.
func figure(n float64, print func(float64) string) string {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return "-"
	}
	return print(n)
}

func micros(ns float64) string { return fmt.Sprintf("%.0f", ns/1e3) }

func thousandths(ratio float64) string { return fmt.Sprintf("%.3f", ratio) }

func (r *report) brief(line *row) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s %-20s %7s", line.subject, line.operation, line.load)
	if line.plain {
		b.WriteString(" plain")
	}
	for i, kind := range r.kinds {
		if line.has(i) {
			fmt.Fprintf(&b, "  %s %s/s (%s µs cpu, p99 %s)", kind, measure.Number(line.of(i, measure.Sample.Rate)),
				micros(line.of(i, measure.Sample.PerOp)), measure.Span(line.of(i, p99)))
		}
	}
	return b.String()
}

// String is the tables, in Markdown.
func (r *report) String() string {
	var b strings.Builder
	r.requests(&b)
	r.lists(&b)
	r.watches(&b)
	r.others(&b)
	r.memory(&b)
	return b.String()
}

func (r *report) of(subject string) []*row {
	return slices.DeleteFunc(slices.Clone(r.rows), func(line *row) bool { return line.subject != subject })
}

// missed says which targets a request misses; empty means none.
func (r *report) missed(line *row, most int) string {
	kube, keelson, floor := r.index(kubeKind), r.index(keelsonKind), r.index(floorKind)
	var all []string
	if line.ratio(keelson, kube, measure.Sample.PerOp) > 1.0/3 { // false for what there is not
		all = append(all, "cpu")
	}
	if line.ratio(keelson, floor, measure.Sample.Rate) < 0.7 {
		all = append(all, "floor")
	}
	want := min(4, 0.7*line.ratio(floor, kube, measure.Sample.Rate))
	if line.load.clients == most && line.ratio(keelson, kube, measure.Sample.Rate) < want {
		all = append(all, fmt.Sprintf("rate, wanted %.1f", want))
	}
	return strings.Join(all, ", ")
}

func (r *report) requests(b *strings.Builder) {
	rows := r.of("request")
	if len(rows) == 0 {
		return
	}
	most := 0
	for _, line := range rows {
		most = max(most, line.load.clients)
	}
	kube, keelson, floor := r.index(kubeKind), r.index(keelsonKind), r.index(floorKind)
	measure.Header(b, "request", "clients/ connections", "kube-apiserver, /s", "keelson, /s", "floor, /s", "to kube", "of the floor",
		"kube cpu, µs", "keelson cpu, µs", "floor cpu, µs", "cpu to kube", "kube p50/p99", "keelson p50/p99", "floor p50/p99", "answer kube/keelson", "misses")
	for _, line := range rows {
		cells := []string{line.operation, line.load.String()}
		for _, i := range []int{kube, keelson, floor} {
			cells = append(cells, figure(line.of(i, measure.Sample.Rate), measure.Number))
		}
		cells = append(cells, figure(line.ratio(keelson, kube, measure.Sample.Rate), measure.Times), figure(line.ratio(keelson, floor, measure.Sample.Rate), measure.Times))
		for _, i := range []int{kube, keelson, floor} {
			cells = append(cells, figure(line.of(i, measure.Sample.PerOp), micros))
		}
		cells = append(cells, figure(line.ratio(keelson, kube, measure.Sample.PerOp), measure.Times))
		for _, i := range []int{kube, keelson, floor} {
			cells = append(cells, figure(line.of(i, p50), measure.Span)+" / "+figure(line.of(i, p99), measure.Span))
		}
		measure.Line(b, append(cells, r.sizes(line), r.missed(line, most))...)
	}
}

// sizes are how large an answer of kube-apiserver and of keelson is.
func (r *report) sizes(line *row) string {
	var all []string
	for _, kind := range []string{kubeKind, keelsonKind} {
		size := math.NaN()
		if i := r.index(kind); i >= 0 {
			size = float64(line.sizes[i].Load())
		}
		all = append(all, figure(size, measure.Bytes))
	}
	return strings.Join(all, " / ")
}

// listTimes and listMemory are what a list may take: times the floor, and bytes a request.
const (
	listTimes  = 1.3
	listMemory = 5e6
)

func (r *report) lists(b *strings.Builder) {
	rows := r.of("list")
	if len(rows) == 0 {
		return
	}
	kube, keelson, floor := r.index(kubeKind), r.index(keelsonKind), r.index(floorKind)
	b.WriteByte('\n')
	measure.Header(b, "list of all pods", "clients", "gzip", "kube-apiserver", "keelson", "floor", "to kube", "to the floor, at most 1.30", "kube cpu, ms", "keelson cpu, ms",
		"floor cpu, ms", "size kube/keelson", "peak a request kube/keelson", "keelson allocates a request, under 5 MB")
	for _, line := range rows {
		gzip := "yes"
		if line.plain {
			gzip = "plain"
		}
		cells := []string{line.operation, fmt.Sprint(line.load.clients), gzip}
		for _, i := range []int{kube, keelson, floor} {
			cells = append(cells, figure(line.of(i, p50), measure.Span))
		}
		slower := line.ratio(keelson, floor, mean)
		cells = append(cells, figure(line.ratio(keelson, kube, mean), measure.Times), figure(slower, measure.Times)+measure.Verdict(slower <= listTimes))
		for _, i := range []int{kube, keelson, floor} {
			cells = append(cells, figure(line.of(i, measure.Sample.PerOp), func(ns float64) string { return fmt.Sprintf("%.1f", ns/1e6) }))
		}
		peaks := []string{}
		for _, i := range []int{kube, keelson} {
			if i < 0 {
				peaks = append(peaks, "-")
				continue
			}
			peaks = append(peaks, measure.Bytes(float64(measure.Median(line.grown[i]))))
		}
		allocated := float64(measure.Median(line.allocated[keelson]))
		measure.Line(b, append(cells, r.sizes(line), strings.Join(peaks, " / "), measure.Bytes(allocated)+measure.Verdict(allocated < listMemory))...)
	}
}

func (r *report) watches(b *strings.Builder) {
	kube, keelson, floor := r.index(kubeKind), r.index(keelsonKind), r.index(floorKind)
	for _, line := range r.of("watch") {
		b.WriteByte('\n')
		measure.Header(b, line.operation, "kube-apiserver", "keelson", "floor", "to kube", "of the floor")
		add := func(name string, print func(float64) string, of func(int) float64, judge func() (toKube, ofFloor string)) {
			cells := []string{name}
			for _, i := range []int{kube, keelson, floor} {
				n := math.NaN()
				if i >= 0 {
					n = of(i)
				}
				cells = append(cells, figure(n, print))
			}
			toKube, ofFloor := judge()
			measure.Line(b, append(cells, toKube, ofFloor)...)
		}
		ratios := func(f func(measure.Sample) float64) func() (string, string) {
			return func() (string, string) {
				return figure(line.ratio(keelson, kube, f), measure.Times), figure(line.ratio(keelson, floor, f), measure.Times)
			}
		}
		rate := measure.Sample.Rate
		add(fmt.Sprintf("events/s, over %d connections", line.load.connections), measure.Number, func(i int) float64 { return line.of(i, rate) }, func() (string, string) {
			toKube, ofFloor := line.ratio(keelson, kube, rate), line.ratio(keelson, floor, rate)
			return figure(toKube, measure.Times) + ", 3 wanted," + measure.Verdict(toKube >= 3), figure(ofFloor, measure.Times) + ", 0.70 wanted," + measure.Verdict(ofFloor >= 0.7)
		})
		add("p50 from write to watcher", measure.Span, func(i int) float64 { return line.of(i, p50) }, ratios(p50))
		add("p99", measure.Span, func(i int) float64 { return line.of(i, p99) }, ratios(p99))
		add("cpu per event, µs", func(ns float64) string { return fmt.Sprintf("%.1f", ns/1e3) }, func(i int) float64 { return line.of(i, measure.Sample.PerOp) }, ratios(measure.Sample.PerOp))
		add("live heap and stacks a watcher", measure.Bytes, func(i int) float64 { return float64(line.grown[i][0]) }, func() (string, string) {
			return "at most 25 kB:" + measure.Verdict(line.grown[keelson][0] <= 25e3), ""
		})
		add("watches that the server ended", measure.Number, func(i int) float64 { return float64(line.reopened[i]) }, func() (string, string) { return "", "" })
	}
}

// The rates that the in-process client is to have.
var inProcessTargets = map[string]float64{"create": 30e3, "get": 2e6}

func (r *report) others(b *strings.Builder) {
	keelson := r.index(keelsonKind)
	for i, line := range r.of("in-process") {
		if i == 0 {
			b.WriteByte('\n')
			measure.Header(b, "keelson's in-process client", "callers", "/s", "target", "cpu, µs", "p50/p99")
		}
		name := map[string]string{"create": "create, durable", "get": "get from the cache"}[line.operation]
		rate, want := line.of(keelson, measure.Sample.Rate), inProcessTargets[line.operation]
		measure.Line(b, name, fmt.Sprint(line.load.clients), measure.Number(rate), measure.Number(want)+measure.Verdict(rate >= want),
			fmt.Sprintf("%.1f", line.of(keelson, measure.Sample.PerOp)/1e3), measure.Span(line.of(keelson, p50))+" / "+measure.Span(line.of(keelson, p99)))
	}
	for i, line := range r.of("crd") {
		if i == 0 {
			b.WriteByte('\n')
			measure.Header(b, "", "kube-apiserver", "keelson", "to kube")
		}
		kube := r.index(kubeKind)
		served := "keelson serves no CustomResourceDefinitions yet"
		if line.has(keelson) {
			served = measure.Span(line.of(keelson, mean))
		}
		measure.Line(b, line.operation, figure(line.of(kube, mean), measure.Span), served, figure(line.ratio(keelson, kube, mean), thousandths))
	}
}

// What memory and starts are to be, to kube-apiserver's, and the live heap of a pod in bytes.
const (
	startTarget = 1.0 / 50
	idleTarget  = 1.0 / 5
	podTarget   = 1.0 / 2
	podHeap     = 7e3
)

func (r *report) memory(b *strings.Builder) {
	if len(r.footprints) == 0 {
		return
	}
	names := append(slices.DeleteFunc(slices.Clone(r.kinds), func(kind string) bool { return kind == floorKind }), wholeName)
	b.WriteByte('\n')
	measure.Header(b, "", "kube-apiserver", "keelson", "with controllers and scheduler", "to kube", "target")
	add := func(name string, want float64, print func(float64) string, of func(f *footprint) (float64, bool)) {
		all := map[string]float64{kubeKind: math.NaN(), keelsonKind: math.NaN(), wholeName: math.NaN()}
		found := false
		for _, kind := range names {
			if n, ok := of(r.footprint(kind)); ok {
				all[kind], found = n, true
			}
		}
		if !found {
			return
		}
		ratio, target := all[keelsonKind]/all[kubeKind], ""
		if want > 0 && !math.IsNaN(ratio) {
			target = fmt.Sprintf("%.2f", want) + measure.Verdict(ratio <= want)
		}
		measure.Line(b, name, figure(all[kubeKind], print), figure(all[keelsonKind], print), figure(all[wholeName], print),
			figure(ratio, thousandths), target)
	}
	add("start to ready", startTarget, measure.Span, func(f *footprint) (float64, bool) {
		if len(f.starts) == 0 {
			return 0, false
		}
		return float64(measure.Median(f.starts)), true
	})
	add("resident, idle", idleTarget, measure.Bytes, func(f *footprint) (float64, bool) { m, ok := f.with(0); return m.resident, ok })
	add("of which anonymous", 0, measure.Bytes, func(f *footprint) (float64, bool) { m, ok := f.with(0); return m.anonymous, ok })
	add("live heap, idle", 0, measure.Bytes, func(f *footprint) (float64, bool) { m, ok := f.with(0); return m.live, ok })
	for _, pods := range r.pods() {
		with := fmt.Sprintf(" with %d pods", pods)
		add("resident"+with, 0, measure.Bytes, func(f *footprint) (float64, bool) { m, ok := f.with(pods); return m.resident, ok })
		add("of which anonymous", 0, measure.Bytes, func(f *footprint) (float64, bool) { m, ok := f.with(pods); return m.anonymous, ok })
		add("resident a pod"+with, podTarget, measure.Bytes, func(f *footprint) (float64, bool) { m, ok := f.perPod(pods); return m.resident, ok })
		add("live heap a pod"+with, 0, measure.Bytes, func(f *footprint) (float64, bool) { m, ok := f.perPod(pods); return m.live, ok })
		if m, ok := r.footprint(keelsonKind).perPod(pods); ok {
			measure.Line(b, "", "", "at most "+measure.Bytes(podHeap)+" live:"+measure.Verdict(m.live <= podHeap), "", "", "")
		}
	}
}

// pods are the numbers of pods that memory was measured with, without 0.
func (r *report) pods() []int {
	var all []int
	for _, f := range r.footprints {
		for _, m := range f.memory {
			if m.pods > 0 && !slices.Contains(all, m.pods) {
				all = append(all, m.pods)
			}
		}
	}
	slices.Sort(all)
	return all
}
