package process

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// drainTime is how long a container's log is still read after its last process has ended: only somebody who escaped can
// hold the other end open for so long.
const drainTime = time.Second

// command is what the agent resolved a container's config and image to.
type command struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir,omitempty"`
	// Mounts are those of the config and what the pod brings.
	Mounts     []mount     `json:"mounts,omitempty"`
	Credential *credential `json:"credential,omitempty"`
	LogPath    string      `json:"logPath,omitempty"` // below the sandbox's log directory
}

type mount struct {
	From     string `json:"from"`
	At       string `json:"at"`
	Readonly bool   `json:"readonly,omitempty"`
	Deep     bool   `json:"deep,omitempty"` // read-only for what is mounted below, too
}

// container is a container as its supervisor holds it.
type container struct {
	s       *supervisor
	id      string
	config  *runtimeapi.ContainerConfig
	command command
	ops     chan struct{} // one token: starting and removing exclude each other

	mu       sync.Mutex
	process  *launched // nil before the start
	exited   chan struct{}
	kill     *time.Timer // the end of the grace of a stop
	killAt   time.Time
	log      *logFile
	stdin    *os.File
	readers  map[*tap]struct{} // attached
	finished bool
}

func newContainer(s *supervisor, q request) (*container, error) {
	config := &runtimeapi.ContainerConfig{}
	if err := proto.Unmarshal(q.Config, config); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "container config: %v", err)
	}
	if q.Process == nil || len(q.Process.Args) == 0 {
		return nil, status.Error(codes.InvalidArgument, "container has no command")
	}
	c := &container{s: s, id: q.Container, config: config, command: *q.Process, ops: make(chan struct{}, 1),
		exited: make(chan struct{}), readers: map[*tap]struct{}{}}
	c.ops <- struct{}{}
	return c, nil
}

// running returns the main process if it runs.
func (c *container) running() *launched {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.finished {
		return nil
	}
	return c.process
}

// start starts the container's process. A command that can't be executed leaves the container exited.
func (c *container) start() error {
	<-c.ops
	defer func() { c.ops <- struct{}{} }()
	c.s.mu.Lock()
	stopping, state := c.s.stopping, c.s.state.clone().container(c.id)
	c.s.mu.Unlock()
	if stopping {
		return status.Errorf(codes.FailedPrecondition, "sandbox %s is stopped", c.s.record.ID)
	}
	if state == nil {
		return status.Errorf(codes.NotFound, "container %q not found", c.id)
	}
	if state.State != runtimeapi.ContainerState_CONTAINER_CREATED {
		return status.Errorf(codes.FailedPrecondition, "container %q is in state %s, only a created one can be started", c.id, state.State)
	}
	err := c.launch()
	if err == nil {
		return nil
	}
	message := err.Error()
	c.mu.Lock()
	c.finished = true
	c.mu.Unlock()
	close(c.exited)
	cerr := c.s.change(c.id, func(state *containerState) {
		now := time.Now().UnixNano()
		state.State, state.StartedAt, state.FinishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, now, now
		state.ExitCode, state.Reason, state.Message = 128, "StartError", message
	})
	code := codes.Internal
	var refused *launchError
	if errors.As(err, &refused) {
		code = codes.InvalidArgument
	}
	if cerr != nil {
		message += "; " + cerr.Error()
	}
	return status.Error(code, "start container: "+message)
}

func (c *container) launch() error {
	log, err := openLog(c.s.config.LogDirectory, c.command.LogPath)
	if err != nil {
		return err
	}
	io, err := newStdio(c.config.Tty, c.config.Stdin)
	if err != nil {
		log.close()
		return err
	}
	security := c.config.GetLinux().GetSecurityContext()
	p, err := c.s.host.start(&launch{
		Container: c.id, Args: c.command.Args, Env: c.command.Env, Dir: c.command.Dir, Files: io.theirs, TTY: c.config.Tty,
		Mounts: c.command.criMounts(), ReadonlyRoot: security.GetReadonlyRootfs(),
		Credential: c.command.Credential, NoNewPrivs: security.GetNoNewPrivs(),
	})
	io.closeTheirs()
	if err != nil {
		io.closeOurs()
		log.close()
		return err
	}
	c.mu.Lock()
	c.process, c.log, c.stdin = p, log, io.stdin
	c.mu.Unlock()
	err = c.s.change(c.id, func(state *containerState) {
		state.State, state.StartedAt, state.Process = runtimeapi.ContainerState_CONTAINER_RUNNING, time.Now().UnixNano(), p.id
	})
	c.s.wait.Go(func() { c.watch(p, io, log) })
	if err != nil { // what is not on disk must not run
		c.s.host.killAll(c.id, p, false)
		<-c.exited
	}
	return nil
}

func (c *command) criMounts() []*runtimeapi.Mount {
	var out []*runtimeapi.Mount
	for _, m := range c.Mounts {
		out = append(out, &runtimeapi.Mount{HostPath: m.From, ContainerPath: m.At, Readonly: m.Readonly, RecursiveReadOnly: m.Deep})
	}
	return out
}

// watch copies the output until the process has ended, ends what it left behind, and records the exit.
func (c *container) watch(p *launched, io *stdio, log *logFile) {
	var copying sync.WaitGroup
	copying.Go(func() { log.copy("stdout", io.stdout, c.tap(frameStdout)) })
	if io.stderr != nil {
		copying.Go(func() { log.copy("stderr", io.stderr, c.tap(frameStderr)) })
	}
	<-p.done
	finished := time.Now()
	c.s.host.killAll(c.id, p, false)
	drained := make(chan struct{})
	go func() {
		copying.Wait()
		close(drained)
	}()
	limit := time.NewTimer(drainTime)
	select {
	case <-drained:
	case <-limit.C:
	}
	limit.Stop()
	io.closeOurs()
	<-drained
	log.close()
	if p.nsFile != nil {
		p.nsFile.Close()
	}

	c.mu.Lock()
	c.finished = true
	if c.kill != nil {
		c.kill.Stop()
	}
	c.mu.Unlock()
	c.s.change(c.id, func(state *containerState) {
		state.State, state.FinishedAt = runtimeapi.ContainerState_CONTAINER_EXITED, finished.UnixNano()
		state.ExitCode, state.CPU, state.Reason = int32(p.code), p.cpu, "Error"
		if p.code == 0 {
			state.Reason = "Completed"
		}
	})
	close(c.exited)
	c.endTaps()
}

// stop sends the stop signal and returns when the container has ended, by force when the grace is over. Of concurrent
// stops the shortest grace counts.
func (c *container) stop(grace time.Duration) {
	c.mu.Lock()
	p := c.process
	if p == nil || c.finished {
		c.mu.Unlock()
		return
	}
	first := c.kill == nil
	deadline := time.Now().Add(max(grace, 0))
	if first || deadline.Before(c.killAt) {
		if c.kill != nil {
			c.kill.Stop()
		}
		c.killAt = deadline
		c.kill = time.AfterFunc(max(grace, 0), func() { c.s.host.killAll(c.id, p, false) })
	}
	c.mu.Unlock()
	if first && grace > 0 {
		c.s.host.signal(p, stopSignal(c.config.StopSignal))
	}
	<-c.exited
}

// remove forgets the container, by force if it runs.
func (c *container) remove() error {
	c.stop(0)
	<-c.ops
	defer func() { c.ops <- struct{}{} }()
	c.stop(0) // it was being started
	c.s.mu.Lock()
	delete(c.s.containers, c.id)
	c.s.mu.Unlock()
	return c.s.commit(func(state *podState) {
		state.Containers = slices.DeleteFunc(slices.Clone(state.Containers), func(s containerState) bool { return s.ID == c.id })
	})
}

func (c *container) reopenLog() error {
	c.mu.Lock()
	log, live := c.log, c.process != nil && !c.finished
	c.mu.Unlock()
	if !live {
		return status.Errorf(codes.FailedPrecondition, "container %q is not running", c.id)
	}
	if err := log.reopen(); err != nil {
		return status.Errorf(codes.Internal, "reopen log: %v", err)
	}
	return nil
}

// stdio are both ends of a process's standard files.
type stdio struct {
	theirs         [3]*os.File
	stdin          *os.File // nil when they read /dev/null
	stdout, stderr io.Reader
	master         *os.File // of a terminal
	opened         []*os.File
	given          []*os.File
}

func newStdio(tty, stdin bool) (*stdio, error) {
	s := &stdio{}
	if tty {
		master, slave, err := openTerminal()
		if err != nil {
			return nil, err
		}
		s.theirs = [3]*os.File{slave, slave, slave}
		s.given, s.opened, s.master, s.stdout = []*os.File{slave}, []*os.File{master}, master, terminalReader{master}
		if stdin {
			s.stdin = master
		}
		return s, nil
	}
	fail := func(err error) (*stdio, error) {
		s.closeTheirs()
		s.closeOurs()
		return nil, err
	}
	if stdin {
		r, w, err := os.Pipe()
		if err != nil {
			return fail(err)
		}
		s.theirs[0], s.stdin = r, w
		s.given, s.opened = append(s.given, r), append(s.opened, w)
	} else {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return fail(err)
		}
		s.theirs[0] = null
		s.given = append(s.given, null)
	}
	for i, reader := range []*io.Reader{&s.stdout, &s.stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return fail(err)
		}
		s.theirs[i+1], *reader = w, r
		s.given, s.opened = append(s.given, w), append(s.opened, r)
	}
	return s, nil
}

func (s *stdio) closeTheirs() {
	for _, f := range s.given {
		f.Close()
	}
}

func (s *stdio) closeOurs() {
	for _, f := range s.opened {
		f.Close()
	}
}

// terminalReader ends with EOF where a terminal's master says EIO: nobody has the other side open any more.
type terminalReader struct{ f *os.File }

func (r terminalReader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	if errors.Is(err, syscall.EIO) {
		err = io.EOF
	}
	return n, err
}
