package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics is what a store counts for Config.Metrics: nil if nobody wants it, and then each place that counts is one
// comparison. What can be had from the state is not counted but read when it is collected, see metricscollect.go.
type metrics struct {
	proposals *prometheus.CounterVec // by kind and outcome
	proposing *prometheus.HistogramVec
	entries   prometheus.Counter
	commands  prometheus.Histogram // of an entry
	bytes     prometheus.Histogram
	syncing   prometheus.Histogram
	syncFails prometheus.Counter
	applying  prometheus.Histogram

	rounds  *prometheus.CounterVec // by outcome
	reading prometheus.Histogram

	events    prometheus.Counter
	delivered prometheus.Counter
	watchers  prometheus.Gauge
	slow      prometheus.Counter

	compactions prometheus.Counter
	leaders     prometheus.Counter
	snapshots   *prometheus.CounterVec // by outcome

	calling   *prometheus.HistogramVec // by member
	callFails *prometheus.CounterVec
}

const namespace = "keelson_store_"

// Outcomes of a proposal.
const (
	outcomeApplied   = "applied"
	outcomeRefused   = "refused"   // by the state machine: nothing was changed
	outcomeUnknown   = "unknown"   // it may have been applied
	outcomeAbandoned = "abandoned" // its context ended first
	outcomeFailed    = "failed"    // it was certainly not applied
)

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: namespace + name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: namespace + name, Help: help, Buckets: buckets})
	}
	histograms := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: namespace + name, Help: help, Buckets: buckets}, labels)
	}
	seconds := prometheus.ExponentialBuckets(20e-6, 2.5, 16) // 20 µs to 18 s
	return &metrics{
		proposals: counters("proposals_total", "Writes handed in at this member.", "kind", "outcome"),
		proposing: histograms("proposal_duration_seconds", "Time from handing a write in to its outcome.", seconds, "kind"),
		entries:   counter("entries_applied_total", "Raft entries with commands that this member has applied."),
		commands:  histogram("entry_commands", "Commands that shared a Raft entry.", prometheus.ExponentialBuckets(1, 4, 8)),
		bytes:     histogram("entry_size_bytes", "Size of Raft entries with commands.", prometheus.ExponentialBuckets(64, 4, 9)),
		syncing:   histogram("log_sync_duration_seconds", "Time to write entries to the log store, and sync them.", seconds),
		syncFails: counter("log_sync_failures_total", "Writes to the log store that failed. One is final."),
		applying:  histogram("apply_duration_seconds", "Time to apply and publish what Raft hands over at once.", seconds),
		rounds:    counters("read_rounds_total", "Rounds in which linearizable reads asked how far they must see.", "outcome"),
		reading:   histogram("read_round_duration_seconds", "Time of such a round.", seconds),
		events:    counter("events_total", "Changes of keys that were published to watchers."),
		delivered: counter("watch_events_delivered_total", "Events that watchers were given."),
		watchers:  prometheus.NewGauge(prometheus.GaugeOpts{Name: namespace + "watchers", Help: "Watchers that are open."}),
		slow:      counter("slow_watchers_total", "Watchers that ended because they fell behind the history that is kept."),

		compactions: counter("compactions_total", "Compactions of history."),
		leaders:     counter("leader_changes_total", "Times that another member came to lead, as seen here."),
		snapshots:   counters("snapshots_total", "Snapshots of the state machine, by what became of them.", "outcome"),
		calling:     histograms("peer_call_duration_seconds", "Time of the store's own calls to another member.", seconds, "member"),
		callFails:   counters("peer_call_failures_total", "Calls to another member that were not answered.", "member"),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{
		m.proposals, m.proposing, m.entries, m.commands, m.bytes, m.syncing, m.syncFails, m.applying, m.rounds, m.reading,
		m.events, m.delivered, m.watchers, m.slow, m.compactions, m.leaders, m.snapshots, m.calling, m.callFails,
	}
}

// register begins to tell. It fails if the registerer has a store of the same labels already.
func (s *Store) register() error {
	if s.metrics == nil {
		return nil
	}
	if err := s.cfg.Metrics.Register(&storeCollector{s}); err != nil {
		return fmt.Errorf("%w: Metrics: %w: several stores need a registerer each, or labels (prometheus.WrapRegistererWith)", ErrConfig, err)
	}
	return nil
}

func (s *Store) unregister() {
	if s.metrics != nil {
		s.cfg.Metrics.Unregister(&storeCollector{s})
	}
}

// began is when something begins whose time is wanted; the zero time if it is not.
func (m *metrics) began() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Now()
}

var kindNames = [...]string{
	commandTxn: "txn", commandGrant: "grant", commandRenew: "renew", commandRevoke: "revoke", commandExpire: "expire",
	commandCompact: "compact",
}

// proposed counts a proposal.
func (m *metrics) proposed(kind commandKind, began time.Time, r *result, err error) {
	if m == nil {
		return
	}
	name := "other"
	if int(kind) < len(kindNames) && kindNames[kind] != "" {
		name = kindNames[kind]
	}
	outcome := outcomeApplied
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		outcome = outcomeAbandoned
	case errors.Is(err, ErrUnknownOutcome):
		outcome = outcomeUnknown
	case err != nil:
		outcome = outcomeFailed
	case r.err != nil:
		outcome = outcomeRefused
	}
	m.proposals.WithLabelValues(name, outcome).Inc()
	m.proposing.WithLabelValues(name).Observe(time.Since(began).Seconds())
}

// applied counts what Raft handed over at once.
func (m *metrics) applied(began time.Time) {
	if m != nil {
		m.applying.Observe(time.Since(began).Seconds())
	}
}

// entry counts an entry.
func (m *metrics) entry(commands, size int) {
	if m != nil {
		m.entries.Inc()
		m.commands.Observe(float64(commands))
		m.bytes.Observe(float64(size))
	}
}

// published counts events, and a compaction.
func (m *metrics) published(changes []change, compacted bool) {
	if m == nil {
		return
	}
	n := 0
	for i := range changes {
		n += len(changes[i].events)
	}
	m.events.Add(float64(n))
	if compacted {
		m.compactions.Inc()
	}
}

// round counts a round of reads.
func (m *metrics) round(began time.Time, err error) {
	if m == nil {
		return
	}
	outcome := "confirmed"
	if err != nil {
		outcome = "failed"
	}
	m.rounds.WithLabelValues(outcome).Inc()
	m.reading.Observe(time.Since(began).Seconds())
}

// called counts a call to another member.
func (m *metrics) called(member string, began time.Time, err error) {
	switch {
	case m == nil || errors.Is(err, context.Canceled):
	case err != nil:
		m.callFails.WithLabelValues(member).Inc()
	default:
		m.calling.WithLabelValues(member).Observe(time.Since(began).Seconds())
	}
}

// watching counts watchers that open (1) and close (-1).
func (m *metrics) watching(n float64) {
	if m != nil {
		m.watchers.Add(n)
	}
}

func (m *metrics) gave(events int) {
	if m != nil {
		m.delivered.Add(float64(events))
	}
}

func (m *metrics) fellBehind(err error) {
	if m != nil && errors.Is(err, ErrCompacted) {
		m.slow.Inc()
	}
}

func (m *metrics) led() {
	if m != nil {
		m.leaders.Inc()
	}
}

// snapshot counts a snapshot that was "saved", that "failed" to be saved, or that was "restored".
func (m *metrics) snapshot(outcome string, err error) {
	if m == nil {
		return
	}
	if err != nil {
		outcome = "failed"
	}
	m.snapshots.WithLabelValues(outcome).Inc()
}

// timedDisk takes the time of writes to the log.
type timedDisk struct {
	disk
	metrics *metrics
}

func (d *timedDisk) StoreLog(entry *raft.Log) error { return d.StoreLogs([]*raft.Log{entry}) }

func (d *timedDisk) StoreLogs(entries []*raft.Log) error {
	began := time.Now()
	err := d.disk.StoreLogs(entries)
	d.metrics.syncing.Observe(time.Since(began).Seconds())
	if err != nil {
		d.metrics.syncFails.Inc()
	}
	return err
}

// timed returns the disk, with its time taken if somebody wants that.
func (m *metrics) timed(d disk) disk {
	if m == nil {
		return d
	}
	return &timedDisk{d, m}
}
