package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// run measures a plan.
type run struct {
	plan
	dir      string
	progress io.Writer
	began    time.Time
	ended    error
	report   report
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.progress, "%4.0fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

func (r *run) all(ctx context.Context) error {
	for _, members := range r.members {
		if err := r.cluster(ctx, members); err != nil {
			return err
		}
	}
	if r.inProcess {
		if err := r.within(ctx); err != nil {
			return err
		}
	}
	if r.footprint {
		return r.footprints(ctx)
	}
	return nil
}

// kinds returns the servers in the order of the table.
func kinds() [3]string { return [...]string{"etcd", "keelson", "floor"} }

// cluster measures what goes over gRPC, with so many members.
func (r *run) cluster(ctx context.Context, members int) (err error) {
	if len(r.operations) == 0 && len(r.audiences) == 0 {
		return nil
	}
	r.say("starting %d of each server, with %d keys", members, r.keys)
	dir := filepath.Join(r.dir, fmt.Sprint(members))
	clusters := make([]*cluster, len(kinds()))
	defer func() {
		for _, c := range clusters {
			if c != nil {
				err = errors.Join(err, c.stop())
			}
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	for i, kind := range kinds() {
		if clusters[i], err = startCluster(kind, members, dir, r.keys, false); err != nil {
			return err
		}
	}
	keys := makeKeys(keyPrefix, r.keys)
	for _, c := range clusters {
		t, err := dialRemote(c.endpoints(), 1)
		if err != nil {
			return err
		}
		err = fillAll(ctx, t, keys)
		if err := errors.Join(err, t.close()); err != nil {
			return fmt.Errorf("bench: fill %s: %w", c.kind, err)
		}
	}
	for _, l := range r.loads[members] {
		targets, err := dialAll(clusters, l.connections)
		if err != nil {
			return err
		}
		for _, name := range r.operations {
			if !r.fits(name, l) {
				continue
			}
			row := row{members: members, operation: name, load: l}
			err = r.rounds(&row, func(kind int, round int) (measure.Sample, error) {
				op, err := newOperation(name, targets[kind], keys)
				if err != nil {
					return measure.Sample{}, err
				}
				return clusters[kind].spent(func() (measure.Sample, error) { return measure.Drive(ctx, l.clients, r.round, 1, op) })
			}, clusters)
			if err != nil {
				break
			}
		}
		if err := errors.Join(err, closeAll(targets)); err != nil {
			return err
		}
	}
	for _, l := range r.audiences {
		if members > 1 && !r.fits("watch", l) {
			continue
		}
		if err := r.watch(ctx, members, l, clusters); err != nil {
			return err
		}
	}
	return nil
}

// fits leaves out rows that take long and say nothing that others have not said: a thousand clients wait seconds for
// their ranges, whatever they share.
func (p *plan) fits(operation string, l load) bool {
	switch operation {
	case "page":
		return l.clients == 1 || l.clients == 100 && l.connections == 1 && !p.busy
	case "range":
		return l.clients == 1 || !p.busy && (l.connections > 1 || l.clients <= 100)
	case "watch":
		return l.clients <= 1000 || !p.busy
	}
	return true
}

func dialAll(clusters []*cluster, connections int) (targets []*remote, err error) {
	for _, c := range clusters {
		t, err := dialRemote(c.endpoints(), connections)
		if err != nil {
			return nil, errors.Join(err, closeAll(targets))
		}
		targets = append(targets, t)
	}
	return targets, nil
}

func closeAll(targets []*remote) error {
	var err error
	for _, t := range targets {
		err = errors.Join(err, t.close())
	}
	return err
}

// rounds has the servers take turns. The first round is not counted.
func (r *run) rounds(row *row, round func(kind, round int) (measure.Sample, error), clusters []*cluster) error {
	n := len(clusters)
	row.samples = make([][]measure.Sample, n)
	for i := range r.plan.rounds + 1 {
		for turn := range n {
			kind := (turn + i) % n
			if r.profile != "" && i == 1 {
				file := strings.ReplaceAll(fmt.Sprintf("%d-%s-%s-%s.cpu", row.members, row.operation, row.load, clusters[kind].kind), "/", "x")
				if err := clusters[kind].members[0].RPC.Call("Member.Profile", filepath.Join(r.profile, file), &struct{}{}); err != nil {
					return err
				}
			}
			s, err := round(kind, i)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", row, clusters[kind].kind, err)
			}
			if i > 0 {
				row.samples[kind] = append(row.samples[kind], s)
			}
		}
	}
	if r.profile != "" {
		for _, c := range clusters {
			if err := c.members[0].RPC.Call("Member.Profile", "", &struct{}{}); err != nil {
				return err
			}
		}
	}
	r.say("%s", row.brief())
	r.report.rows = append(r.report.rows, *row)
	return nil
}

// watch measures puts that many watchers see.
func (r *run) watch(ctx context.Context, members int, l load, clusters []*cluster) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	targets, err := dialAll(clusters, l.connections)
	if err != nil {
		cancel()
		return err
	}
	audiences := make([]*audience, len(targets))
	defer func() {
		cancel()
		err = errors.Join(err, closeAll(targets))
		for _, a := range audiences {
			if a != nil {
				a.readers.Wait()
			}
		}
	}()
	prefix := fmt.Sprintf("%s%d/", busyPrefix, l)
	keys := makeKeys(prefix, 100)
	for i, t := range targets {
		if audiences[i], err = gather(ctx, t, l.clients, prefix); err != nil {
			return fmt.Errorf("bench: %d watchers of %s: %w", l.clients, clusters[i].kind, err)
		}
	}
	puts := r.puts(l.clients)
	row := row{members: members, operation: "watch", load: l}
	return r.rounds(&row, func(kind int, _ int) (measure.Sample, error) {
		return clusters[kind].spent(func() (measure.Sample, error) {
			s, _, err := audiences[kind].perform(ctx, targets[kind], l.clients, puts, 16, keys)
			return s, err
		})
	}, clusters)
}

// setup is what in-process rows are measured on.
type setup struct {
	members int // in one process
	log     string
}

// within measures the libraries without gRPC. Its rows have no floor.
func (r *run) within(ctx context.Context) error {
	for _, at := range []setup{{members: 1}, {1, boltLog}, {members: 3}, {3, boltLog}} {
		if err := r.withinAt(ctx, at); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (r *run) withinAt(ctx context.Context, at setup) (err error) {
	dir := filepath.Join(r.dir, "within")
	r.say("in-process, with %d member(s), log %q and %d keys", at.members, at.log, r.keys)
	clusters := make([]*cluster, 2)
	defer func() {
		for _, c := range clusters {
			if c != nil {
				err = errors.Join(err, c.stop())
			}
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	for i := range clusters {
		if clusters[i], err = startTogether(kinds()[i], at, dir, r.keys); err != nil {
			return err
		}
		if err = clusters[i].members[0].RPC.Call("Member.Fill", r.keys, &struct{}{}); err != nil {
			return err
		}
	}
	for _, j := range r.jobs(at) {
		row := row{members: at.members, log: at.log, operation: j.Operation, load: load{clients: j.Callers}, inProcess: true, job: j}
		row.writing = make([][]float64, len(clusters))
		err = r.rounds(&row, func(kind, round int) (measure.Sample, error) {
			var done JobDone
			s, err := clusters[kind].spent(func() (measure.Sample, error) {
				err := clusters[kind].members[0].RPC.Call("Member.Run", j, &done)
				return done.Sample, err
			})
			if round > 0 && j.Operation == "watch" {
				row.writing[kind] = append(row.writing[kind], float64(j.Puts)/done.Writing.Seconds())
			}
			return s, err
		}, clusters)
		if err != nil {
			return err
		}
	}
	return nil
}

// jobs returns the rows of a setup: all of them with one member and the default log store, puts elsewhere.
func (r *run) jobs(at setup) []Job {
	var jobs []Job
	add := func(operation string, callers ...int) {
		for _, n := range callers {
			jobs = append(jobs, Job{Operation: operation, Callers: n, Keys: r.keys, Duration: r.round})
		}
	}
	switch {
	case at.members > 1:
		add("put", 1000)
		return jobs
	case at.log != "":
		add("put", 1, 1000)
		return jobs
	}
	add("put", 1, 100, 1000)
	add("txn", 1000)
	add("get", 1, 100, 1000)
	add("serializable get", 1, 100, 1000)
	add("range", 1, 100)
	many, puts := 1000, r.puts(1000)
	if r.keys < many {
		many, puts = 10, 10
	}
	for _, w := range []Job{{Watchers: 0}, {Watchers: 1}, {Watchers: many}, {Watchers: 1, Idle: 10 * many}} {
		w.Operation, w.Callers, w.Puts = "watch", 100, 10*puts // so many that one sync serves many puts
		jobs = append(jobs, w)
	}
	return jobs
}
