package runtime

import (
	"context"
	"fmt"
	"io"

	internalapi "k8s.io/cri-api/pkg/apis"
)

// Runtime is a container runtime: CRI's runtime service and image service in one value.
//
// GetContainerEvents blocks until its context ends or the stream breaks; it never closes the channel it is given. The
// callback runs once, when events start to flow, and its argument is nil when the runtime lives in this process. A
// reader that falls behind is ended with ResourceExhausted: it opens the stream again and lists.
type Runtime interface {
	internalapi.RuntimeService
	internalapi.ImageManagerService
}

// Streamer is an optional interface of a Runtime: interactive streams carried by this process. A runtime without it
// answers Exec, Attach and PortForward with the URL of a streaming server of its own.
type Streamer interface {
	// StreamExec runs cmd in a running container and returns when it has ended and its output has been written.
	// A code other than zero is an *ExitError. When ctx ends the command is killed.
	StreamExec(ctx context.Context, containerID string, cmd []string, streams Streams) error

	// StreamAttach copies the output that the container's main process writes from now on, and streams.Stdin to its
	// standard input if it was created with one, until the container ends (nil) or ctx does (its error).
	StreamAttach(ctx context.Context, containerID string, streams Streams) error

	// StreamPortForward joins stream with a TCP port of the sandbox until either side closes or ctx ends. It closes
	// stream before it returns.
	StreamPortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error
}

// Streams are the ends of an interactive command. A nil stream is not connected.
type Streams struct {
	Stdin  io.Reader
	Stdout io.Writer
	// Stderr is unused with TTY, where a terminal mixes both into Stdout.
	Stderr io.Writer
	// TTY gives the command a terminal. StreamAttach ignores it: the container has one or not.
	TTY bool
	// Resize returns the terminal's next size; it blocks until the size changes, and its error ends resizing, not the
	// command. Nil means the size never changes.
	Resize func(ctx context.Context) (TerminalSize, error)
}

// TerminalSize is a terminal's size in character cells.
type TerminalSize struct {
	Width  uint16
	Height uint16
}

// ExitError says that a command ran and ended with a code other than zero. It has the methods of
// k8s.io/utils/exec.ExitError, without the import.
type ExitError struct {
	Code int
}

// Error implements error.
func (e *ExitError) Error() string {
	return fmt.Sprintf("command terminated with exit code %d", e.Code)
}

// String returns Error's text.
func (e *ExitError) String() string { return e.Error() }

// Exited reports whether the command ended by itself: always true.
func (e *ExitError) Exited() bool { return true }

// ExitStatus returns the command's exit code; a command ended by signal n has 128+n.
func (e *ExitError) ExitStatus() int { return e.Code }
