package scheduler

import (
	"context"
	"time"
)

// Plugin is a set of stages under a name, which explanations and weights use. A plugin implements one or more of the
// stage interfaces of this file.
type Plugin interface{ Name() string }

// PreFilter looks at the unit once per cycle, before any target.
type PreFilter interface{ PreFilter(c *Cycle) *Verdict }

// Filter says whether the unit fits a target; nil means that it does.
type Filter interface {
	Filter(c *Cycle, t *Target) *Verdict
}

// PostFilter runs when no target fits. It may make room (by preemption, say) and nominate a target, which is kept for
// the unit's next cycle as a hint; an empty name means that it could do nothing.
type PostFilter interface {
	PostFilter(ctx context.Context, c *Cycle, rejected map[string]*Verdict) (nominated string, v *Verdict)
}

// PreScore looks at the fitting targets once per cycle.
type PreScore interface {
	PreScore(c *Cycle, feasible []*Target) *Verdict
}

// Score rates a fitting target from 0 to MaxScore, or in any unit if the plugin is a Normalizer too.
type Score interface {
	Score(c *Cycle, t *Target) int64
}

// Normalizer brings a plugin's scores of one cycle, in place, into the range from 0 to MaxScore.
type Normalizer interface {
	Normalize(c *Cycle, scores []int64)
}

// Reserve keeps something for the unit on the chosen target. Unreserve undoes it, also when it never ran or failed.
type Reserve interface {
	Reserve(ctx context.Context, c *Cycle, t *Target) *Verdict
	Unreserve(ctx context.Context, c *Cycle, t *Target)
}

// Permit allows (nil), rejects, or waits: with a verdict of Code Wait the unit is bound once every waiting plugin has
// called Scheduler.Allow, and rejected when the duration is over.
type Permit interface {
	Permit(ctx context.Context, c *Cycle, t *Target) (*Verdict, time.Duration)
}

// PreBind does what must be done before the unit is bound.
type PreBind interface {
	PreBind(ctx context.Context, c *Cycle, t *Target) *Verdict
}

// Bind tells the API server. A verdict of Code Skip leaves it to the next binder; the workload's own comes last.
type Bind interface {
	Bind(ctx context.Context, c *Cycle, t *Target) *Verdict
}

// PostBind is told of a unit that was bound.
type PostBind interface {
	PostBind(ctx context.Context, c *Cycle, t *Target)
}

// Requeuer says which changes could make a unit fit that the plugin rejected. A plugin that is none is asked again
// after any change.
type Requeuer interface {
	Requeue(u *Unit, e Event) bool
}

// Event is a change of the cluster that may let a parked unit fit.
type Event struct {
	Kind EventKind
	Old  *Target // TargetChanged
	New  *Target // TargetAdded, TargetChanged
	Unit *Unit   // UnitGone: the one that left; UnitChanged: the one that was bound or changed
}

// EventKind says what happened.
type EventKind int

// The kinds of events.
const (
	TargetAdded EventKind = iota
	TargetChanged
	UnitGone    // a bound unit was deleted or finished: its resources are free
	UnitChanged // a unit was bound, or a bound one changed
)

// MaxScore is the best score a plugin gives.
const MaxScore int64 = 100

// stages are the plugins by what they implement, in the order in which they were given.
type stages struct {
	all         []Plugin
	preFilters  []named[PreFilter]
	filters     []named[Filter]
	postFilters []named[PostFilter]
	preScores   []named[PreScore]
	scores      []named[Score]
	reserves    []named[Reserve]
	permits     []named[Permit]
	preBinds    []named[PreBind]
	binds       []named[Bind]
	postBinds   []named[PostBind]
}

type named[S any] struct {
	name  string
	stage S
}

func pick[S any](plugins []Plugin) []named[S] {
	var out []named[S]
	for _, p := range plugins {
		if s, ok := p.(S); ok {
			out = append(out, named[S]{p.Name(), s})
		}
	}
	return out
}

func newStages(plugins []Plugin) stages {
	return stages{
		all:         plugins,
		preFilters:  pick[PreFilter](plugins),
		filters:     pick[Filter](plugins),
		postFilters: pick[PostFilter](plugins),
		preScores:   pick[PreScore](plugins),
		scores:      pick[Score](plugins),
		reserves:    pick[Reserve](plugins),
		permits:     pick[Permit](plugins),
		preBinds:    pick[PreBind](plugins),
		binds:       pick[Bind](plugins),
		postBinds:   pick[PostBind](plugins),
	}
}

func (s *stages) plugin(name string) Plugin {
	for _, p := range s.all {
		if p.Name() == name {
			return p
		}
	}
	return nil
}
