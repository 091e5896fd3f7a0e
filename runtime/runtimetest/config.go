package runtimetest

import (
	"context"
	"io"
	"net/netip"
	"time"
)

// Config configures a Runtime; the zero value works.
type Config struct {
	// Addresses is where pods get their addresses from, one each. The zero value means 10.88.0.0/16.
	Addresses netip.Prefix

	// HostAddress is the address of pods in the host's network. The zero value means 127.0.0.1.
	HostAddress netip.Addr

	// Behave tells what a container's main process does. Nil means Script.
	Behave func(Process) Behavior

	// Exec tells what a command run inside a container does: its output, and an *runtime.ExitError for a code other
	// than zero. It may block; its context ends with the call or the container. Nil means that Script is asked, and
	// what it leaves running is taken to succeed at once.
	Exec func(ctx context.Context, process Process) (stdout, stderr []byte, err error)

	// Forward serves a forwarded port; nil means that nobody listens: Unavailable.
	Forward func(ctx context.Context, pod string, port int32, stream io.ReadWriteCloser) error

	// Fault is asked before each call. Nil means no faults; SetFault changes it later.
	Fault func(Call) Fault

	// PullTime is how long pulling an image takes; zero means none.
	PullTime time.Duration

	// MissingImages are image names that can't be pulled.
	MissingImages []string
}

// Process is what a behavior is chosen by.
type Process struct {
	Pod       string // namespace/name
	Container string // name in the pod
	Attempt   uint32 // restarts so far
	Image     string
	Command   []string // command and args in one
	Env       map[string]string
	Address   netip.Addr
}

// Behavior is what a container's main process does. The zero value runs until it is stopped, and ends on SIGTERM.
type Behavior struct {
	// Exits says that the process ends by itself: after After, with Code.
	Exits bool
	After time.Duration
	Code  int32

	// StopTime is how long it takes to end after SIGTERM, if less than the grace; TermCode is its code then, where zero
	// means zero. IgnoreTerm waits for the kill.
	StopTime   time.Duration
	TermCode   int32
	IgnoreTerm bool

	// StartError makes StartContainer fail with this text, as a missing executable does.
	StartError string

	// Stdout and Stderr are written to the log at the start.
	Stdout, Stderr string
}

// Call names a call that a Fault may spoil.
type Call struct {
	// Method is CRI's name: RunPodSandbox, StopContainer, ...
	Method string
	// Sandbox and Container are ids, empty where the call has none.
	Sandbox, Container string
}

// Fault is what happens to a call. The zero value is none.
type Fault struct {
	// Delay makes the call wait first.
	Delay time.Duration
	// Hang makes it wait until its context ends, and do nothing.
	Hang bool
	// Err makes it fail and do nothing.
	Err error
	// Lie makes it fail with this error after it has been done.
	Lie error
}
