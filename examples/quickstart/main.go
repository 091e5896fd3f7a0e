// Quickstart takes a Kubernetes manifest through every package of Keelson: it starts a durable control plane, two nodes
// and a Service proxy in this process, runs app.yaml on them as real OS processes, and shows what a cluster is for:
// self-healing, rolling updates without a failed request, a restart of the control plane that nobody notices.
//
//	go run ./examples/quickstart          # the whole tour, then everything is removed
//	go run ./examples/quickstart --keep   # stay up after the rollout, and say how to use kubectl
//
// It needs no privilege, no network and no other program. Nothing survives it, not when it fails, and not when it is told
// to end by Ctrl-C, SIGTERM or a terminal that closes. What ends it without a word (kill -9, a panic) leaves the pods
// running, as a cluster should: each has a process called keelson-supervisor that ends its pod on SIGTERM, and the
// directory quickstart-... in the temporary directory can be removed after that.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/keelson-dev/keelson/runtime/process"
)

//go:embed app.yaml
var manifest []byte

func main() {
	process.Main() // lets the nodes of this program supervise pods; never returns in a supervisor
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		return
	}
	keep := flag.Bool("keep", false, "stay up after the rollout and print how to reach the cluster with kubectl")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "quickstart: unknown argument %q; it takes only --keep\n", flag.Arg(0))
		os.Exit(2)
	}
	// These end the tour; further ones change nothing, so that tear-down always comes to its end.
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup does
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	// Caught, so that a reader of our output that has gone is an error like any other, and no sudden death. Not ignored:
	// the pods would inherit that.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	err := run(ctx, os.Stdout, os.TempDir(), *keep)
	stop()
	switch {
	case err == nil:
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(os.Stderr, "quickstart: interrupted; everything was removed")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "quickstart: FAILED:", err)
		os.Exit(1)
	}
}
