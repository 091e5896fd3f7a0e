package process

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"sync"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// exec serves a stream connection: it runs a command in a container, for as long as the connection stands.
func (s *supervisor) exec(conn *frameConn, q request) {
	s.mu.Lock()
	c := s.containers[q.Container]
	s.mu.Unlock()
	exit, err := s.runExec(conn, q, c)
	end := reply{Seq: q.Seq, Exit: exit}
	if err != nil {
		end.Code, end.Message = status.Code(err), status.Convert(err).Message()
	}
	conn.writeJSON(frameExit, end)
}

func (s *supervisor) runExec(conn *frameConn, q request, c *container) (int, error) {
	if c == nil {
		return 0, status.Errorf(codes.NotFound, "container %q not found", q.Container)
	}
	main := c.running()
	if main == nil {
		return 0, status.Errorf(codes.FailedPrecondition, "container %q is not running", q.Container)
	}
	if len(q.Command) == 0 {
		return 0, status.Error(codes.InvalidArgument, "no command to execute")
	}
	stdio, err := newStdio(q.TTY, q.Stdin)
	if err != nil {
		return 0, status.Error(codes.Internal, err.Error())
	}
	p, err := s.host.start(&launch{Container: c.id, Args: q.Command, Env: c.command.Env, Dir: c.command.Dir, Files: stdio.theirs,
		TTY: q.TTY, Join: main, Credential: c.command.Credential, NoNewPrivs: c.config.GetLinux().GetSecurityContext().GetNoNewPrivs()})
	stdio.closeTheirs()
	if err != nil {
		stdio.closeOurs()
		return 0, status.Errorf(codes.InvalidArgument, "exec: %v", err)
	}
	s.mu.Lock()
	s.execs[q.Exec] = p
	s.mu.Unlock()

	var copying sync.WaitGroup
	copying.Go(func() { sendStream(conn, frameStdout, stdio.stdout) })
	if stdio.stderr != nil {
		copying.Go(func() { sendStream(conn, frameStderr, stdio.stderr) })
	}
	go func() { // ends with the connection, which is closed after us
		receiveInput(conn, stdio.stdin, stdio.master, true)
		s.killExec(c.id, p) // the other side is gone
	}()
	<-p.done
	drained := make(chan struct{})
	go func() {
		copying.Wait()
		close(drained)
	}()
	limit := time.NewTimer(drainTime) // something that it left running may hold its output open
	select {
	case <-drained:
	case <-limit.C:
	}
	limit.Stop()
	stdio.closeOurs()
	<-drained
	s.mu.Lock()
	delete(s.execs, q.Exec)
	s.mu.Unlock()
	return p.code, nil
}

// killExec kills a command with its session. One that has ended is left alone: its pid may be somebody else's by now.
func (s *supervisor) killExec(container string, p *launched) {
	select {
	case <-p.done:
	default:
		s.host.killAll(container, p, true)
	}
}

// sendStream sends what is read from r; output that nobody takes any more is read on and dropped.
func sendStream(conn *frameConn, kind byte, r io.Reader) {
	buf := make([]byte, maxStreamData)
	var failed error
	for {
		n, err := r.Read(buf)
		if n > 0 && failed == nil {
			failed = conn.write(kind, buf[:n])
		}
		if err != nil {
			return
		}
	}
}

// receiveInput feeds standard input and the terminal until the connection ends.
func receiveInput(conn *frameConn, stdin, terminal *os.File, closes bool) {
	for {
		kind, payload, err := conn.read()
		if err != nil {
			return
		}
		switch kind {
		case frameStdin:
			if stdin == nil {
				continue
			}
			if len(payload) > 0 {
				stdin.Write(payload)
			} else if closes && terminal == nil {
				stdin.Close()
			}
		case frameResize:
			var size kruntime.TerminalSize
			if terminal != nil && json.Unmarshal(payload, &size) == nil {
				resizeTerminal(terminal, size.Width, size.Height)
			}
		}
	}
}

// tap is an attached reader of a container's output.
type tap struct {
	frames chan tapFrame
}

type tapFrame struct {
	kind byte
	data []byte
}

// tap returns what shows output to those attached. One that is too slow is let go, the container never waits.
func (c *container) tap(kind byte) func([]byte) {
	return func(data []byte) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for t := range c.readers {
			select {
			case t.frames <- tapFrame{kind, append([]byte(nil), data...)}:
			default:
				delete(c.readers, t)
				close(t.frames)
			}
		}
	}
}

func (c *container) endTaps() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for t := range c.readers {
		delete(c.readers, t)
		close(t.frames)
	}
}

// attach serves a stream connection: output from now on, until the container has ended.
func (s *supervisor) attach(conn *frameConn, q request) {
	s.mu.Lock()
	c := s.containers[q.Container]
	s.mu.Unlock()
	end := reply{Seq: q.Seq}
	if c == nil {
		end.Code, end.Message = codes.NotFound, "container "+q.Container+" not found"
		conn.writeJSON(frameExit, end)
		return
	}
	t := &tap{frames: make(chan tapFrame, 256)}
	c.mu.Lock()
	live := c.process != nil && !c.finished
	stdin := c.stdin
	if live {
		c.readers[t] = struct{}{}
	}
	c.mu.Unlock()
	if !live {
		end.Code, end.Message = codes.FailedPrecondition, "container "+q.Container+" is not running"
		conn.writeJSON(frameExit, end)
		return
	}
	var terminal *os.File
	if c.config.Tty {
		terminal = stdin
	}
	gone := make(chan struct{})
	go func() {
		receiveInput(conn, stdin, terminal, c.config.StdinOnce)
		close(gone)
	}()
	defer func() {
		c.mu.Lock()
		delete(c.readers, t)
		c.mu.Unlock()
	}()
	conn.write(frameStdout, nil) // attached
	for {
		select {
		case f, ok := <-t.frames:
			if !ok {
				conn.writeJSON(frameExit, end)
				return
			}
			if conn.write(f.kind, f.data) != nil {
				return
			}
		case <-gone:
			return
		}
	}
}

// stream is the agent's side of a stream connection. It returns the command's exit code.
func stream(ctx context.Context, dir string, first request, streams kruntime.Streams, cancel func()) (int, error) {
	unreachable := func(err error) (int, error) {
		if ctx.Err() != nil {
			return 0, status.FromContextError(ctx.Err()).Err()
		}
		return 0, status.Errorf(codes.Unavailable, "reach the supervisor: %v", err)
	}
	raw, err := dial(ctx, dir)
	if err != nil {
		return unreachable(err)
	}
	conn := newFrameConn(raw)
	first.Protocol = protocolVersion
	first.Stdin = streams.Stdin != nil
	if err := conn.writeJSON(frameRequest, first); err != nil {
		conn.close()
		return unreachable(err)
	}
	stop := context.AfterFunc(ctx, func() {
		conn.close()
		cancel()
	})
	defer stop()
	defer conn.close()
	inputCtx, endInput := context.WithCancel(ctx)
	defer endInput()
	if streams.Stdin != nil {
		go sendInput(conn, streams.Stdin) // a read that never returns is the caller's to end
	}
	if streams.Resize != nil {
		go func() {
			for {
				size, err := streams.Resize(inputCtx)
				if err != nil || conn.writeJSON(frameResize, size) != nil {
					return
				}
			}
		}()
	}
	for {
		kind, payload, err := conn.read()
		if err != nil {
			if ctx.Err() != nil {
				return 0, status.FromContextError(ctx.Err()).Err()
			}
			return 0, status.Errorf(codes.Unavailable, "the supervisor went away: %v", err)
		}
		switch kind {
		case frameStdout:
			if streams.Stdout != nil && len(payload) > 0 {
				_, err = streams.Stdout.Write(payload)
			}
		case frameStderr:
			if streams.Stderr != nil {
				_, err = streams.Stderr.Write(payload)
			}
		case frameExit, frameReply:
			var end reply
			if err := json.Unmarshal(payload, &end); err != nil {
				return 0, status.Errorf(codes.Internal, "supervisor's answer: %v", err)
			}
			return end.Exit, end.err()
		}
		if err != nil {
			cancel()
			return 0, status.Errorf(codes.Canceled, "write output: %v", err)
		}
	}
}

func sendInput(conn *frameConn, r io.Reader) {
	buf := make([]byte, maxStreamData)
	for {
		n, err := r.Read(buf)
		if n > 0 && conn.write(frameStdin, buf[:n]) != nil {
			return
		}
		if err != nil {
			conn.write(frameStdin, nil)
			return
		}
	}
}
