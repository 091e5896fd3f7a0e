package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// stepLimit bounds one step: none takes more than a few seconds on an ordinary machine.
const stepLimit = 2 * time.Minute

// errInterrupted ends a tour that was told to end, and has removed everything.
var errInterrupted = errors.New("interrupted")

// step is one line of the tour. It returns what it shows.
type step struct {
	name string
	do   func(context.Context) (string, error)
}

func (d *demo) steps(keep bool) []step {
	first := []step{
		{"start a control plane and two nodes", d.start},
		{"apply app.yaml", d.apply},
		{"wait for the rollout and call the Service", d.rollout},
	}
	if keep {
		return first
	}
	return append(first,
		step{"kill one server with SIGKILL", d.kill},
		step{"stop a node", d.loseNode},
		step{"roll out v2 under load, and back", d.update},
		step{"scale to five, then to one", d.scale},
		step{"restart the control plane on its data", d.restart},
		step{"delete the namespace", d.remove},
	)
}

// run takes the tour, with everything that it writes in a directory of its own below parent, and removes all of it
// however the tour ends.
func run(ctx context.Context, out io.Writer, parent string, keep bool) (err error) {
	dir, err := os.MkdirTemp(parent, "quickstart-")
	if err != nil {
		return fmt.Errorf("a temporary directory (TMPDIR says where): %w", err)
	}
	d := &demo{dir: dir}
	defer func() {
		if ctx.Err() != nil {
			fmt.Fprintln(out, "\nstopping: the pods get their grace period")
		}
		removed := errors.Join(d.tearDown(), os.RemoveAll(dir))
		switch {
		case removed != nil:
			err = errors.Join(err, fmt.Errorf("remove everything: %w", removed))
		case err != nil && ctx.Err() != nil:
			err = errInterrupted
		case err == nil && keep:
			_, err = fmt.Fprintln(out, "quickstart: everything was removed")
		case err == nil:
			_, err = fmt.Fprintln(out, "quickstart: ok")
		}
	}()
	for i, s := range d.steps(keep) {
		if err := d.take(ctx, out, i+1, s); err != nil {
			return err
		}
	}
	if keep {
		return d.keep(ctx, out)
	}
	return nil
}

// take shows a step's name, takes it, and completes the line.
func (d *demo) take(ctx context.Context, out io.Writer, number int, s step) error {
	if _, err := fmt.Fprintf(out, "%d. %-42s ", number, s.name); err != nil {
		return err
	}
	begin := time.Now()
	limit, cancel := context.WithTimeoutCause(ctx, stepLimit, fmt.Errorf("not done after %s", stepLimit))
	defer cancel()
	shown, err := s.do(limit)
	if err == nil {
		err = d.failed() // a part that ended by itself fails the tour even if the step did not notice
	}
	if err != nil {
		fmt.Fprintln(out)
		return fmt.Errorf("step %d, %s: %w", number, s.name, err)
	}
	_, err = fmt.Fprintf(out, "%6.2fs  %s\n", time.Since(begin).Seconds(), shown)
	return err
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
		return nil
	case err := <-d.ended:
		return err
	}
}
