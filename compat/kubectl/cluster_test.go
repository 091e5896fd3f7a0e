package kubectl

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/compat/cluster"
)

// user is an administrator with kubectl.
type user struct{ *cluster.Cluster }

// command is kubectl with arguments, ready to be started.
func (u user) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir = u.Dir
	cmd.Env = append(os.Environ(), asKubectl+"=1", "HOME="+u.Dir, "KUBECONFIG="+u.Kubeconfig)
	return cmd
}

// step is one command and what comes of it.
type step struct {
	line   string            // what the user types behind "kubectl "
	args   []string          // instead of line, where an argument has spaces in it
	fails  bool              // kubectl ends with an error
	in     string            // standard input
	env    map[string]string // beside the usual
	want   string            // a regular expression for all that is printed, standard error included
	absent string            // one for what may not be printed
	until  bool              // asked again and again until it prints that, as for what a controller does meanwhile
}

// run runs steps, each as a subtest, and stops at the first that fails.
func (u user) run(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		args := s.args
		if args == nil {
			args = strings.Fields(s.line)
		}
		if !t.Run(strings.Join(args, " "), func(t *testing.T) { u.step(t, s, args) }) {
			t.FailNow()
		}
	}
}

// patience is how long one step may take.
const patience = time.Minute

func (u user) step(t *testing.T, s step, args []string) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	want := regexp.MustCompile(`(?s)^` + s.want + `$`)
	for {
		cmd := u.command(ctx, args...)
		cmd.Stdin = strings.NewReader(s.in)
		for name, value := range s.env {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		printed := strings.TrimRight(out.String(), "\n ")
		if s.until && ctx.Err() == nil && (s.fails != (err != nil) || !want.MatchString(printed)) {
			continue
		}
		require.Equal(t, s.fails, err != nil, "%v\n%s", err, printed)
		require.Regexp(t, want, printed)
		if s.absent != "" {
			require.NotRegexp(t, s.absent, printed)
		}
		return
	}
}
