// Quickstart takes a Kubernetes manifest through every package of Keelson: it starts a durable control plane, two nodes
// and a Service proxy in this process, runs app.yaml on them as real OS processes, and shows what a cluster is for:
// self-healing, rolling updates without a failed request, a restart of the control plane that nobody notices.
//
//	go run ./examples/quickstart          # the whole tour, then everything is removed
//	go run ./examples/quickstart --keep   # stay up after the rollout, and say how to use kubectl
//
// It needs no privilege, no network and no other program. Nothing survives it: not when it fails, nor on Ctrl-C.
package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keelson-dev/keelson/runtime/process"
)

//go:embed app.yaml
var manifest []byte

// stepLimit bounds one step: none takes more than a few seconds on an ordinary machine.
const stepLimit = 2 * time.Minute

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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, *keep)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case err == nil:
	case interrupted:
		fmt.Println("quickstart: interrupted; everything was removed")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "quickstart: FAILED:", err)
		os.Exit(1)
	}
}

// step is one line of the tour. It returns what it shows.
type step struct {
	name string
	do   func(context.Context) (string, error)
}

func run(ctx context.Context, out io.Writer, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "quickstart-")
	if err != nil {
		return err
	}
	d := &demo{dir: dir}
	defer func() {
		err = errors.Join(err, d.tearDown(), os.RemoveAll(dir))
		if err == nil && !keep {
			fmt.Fprintln(out, "quickstart: ok")
		}
	}()
	steps := []step{
		{"start a control plane and two nodes", d.start},
		{"apply app.yaml", d.apply},
		{"wait for the rollout and call the Service", d.rollout},
	}
	if !keep {
		steps = append(steps,
			step{"kill one server with SIGKILL", d.kill},
			step{"stop a node", d.loseNode},
			step{"roll out v2 under load, and back", d.update},
			step{"scale to five, then to one", d.scale},
			step{"restart the control plane on its data", d.restart},
			step{"delete the namespace", d.remove},
		)
	}
	for i, s := range steps {
		begin := time.Now()
		limit, cancel := context.WithTimeout(ctx, stepLimit)
		shown, err := s.do(limit)
		cancel()
		if err == nil {
			err = d.failed() // a part that ended by itself fails the tour even if the step did not notice
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i+1, s.name, err)
		}
		fmt.Fprintf(out, "%d. %-42s %6.2fs  %s\n", i+1, s.name, time.Since(begin).Seconds(), shown)
	}
	if keep {
		return d.keep(ctx, out)
	}
	return nil
}

// keep prints how to reach the cluster, and waits for Ctrl-C.
func (d *demo) keep(ctx context.Context, out io.Writer) error {
	cfg, err := d.cluster.Kubeconfig(ctx)
	if err != nil {
		return err
	}
	path := filepath.Join(d.dir, "kubeconfig")
	if err := cfg.Write(path); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nThe cluster stays up until Ctrl-C. Its kubeconfig: %s\nTry:\n\n", path)
	for _, command := range []string{"get pods -o wide", "logs deployment/web", "scale deployment/web --replicas=5"} {
		fmt.Fprintf(out, "  kubectl --kubeconfig %s -n quickstart %s\n", path, command)
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "\nstopping")
		return nil
	case err := <-d.ended:
		return err
	}
}
