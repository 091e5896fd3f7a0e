package store

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// gauge is a metric that is read from a store's Status. Those with a label have a value for each member.
type gauge struct {
	name, help string
	counter    bool
	value      func(*Status) float64
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// gauges are read when metrics are collected.
func gauges() []gauge {
	return []gauge{
		{"revision", "Newest revision.", false, func(s *Status) float64 { return float64(s.Revision) }},
		{"compact_revision", "Oldest revision that can be read.", false, func(s *Status) float64 { return float64(s.CompactRevision) }},
		{"keys", "Keys that exist.", false, func(s *Status) float64 { return float64(s.Keys) }},
		{"db_size_bytes", "Keys, values and all versions that are kept, in memory.", false, func(s *Status) float64 { return float64(s.Bytes) }},
		{"log_size_bytes", "Size of the Raft log on disk.", false, func(s *Status) float64 { return float64(s.FileBytes) }},
		{"log_free_bytes", "Part of the Raft log's files that is unused.", false, func(s *Status) float64 { return float64(s.FreeBytes) }},
		{"leases", "Leases that exist.", false, func(s *Status) float64 { return float64(s.Leases) }},
		{"watchable_events", "Events that can still be watched from.", false, func(s *Status) float64 { return float64(s.Events) }},
		{"commands_applied_total", "Commands that this member's state has run.", true, func(s *Status) float64 { return float64(s.Applied) }},
		{"raft_term", "Raft's term.", false, func(s *Status) float64 { return float64(s.Term) }},
		{"raft_commit_index", "Newest entry that Raft knows to be committed.", false, func(s *Status) float64 { return float64(s.Index) }},
		{"is_leader", "1 if this member leads.", false, func(s *Status) float64 { return number(s.Leader) }},
		{"has_leader", "1 if this member knows of one that leads.", false, func(s *Status) float64 { return number(s.Leader || s.LeaderName != "") }},
		{"format_version", "Version of the formats that the cluster uses.", false, func(s *Status) float64 { return float64(s.Version) }},
		{"supported_format_version", "Newest version of the formats that this release supports.", false, func(s *Status) float64 { return float64(s.SupportedVersion) }},
		{"serving", "1 unless the store has stopped, see keelson_store_stopped.", false, func(s *Status) float64 { return number(s.Failure == nil) }},
		{"applied_lag_commands", "Commands that the leader has run and this member has not, as of the last second.", false, func(s *Status) float64 {
			for _, m := range s.Members {
				if m.Name == s.Name {
					return float64(m.Lag)
				}
			}
			return 0
		}},
	}
}

// storeCollector collects a store's metrics.
type storeCollector struct{ store *Store }

var _ prometheus.Collector = (*storeCollector)(nil)

func (c *storeCollector) desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(namespace+name, help, labels, nil)
}

func (c *storeCollector) stopped() *prometheus.Desc {
	return c.desc("stopped", "1 with the reason for which the store has stopped: disk, diverged, version, closed.", "reason")
}

func (c *storeCollector) heard() *prometheus.Desc {
	return c.desc("member_heard", "1 if the leader has heard the member within the last seconds.", "member")
}

func (c *storeCollector) lag() *prometheus.Desc {
	return c.desc("member_lag_commands", "Commands that the leader has run and the member has not.", "member")
}

func (c *storeCollector) diverged() *prometheus.Desc {
	return c.desc("member_diverged", "1 if the member's data differ from the leader's.", "member")
}

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.store.metrics.all() {
		m.Describe(ch)
	}
	for _, g := range gauges() {
		ch <- c.desc(g.name, g.help)
	}
	for _, d := range []*prometheus.Desc{c.stopped(), c.heard(), c.lag(), c.diverged()} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c.store.metrics.all() {
		m.Collect(ch)
	}
	status := c.store.status()
	for _, g := range gauges() {
		kind := prometheus.GaugeValue
		if g.counter {
			kind = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(c.desc(g.name, g.help), kind, g.value(&status))
	}
	if status.Failure != nil {
		ch <- prometheus.MustNewConstMetric(c.stopped(), prometheus.GaugeValue, 1, reason(status.Failure))
	}
	for _, m := range status.Members {
		ch <- prometheus.MustNewConstMetric(c.heard(), prometheus.GaugeValue, number(m.Known), m.Name)
		ch <- prometheus.MustNewConstMetric(c.lag(), prometheus.GaugeValue, float64(m.Lag), m.Name)
		ch <- prometheus.MustNewConstMetric(c.diverged(), prometheus.GaugeValue, number(m.Diverged), m.Name)
	}
}

// reason names why a store has stopped.
func reason(err error) string {
	switch {
	case errors.Is(err, ErrDiverged):
		return "diverged"
	case errors.Is(err, ErrVersion):
		return "version"
	case errors.Is(err, ErrFailed):
		return "disk"
	default:
		return "closed"
	}
}
