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
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	quick := flags.Bool("quick", false, "measure less, within about a minute")
	tiny := flags.Bool("tiny", false, "measure so little that the figures say nothing, within seconds")
	only := flags.String("only", "", "measure only these, with commas between: put, get, serializable get, range, page, txn, watch, in-process, footprint")
	busy := flags.Bool("busy", false, "for a machine that others use too: three rounds, and not the rows that then take a minute each")
	members := flags.String("members", "", "measure only with so many members: 1 or 3")
	clients := flags.String("clients", "", "measure only loads whose clients/connections begin so")
	rounds := flags.Int("rounds", 0, "rounds of each row; 0 means 5")
	dir := flags.String("dir", "", "keep the servers' files below this directory while they run; empty means the system's temporary one")
	write := flags.String("write", "", "write the tables to this file too; its part from \"## What it says\" or the API server's part on is kept")
	profile := flags.String("profile", "", "write processor profiles of the servers into this directory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p := fullPlan()
	switch {
	case *tiny:
		p = tinyPlan()
	case *quick:
		p = quickPlan()
	case *busy:
		p = busyPlan()
	}
	if *rounds > 0 {
		p.rounds = *rounds
	}
	if p.profile = *profile; p.profile != "" {
		if p.profile, err = filepath.Abs(p.profile); err != nil {
			return err
		}
	}
	if err := p.restrict(*only, *members, *clients); err != nil {
		return err
	}
	r := run{plan: p, progress: os.Stderr, began: time.Now()}
	if r.dir, err = os.MkdirTemp(*dir, "keelson-bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.dir)) }()
	r.ended = r.all(ctx) // what was measured until then is worth telling
	fmt.Print(r.report.String())
	if *write == "" {
		return r.ended
	}
	return errors.Join(r.ended, os.WriteFile(*write, []byte(r.document(args)+comment(*write)), 0o644))
}

// apiserverSection is the part of the file that program apiserver writes.
const apiserverSection = "apiserver"

// comment returns the end of a file that is to be written again: what people have written, and what program apiserver has.
func comment(file string) string {
	const begin = "\n## What it says\n"
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	at := strings.Index(string(text), begin)
	if section, _ := measure.Section(string(text), apiserverSection); section >= 0 && (at < 0 || section < at) {
		at = section
	}
	if at >= 0 {
		return string(text[at:])
	}
	return ""
}

// document is docs/benchmarks.md.
func (r *run) document(args []string) string {
	early := ""
	if r.ended != nil {
		early = "The run ended early: " + r.ended.Error() + "\n\n"
	}
	return fmt.Sprintf(`# Keelson's store beside etcd

Written by `+"`go -C bench run . %s`"+` on %s, which took %s; its doc.go says how each figure is measured.

- machine: %s, %d processors, %s/%s, %s
- versions: %s
- workload: %d-byte values on %d keys; a range reads %d of them; a transaction compares one key's revision and puts it
- durability: both answer a write once it is synced to disk, and share a sync between writes that wait for one
- clients/connections: so many callers, each with one request at a time, over so many connections to each member. Of watch:
  so many watchers of one prefix, over so many streams; 16 callers put. Its figures are per event delivered, its p50 and p99
  from the begin of the put to the watcher.
- cpu: processor time of all server processes per operation; rates, times and ratios are medians of %d rounds
- targets over gRPC: cpu at most 0.33 of etcd's, at least 0.70 of the floor and 1.00 of etcd's rate, p99 at most 0.50 of
  etcd's. The last column names those that a row misses.

%s%s`, strings.Join(args, " "), r.began.Format("2006-01-02"), time.Since(r.began).Round(time.Second), measure.Processor(), runtime.NumCPU(),
		runtime.GOOS, runtime.GOARCH, runtime.Version(), versions(), valueSize, r.keys, listed, r.plan.rounds, early, r.report.String())
}

func versions() string {
	info, _ := debug.ReadBuildInfo()
	var all []string
	for _, m := range info.Deps {
		switch m.Path {
		case "go.etcd.io/etcd/server/v3", "google.golang.org/grpc", "github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb/v2", "go.etcd.io/bbolt":
			all = append(all, m.Path+" "+m.Version)
		}
	}
	return strings.Join(all, ", ")
}
