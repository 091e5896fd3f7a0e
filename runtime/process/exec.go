package process

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxExecOutput is how much of each output stream ExecSync keeps; the rest is dropped.
const maxExecOutput = 1 << 20

// capped keeps the first bytes written to it.
type capped struct{ bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	if room := maxExecOutput - c.Len(); room > 0 {
		c.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// ExecSync implements CRI. A command that takes longer than timeout, if that is positive, is killed:
// DeadlineExceeded. A code other than zero is an *runtime.ExitError. Of each stream at most 1 MiB is kept.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	var out, errs capped
	err = r.StreamExec(ctx, id, cmd, kruntime.Streams{Stdout: &out, Stderr: &errs})
	return out.Bytes(), errs.Bytes(), err
}

// StreamExec implements runtime.Streamer.
func (r *Runtime) StreamExec(ctx context.Context, id string, cmd []string, streams kruntime.Streams) error {
	s, c, err := r.owner(id)
	if err != nil {
		return err
	}
	if len(cmd) == 0 {
		return status.Error(codes.InvalidArgument, "no command to execute")
	}
	if c.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return status.Errorf(codes.FailedPrecondition, "container %q is not running", id)
	}
	if err := ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	exec := newID()
	cancel := func() { // the connection ends too, but its reader may be busy with a standard input that nobody reads
		killCtx, done := context.WithTimeout(context.Background(), connectTimeout)
		defer done()
		r.ask(killCtx, s, request{Op: opKillExec, Container: id, Exec: exec})
	}
	code, err := stream(ctx, s.dir, request{Op: opExec, Container: id, Exec: exec, Command: cmd, TTY: streams.TTY}, streams, cancel)
	if err != nil {
		return err
	}
	if code != 0 {
		return &kruntime.ExitError{Code: code}
	}
	return nil
}

// StreamAttach implements runtime.Streamer.
func (r *Runtime) StreamAttach(ctx context.Context, id string, streams kruntime.Streams) error {
	s, _, err := r.owner(id)
	if err != nil {
		return err
	}
	_, err = stream(ctx, s.dir, request{Op: opAttach, Container: id}, streams, func() {})
	return err
}

// StreamPortForward implements runtime.Streamer: the port is one of the pod's address.
func (r *Runtime) StreamPortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	s, err := r.find(sandboxID)
	if err != nil {
		return err
	}
	if port < 1 || port > 65535 {
		return status.Errorf(codes.InvalidArgument, "port %d: want 1 to 65535", port)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", netip.AddrPortFrom(s.addr, uint16(port)).String())
	if ctx.Err() != nil {
		if err == nil {
			conn.Close()
		}
		return status.FromContextError(ctx.Err()).Err()
	} else if err != nil {
		return status.Errorf(codes.Unavailable, "forward to port %d of sandbox %s: %v", port, sandboxID, err)
	}
	stop := context.AfterFunc(ctx, func() {
		conn.Close()
		stream.Close()
	})
	defer stop()
	var copying sync.WaitGroup
	copying.Go(func() {
		io.Copy(conn, stream)
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.CloseWrite()
		}
	})
	_, err = io.Copy(stream, conn)
	conn.Close()
	stream.Close()
	copying.Wait()
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
		return status.Errorf(codes.Unavailable, "forward to port %d of sandbox %s: %v", port, sandboxID, err)
	}
	return nil
}

// Exec implements CRI by saying who serves streams: whoever holds the runtime, through StreamExec.
func (r *Runtime) Exec(ctx context.Context, q *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return nil, errNoURL("StreamExec")
}

// Attach implements CRI like Exec.
func (r *Runtime) Attach(ctx context.Context, q *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return nil, errNoURL("StreamAttach")
}

// PortForward implements CRI like Exec.
func (r *Runtime) PortForward(ctx context.Context, q *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return nil, errNoURL("StreamPortForward")
}

func errNoURL(method string) error {
	return status.Errorf(codes.Unimplemented, "the process runtime serves no URL: use %s of runtime.Streamer", method)
}
