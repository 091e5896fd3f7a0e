package runtimetest

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	kruntime "github.com/keelson-dev/keelson/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ExecSync implements CRI: Config.Exec says what happens.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error) {
	leave, err := r.enter(ctx, Call{Method: "ExecSync", Container: id})
	if err != nil {
		return nil, nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	stdout, stderr, err = r.exec(ctx, id, cmd)
	return stdout, stderr, leave(err)
}

func (r *Runtime) exec(ctx context.Context, id string, cmd []string) (stdout, stderr []byte, err error) {
	r.mu.Lock()
	c, err := r.find(id)
	if err == nil && c.status.State != running {
		err = status.Errorf(codes.FailedPrecondition, "container %s is not running", id)
	}
	r.mu.Unlock()
	if err != nil {
		return nil, nil, err
	}
	if len(cmd) == 0 {
		return nil, nil, status.Error(codes.InvalidArgument, "no command to execute")
	}
	process := c.process()
	process.Command = slices.Clone(cmd)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := make(chan struct{})
	go func() {
		defer close(watch)
		select {
		case <-c.exited:
			cancel(&kruntime.ExitError{Code: 137})
		case <-ctx.Done():
		}
	}()
	run := r.config.Exec
	if run == nil {
		run = runScript
	}
	stdout, stderr, err = run(ctx, process)
	var killed *kruntime.ExitError
	if ctx.Err() != nil && !errors.As(err, &killed) {
		if errors.As(context.Cause(ctx), &killed) {
			err = killed
		} else {
			err = status.FromContextError(ctx.Err()).Err()
		}
	}
	cancel(nil)
	<-watch
	return stdout, stderr, err
}

// StreamExec implements runtime.Streamer; standard input is not read.
func (r *Runtime) StreamExec(ctx context.Context, id string, cmd []string, streams kruntime.Streams) error {
	leave, err := r.enter(ctx, Call{Method: "StreamExec", Container: id})
	if err != nil {
		return err
	}
	stdout, stderr, err := r.exec(ctx, id, cmd)
	if streams.Stdout != nil && len(stdout) > 0 {
		streams.Stdout.Write(stdout)
	}
	if streams.Stderr != nil && len(stderr) > 0 {
		streams.Stderr.Write(stderr)
	}
	return leave(err)
}

// StreamAttach implements runtime.Streamer: a fake process says nothing more.
func (r *Runtime) StreamAttach(ctx context.Context, id string, streams kruntime.Streams) error {
	leave, err := r.enter(ctx, Call{Method: "StreamAttach", Container: id})
	if err != nil {
		return err
	}
	r.mu.Lock()
	c, err := r.find(id)
	if err == nil && c.status.State != running {
		err = status.Errorf(codes.FailedPrecondition, "container %s is not running", id)
	}
	r.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-c.exited:
		return leave(nil)
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// StreamPortForward implements runtime.Streamer: Config.Forward serves.
func (r *Runtime) StreamPortForward(ctx context.Context, sandboxID string, port int32, stream io.ReadWriteCloser) error {
	defer stream.Close()
	leave, err := r.enter(ctx, Call{Method: "StreamPortForward", Sandbox: sandboxID})
	if err != nil {
		return err
	}
	r.mu.Lock()
	s := r.sandboxes[sandboxID]
	r.mu.Unlock()
	if s == nil {
		return notFound("sandbox", sandboxID)
	}
	if r.config.Forward == nil {
		return status.Errorf(codes.Unavailable, "nobody listens on port %d of sandbox %s", port, sandboxID)
	}
	return leave(r.config.Forward(ctx, s.pod(), port, stream))
}

// Exec implements CRI: streams go through StreamExec.
func (r *Runtime) Exec(ctx context.Context, q *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	return nil, status.Error(codes.Unimplemented, "the fake serves no URL: use StreamExec")
}

// Attach implements CRI like Exec.
func (r *Runtime) Attach(ctx context.Context, q *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	return nil, status.Error(codes.Unimplemented, "the fake serves no URL: use StreamAttach")
}

// PortForward implements CRI like Exec.
func (r *Runtime) PortForward(ctx context.Context, q *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	return nil, status.Error(codes.Unimplemented, "the fake serves no URL: use StreamPortForward")
}
