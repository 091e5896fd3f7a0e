package scheduler

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keelson-dev/keelson/apiserver/kind"
)

// Explanation is what the scheduler thinks of a unit on each target, at one moment.
type Explanation struct {
	Unit    string // namespace/name
	Bound   string // where it is bound already; the verdicts then ask whether it would fit once more
	Chosen  string // where it would go; empty when it fits nowhere
	Message string // the sentence of the pod's condition; empty when it fits
	Targets []TargetVerdict
}

// TargetVerdict is one target's part of an explanation.
type TargetVerdict struct {
	Target  string
	Fits    bool
	Reasons []Verdict        // every filter that objects, not only the first; empty when it fits
	Score   int64            // weighted sum; 0 when it does not fit
	Scores  map[string]int64 // what each plugin gave, before weights
}

// Explain answers, for any unit of the workload and without changing anything, each target's verdict and score. The
// object need not exist: what would happen to a pod can be asked before it is created. The error names a stage that
// failed.
func (s *Scheduler) Explain(obj kind.Instance) (*Explanation, error) {
	u := s.cfg.Workload.unit(obj)
	c := NewCycle(u, s.cache.take())
	e := &Explanation{Unit: strings.TrimPrefix(u.key.String(), "/"), Bound: u.target()}

	d := s.stages.decide(c, s.cfg.Weights)
	if d.Failed != nil {
		return nil, fmt.Errorf("explain %s: plugin %s: %s", e.Unit, d.Failed.Plugin, d.Failed.Reason)
	}
	var feasible []*Target
	for _, t := range c.Snapshot.Targets {
		tv := TargetVerdict{Target: t.Name}
		if d.whole != nil {
			tv.Reasons = []Verdict{*d.whole}
		} else {
			for _, p := range s.stages.filters {
				if v := p.stage.Filter(c, t).by(p.name); v != nil {
					tv.Reasons = append(tv.Reasons, *v)
				}
			}
		}
		if tv.Fits = len(tv.Reasons) == 0; tv.Fits {
			feasible = append(feasible, t)
		}
		e.Targets = append(e.Targets, tv)
	}
	if d.Target == nil {
		e.Message = d.Sentence(len(c.Snapshot.Targets))
		return e, nil
	}
	e.Chosen = d.Target.Name
	given, v := s.stages.score(c, feasible, s.cfg.Weights)
	if v != nil {
		return nil, fmt.Errorf("explain %s: plugin %s: %s", e.Unit, v.Plugin, v.Reason)
	}
	for i := range e.Targets {
		e.Targets[i].Score = given.total[e.Targets[i].Target]
		e.Targets[i].Scores = given.byPlugin[e.Targets[i].Target]
	}
	return e, nil
}

// String is the explanation for people, a line per target, the best first.
func (e *Explanation) String() string {
	var b strings.Builder
	switch {
	case e.Chosen != "":
		fmt.Fprintf(&b, "%s would go to %s\n", e.Unit, e.Chosen)
	default:
		fmt.Fprintf(&b, "%s: %s\n", e.Unit, e.Message)
	}
	sorted := slices.Clone(e.Targets)
	slices.SortStableFunc(sorted, func(a, b TargetVerdict) int {
		switch {
		case a.Fits != b.Fits && a.Fits:
			return -1
		case a.Fits != b.Fits:
			return 1
		}
		return int(b.Score - a.Score)
	})
	for _, t := range sorted {
		if t.Fits {
			fmt.Fprintf(&b, "  %s: fits, score %d\n", t.Target, t.Score)
			continue
		}
		fmt.Fprintf(&b, "  %s:", t.Target)
		for i, r := range t.Reasons {
			if i > 0 {
				b.WriteByte(';')
			}
			fmt.Fprintf(&b, " %s (%s)", r.Reason, r.Plugin)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
