package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// run measures a plan.
type run struct {
	plan
	kube        string // kube-apiserver's binary; empty leaves it out
	version     string // of kube-apiserver
	dir         string
	progress    io.Writer
	began       time.Time
	load        string // average when it began
	ended       error
	credentials *credentials
	report      report
}

func (r *run) say(format string, args ...any) {
	fmt.Fprintf(r.progress, "%4.0fs  %s\n", time.Since(r.began).Seconds(), fmt.Sprintf(format, args...))
}

// kinds are the servers in the order of the tables.
func (r *run) kinds() []string {
	if r.kube == "" {
		return []string{keelsonKind, floorKind}
	}
	return []string{kubeKind, keelsonKind, floorKind}
}

// stores are the kinds that keep anything.
func (r *run) stores() []string { return r.kinds()[:len(r.kinds())-1] }

func (r *run) all(ctx context.Context) (err error) {
	r.load = measure.LoadAverage()
	r.report.kinds = r.kinds()
	if r.credentials, err = newCredentials(); err != nil {
		return err
	}
	if r.wants("start") {
		if err := r.starting(ctx); err != nil {
			return err
		}
	}
	if r.serves() || r.wants("memory") {
		if err := r.serving(ctx); err != nil {
			return err
		}
	}
	if r.wants("memory") && r.manyPods > 0 {
		return r.many(ctx)
	}
	return nil
}

func (r *run) start(ctx context.Context, kind, name string, whole bool) (*contender, error) {
	return start(ctx, kind, filepath.Join(r.dir, name, kind), r.kube, r.credentials, whole)
}

// starting measures starts on empty directories, one after the other.
func (r *run) starting(ctx context.Context) error {
	one := func(f *footprint, kind string, whole bool) error {
		c, err := r.start(ctx, kind, "start", whole)
		if err != nil {
			return err
		}
		u, live, err := c.memory(ctx)
		f.starts = append(f.starts, c.started)
		f.at(0, u, live)
		return errors.Join(err, c.stop(), os.RemoveAll(filepath.Join(r.dir, "start")))
	}
	for _, kind := range r.stores() {
		f := r.report.footprint(kind)
		for range r.starts {
			if err := one(f, kind, false); err != nil {
				return err
			}
		}
		r.say("%s is ready after %v", kind, measure.Median(f.starts).Round(time.Millisecond))
	}
	f := r.report.footprint(wholeName)
	for range r.starts {
		if err := one(f, keelsonKind, true); err != nil {
			return err
		}
	}
	return nil
}

// serving measures everything that needs servers with pods.
func (r *run) serving(ctx context.Context) (err error) {
	var all []*contender
	defer func() {
		for _, c := range all {
			err = errors.Join(err, c.stop())
		}
		err = errors.Join(err, os.RemoveAll(filepath.Join(r.dir, "serving")))
	}()
	for _, kind := range r.kinds() {
		c, err := r.start(ctx, kind, "serving", false)
		if err != nil {
			return err
		}
		all = append(all, c)
		if kind == floorKind {
			continue
		}
		if err := r.filled(ctx, c, 0, r.pods); err != nil {
			return err
		}
	}
	if err := r.teachFloor(ctx, all[len(all)-2], all[len(all)-1]); err != nil {
		return err
	}
	for _, l := range r.loads {
		if err := r.requests(ctx, all, l); err != nil {
			return err
		}
	}
	if r.wants("list") {
		if err := r.teachFloor(ctx, all[len(all)-2], all[len(all)-1]); err != nil { // requests have changed the pods
			return err
		}
		for _, form := range listForms() {
			for _, callers := range r.listClients {
				for _, plain := range []bool{false, true} {
					if plain && !r.plain {
						continue
					}
					if err := r.lists(ctx, all, form, callers, plain); err != nil {
						return err
					}
				}
			}
		}
	}
	if r.wants("watch") {
		if err := r.watch(ctx, all); err != nil {
			return err
		}
	}
	if r.wants("crd") {
		if err := r.definitions(ctx, all[:len(all)-1]); err != nil {
			return err
		}
	}
	if r.wants("in-process") {
		return r.inProcess(ctx, all[len(all)-2])
	}
	return nil
}

// filled creates pods from..to in a server, and measures its memory before and after.
func (r *run) filled(ctx context.Context, c *contender, from, to int) error {
	d, err := c.dial(4, false)
	if err != nil {
		return err
	}
	f := r.report.footprint(c.kind)
	u, live, err := c.memory(ctx)
	if err != nil {
		return errors.Join(err, d.close())
	}
	f.at(0, u, live)
	begin := time.Now()
	if from == 0 {
		err = prepare(ctx, d)
		for i := 0; i < watchedPods && err == nil; i++ {
			err = fillOne(ctx, d, 0, watchedNamespace, i)
		}
	}
	if err == nil {
		err = fill(ctx, d, from, to)
	}
	if err = errors.Join(err, d.close()); err != nil {
		return fmt.Errorf("bench: create pods in %s: %w", c.kind, err)
	}
	u, live, err = c.memory(ctx)
	f.at(to, u, live)
	r.say("%s has %d pods after %v, and %s in memory", c.kind, to, time.Since(begin).Round(time.Millisecond), measure.Bytes(float64(u.Resident)))
	if err == nil && r.profile != "" {
		err = c.heap(filepath.Join(r.profile, fmt.Sprintf("%d-pods.heap", to)))
	}
	return err
}

// many measures memory with many pods, on servers that have done nothing else.
func (r *run) many(ctx context.Context) error {
	for _, kind := range r.stores() {
		c, err := r.start(ctx, kind, "many", false)
		if err != nil {
			return err
		}
		err = r.filled(ctx, c, 0, r.manyPods)
		if err = errors.Join(err, c.stop(), os.RemoveAll(filepath.Join(r.dir, "many"))); err != nil {
			return err
		}
	}
	return nil
}

// teachFloor gives the floor keelson's answers.
func (r *run) teachFloor(ctx context.Context, from, to *contender) (err error) {
	transport, err := from.transport()
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	d, err := from.dial(1, false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	var answers Answers
	if answers.Pod, err = from.fetch(ctx, transport, protobufType, "", "/api/v1/namespaces/"+namespace+"/pods/"+podName(0)); err != nil {
		return err
	}
	if answers.Lists, err = from.capture(ctx, transport); err != nil {
		return err
	}
	if answers.Frame, err = from.frame(ctx, d); err != nil {
		return err
	}
	pod, err := d.of(0).RESTClient().Get().Namespace(namespace).Resource("pods").Name(podName(0)).SetHeader("Accept", jsonType).DoRaw(ctx)
	r.report.podProtobuf, r.report.podJSON = len(answers.Pod.Body), len(pod)
	if err != nil {
		return err
	}
	return to.own[0].RPC.Call("Member.Answer", answers, &struct{}{})
}

// requests measures all verbs under one load.
func (r *run) requests(ctx context.Context, all []*contender, l load) (err error) {
	clients := make([]*dialed, len(all))
	requesters := make([]*requester, len(all))
	defer func() {
		for _, d := range clients {
			err = errors.Join(err, d.close())
		}
	}()
	for i, c := range all {
		if clients[i], err = c.dial(l.connections, false); err != nil {
			return err
		}
		requesters[i] = newRequester(c.kind, clients[i], l.clients, r.pods)
		if err := requesters[i].own(ctx); err != nil {
			return err
		}
	}
	for _, together := range [][]string{{"create", "delete"}, {"get"}, {"update"}, {"patch"}} {
		if !slices.ContainsFunc(together, r.wants) {
			continue
		}
		var rows []*row // a delete needs what a create has made, and a create leaves nothing
		for _, verb := range together {
			rows = append(rows, &row{subject: "request", operation: verb, load: l})
		}
		err := r.rounds(all, rows, func(i, _ int) (samples []measure.Sample, err error) {
			for n, line := range rows {
				received := clients[i].received.Load()
				s, err := all[i].spent(func() (measure.Sample, error) {
					return requesters[i].run(ctx, line.operation, l.clients, r.round)
				})
				if err != nil {
					return nil, err
				}
				rows[n].size(i, (clients[i].received.Load()-received)/int64(max(1, s.Ops)))
				samples = append(samples, s)
			}
			return samples, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rounds has the servers take turns. Each turn measures all rows. The first round is not counted.
func (r *run) rounds(all []*contender, rows []*row, turn func(kind, round int) ([]measure.Sample, error)) error {
	for i := range r.plan.rounds + 1 {
		for n := range all {
			kind := (n + i) % len(all)
			if r.profile != "" && i == 1 {
				if err := all[kind].profile(filepath.Join(r.profile, rows[0].file(all[kind].kind))); err != nil {
					return err
				}
			}
			samples, err := turn(kind, i)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", rows[0], all[kind].kind, err)
			}
			if i == 0 {
				continue
			}
			for n, line := range rows {
				line.samples[kind] = append(line.samples[kind], samples[n])
			}
		}
	}
	if r.profile != "" {
		for _, c := range all {
			if err := c.profile(""); err != nil {
				return err
			}
		}
	}
	for _, line := range rows {
		r.report.rows = append(r.report.rows, line)
		r.say("%s", r.report.brief(line))
	}
	return nil
}

// inProcess measures the client in keelson's process.
func (r *run) inProcess(ctx context.Context, c *contender) error {
	const callers = 64
	for _, operation := range []string{"create", "get"} {
		line := &row{subject: "in-process", operation: operation, load: load{clients: callers}}
		job := Job{Operation: operation, Callers: callers, Pods: r.pods, Duration: r.round}
		for i := range r.plan.rounds + 1 {
			if r.profile != "" && i == 1 {
				if err := c.profile(filepath.Join(r.profile, line.file(c.kind))); err != nil {
					return err
				}
			}
			s, err := c.spent(func() (s measure.Sample, err error) {
				err = c.own[0].RPC.Call("Member.Run", job, &s)
				return s, err
			})
			if err := errors.Join(err, ctx.Err()); err != nil {
				return err
			}
			if i > 0 {
				line.samples[r.report.index(keelsonKind)] = append(line.samples[r.report.index(keelsonKind)], s)
			}
		}
		if r.profile != "" {
			if err := c.profile(""); err != nil {
				return err
			}
		}
		r.report.rows = append(r.report.rows, line)
		r.say("%s", r.report.brief(line))
	}
	return nil
}

// file is where a row's profile goes.
func (r *row) file(kind string) string {
	return strings.NewReplacer("/", "x", " ", "-").Replace(fmt.Sprintf("%s-%s-%v.cpu", r, kind, r.plain))
}
