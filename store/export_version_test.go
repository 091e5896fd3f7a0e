package store

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// NextRelease is the version of the formats that a release after this one, which tests make, supports.
const NextRelease = nextFormat

// WithRelease returns cfg for a member of another release.
func WithRelease(cfg Config, release uint64) Config {
	cfg.release = release
	return cfg
}

// WithoutGate returns cfg for a member that raises the version without asking the others.
func WithoutGate(cfg Config) Config {
	cfg.bugs.ungated = true
	return cfg
}

// Misapplying returns cfg for a member that does something else than the others with the same commands.
func Misapplying(cfg Config) Config {
	cfg.bugs.misapplies = true
	return cfg
}

// PutNext runs a command that only the next release has.
func (s *Store) PutNext(ctx context.Context, key string) error {
	r, err := s.propose(ctx, "next", command{kind: commandNext, name: key})
	if err != nil {
		return err
	}
	return r.err
}

// MetricNames returns the names of all metrics.
func MetricNames() (names []string) {
	s := &Store{metrics: newMetrics()}
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		(&storeCollector{s}).Describe(descs)
	}()
	for d := range descs {
		name, _, _ := strings.Cut(strings.TrimPrefix(d.String(), `Desc{fqName: "`), `"`)
		names = append(names, name)
	}
	return names
}
