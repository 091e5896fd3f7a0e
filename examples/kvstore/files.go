package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/keelson-dev/keelson/store"
	"github.com/keelson-dev/keelson/store/wal"
)

// openLog opens the log store that --log-store names; nil leaves it to the store.
func (o *options) openLog() func(dir string) (store.LogStore, error) {
	switch o.logStore {
	case "bolt":
		return store.OpenBoltLog
	case "wal":
		return wal.Open
	}
	return nil
}

// fileOptions says how the files of a member that is stopped can be read.
func (o *options) fileOptions() store.FileOptions {
	opts := store.FileOptions{OpenLog: o.openLog()}
	if o.keys != "" {
		opts.Keys = store.KeyFile(o.keys)
	}
	return opts
}

// parseFiles parses what the commands for files have in common.
func parseFiles(name string, args []string) (o options, err error) {
	f := flag.NewFlagSet("kvstore "+name, flag.ContinueOnError)
	o.memberFlags(f)
	rest, err := parseMixed(f, args)
	switch {
	case err != nil || len(rest) > 0:
		return o, wrongArguments(err, rest)
	case o.dataDir == "":
		return o, usage("--data-dir is missing")
	}
	return o, o.checkFiles()
}

// checkData explains a directory that is not there.
func (o *options) checkData() error {
	info, err := os.Stat(o.dataDir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return usage("--data-dir %s does not exist: want the directory that a member ran with", o.dataDir)
	case err != nil:
		return usage("--data-dir: %w", err)
	case !info.IsDir():
		return usage("--data-dir %s is a file: want the directory that a member ran with", o.dataDir)
	}
	return nil
}

// verify reports what the files of a member that is stopped hold, and what is damaged.
func verify(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseFiles("verify", args)
	if err != nil {
		return err
	}
	if err := o.checkData(); err != nil {
		return err
	}
	report, err := store.Verify(ctx, o.dataDir, o.fileOptions())
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, file := range report.Files {
		fmt.Fprintf(table, "%s\t%d bytes\n", file.Name, file.Bytes)
	}
	fmt.Fprintf(table, "log\t%d entries, %d to %d, the last of term %d; newest term %d\n", report.Entries, report.FirstIndex, report.LastIndex, report.LastTerm, report.Term)
	for _, s := range report.Snapshots {
		fmt.Fprintf(table, "snapshot\t%s to entry %d of term %d, %d bytes\n", s.File, s.Index, s.Term, s.Bytes)
	}
	if c := report.Contents; c != nil {
		var names []string
		for _, m := range c.Members {
			names = append(names, m.Name)
		}
		fmt.Fprintf(table, "contents\tterm %d, entry %d: revision %d, %d keys, cluster %x of %s\n", c.Term, c.Index, c.Revision, c.Keys, c.ClusterID, strings.Join(names, ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(report.Keys)) {
		if key != "" {
			fmt.Fprintf(table, "key\t%s is needed for %d entries and snapshots\n", key, report.Keys[key])
		}
	}
	for _, d := range report.Damage {
		fmt.Fprintf(table, "DAMAGE\t%s: %v\n", d.File, d.Err)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if len(report.Damage) > 0 {
		return errors.New("the files are damaged: replace this member, or restore a back-up")
	}
	return nil
}

// compact makes the log's files of a member that is stopped as small as they can be.
func compact(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseFiles("compact", args)
	if err != nil {
		return err
	}
	if err := o.checkData(); err != nil {
		return err
	}
	before, after, err := store.CompactFiles(ctx, o.dataDir)
	if err == nil {
		fmt.Fprintf(out, "%d bytes before, %d now\n", before, after)
	}
	return err
}

// migrateLog moves the log of a member that is stopped to the other log store.
func migrateLog(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || args[0] != "bolt" && args[0] != "wal" {
		return usage("want migrate-log bolt or migrate-log wal: the log store to go to")
	}
	o, err := parseFiles("migrate-log", args[1:])
	if err != nil {
		return err
	}
	if err := o.checkData(); err != nil {
		return err
	}
	to, left := wal.Open, "raft.db"
	if args[0] == "bolt" {
		to, left = store.OpenBoltLog, "wal"
	}
	if err := store.MigrateLog(ctx, o.dataDir, o.openLog(), to); err != nil {
		return err
	}
	fmt.Fprintf(out, "the log of %s is in %s now. %s is not used any more and can be removed\n",
		o.dataDir, args[0], filepath.Join(o.dataDir, left))
	return nil
}

// recoverFiles makes a cluster of one of the files of a member that has survived the majority of its cluster.
func recoverFiles(ctx context.Context, args []string, out io.Writer) error {
	o, err := parseFiles("recover", args)
	if err != nil {
		return err
	}
	log, err := logger(o.verbose)
	if err != nil {
		return err
	}
	opts := store.RecoverOptions{FileOptions: o.fileOptions(), Name: o.name, Logger: log}
	if o.name != "" {
		self, found := o.peers.find(o.name)
		if !found || len(o.peers) != 1 {
			return usage("--peers must have %s alone: the others join it with empty directories", o.name)
		}
		opts.Addr = self.Addr
	}
	if err := o.checkData(); err != nil {
		return err
	}
	contents, err := store.Recover(ctx, o.dataDir, opts)
	if errors.Is(err, store.ErrKey) {
		return wrongKeys(o, err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is cluster %x now, of one member: %d keys, revision %d. Start it with the same --name and --peers;\n"+
		"never start what is left of the old cluster again\n", o.dataDir, contents.ClusterID, contents.Keys, contents.Revision)
	return nil
}
