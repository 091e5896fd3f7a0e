package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// plan is what a run measures.
type plan struct {
	keys, manyKeys int // held while operations are measured, and of the last rows on memory and restart
	rounds         int
	round          time.Duration
	members        []int
	loads          map[int][]load // by members
	operations     []string
	audiences      []load // Clients are watchers
	events         int    // per round, about
	inProcess      bool
	footprint      bool
	only           []string
	profile        string // directory
	busy           bool
}

// load is how many clients there are and how many connections to each member they share.
type load struct{ clients, connections int }

func fullPlan() plan {
	return plan{
		keys: 100_000, manyKeys: 1_000_000, rounds: 5, round: 200 * time.Millisecond, members: []int{1, 3},
		loads: map[int][]load{
			1: {{1, 1}, {100, 1}, {100, 100}, {1000, 1}, {1000, 100}},
			3: {{1, 1}, {100, 100}, {1000, 100}},
		},
		operations: []string{"put", "get", "serializable get", "range", "page", "txn"},
		audiences:  []load{{1, 1}, {100, 1}, {1000, 1}, {1000, 100}, {10_000, 100}},
		events:     100_000, inProcess: true, footprint: true,
	}
}

// busyPlan lacks what takes long where others use the machine too: most ranges, and ten thousand watchers of three members.
func busyPlan() plan {
	p := fullPlan()
	p.rounds, p.events, p.busy = 3, 50_000, true
	p.loads[3] = []load{{1, 1}, {100, 100}, {1000, 100}}
	return p
}

// quickPlan takes about a minute.
func quickPlan() plan {
	p := fullPlan()
	p.keys, p.manyKeys, p.rounds, p.round, p.events = 10_000, 20_000, 3, 100*time.Millisecond, 20_000
	p.loads = map[int][]load{1: {{1, 1}, {100, 100}, {1000, 100}}, 3: {{100, 100}}}
	p.audiences = []load{{1, 1}, {100, 1}, {1000, 100}}
	return p
}

// tinyPlan has every kind of row, and is over in seconds.
func tinyPlan() plan {
	p := fullPlan()
	p.keys, p.manyKeys, p.rounds, p.round, p.events = 200, 400, 2, 10*time.Millisecond, 40
	p.loads = map[int][]load{1: {{1, 1}, {4, 2}}, 3: {{4, 2}}}
	p.audiences = []load{{1, 1}, {4, 2}}
	return p
}

// restrict leaves out what was not asked for; empty strings ask for everything.
func (p *plan) restrict(only, members, clients string) error {
	known := append(slices.Clone(p.operations), "watch", "in-process", "footprint")
	if only != "" {
		p.only = strings.Split(only, ",")
		for _, name := range p.only {
			if !slices.Contains(known, name) {
				return fmt.Errorf("bench: -only %s: there are %s", name, strings.Join(known, ", "))
			}
		}
	}
	p.operations = slices.DeleteFunc(p.operations, func(name string) bool { return !p.wants(name) })
	p.inProcess, p.footprint = p.wants("in-process"), p.wants("footprint")
	if !p.wants("watch") {
		p.audiences = nil
	}
	if members != "" {
		p.members = slices.DeleteFunc(p.members, func(n int) bool { return fmt.Sprint(n) != members })
		if len(p.members) == 0 {
			return fmt.Errorf("bench: -members %s: there are 1 and 3", members)
		}
	}
	if clients != "" {
		for n := range p.loads {
			p.loads[n] = slices.DeleteFunc(p.loads[n], func(l load) bool { return !strings.HasPrefix(l.String(), clients) })
		}
		p.audiences = slices.DeleteFunc(p.audiences, func(l load) bool { return !strings.HasPrefix(l.String(), clients) })
	}
	return nil
}

func (p *plan) wants(name string) bool { return len(p.only) == 0 || slices.Contains(p.only, name) }

func (l load) String() string { return fmt.Sprintf("%d/%d", l.clients, l.connections) }

// puts returns how many puts make about the wanted events for so many watchers.
func (p *plan) puts(watchers int) int { return min(max(p.events/watchers, 10), max(p.events/20, 10)) }
