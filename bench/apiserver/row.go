package main

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// row is one line of a table. What it has by server is in the order of report.kinds.
type row struct {
	subject   string // of which table: request, list, watch, crd, in-process
	operation string
	load      load
	plain     bool // without gzip
	samples   [3][]measure.Sample
	sizes     [3]atomic.Int64 // of the last answer, in bytes
	grown     [3][]int64      // bytes: of resident memory per list at once, or live per watcher
	allocated [3][]int64      // bytes per request
	reopened  [3]int64        // watches that the server ended
}

func (r *row) String() string { return fmt.Sprintf("%s %s %s", r.subject, r.operation, r.load) }

func (r *row) size(server int, bytes int64) { r.sizes[server].Store(bytes) }

func (r *row) memory(server int, grown, allocated int64) {
	r.grown[server] = append(r.grown[server], grown)
	r.allocated[server] = append(r.allocated[server], allocated)
}

// has says whether a server has figures here. One may not serve what the row is about, or be left out.
func (r *row) has(server int) bool {
	return server >= 0 && len(r.samples[server]) > 0 && !slices.ContainsFunc(r.samples[server], func(s measure.Sample) bool { return s.Ops == 0 })
}

// of returns the median of a server's figure; NaN if there is none.
func (r *row) of(server int, figure func(measure.Sample) float64) float64 {
	if !r.has(server) {
		return math.NaN()
	}
	all := make([]float64, len(r.samples[server]))
	for i, s := range r.samples[server] {
		all[i] = figure(s)
	}
	return measure.Median(all)
}

// ratio returns the median of the rounds' ratios of two servers' figures; NaN if one has none.
func (r *row) ratio(server, to int, figure func(measure.Sample) float64) float64 {
	if !r.has(server) || !r.has(to) {
		return math.NaN()
	}
	all := make([]float64, len(r.samples[to]))
	for i := range all {
		all[i] = figure(r.samples[server][i]) / figure(r.samples[to][i])
	}
	return measure.Median(all)
}

func p50(s measure.Sample) float64 { return float64(s.P50) }
func p99(s measure.Sample) float64 { return float64(s.P99) }

// mean is the time per operation.
func mean(s measure.Sample) float64 { return float64(s.Elapsed) / float64(s.Ops) }
