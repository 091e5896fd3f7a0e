package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/keelson-dev/keelson/bench/internal/measure"
)

// section is this program's part of the file that -write names.
const section = "apiserver"

func main() {
	if measure.IsMember() {
		if err := serveMember(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench: member:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("apiserver", flag.ContinueOnError)
	kube := flags.String("kube-apiserver", "", "binary to compare with; empty means to build one from its module, none to leave it out")
	quick := flags.Bool("quick", false, "measure less, within a few minutes")
	tiny := flags.Bool("tiny", false, "measure so little that the figures say nothing, within seconds")
	only := flags.String("only", "", "measure only these, with commas between: "+strings.Join(subjects(), ", "))
	rounds := flags.Int("rounds", 0, "rounds of each row; 0 means 5")
	dir := flags.String("dir", "", "keep the servers' files below this directory while they run; empty means the system's temporary one")
	write := flags.String("write", "", "write the tables into their section of this file too, or at its end")
	profile := flags.String("profile", "", "write processor profiles of keelson and the floor, and of keelson's memory, into this directory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r := run{plan: fullPlan(), progress: os.Stderr, began: time.Now()}
	switch {
	case *tiny:
		r.plan = tinyPlan()
	case *quick:
		r.plan = quickPlan()
	}
	if *rounds > 0 {
		r.plan.rounds = *rounds
	}
	if err := r.restrict(*only); err != nil {
		return err
	}
	if r.profile = *profile; r.profile != "" {
		if r.profile, err = filepath.Abs(r.profile); err != nil {
			return err
		}
	}
	switch *kube {
	case "none":
	case "":
		if r.kube, err = buildKube(ctx, os.Stderr); err != nil {
			return err
		}
	default:
		r.kube = *kube
	}
	if r.kube != "" {
		if r.version, err = kubeVersion(ctx, r.kube); err != nil {
			return fmt.Errorf("bench: -kube-apiserver %s: %w", r.kube, err)
		}
	}
	r.began = time.Now()
	if r.dir, err = os.MkdirTemp(*dir, "keelson-bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	r.ended = r.all(ctx) // what was measured until then is worth telling
	text := r.document(args)
	fmt.Print(text)
	if *write == "" {
		return r.ended
	}
	old, err := os.ReadFile(*write)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return errors.Join(r.ended, err)
	}
	return errors.Join(r.ended, os.WriteFile(*write, []byte(measure.WithSection(string(old), section, text)), 0o644))
}

// document is the section of docs/benchmarks.md.
func (r *run) document(args []string) string {
	early, kube := "", "left out"
	if r.ended != nil {
		why, _, _ := strings.Cut(r.ended.Error(), "\n")
		early = "The run ended early: " + why + "\n\n"
	}
	if r.kube != "" {
		kube = r.version + " with etcd " + moduleVersion("go.etcd.io/etcd/server/v3")
	}
	for i := range args { // the paths of this machine say nothing elsewhere
		if filepath.IsAbs(args[i]) {
			args[i] = "PATH"
		}
	}
	return fmt.Sprintf(`## Keelson's API server beside kube-apiserver

Written by `+"`go -C bench run ./apiserver %s`"+` on %s, which took %s; its doc.go says how each figure is measured.

- machine: %s, %d processors, %s/%s, %s; load average %s when the run began, %s when it ended
- kube-apiserver: %s; client: client-go %s, for all servers
- objects: pods of %d templates, one in protobuf %d bytes and in JSON %d as keelson answers it; %d of them while requests are measured
- the typed client decodes each answer and speaks protobuf (patches: strategic merge, JSON); lists are not decoded; without
  gzip where the row says plain, else answers from 128 KiB on are compressed, and the client decompresses them
- clients/connections: so many callers, each with one request at a time, over so many connections (HTTP/2, TLS)
- rates, times and ratios are medians of %d rounds of %v; cpu is processor time of all processes of a server per request
- targets of requests: cpu at most a third of kube-apiserver's; at least 0.70 of the floor; at %d clients 4 times
  kube-apiserver's rate, or 0.70 of what the floor allows. The last column names those that a row misses

%s%s`, strings.Join(args, " "), r.began.Format("2006-01-02"), time.Since(r.began).Round(time.Second), measure.Processor(), runtime.NumCPU(),
		runtime.GOOS, runtime.GOARCH, runtime.Version(), r.load, measure.LoadAverage(), kube, moduleVersion("k8s.io/client-go"),
		templates, r.report.podProtobuf, r.report.podJSON, r.pods, r.plan.rounds, r.round, r.loads[len(r.loads)-1].clients, early, r.report.String())
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "of unknown version"
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "of unknown version"
}
