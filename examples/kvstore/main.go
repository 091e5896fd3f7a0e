// Kvstore is a member of a key-value store with etcd's API: alone, or with up to six others.
//
//	go run ./examples/kvstore
//
// runs one member on loopback, in a directory that goes when it ends, and says how etcdctl reaches it. README.md beside
// this file has the three commands that make a cluster of three with TLS, and how members are added, replaced, upgraded,
// backed up and recovered.
//
// SIGTERM and Ctrl-C stop a member: it finishes what it was asked, hands leadership over and ends with status 0. kill -9
// loses nothing that was acknowledged.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// command is what the first argument can be.
type command struct {
	name, args, does string
	run              func(ctx context.Context, args []string, out io.Writer) error
}

func commands() []command {
	return []command{
		{"certs", "NAME... [--dir DIR] [--host HOST,...]", "make an authority, if there is none, and certificates for members", certs},
		{"status", "[--endpoints ...]", "show each member: who leads, revision, how far it is", status},
		{"member", "list | add NAME HOST:PORT | remove NAME", "show or change the members", memberCommand},
		{"move-leader", "NAME", "have another member lead", moveLeader},
		{"snapshot", "save FILE | restore FILE --data-dir DIR [--name ... --peers ...]", "back up a running member; begin a new store with a back-up", snapshot},
		{"verify", "--data-dir DIR", "check the files of a member that is stopped, and say what they hold", verify},
		{"compact", "--data-dir DIR", "make the files of the log of a member that is stopped small", compact},
		{"migrate-log", "bolt|wal --data-dir DIR", "move the log of a member that is stopped to the other log store", migrateLog},
		{"recover", "--data-dir DIR [--name ... --peers ...]", "make a new cluster of one of the files of a survivor, when the majority is lost", recoverFiles},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:], os.Stdout)
	stop()
	var wrong usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, &wrong):
		fmt.Fprintln(os.Stderr, "kvstore:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "kvstore:", err)
		os.Exit(1)
	}
}

// usageError is an error in how the program was called.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func dispatch(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		return serve(ctx, args, out)
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == args[0] })
	if i < 0 {
		var text strings.Builder
		for _, c := range all {
			fmt.Fprintf(&text, "\n  kvstore %s %s\n      %s", c.name, c.args, c.does)
		}
		return usage("unknown command %q; without a command it runs a member (--help shows its flags), and there are%s", args[0], text.String())
	}
	return all[i].run(ctx, args[1:], out)
}
