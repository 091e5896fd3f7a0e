package scheduler

import (
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Cycle is one attempt to place one unit. Stages use it to hand values to later stages.
type Cycle struct {
	Unit     *Unit
	Snapshot *Snapshot

	state map[reflect.Type]any
}

// NewCycle makes a cycle, for tests of stages.
func NewCycle(u *Unit, s *Snapshot) *Cycle {
	return &Cycle{Unit: u, Snapshot: s, state: make(map[reflect.Type]any)}
}

// Save keeps a value for the later stages of a cycle. The type is the key: use one of the plugin's own.
func Save[T any](c *Cycle, v T) { c.state[reflect.TypeFor[T]()] = v }

// Load gives what was saved; the zero value and false if nothing was.
func Load[T any](c *Cycle) (T, bool) {
	v, ok := c.state[reflect.TypeFor[T]()].(T)
	return v, ok
}

// Decision is the outcome of a cycle's pure part.
type Decision struct {
	Target   *Target             // nil: none fits
	Scores   map[string]int64    // of the targets that fit, by name; empty when only one does
	Rejected map[string]*Verdict // of the others, by name
	Failed   *Verdict            // a stage went wrong; then there is no target

	whole *Verdict // PreFilter's objection, which speaks for all targets
}

// decide runs PreFilter to Score. It is pure: equal arguments give equal decisions, ties included.
func (s *stages) decide(c *Cycle, weights map[string]int64) Decision {
	d := Decision{Rejected: make(map[string]*Verdict)}
	for _, p := range s.preFilters {
		v := p.stage.PreFilter(c).by(p.name)
		if v == nil {
			continue
		}
		if v.Code == Failed {
			d.Failed = v
			return d
		}
		d.whole = v
		for _, t := range c.Snapshot.Targets {
			d.Rejected[t.Name] = v
		}
		return d
	}
	var feasible []*Target
	for _, t := range c.Snapshot.Targets {
		v := s.filter(c, t)
		switch {
		case v == nil:
			feasible = append(feasible, t)
		case v.Code == Failed:
			d.Failed = v
			return d
		default:
			d.Rejected[t.Name] = v
		}
	}
	switch len(feasible) {
	case 0:
		return d
	case 1:
		d.Target = feasible[0]
		return d
	}
	scores, v := s.score(c, feasible, weights)
	if v != nil {
		d.Failed = v
		return d
	}
	d.Scores = scores.total
	d.Target = best(c.Unit, feasible, scores.total)
	return d
}

func (s *stages) filter(c *Cycle, t *Target) *Verdict {
	for _, p := range s.filters {
		if v := p.stage.Filter(c, t).by(p.name); v != nil {
			return v
		}
	}
	return nil
}

// scores are the weighted sums and what each plugin gave, by target.
type scores struct {
	total    map[string]int64
	byPlugin map[string]map[string]int64
}

func (s *stages) score(c *Cycle, feasible []*Target, weights map[string]int64) (scores, *Verdict) {
	out := scores{total: make(map[string]int64, len(feasible)), byPlugin: make(map[string]map[string]int64, len(feasible))}
	for _, t := range feasible {
		out.total[t.Name] = 0
		out.byPlugin[t.Name] = make(map[string]int64, len(s.scores))
	}
	for _, p := range s.preScores {
		if v := p.stage.PreScore(c, feasible).by(p.name); v != nil {
			return out, v
		}
	}
	given := make([]int64, len(feasible))
	for _, p := range s.scores {
		for i, t := range feasible {
			given[i] = p.stage.Score(c, t)
		}
		if n, ok := p.stage.(Normalizer); ok {
			n.Normalize(c, given)
		}
		weight, ok := weights[p.name]
		if !ok {
			weight = 1
		}
		for i, t := range feasible {
			if given[i] < 0 || given[i] > MaxScore {
				return out, Fail(fmt.Errorf("plugin %s scored %d on %s, want 0 to %d", p.name, given[i], t.Name, MaxScore)).by(p.name)
			}
			out.byPlugin[t.Name][p.name] = given[i]
			out.total[t.Name] += weight * given[i]
		}
	}
	return out, nil
}

// best is a target with the highest score. Ties go by a hash of unit and target, so that equal units spread and the
// decision can be repeated.
func best(u *Unit, feasible []*Target, total map[string]int64) *Target {
	return slices.MaxFunc(feasible, func(a, b *Target) int {
		if d := total[a.Name] - total[b.Name]; d != 0 {
			return int(d)
		}
		ha, hb := tie(u, a), tie(u, b)
		switch {
		case ha < hb:
			return -1
		case ha > hb:
			return 1
		}
		return strings.Compare(a.Name, b.Name)
	})
}

func tie(u *Unit, t *Target) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(u.Object.GetUID()))
	_, _ = h.Write([]byte(u.key.String()))
	_, _ = h.Write([]byte(t.Name))
	return h.Sum64()
}

// rejecters are the plugins that stood in the way, sorted.
func (d *Decision) rejecters() []string {
	set := make(map[string]struct{})
	for _, v := range d.Rejected {
		set[v.Plugin] = struct{}{}
	}
	return slices.Sorted(maps.Keys(set))
}

// Sentence says why nothing fits, in the form that Kubernetes' users know: how many of how many, and each reason with
// its count.
func (d *Decision) Sentence(targets int) string {
	if d.whole != nil && targets > 0 {
		return fmt.Sprintf("0/%d nodes are available: %s.", targets, d.whole.Reason)
	}
	counts := make(map[string]int)
	for _, v := range d.Rejected {
		for reason := range strings.SplitSeq(v.Reason, ", ") {
			counts[reason]++
		}
	}
	if len(counts) == 0 {
		return "no nodes are available to schedule pods: there are none"
	}
	parts := make([]string, 0, len(counts))
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", targets, strings.Join(parts, ", "))
}
