package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// plan is what a run measures.
type plan struct {
	pods, manyPods int // held while requests are measured, and of the last row on memory; 0 leaves that out
	rounds         int
	round          time.Duration
	starts         int
	loads          []load // of requests for one object
	listClients    []int
	plain          bool // lists without gzip too
	watchers       int
	watched        int // connections of the watchers
	writes, pace   int // per round, and per second
	crds           int
	only           []string
	profile        string // directory
}

// load is how many clients there are and how many connections they share.
type load struct{ clients, connections int }

func (l load) String() string { return fmt.Sprintf("%d/%d", l.clients, l.connections) }

func fullPlan() plan {
	return plan{
		pods: 10_000, manyPods: 100_000, rounds: 5, round: 500 * time.Millisecond, starts: 5,
		loads: []load{{1, 1}, {64, 1}, {64, 64}}, listClients: []int{1, 16}, plain: true,
		watchers: 1000, watched: 10, writes: 200, pace: 500, crds: 5,
	}
}

// quickPlan takes a few minutes, most of them to create pods.
func quickPlan() plan {
	p := fullPlan()
	p.manyPods, p.rounds, p.round, p.starts, p.writes, p.crds = 0, 3, 300*time.Millisecond, 3, 50, 3
	p.loads, p.listClients, p.plain = []load{{1, 1}, {64, 64}}, []int{1, 4}, false
	return p
}

// tinyPlan has every kind of row, and is over in seconds.
func tinyPlan() plan {
	p := fullPlan()
	p.pods, p.manyPods, p.rounds, p.round, p.starts = 40, 60, 1, 5*time.Millisecond, 1
	p.loads, p.listClients = []load{{1, 1}, {4, 2}}, []int{1, 2}
	p.watchers, p.watched, p.writes, p.crds = 6, 2, 4, 1
	return p
}

// subjects are what -only can name.
func subjects() []string {
	return append(verbs(), "start", "list", "watch", "crd", "in-process", "memory")
}

// verbs are the requests for one object, in the order of the table.
func verbs() []string { return []string{"create", "get", "update", "patch", "delete"} }

// restrict leaves out what was not asked for; an empty string asks for everything.
func (p *plan) restrict(only string) error {
	if only == "" {
		return nil
	}
	p.only = strings.Split(only, ",")
	for _, name := range p.only {
		if !slices.Contains(subjects(), name) {
			return fmt.Errorf("bench: -only %s: there are %s", name, strings.Join(subjects(), ", "))
		}
	}
	return nil
}

func (p *plan) wants(name string) bool { return len(p.only) == 0 || slices.Contains(p.only, name) }

// serves says whether any row needs servers with pods.
func (p *plan) serves() bool {
	return slices.ContainsFunc(append(verbs(), "list", "watch", "crd", "in-process"), p.wants)
}
