//go:build unix

package proctest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/keelson-dev/keelson/store"
)

// process is a member that runs.
type process struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	log    string
	opened chan struct{}
	exited chan struct{} // state is set

	mu      sync.Mutex
	number  int
	pending map[int]chan reply
}

// launch starts a member. It does not wait until that has opened its files.
func launch(t *testing.T, cfg memberConfig, log string) *process {
	t.Helper()
	exe, err := os.Executable()
	require.NoError(t, err)
	text, err := json.Marshal(cfg)
	require.NoError(t, err)
	p := &process{
		cmd: exec.Command(exe), log: log, opened: make(chan struct{}), exited: make(chan struct{}), pending: map[int]chan reply{},
	}
	p.cmd.Env = append(os.Environ(), memberEnv+"="+string(text))
	p.cmd.SysProcAttr = dieWithUs()
	file, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer file.Close()
	p.cmd.Stderr = file
	p.in, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	started := make(chan error)
	spawns <- func() { started <- p.cmd.Start() }
	require.NoError(t, <-started)
	go p.read(out)
	return p
}

// read takes replies until the process ends.
func (p *process) read(out io.Reader) {
	in := json.NewDecoder(out)
	for {
		var r reply
		if in.Decode(&r) != nil {
			break
		}
		if r.ID == 0 {
			close(p.opened)
			continue
		}
		p.mu.Lock()
		answer := p.pending[r.ID]
		delete(p.pending, r.ID)
		p.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
	_ = p.cmd.Wait()
	_ = p.in.Close()
	close(p.exited)
}

var errExited = errors.New("the member's process has ended")

// ask has the member do something.
func (p *process) ask(ctx context.Context, r request) (reply, error) {
	answer := make(chan reply, 1)
	p.mu.Lock()
	p.number++
	r.ID = p.number
	p.pending[r.ID] = answer
	text, err := json.Marshal(r)
	if err == nil {
		_, err = p.in.Write(append(text, '\n')) // small enough for the pipe
	}
	p.mu.Unlock()
	if err != nil {
		return reply{}, fmt.Errorf("%w: %w", errExited, err)
	}
	select {
	case a := <-answer:
		if a.Err != "" {
			return a, errors.New(a.Err)
		}
		return a, nil
	case <-p.exited:
		return reply{}, errExited
	case <-ctx.Done():
		return reply{}, ctx.Err()
	}
}

func (p *process) status(ctx context.Context) (store.Status, error) {
	r, err := p.ask(ctx, request{Op: "status"})
	return r.Status, err
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(s))
}

// kill ends the process with no chance to do anything.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	<-p.exited
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, "it ended by itself: %v\n%s", p.cmd.ProcessState, p.tail())
}

// stop ends the process as an operator does.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	<-p.exited
	require.True(t, p.cmd.ProcessState.Success(), "%v\n%s", p.cmd.ProcessState, p.tail())
}

// tail is the end of what the process has logged.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(text), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
